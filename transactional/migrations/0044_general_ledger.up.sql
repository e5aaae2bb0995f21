-- The bank's own general ledger as a file kind; unidentified receipts by age and the parts of what suspense holds in the daily report
-- (spec 07 sections 7.7 term N, 7.9).
INSERT INTO ops.file_sender VALUES ('gl', 'BANK');

-- runs of before keep the document that was signed; those opened from now on have the two lists
ALTER TABLE run.run ADD COLUMN report_layout int NOT NULL DEFAULT 1;
ALTER TABLE run.run ALTER COLUMN report_layout SET DEFAULT 2;

-- Whether an order's movements count on a date for a run: of that date or before, and sealed within the run's ledger numbers.
CREATE FUNCTION work.counts_on(of_order bigint, d date, no_to bigint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM ledger.movement m JOIN ledger.seal s USING (movement_id)
                 WHERE m.order_id = of_order AND m.business_date <= d AND s.ledger_no <= no_to) $$;

-- Money without a known owner: by currency, place and age in working days (of the calendar that the run kept) since its value date.
-- SUSPENSE: receipts that book B holds, with what is open of each. STATEMENT: entries of the bank's statement that book B has not (B27).
CREATE FUNCTION work.unidentified_receipts(p text, d date, of_run bigint, no_to bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH kept AS (
    SELECT v.holidays, v.make_up_days FROM run.calendar c
    JOIN registry.calendar_version v ON v.calendar_id = c.calendar_id AND v.version = coalesce(c.version, 1) WHERE c.run_id = of_run),
  held AS (
    SELECT r.currency, r.value_on, r.amount_minor - coalesce((
             SELECT sum(CASE v.event WHEN 'RETURN_FAILED' THEN -v.amount_minor WHEN 'PAID_BACK' THEN 0 ELSE v.amount_minor END)
             FROM payments.receipt_event v
             WHERE (v.platform_id, v.receipt_no) = (r.platform_id, r.receipt_no) AND work.counts_on(v.order_id, d, no_to)), 0) AS open_minor
    FROM payments.receipt r WHERE r.platform_id = p AND r.business_date <= d AND work.counts_on(r.order_id, d, no_to)),
  aged AS (
    SELECT 'SUSPENSE' AS place, h.currency, h.open_minor, (
             SELECT count(*)::int FROM generate_series(h.value_on + 1, d, interval '1 day') x LEFT JOIN kept k ON true
             WHERE (extract(isodow FROM x) < 6 AND x::date <> ALL (coalesce(k.holidays, '{}'))) OR x::date = ANY (k.make_up_days)) AS age
    FROM held h WHERE h.open_minor > 0
    UNION ALL
    SELECT 'STATEMENT', i.currency, e.effect_minor, i.age_working_days
    FROM mart.open_item i
    JOIN mart.open_item_effect e USING (run_id, business_date, platform_id, item_id)
    WHERE i.platform_id = p AND i.business_date = d AND i.run_id = of_run AND i.code = 'B27' AND e.book = 'S' AND e.effect_minor > 0
      AND NOT EXISTS (SELECT FROM payments.receipt r WHERE r.platform_id = p AND r.bank_reference = i.match_key
                      AND work.counts_on(r.order_id, d, no_to))),
  summed AS (
    SELECT currency, place, work.age_bucket(age) AS age_bucket, min(age) AS youngest, count(*) AS receipts, sum(open_minor) AS amount_minor
    FROM aged GROUP BY 1, 2, 3)
  SELECT coalesce(jsonb_agg(jsonb_build_object('currency', currency, 'place', place, 'age_bucket', age_bucket, 'receipts', receipts,
    'amount_minor', amount_minor) ORDER BY currency, place, youngest), '[]') FROM summed $$;

-- Term N of B-1 in its parts: what came that day and ever (credit +), what was passed on or left again, and what is still in suspense.
-- What was passed on of charges and tax pays the charges first.
CREATE FUNCTION work.suspense_parts(p text, d date, of_run bigint, no_to bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH moved AS (
    SELECT a.currency, m.movement_type AS kind, e.amount_minor, m.business_date
    FROM registry.account a JOIN ledger.entry e USING (account_id) JOIN ledger.movement m USING (movement_id) JOIN ledger.seal s USING (movement_id)
    WHERE a.platform_id = p AND a.account_role = 'SUSPENSE' AND m.business_date <= d AND s.ledger_no <= no_to),
  total AS (
    SELECT a.currency,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'UNIDENTIFIED_RECEIPT'), 0) AS receipts,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'UNIDENTIFIED_RECEIPT' AND m.business_date = d), 0) AS receipts_day,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind IN ('RECEIPT_CLAIMED', 'RECEIPT_RETURNED')), 0) AS receipts_left,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'BANK_INTEREST'), 0) AS interest,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'BANK_INTEREST' AND m.business_date = d), 0) AS interest_day,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'INTEREST_PASSED_ON'), 0) AS interest_left,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'BANK_CHARGE'), 0) AS charges,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'BANK_CHARGE' AND m.business_date = d), 0) AS charges_day,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'BANK_TAX'), 0) AS tax,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'BANK_TAX' AND m.business_date = d), 0) AS tax_day,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind = 'CHARGE_PASSED_ON'), 0) AS borne,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind NOT IN ('UNIDENTIFIED_RECEIPT', 'RECEIPT_CLAIMED', 'RECEIPT_RETURNED', 'BANK_INTEREST',
        'INTEREST_PASSED_ON', 'BANK_CHARGE', 'BANK_TAX', 'CHARGE_PASSED_ON')), 0) AS other,
      coalesce(sum(m.amount_minor) FILTER (WHERE m.kind NOT IN ('UNIDENTIFIED_RECEIPT', 'RECEIPT_CLAIMED', 'RECEIPT_RETURNED', 'BANK_INTEREST',
        'INTEREST_PASSED_ON', 'BANK_CHARGE', 'BANK_TAX', 'CHARGE_PASSED_ON') AND m.business_date = d), 0) AS other_day
    FROM registry.account a LEFT JOIN moved m USING (currency)
    WHERE a.platform_id = p AND a.account_role = 'SUSPENSE'
    GROUP BY a.currency
    -- an account opened later does not change the document of before
    HAVING count(m.kind) > 0 OR EXISTS (SELECT FROM mart.balance_equation q WHERE q.run_id = of_run AND q.business_date = d
      AND q.platform_id = p AND q.currency = a.currency))
  SELECT coalesce(jsonb_agg(jsonb_build_object('currency', t.currency, 'part', x.part, 'day_minor', x.day, 'came_minor', x.came,
    'left_minor', x.gone, 'open_minor', x.came + x.gone) ORDER BY t.currency, x.n), '[]')
  FROM total t CROSS JOIN LATERAL (VALUES
    (1, 'RECEIPTS', t.receipts_day, t.receipts, t.receipts_left),
    (2, 'INTEREST', t.interest_day, t.interest, t.interest_left),
    (3, 'CHARGES', t.charges_day, t.charges, least(t.borne, -t.charges)),
    (4, 'TAX', t.tax_day, t.tax, t.borne - least(t.borne, -t.charges)),
    (5, 'OTHER', t.other_day, t.other, 0)) x(n, part, day, came, gone) $$;

ALTER FUNCTION work.recon_report(text, date) RENAME TO recon_report_1;
REVOKE EXECUTE ON FUNCTION work.recon_report_1 FROM service, reader, jobs;
CREATE FUNCTION work.recon_report(p text, d date) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  document jsonb := work.recon_report_1(p, d);
  shown run.run;
BEGIN
  SELECT r.* INTO STRICT shown FROM run.run r WHERE r.run_id = (document ->> 'run_id')::bigint;
  IF shown.report_layout = 1 THEN
    RETURN document;
  END IF;
  RETURN document || jsonb_build_object(
    'unidentified_receipts', work.unidentified_receipts(p, d, shown.run_id, shown.ledger_no_to),
    'special_account', work.suspense_parts(p, d, shown.run_id, shown.ledger_no_to));
END $$;
REVOKE EXECUTE ON FUNCTION work.recon_report, work.counts_on, work.unidentified_receipts, work.suspense_parts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.recon_report TO service, reader, jobs;
