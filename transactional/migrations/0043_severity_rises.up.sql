-- Severity rises with age where the night writes it (spec 07 section 7.4): `severity` of an open item is the risen one, `default_severity` that
-- of its code. Runs of before have the code's alone: theirs rises here, by the same days (a test compares them with domain.vocabulary).
ALTER TABLE mart.open_item ADD COLUMN default_severity text;
CREATE FUNCTION work.risen(item mart.open_item) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN item.default_severity IS NULL THEN work.escalated(item.severity, item.age_working_days) ELSE item.severity END $$;
CREATE OR REPLACE VIEW work.current_break AS
SELECT i.item_id, i.platform_id, i.business_date, i.run_id, i.recon_id, i.code, i.opened_code,
       coalesce(i.default_severity, i.severity) AS severity, work.risen(i) AS escalated_severity, i.match_key, i.account_no, i.currency,
       i.amount_minor, i.opened_on,
       i.age_working_days, work.sla_working_days(coalesce(i.default_severity, i.severity)) AS sla_working_days,
       coalesce(i.age_working_days > work.sla_working_days(coalesce(i.default_severity, i.severity)), false) AS is_overdue, i.rule_version, i.explanation,
       i.nearest_candidate, i.suggested_action, i.evidence, coalesce(s.state, 'OPEN') AS state, s.actor AS state_actor, s.at AS state_at,
       s.note AS state_note, a.person AS investigator
FROM mart.open_item i
JOIN run.newest n ON n.platform_id = i.platform_id AND n.business_date = i.business_date AND n.run_id = i.run_id
LEFT JOIN work.break_state s USING (item_id)
LEFT JOIN LATERAL (SELECT b.person FROM work.break_assignment b WHERE b.item_id = i.item_id ORDER BY b.assignment_id DESC LIMIT 1) a ON true
WHERE n.is_newest_complete OR (n.is_newest AND i.code = 'B24');

CREATE OR REPLACE FUNCTION work.recon_report(p text, d date) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  shown record;
BEGIN
  SELECT n.run_id, n.state, n.published_at, r.ledger_no_to, r.code_version, r.manifest_sha256 INTO shown
  FROM run.newest n JOIN run.run r USING (run_id) WHERE n.platform_id = p AND n.business_date = d;
  IF NOT FOUND THEN
    PERFORM work.refuse('DATE_NOT_PUBLISHED', 'business_date', d::text);
  END IF;
  RETURN jsonb_build_object(
    'platform_id', p, 'business_date', d, 'run_id', shown.run_id, 'state', shown.state, 'ledger_no_to', shown.ledger_no_to,
    'code_version', shown.code_version, 'manifest_sha256', shown.manifest_sha256,
    'files', (
      SELECT coalesce(jsonb_agg(jsonb_build_object('sender_id', f.sender_id, 'file_kind', f.file_kind, 'file_name', f.file_name, 'state', f.state,
        'reason_code', f.reason_code, 'reason', f.reason, 'sha256', f.sha256, 'received_at', f.received_at, 'sequence_no', f.sequence_no,
        'row_count', f.row_count, 'control_sum', f.control_sum, 'rows_quarantined', f.rows_quarantined)
        ORDER BY f.sender_id, f.file_kind, f.file_name), '[]')
      FROM mart.file_control f WHERE f.platform_id = p AND f.business_date = d AND f.run_id = shown.run_id),
    'runs', (
      -- the share is of the date's own events; R1P and the controls of totals and files match nothing
      SELECT coalesce(jsonb_agg(jsonb_build_object('recon_id', s.recon_id, 'currency', s.currency, 'matched', s.matched,
        'matched_minor', s.matched_minor, 'opened', o.opened, 'open_items', s.open_items,
        'matched_share', CASE WHEN s.recon_id IN ('R1', 'R3', 'R4', 'R5') AND s.matched + o.opened > 0
                              THEN round(s.matched::numeric / (s.matched + o.opened), 6)::text END)
        ORDER BY s.recon_id, s.currency), '[]')
      FROM mart.recon_summary s
      CROSS JOIN LATERAL (SELECT count(*) AS opened FROM mart.open_item i WHERE i.run_id = s.run_id AND i.business_date = s.business_date
        AND i.platform_id = s.platform_id AND i.recon_id = s.recon_id AND i.currency = s.currency AND i.opened_on = s.business_date) o
      WHERE s.platform_id = p AND s.business_date = d AND s.run_id = shown.run_id),
    'breaks', (
      -- documents of runs before this migration stay as they were signed
      SELECT coalesce(jsonb_agg(CASE WHEN b.critical IS NULL THEN to_jsonb(b) - 'critical' ELSE to_jsonb(b) END
                                ORDER BY b.code, b.currency, b.youngest), '[]')
      FROM (SELECT i.code, i.currency, work.age_bucket(i.age_working_days) AS age_bucket, min(i.age_working_days) AS youngest, count(*) AS items,
                   sum(i.amount_minor) AS amount_minor, coalesce(sum(e.net_minor), 0) AS net_effect_minor,
                   count(*) FILTER (WHERE i.age_working_days > work.sla_working_days(coalesce(i.default_severity, i.severity))) AS overdue,
                   CASE WHEN count(i.default_severity) > 0 THEN count(*) FILTER (WHERE i.severity = 'CRITICAL') END AS critical
            FROM mart.open_item i
            LEFT JOIN LATERAL (SELECT sum(CASE x.book WHEN 'B' THEN -x.effect_minor ELSE x.effect_minor END) AS net_minor
                               FROM mart.open_item_effect x WHERE x.run_id = i.run_id AND x.business_date = i.business_date
                               AND x.platform_id = i.platform_id AND x.item_id = i.item_id) e ON true
            WHERE i.platform_id = p AND i.business_date = d AND i.run_id = shown.run_id AND i.code <> 'B14'
            GROUP BY 1, 2, 3) b),
    'equations', (
      SELECT coalesce(jsonb_agg(jsonb_build_object('equation', q.equation, 'currency', q.currency, 'term', q.term, 'amount_minor', q.amount_minor,
        'is_residual', q.is_residual) ORDER BY q.equation, q.currency, q.is_residual, q.term), '[]')
      FROM mart.balance_equation q WHERE q.platform_id = p AND q.business_date = d AND q.run_id = shown.run_id),
    'timing', (
      SELECT coalesce(jsonb_agg(jsonb_build_object('item_id', t.item_id, 'recon_id', t.recon_id, 'match_key', t.match_key, 'currency', t.currency,
        'amount_minor', t.amount_minor, 'opened_on', t.opened_on) ORDER BY t.recon_id, t.match_key), '[]')
      FROM mart.open_item t WHERE t.platform_id = p AND t.business_date = d AND t.run_id = shown.run_id AND t.code = 'B14'),
    'adjustments', (
      SELECT coalesce(jsonb_agg(jsonb_build_object('adjustment_id', a.adjustment_id, 'state', a.state, 'actor', a.actor, 'at', a.at,
        'item_id', a.item_id, 'account_no', a.account_no, 'direction', a.direction, 'amount_minor', a.amount_minor, 'currency', a.currency,
        'reason_code', a.reason_code) ORDER BY a.adjustment_id, a.seq), '[]')
      FROM work.adjustment_daily a WHERE a.platform_id = p AND a.business_date = d),
    'blockers', work.recon_blockers(p, d, shown.run_id));
END $$;

REVOKE EXECUTE ON FUNCTION work.risen FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.risen TO service, web, reader;
