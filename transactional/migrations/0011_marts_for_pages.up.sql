-- What the pages of risk officers read beside the marts of 0007: loans of a run's last date, and which version counts.
CREATE TABLE mart.loan_snapshot (
  business_date date, run_id bigint, platform_id text, loan_no text, borrower_customer_no text, borrower_ref text, currency text,
  plan_type text, disbursed_on date, disbursed_minor bigint, outstanding_principal_minor bigint,
  outstanding_interest_minor bigint, overdue_principal_minor bigint, overdue_interest_minor bigint, compensated_minor bigint,
  compensated_issue_count bigint, lender_dpd int, borrower_dpd int, lender_bucket text, borrower_bucket text, finding text,
  PRIMARY KEY (run_id, business_date, platform_id, loan_no)
);
CREATE INDEX loan_snapshot_by_balance ON mart.loan_snapshot
  (run_id, business_date, platform_id, currency, outstanding_principal_minor DESC, loan_no) WHERE outstanding_principal_minor > 0;
CREATE INDEX loan_snapshot_overdue ON mart.loan_snapshot
  (run_id, business_date, platform_id, currency, lender_dpd, loan_no) WHERE lender_dpd > 0;
CREATE INDEX loan_snapshot_finding ON mart.loan_snapshot (run_id, business_date, platform_id, loan_no) WHERE finding IS NOT NULL;

-- sums of the table above by bucket of the lender's days past due, made when it is filled: pages add up rows, not loans
CREATE TABLE mart.loan_bucket (
  business_date date, run_id bigint, platform_id text, currency text, lender_bucket text, loans bigint, outstanding_minor bigint,
  overdue_minor bigint, overdue_loans bigint, findings bigint,
  PRIMARY KEY (run_id, business_date, platform_id, currency, lender_bucket)
);
-- the ten largest borrowers of a platform and currency, from the same rows (ranked as the pack's TOP10_BAL)
CREATE INDEX loan_snapshot_of_borrower ON mart.loan_snapshot (run_id, borrower_ref) WHERE outstanding_principal_minor > 0;
CREATE TABLE mart.largest_borrower (
  business_date date, run_id bigint, platform_id text, currency text, place int, borrower_ref text, outstanding_minor bigint,
  PRIMARY KEY (run_id, business_date, platform_id, currency, place)
);
-- the same for scores (mart.score): borrowers with something outstanding and their loans, by model and band
CREATE TABLE mart.score_band (
  business_date date, run_id bigint, platform_id text, currency text, model_id text, band text, people bigint, loans bigint,
  outstanding_minor bigint,
  PRIMARY KEY (run_id, business_date, platform_id, currency, model_id, band)
);

CREATE INDEX published_by_platform ON run.published (platform_id, business_date DESC, version DESC);
CREATE INDEX published_incomplete ON run.published (platform_id, business_date) WHERE state = 'INCOMPLETE';

-- the version that counts of a date and platform, INCOMPLETE ones included: COMPLETE before INCOMPLETE, then the highest version
CREATE VIEW mart.winner_of_any_state AS
SELECT business_date, platform_id, version, run_id, state, reason, published_at FROM run.published mine
WHERE NOT EXISTS (
  SELECT FROM run.published other
  WHERE other.business_date = mine.business_date AND other.platform_id = mine.platform_id
    AND (other.state = 'COMPLETE', other.version) > (mine.state = 'COMPLETE', mine.version));
-- the newest date of every platform that is COMPLETE, and the newest of whatever state
CREATE VIEW mart.newest_complete AS
SELECT found.* FROM (SELECT DISTINCT platform_id FROM night.platform) platform
CROSS JOIN LATERAL (
  SELECT business_date, platform_id, version, run_id, published_at FROM run.published
  WHERE platform_id = platform.platform_id AND state = 'COMPLETE' ORDER BY business_date DESC, version DESC LIMIT 1) found;
CREATE VIEW mart.newest_of_any_state AS
SELECT found.* FROM (SELECT DISTINCT platform_id FROM night.platform) platform
CROSS JOIN LATERAL (
  SELECT business_date, platform_id, version, run_id, state, reason, published_at FROM run.published
  WHERE platform_id = platform.platform_id
  ORDER BY business_date DESC, (state = 'COMPLETE') DESC, version DESC LIMIT 1) found;

CREATE VIEW mart.current_loan_snapshot AS
SELECT loan.* FROM mart.loan_snapshot loan JOIN mart.newest_complete USING (business_date, platform_id, run_id);

-- what a page may show of a person beside the customer number
CREATE VIEW mart.customer_name AS SELECT platform_id, customer_no, name_masked FROM night.customer;

GRANT SELECT, INSERT, UPDATE, DELETE ON mart.loan_snapshot, mart.loan_bucket, mart.largest_borrower, mart.score_band TO jobs;
GRANT SELECT ON mart.loan_snapshot, mart.loan_bucket, mart.largest_borrower, mart.score_band, mart.winner_of_any_state,
  mart.newest_complete,
  mart.newest_of_any_state, mart.current_loan_snapshot TO jobs, reader;
GRANT SELECT ON mart.customer_name TO reader;
