-- Runs, and what pages read (contracts section 6): filled by the night, keyed by run.
CREATE TABLE run.run (
  run_id bigserial PRIMARY KEY,
  first_date date NOT NULL,
  last_date date NOT NULL,
  platform_id text,
  known_as_of timestamptz,
  ledger_no_to bigint NOT NULL,
  packs jsonb NOT NULL,
  code_version text NOT NULL,
  state text NOT NULL CHECK (state IN ('OPEN', 'PUBLISHED', 'AS_KNOWN', 'ABANDONED')),
  opened_at timestamptz NOT NULL,
  closed_at timestamptz,
  manifest_sha256 text,
  CHECK (first_date <= last_date)
);
CREATE TABLE run.step (
  run_id bigint REFERENCES run.run,
  step text,
  state text NOT NULL,
  rows_in bigint,
  rows_out bigint,
  seconds numeric,
  detail jsonb,
  PRIMARY KEY (run_id, step)
);
CREATE TABLE run.published (
  business_date date,
  platform_id text,
  version int,
  run_id bigint NOT NULL REFERENCES run.run,
  state text NOT NULL CHECK (state IN ('COMPLETE', 'INCOMPLETE')),
  reason text,
  published_at timestamptz NOT NULL,
  PRIMARY KEY (business_date, platform_id, version)
);
CREATE TABLE run.projected (
  run_id bigint PRIMARY KEY REFERENCES run.run,
  projected_at timestamptz NOT NULL
);

CREATE TABLE mart.open_item (
  business_date date, run_id bigint, platform_id text, item_id text, recon_id text, code text, opened_code text, severity text,
  match_key text, account_no text, currency text, amount_minor bigint, opened_on date, account_date date, age_working_days int,
  rule_version text, explanation text, nearest_candidate text, suggested_action text, evidence text,
  PRIMARY KEY (run_id, business_date, platform_id, item_id)
);
CREATE TABLE mart.open_item_effect (
  business_date date, run_id bigint, platform_id text, item_id text, recon_id text, code text, book text, account_no text,
  currency text, effect_minor bigint,
  PRIMARY KEY (run_id, business_date, platform_id, item_id, book, account_no)
);
CREATE TABLE mart.file_control (
  business_date date, run_id bigint, platform_id text, sender_id text, file_kind text, file_name text, state text,
  reason_code text, reason text, sha256 text, received_at timestamptz, sequence_no bigint, row_count bigint, control_sum bigint,
  rows_quarantined bigint,
  PRIMARY KEY (run_id, business_date, platform_id, sender_id, file_kind, file_name)
);
CREATE TABLE mart.balance_equation (
  business_date date, run_id bigint, platform_id text, equation text, currency text, term text, amount_minor bigint,
  is_residual boolean,
  PRIMARY KEY (run_id, business_date, platform_id, equation, currency, term)
);
CREATE TABLE mart.indicator (
  business_date date, run_id bigint, platform_id text, pack_id text, code text, definition_version text, unit text,
  currency text, value numeric(38, 6), numerator bigint, denominator bigint, evidence_rows bigint,
  PRIMARY KEY (run_id, business_date, platform_id, pack_id, code)
);

-- the winning version of a date and platform: the newest COMPLETE one; `newest` is the newest of whatever state
CREATE VIEW mart.winner AS
SELECT DISTINCT ON (business_date, platform_id) business_date, platform_id, run_id
FROM run.published WHERE state = 'COMPLETE' ORDER BY business_date, platform_id, version DESC;
CREATE VIEW mart.newest AS
SELECT DISTINCT ON (business_date, platform_id) business_date, platform_id, run_id
FROM run.published ORDER BY business_date, platform_id, version DESC;

CREATE VIEW mart.current_open_item AS
SELECT item.* FROM mart.open_item item JOIN mart.winner USING (business_date, platform_id, run_id) WHERE item.code <> 'B24'
UNION ALL
SELECT item.* FROM mart.open_item item JOIN mart.newest USING (business_date, platform_id, run_id) WHERE item.code = 'B24';
CREATE VIEW mart.current_open_item_effect AS
SELECT effect.* FROM mart.open_item_effect effect JOIN mart.winner USING (business_date, platform_id, run_id);
CREATE VIEW mart.current_balance_equation AS
SELECT term.* FROM mart.balance_equation term JOIN mart.winner USING (business_date, platform_id, run_id);
CREATE VIEW mart.current_indicator AS
SELECT figure.* FROM mart.indicator figure JOIN mart.winner USING (business_date, platform_id, run_id);
CREATE VIEW mart.current_file_control AS
SELECT file.* FROM mart.file_control file JOIN mart.newest USING (business_date, platform_id, run_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA run TO jobs;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA run TO jobs;
GRANT SELECT, INSERT, UPDATE, DELETE ON mart.open_item, mart.open_item_effect, mart.file_control, mart.balance_equation,
  mart.indicator TO jobs;
GRANT SELECT ON ALL TABLES IN SCHEMA mart TO jobs, reader;
GRANT SELECT ON ALL TABLES IN SCHEMA run TO reader;
