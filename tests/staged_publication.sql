-- Published rows that no night of a test world gives at once: P01 complete with findings, a gap, old breaks and 250 loans (a week
-- before it too); P02 stale, published before loans were kept; P03 never complete; scores refused; the night held.
INSERT INTO registry.platform
SELECT id, id, id || ' Ltd', 'CNY', 'CN_2017', '2026-01-01', '2026-01-01' FROM unnest(ARRAY['P01', 'P02', 'P03']) id;
INSERT INTO run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
SELECT id, day, day, 0, '[]', 'staged', 'PUBLISHED', day + interval '18 hours'
FROM (VALUES (1, date '2026-08-24'), (2, date '2026-08-31')) r (id, day);
INSERT INTO run.step (run_id, step, state, detail) VALUES (2, 'score', 'DONE', '{"refused": "the model file is not the registered one"}');
INSERT INTO run.published (business_date, platform_id, version, run_id, state, reason, published_at) VALUES
  ('2026-08-24', 'P01', 1, 1, 'COMPLETE', NULL, '2026-08-24T18:00Z'),
  ('2026-08-31', 'P01', 1, 2, 'COMPLETE', NULL, '2026-08-31T18:00Z'),
  ('2026-08-24', 'P02', 1, 1, 'COMPLETE', NULL, '2026-08-24T18:00Z'),
  ('2026-08-31', 'P02', 1, 2, 'INCOMPLETE', 'P02.postings: the file did not come', '2026-08-31T18:00Z'),
  ('2026-08-31', 'P03', 1, 2, 'INCOMPLETE', 'BANK.statement: the trailer says 7, the rows add up to 6', '2026-08-31T18:00Z');
INSERT INTO mart.loan_snapshot
SELECT day, run_id, 'P01', 'P01-LN-' || lpad(i::text, 6, '0'), 'P01-C' || lpad((i % 40)::text, 6, '0'), 'ref-' || i % 40, 'CNY', 'ANNUITY',
       date '2026-01-01' + i, 2000000 + i, 1000000 + i * 100, 5000, CASE WHEN dpd > 0 THEN 2000 + i ELSE 0 END,
       CASE WHEN dpd > 0 THEN 100 ELSE 0 END, 0, 0, dpd, CASE WHEN i % 50 = 1 THEN 0 ELSE dpd END, bucket,
       CASE WHEN i % 50 = 1 THEN 'M0' ELSE bucket END, CASE WHEN i % 50 = 1 AND dpd > 0 THEN 'LD_GT_BD' END
FROM (SELECT i, run_id, day, CASE WHEN i % 5 = 1 THEN i % 200 + 1 ELSE 0 END AS dpd FROM generate_series(1, 250) i,
        (VALUES (1, date '2026-08-24'), (2, date '2026-08-31')) r (run_id, day)) loan
CROSS JOIN LATERAL (SELECT CASE WHEN dpd = 0 THEN 'M0' WHEN dpd > 180 THEN 'M6+' ELSE 'M' || ceil(dpd / 30.0)::int END AS bucket) b;
INSERT INTO mart.indicator
SELECT business_date, run_id, 'P01', 'CN_2017', code, '1', unit, 'CNY', value, numerator, denominator, 1 FROM (
  SELECT business_date, run_id, sum(outstanding_principal_minor)::bigint AS bal, count(*) AS cnt,
         sum(outstanding_principal_minor) FILTER (WHERE lender_dpd > 90)::bigint AS over_90,
         sum(overdue_principal_minor + overdue_interest_minor)::bigint AS overdue, sum(outstanding_interest_minor)::bigint AS interest
  FROM mart.loan_snapshot GROUP BY 1, 2) s
CROSS JOIN LATERAL (VALUES
  ('BAL_AMT', 'MINOR', bal::numeric, bal, NULL), ('BAL_CNT', 'COUNT', cnt, cnt, NULL), ('CUM_CNT', 'COUNT', cnt, cnt, NULL),
  ('CUR_LENDER', 'COUNT', 7, 7, NULL), ('CUR_BORROWER', 'COUNT', 40, 40, NULL), ('OVD90_AMT', 'MINOR', over_90, over_90, NULL),
  ('OVD_RATE_AMT', 'RATIO', round(overdue::numeric / (bal + interest), 6), overdue, bal + interest),
  ('TOP10_BORR', 'RATIO', 0.25, (SELECT sum(b)::bigint FROM (SELECT sum(outstanding_principal_minor) AS b FROM mart.loan_snapshot l
     WHERE l.run_id = s.run_id GROUP BY borrower_ref ORDER BY 1 DESC LIMIT 10) t), bal),
  ('TOP1_BORR', 'RATIO', 0.03, 1, bal)) f (code, unit, value, numerator, denominator);
INSERT INTO mart.indicator
SELECT '2026-08-24', 1, 'P02', 'CN_2017', code, '1', unit, 'CNY', value, value, denominator, 1 FROM (VALUES
  ('BAL_AMT', 'MINOR', 500000, NULL::bigint), ('BAL_CNT', 'COUNT', 3, NULL), ('CUM_CNT', 'COUNT', 3, NULL), ('CUR_LENDER', 'COUNT', 2, NULL),
  ('CUR_BORROWER', 'COUNT', 3, NULL), ('OVD90_AMT', 'MINOR', 0, NULL)) f (code, unit, value, denominator);
INSERT INTO mart.balance_equation
SELECT day, run_id, 'P01', equation, 'CNY', 'RESIDUAL', CASE WHEN equation = 'B-1' AND run_id = 2 THEN -1234 ELSE 0 END, true
FROM (VALUES (1, date '2026-08-24'), (2, date '2026-08-31')) r (run_id, day), unnest(ARRAY['B-1', 'B-2']) equation;
INSERT INTO mart.balance_equation VALUES ('2026-08-24', 1, 'P02', 'B-1', 'CNY', 'RESIDUAL', 0, true);
INSERT INTO mart.open_item (business_date, run_id, platform_id, item_id, recon_id, code, opened_code, severity, match_key, account_no,
  currency, amount_minor, opened_on, account_date, age_working_days, rule_version, explanation)
SELECT '2026-08-31', 2, 'P01', md5(i::text), 'R3', code, code, severity, key, NULL, 'CNY', 100 * i, '2026-08-31', '2026-08-31', age, 'R3@1',
       'R3@1 ' || code || ': staged'
FROM (VALUES (1, 'B01', 'HIGH', '=1+1', 0), (2, 'B01', 'HIGH', '@SUM(A1)', 7), (3, 'B04', 'HIGH', 'plain', 9),
             (4, 'B20', 'CRITICAL', 'P01-L-000001', 40)) f (i, code, severity, key, age);
INSERT INTO mart.open_item (business_date, run_id, platform_id, item_id, recon_id, code, opened_code, severity, match_key, account_no,
  currency, amount_minor, opened_on, account_date, age_working_days, rule_version, explanation)
VALUES ('2026-08-31', 2, 'P02', md5('file'), 'R9', 'B24', 'B24', 'HIGH', 'P02/P02.postings', NULL, '', 0, '2026-08-31', '2026-08-31', 0,
        'R9@1', 'R9@1 B24: file P02/P02.postings is not accepted');
