-- The daily reconciliation report and its sign-off (spec 07 section 7.9): one document a platform and business date, made of what the
-- winning run published; two people sign its hash, and not while totals or files are open.
CREATE TABLE mart.recon_summary (
  business_date date, run_id bigint, platform_id text, recon_id text, currency text, matched bigint, matched_minor bigint,
  open_items bigint,
  PRIMARY KEY (run_id, business_date, platform_id, recon_id, currency)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON mart.recon_summary TO jobs;
GRANT SELECT ON mart.recon_summary TO reader;

CREATE TABLE work.recon_sign_off (
  sign_off_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  platform_id text NOT NULL REFERENCES registry.platform,
  business_date date NOT NULL,
  run_id bigint NOT NULL,
  report_sha256 bytea NOT NULL CHECK (octet_length(report_sha256) = 32),
  maker text NOT NULL,
  checker text NOT NULL,
  approval_id bigint NOT NULL REFERENCES work.approval,
  signed_at timestamptz NOT NULL,
  UNIQUE (platform_id, business_date, run_id)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON work.recon_sign_off FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE FUNCTION work.age_bucket(age_working_days int) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN age_working_days <= 1 THEN greatest(age_working_days, 0)::text WHEN age_working_days <= 3 THEN '2-3'
              WHEN age_working_days <= 7 THEN '4-7' WHEN age_working_days <= 30 THEN '8-30' ELSE '>30' END $$;

-- What keeps a report from being signed: unexplained balances and totals, files and rows that are not accepted, a date not complete.
CREATE FUNCTION work.recon_blockers(p text, d date, of_run bigint) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_object('code', b.code, 'match_key', b.match_key, 'why', b.explanation) ORDER BY b.code, b.match_key), '[]')
  FROM (
    SELECT i.code, i.match_key, i.explanation FROM mart.open_item i
    WHERE i.platform_id = p AND i.business_date = d AND i.run_id = of_run AND i.code IN ('B20', 'B21', 'B24', 'B25')
    UNION ALL
    SELECT 'INCOMPLETE', n.platform_id, 'the date is not complete' FROM run.newest n
    WHERE n.platform_id = p AND n.business_date = d AND n.run_id = of_run AND n.state <> 'COMPLETE') b $$;

CREATE FUNCTION work.recon_report(p text, d date) RETURNS jsonb
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
      SELECT coalesce(jsonb_agg(to_jsonb(b) ORDER BY b.code, b.currency, b.youngest), '[]')
      FROM (SELECT i.code, i.currency, work.age_bucket(i.age_working_days) AS age_bucket, min(i.age_working_days) AS youngest, count(*) AS items,
                   sum(i.amount_minor) AS amount_minor, coalesce(sum(e.net_minor), 0) AS net_effect_minor,
                   count(*) FILTER (WHERE i.age_working_days > work.sla_working_days(i.severity)) AS overdue
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
CREATE FUNCTION work.recon_report_hash(report jsonb) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT encode(sha256(convert_to(report::text, 'UTF8')), 'hex') $$;

-- Subject is the date; the payload binds the run and the document that was read.
CREATE FUNCTION work.check_recon_sign_off(asked work.approval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p jsonb := asked.payload;
  report jsonb;
BEGIN
  IF (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(p) k) IS DISTINCT FROM ARRAY['report_sha256', 'run_id']
     OR asked.subject !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' OR asked.platform_id IS NULL THEN
    PERFORM work.refuse('BODY_INVALID', 'payload', 'report_sha256 and run_id; the subject is the date');
  END IF;
  BEGIN
    report := work.recon_report(asked.platform_id, asked.subject::date);
  EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
    PERFORM work.refuse('BODY_INVALID', 'subject', asked.subject);
  END;
  IF jsonb_array_length(report -> 'blockers') > 0 THEN
    PERFORM work.refuse('SIGN_OFF_BLOCKED', 'business_date', (SELECT string_agg(b ->> 'code' || ' ' || (b ->> 'match_key'), ', ')
      FROM (SELECT b FROM jsonb_array_elements(report -> 'blockers') b LIMIT 10) t(b)));
  ELSIF p ->> 'run_id' IS DISTINCT FROM report ->> 'run_id' OR p ->> 'report_sha256' IS DISTINCT FROM work.recon_report_hash(report) THEN
    PERFORM work.refuse('REPORT_DIFFERS', 'report_sha256', work.recon_report_hash(report));
  ELSIF EXISTS (SELECT FROM work.recon_sign_off s WHERE s.platform_id = asked.platform_id AND s.business_date = asked.subject::date
                AND s.run_id = (report ->> 'run_id')::bigint) THEN
    PERFORM work.refuse('STATE_CONFLICT', 'business_date', 'signed before');
  END IF;
END $$;
CREATE FUNCTION work.apply_recon_sign_off(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE made work.recon_sign_off;
BEGIN
  PERFORM work.check_recon_sign_off(asked);
  INSERT INTO work.recon_sign_off (platform_id, business_date, run_id, report_sha256, maker, checker, approval_id, signed_at)
  VALUES (asked.platform_id, asked.subject::date, (asked.payload ->> 'run_id')::bigint, decode(asked.payload ->> 'report_sha256', 'hex'),
          asked.maker, checker, asked.approval_id, ledger.clock_now())
  RETURNING * INTO made;
  PERFORM audit.record(checker, 'RECON_SIGNED_OFF', 'reconciliation', asked.subject, asked.platform_id, NULL, to_jsonb(made));
  RETURN jsonb_build_object('run_id', made.run_id, 'signed_at', made.signed_at);
END $$;
INSERT INTO work.kind VALUES
  ('RECON_SIGN_OFF', '{officer,finance}', '{checker}', 'work.check_recon_sign_off', 'work.apply_recon_sign_off', 72);
REVOKE EXECUTE ON FUNCTION work.age_bucket, work.recon_blockers, work.recon_report, work.recon_report_hash, work.check_recon_sign_off,
  work.apply_recon_sign_off FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.recon_report, work.recon_report_hash TO service, reader, jobs;
GRANT SELECT ON work.recon_sign_off TO service, web, reader, jobs;
