-- What changes about platforms, payment companies, parties, customers, sub-accounts, projects and lists (spec 00 section 0.4; spec 10
-- rows 0.1–0.3, 0.6, 1.1, 1.2, 1.28, 1.30, 1.31, 3.2, 3.5–3.7). The tables of 0002 stay as identities. Every change is one more row:
-- it counts from `valid_from` on, until a row of a higher version counts; the current one has the highest version.
-- Writers of versions take turns, so recorded_at never goes back and what was known at a past moment stays as it was.
CREATE FUNCTION registry.take_turn() RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_advisory_xact_lock(7415) $$;

-- No identity number or telephone in full: at most six digits stand together once separators are left out.
CREATE FUNCTION registry.is_masked(words text) RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT regexp_replace(words, '[[:space:]().+_/-]', '', 'g') !~ '[[:digit:]]{7}' $$;

CREATE TABLE registry.subject (
  subject text PRIMARY KEY, -- the table of its versions
  key_columns text[] NOT NULL,
  is_final boolean NOT NULL, -- evidence of something that happened: one version for ever
  needs_approval boolean NOT NULL, -- versions come from decisions only
  check_function regproc -- (before jsonb, after jsonb) RETURNS void: refuses what the columns cannot
);
CREATE TABLE registry.allowed_status (
  subject text NOT NULL REFERENCES registry.subject,
  from_status text, -- null: the first one
  to_status text NOT NULL,
  approval_kind text, -- null: no decision of a certain kind is needed
  UNIQUE NULLS NOT DISTINCT (subject, from_status, to_status)
);

CREATE TABLE registry.platform_terms (
  platform_id text REFERENCES registry.platform,
  legal_name text NOT NULL CHECK (char_length(legal_name) BETWEEN 1 AND 200),
  unified_credit_code text CHECK (unified_credit_code ~ '^[0-9A-HJ-NPQRTUWXY]{18}$'), -- GB 32100
  lei text CHECK (lei ~ '^[0-9A-Z]{18}[0-9]{2}$'), -- ISO 17442
  custody_model text NOT NULL CHECK (custody_model IN ('BANK_DEPOSITORY', 'THIRD_PARTY_CUSTODY', 'POOL')),
  contract_no text NOT NULL CHECK (contract_no <> ''),
  contract_from date NOT NULL,
  contract_to date,
  custody_bank_ref text NOT NULL CHECK (custody_bank_ref <> ''),
  approval_id bigint NOT NULL REFERENCES work.approval,
  CHECK (unified_credit_code IS NOT NULL OR lei IS NOT NULL),
  CHECK (contract_to >= contract_from)
);
CREATE TABLE registry.platform_status (
  platform_id text REFERENCES registry.platform,
  status text NOT NULL CHECK (status IN ('ONBOARDING', 'ACTIVE', 'SUSPENDED', 'LEAVING', 'LEFT')),
  reason text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 500),
  approval_id bigint REFERENCES work.approval -- null: as it was registered
);
CREATE TABLE registry.pack_activation (
  platform_id text REFERENCES registry.platform,
  pack_id text NOT NULL CHECK (pack_id <> ''),
  pack_version text NOT NULL CHECK (pack_version <> ''),
  pack_hash text NOT NULL CHECK (pack_hash ~ '^[0-9a-f]{64}$'),
  maker text NOT NULL,
  checker text NOT NULL CHECK (checker <> maker),
  approval_id bigint NOT NULL REFERENCES work.approval
);
CREATE TABLE registry.payment_company_terms (
  paycom_id text REFERENCES registry.payment_company,
  licence_no text NOT NULL CHECK (licence_no <> ''),
  channels text[] NOT NULL CHECK (channels <@ '{WEB,TERMINAL,WITHHOLDING,QUICK,TRANSFER}' AND cardinality(channels) > 0),
  settlement_account_hash text NOT NULL CHECK (settlement_account_hash ~ '^[0-9a-f]{64}$'),
  settlement_lag text NOT NULL CHECK (settlement_lag IN ('T+0', 'T+1')),
  fee_terms jsonb NOT NULL CHECK (jsonb_typeof(fee_terms) = 'array'), -- spec 08 section 8.2, as data
  approval_id bigint NOT NULL REFERENCES work.approval
);
CREATE TABLE registry.payment_mapping (
  platform_id text,
  paycom_id text,
  merchant_no text NOT NULL CHECK (merchant_no <> ''),
  contract_from date NOT NULL,
  contract_to date CHECK (contract_to >= contract_from),
  approval_id bigint NOT NULL REFERENCES work.approval,
  FOREIGN KEY (paycom_id, platform_id) REFERENCES registry.payment_company_platform
);
CREATE TABLE registry.party_version (
  party_ref text REFERENCES registry.party (party_ref),
  name_masked text NOT NULL,
  phone_masked text,
  country text CHECK (country ~ '^[A-Z]{2}$'),
  birth_year int CHECK (birth_year BETWEEN 1850 AND 2200), -- of a person
  registered_on date -- of a firm
);
CREATE TABLE registry.customer_version (
  platform_id text,
  customer_no text,
  roles text[] NOT NULL,
  kyc_level int CHECK (kyc_level BETWEEN 0 AND 4), -- 0: nothing checked
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE TABLE registry.customer_status (
  platform_id text,
  customer_no text,
  status text NOT NULL CHECK (status IN ('ACTIVE', 'LOCKED', 'CLOSED')),
  reason text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 500),
  approval_id bigint REFERENCES work.approval,
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE UNIQUE INDEX account_of_platform ON registry.account (platform_id, account_no);
CREATE TABLE registry.account_status ( -- of sub-accounts
  platform_id text,
  account_no text,
  status text NOT NULL CHECK (status IN ('OPEN', 'LOCKED', 'CLOSED')),
  reason text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 500),
  approval_id bigint REFERENCES work.approval,
  FOREIGN KEY (platform_id, account_no) REFERENCES registry.account (platform_id, account_no)
);
CREATE TABLE registry.bound_card ( -- one card an account and purpose: its newest version
  platform_id text,
  account_no text,
  purpose text CHECK (purpose IN ('WITHDRAW', 'RECHARGE', 'WITHHOLDING')),
  bank_code text NOT NULL CHECK (bank_code ~ '^[A-Z0-9]{2,14}$'),
  card_hash text NOT NULL CHECK (card_hash ~ '^[0-9a-f]{64}$'), -- keyed hash of the number
  last4 text NOT NULL CHECK (last4 ~ '^[0-9]{4}$'),
  factors int NOT NULL CHECK (factors IN (3, 4)),
  result text NOT NULL CHECK (result IN ('PASSED', 'FAILED')),
  is_bound boolean NOT NULL CHECK (NOT is_bound OR result = 'PASSED'),
  FOREIGN KEY (platform_id, account_no) REFERENCES registry.account (platform_id, account_no)
);
CREATE TABLE registry.bank_account ( -- row 3.6: the customer's own e-account at the bank
  platform_id text,
  customer_no text,
  bank_account_hash text NOT NULL CHECK (bank_account_hash ~ '^[0-9a-f]{64}$'),
  is_mapped boolean NOT NULL,
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE TABLE registry.redirect_evidence ( -- row 3.7: the customer was sent to the bank's page, and the bank confirmed
  platform_id text REFERENCES registry.platform,
  request_no text,
  customer_no text,
  purpose text NOT NULL CHECK (purpose IN ('OPEN_ACCOUNT', 'SET_PASSWORD', 'BIND_CARD', 'RECHARGE', 'WITHDRAW', 'AUTHORISE')),
  page_hash text NOT NULL CHECK (page_hash ~ '^[0-9a-f]{64}$'),
  channel text NOT NULL CHECK (channel IN ('WEB', 'APP', 'COUNTER')),
  is_confirmed boolean NOT NULL,
  happened_at timestamptz NOT NULL CHECK (happened_at BETWEEN '1900-01-01Z' AND '2200-01-01Z'),
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE TABLE registry.kyc_check (
  platform_id text,
  check_no text,
  customer_no text NOT NULL,
  check_type text NOT NULL CHECK (check_type IN ('ID', 'PHONE', 'BANK_CARD', 'FACE', 'COMPANY', 'OTHER')),
  result text NOT NULL CHECK (result IN ('PASSED', 'FAILED', 'UNCLEAR')),
  evidence_hash text NOT NULL CHECK (evidence_hash ~ '^[0-9a-f]{64}$'),
  checked_at timestamptz NOT NULL CHECK (checked_at BETWEEN '1900-01-01Z' AND '2200-01-01Z'),
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE TABLE registry.document_evidence (
  platform_id text,
  document_no text,
  customer_no text NOT NULL,
  evidence_type text NOT NULL CHECK (evidence_type ~ '^[A-Z][A-Z_]{1,39}$'),
  document_hash text NOT NULL CHECK (document_hash ~ '^[0-9a-f]{64}$'),
  result text NOT NULL CHECK (result IN ('VERIFIED', 'REFUSED', 'RECEIVED')),
  verified_at timestamptz NOT NULL CHECK (verified_at BETWEEN '1900-01-01Z' AND '2200-01-01Z'),
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE TABLE registry.customer_event ( -- row 1.1
  platform_id text,
  event_no text,
  customer_no text NOT NULL,
  event_type text NOT NULL CHECK (event_type IN ('REGISTERED', 'LOGGED_IN', 'LOGIN_FAILED', 'PASSWORD_CHANGED', 'LOGGED_OUT')),
  channel text NOT NULL CHECK (channel IN ('WEB', 'APP', 'COUNTER')),
  happened_at timestamptz NOT NULL CHECK (happened_at BETWEEN '1900-01-01Z' AND '2200-01-01Z'),
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE TABLE registry.related_party (
  platform_id text REFERENCES registry.platform,
  party_ref text REFERENCES registry.party (party_ref),
  relation text CHECK (relation IN ('SHAREHOLDER', 'CONTROLLER', 'DIRECTOR', 'SUPERVISOR', 'SENIOR', 'CLOSE_RELATIVE', 'CONTROLLED_ENTITY')),
  holds_from date,
  holds_to date CHECK (holds_to >= holds_from), -- last day; null: until further notice
  share numeric(9,6) CHECK (share > 0 AND share <= 1), -- 0.05 is 5 %
  evidence_hash text NOT NULL CHECK (evidence_hash ~ '^[0-9a-f]{64}$'),
  CHECK (relation <> 'SHAREHOLDER' OR share IS NOT NULL)
);
CREATE TABLE registry.project (
  platform_id text,
  project_no text,
  customer_no text NOT NULL, -- the borrower
  account_no text NOT NULL,
  currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  contract_minor bigint NOT NULL CHECK (contract_minor BETWEEN 1 AND 1000000000000000),
  annual_rate numeric(9,6) NOT NULL CHECK (annual_rate >= 0), -- a fraction: 0.12 is 12 % a year
  term_months int NOT NULL CHECK (term_months BETWEEN 1 AND 600),
  raise_start date NOT NULL,
  raise_end date NOT NULL CHECK (raise_end >= raise_start),
  purpose_code text NOT NULL CHECK (purpose_code ~ '^[A-Z0-9_-]{1,32}$'),
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer,
  FOREIGN KEY (platform_id, account_no) REFERENCES registry.account (platform_id, account_no)
);
CREATE TABLE registry.project_status (
  platform_id text REFERENCES registry.platform,
  project_no text,
  status text NOT NULL CHECK (status IN ('REGISTERED', 'RAISING', 'FULL', 'DISBURSED', 'FAILED', 'CANCELLED')),
  reason text CHECK (char_length(reason) BETWEEN 1 AND 500)
);
CREATE TABLE registry.white_list (
  platform_id text REFERENCES registry.platform,
  kind text CHECK (kind IN ('MERCHANT', 'IP', 'ACCOUNT')),
  value text CHECK (char_length(value) BETWEEN 1 AND 128), -- merchant number, network as CIDR, or account hash
  holds_from date NOT NULL,
  holds_to date CHECK (holds_to >= holds_from), -- last day; null: until further notice
  approval_id bigint NOT NULL REFERENCES work.approval,
  CHECK (kind <> 'ACCOUNT' OR value ~ '^[0-9a-f]{64}$')
);
CREATE TABLE registry.complaint (
  platform_id text REFERENCES registry.platform,
  complaint_no text,
  customer_no text,
  category text NOT NULL CHECK (category ~ '^[A-Z][A-Z_]{1,39}$'),
  received_on date NOT NULL,
  text_hash text NOT NULL CHECK (text_hash ~ '^[0-9a-f]{64}$'),
  status text NOT NULL CHECK (status IN ('RECEIVED', 'IN_WORK', 'ANSWERED', 'CLOSED', 'REOPENED')),
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);

INSERT INTO registry.subject (subject, key_columns, is_final, needs_approval) VALUES
  ('platform_terms', '{platform_id}', false, true), ('platform_status', '{platform_id}', false, true),
  ('pack_activation', '{platform_id}', false, true), ('payment_company_terms', '{paycom_id}', false, true),
  ('payment_mapping', '{platform_id,paycom_id}', false, true), ('party_version', '{party_ref}', false, false),
  ('customer_version', '{platform_id,customer_no}', false, false), ('customer_status', '{platform_id,customer_no}', false, true),
  ('account_status', '{platform_id,account_no}', false, true), ('bound_card', '{platform_id,account_no,purpose}', false, false),
  ('bank_account', '{platform_id,customer_no}', false, false), ('redirect_evidence', '{platform_id,request_no}', true, false),
  ('kyc_check', '{platform_id,check_no}', true, false), ('document_evidence', '{platform_id,document_no}', true, false),
  ('customer_event', '{platform_id,event_no}', true, false),
  ('related_party', '{platform_id,party_ref,relation,holds_from}', false, false), ('project', '{platform_id,project_no}', false, false),
  ('project_status', '{platform_id,project_no}', false, false), ('white_list', '{platform_id,kind,value}', false, true),
  ('complaint', '{platform_id,complaint_no}', false, false);
INSERT INTO registry.allowed_status VALUES
  ('platform_status', NULL, 'ONBOARDING', NULL), ('platform_status', NULL, 'ACTIVE', NULL),
  ('platform_status', 'ONBOARDING', 'ACTIVE', 'PLATFORM_ONBOARDING'), ('platform_status', 'ACTIVE', 'SUSPENDED', 'PLATFORM_STATUS'),
  ('platform_status', 'SUSPENDED', 'ACTIVE', 'PLATFORM_STATUS'), ('platform_status', 'ACTIVE', 'LEAVING', 'PLATFORM_STATUS'),
  ('platform_status', 'SUSPENDED', 'LEAVING', 'PLATFORM_STATUS'), ('platform_status', 'LEAVING', 'ACTIVE', 'PLATFORM_STATUS'),
  ('platform_status', 'LEAVING', 'LEFT', 'PLATFORM_LEAVING'),
  ('customer_status', NULL, 'ACTIVE', NULL), ('customer_status', 'ACTIVE', 'LOCKED', NULL), ('customer_status', 'LOCKED', 'ACTIVE', NULL),
  ('customer_status', 'ACTIVE', 'CLOSED', NULL), ('customer_status', 'LOCKED', 'CLOSED', NULL),
  ('account_status', NULL, 'OPEN', NULL), ('account_status', 'OPEN', 'LOCKED', 'ACCOUNT_LOCK'), ('account_status', 'LOCKED', 'OPEN', 'ACCOUNT_ACTIVATE'),
  ('account_status', 'OPEN', 'CLOSED', 'ACCOUNT_CANCEL'), ('account_status', 'LOCKED', 'CLOSED', 'ACCOUNT_CANCEL'),
  ('project_status', NULL, 'REGISTERED', NULL), ('project_status', 'REGISTERED', 'RAISING', NULL), ('project_status', 'REGISTERED', 'CANCELLED', NULL),
  ('project_status', 'RAISING', 'FULL', NULL), ('project_status', 'RAISING', 'FAILED', NULL), ('project_status', 'RAISING', 'CANCELLED', NULL),
  ('project_status', 'FULL', 'DISBURSED', NULL), ('project_status', 'FULL', 'FAILED', NULL),
  ('complaint', NULL, 'RECEIVED', NULL), ('complaint', 'RECEIVED', 'IN_WORK', NULL), ('complaint', 'IN_WORK', 'ANSWERED', NULL),
  ('complaint', 'ANSWERED', 'CLOSED', NULL), ('complaint', 'ANSWERED', 'REOPENED', NULL), ('complaint', 'CLOSED', 'REOPENED', NULL),
  ('complaint', 'REOPENED', 'IN_WORK', NULL);

-- what all versions carry, and the view of the current ones
DO $$
DECLARE s registry.subject;
BEGIN
  FOR s IN SELECT * FROM registry.subject LOOP
    EXECUTE format('ALTER TABLE registry.%1$I ADD COLUMN valid_from date NOT NULL, ADD COLUMN version int NOT NULL CHECK (version >= 1),
        ADD COLUMN recorded_at timestamptz NOT NULL, ADD COLUMN actor text NOT NULL CHECK (actor <> %3$L), ADD PRIMARY KEY (%2$s, version)',
      s.subject, array_to_string(s.key_columns, ', '), '');
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON registry.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', s.subject);
    EXECUTE format('CREATE VIEW registry.current_%1$I AS SELECT DISTINCT ON (%2$s) * FROM registry.%1$I ORDER BY %2$s, version DESC',
      s.subject, array_to_string(s.key_columns, ', '));
    EXECUTE format('GRANT SELECT ON registry.%1$I, registry.current_%1$I TO service', s.subject);
  END LOOP;
END $$;
CREATE INDEX bank_account_hash ON registry.bank_account (platform_id, bank_account_hash);
CREATE INDEX card_hash ON registry.bound_card (card_hash);

-- One party an identity. Parties of before that share one are kept and named.
CREATE TABLE registry.party_identity (
  party_type text,
  id_hash text,
  party_id bigint NOT NULL UNIQUE REFERENCES registry.party,
  PRIMARY KEY (party_type, id_hash)
);
CREATE TABLE registry.party_duplicate (
  party_id bigint PRIMARY KEY REFERENCES registry.party,
  first_party_id bigint NOT NULL REFERENCES registry.party
);
INSERT INTO registry.party_identity SELECT party_type, id_hash, min(party_id) FROM registry.party GROUP BY party_type, id_hash;
INSERT INTO registry.party_duplicate
SELECT p.party_id, i.party_id FROM registry.party p JOIN registry.party_identity i USING (party_type, id_hash) WHERE p.party_id <> i.party_id;

-- what was registered before is version 1
INSERT INTO registry.platform_status (platform_id, status, reason, valid_from, version, recorded_at, actor)
SELECT platform_id, 'ACTIVE', 'registered', onboarded_on, 1, recorded_at, 'key:*' FROM registry.platform;
INSERT INTO registry.party_version (party_ref, name_masked, phone_masked, valid_from, version, recorded_at, actor)
SELECT party_ref, name_masked, phone_masked, recorded_at::date, 1, recorded_at, 'key:*' FROM registry.party;
INSERT INTO registry.customer_version (platform_id, customer_no, roles, valid_from, version, recorded_at, actor)
SELECT platform_id, customer_no, roles, opened_on, 1, recorded_at, 'key:*' FROM registry.customer;
INSERT INTO registry.customer_status (platform_id, customer_no, status, reason, valid_from, version, recorded_at, actor)
SELECT platform_id, customer_no, 'ACTIVE', 'registered', opened_on, 1, recorded_at, 'key:*' FROM registry.customer;
INSERT INTO registry.account_status (platform_id, account_no, status, reason, valid_from, version, recorded_at, actor)
SELECT platform_id, account_no, 'OPEN', 'registered', recorded_at::date, 1, recorded_at, 'key:*' FROM registry.account WHERE NOT is_control;
ALTER TABLE registry.party_version ADD CONSTRAINT name_is_masked CHECK (registry.is_masked(name_masked)) NOT VALID,
  ADD CONSTRAINT phone_is_masked CHECK (registry.is_masked(phone_masked)) NOT VALID;

-- and so is what is registered from now on
CREATE FUNCTION registry.first_version() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  by_whom text := coalesce(nullif(current_setting('fundwatch.actor', true), ''), 'key:*');
  detail jsonb := coalesce(nullif(current_setting('fundwatch.detail', true), ''), '{}')::jsonb; -- of the one row that upsert adds
  taken record;
BEGIN
  PERFORM registry.take_turn();
  CASE TG_TABLE_NAME
  WHEN 'platform' THEN
    INSERT INTO registry.platform_status (platform_id, status, reason, valid_from, version, recorded_at, actor)
    SELECT platform_id, coalesce(nullif(current_setting('fundwatch.platform_status', true), ''), 'ACTIVE'), 'registered', onboarded_on, 1,
           ledger.clock_now(), by_whom FROM added;
  WHEN 'party' THEN
    SELECT a.party_ref, p.party_ref AS owner INTO taken
    FROM added a JOIN registry.party_identity i USING (party_type, id_hash) JOIN registry.party p ON p.party_id = i.party_id
    ORDER BY a.party_ref LIMIT 1;
    IF FOUND THEN
      PERFORM work.refuse('IDENTITY_TAKEN', 'party_ref', format('%s has the identity of %s', taken.party_ref, taken.owner));
    END IF;
    SELECT max(party_ref) AS party_ref, min(party_ref) AS owner INTO taken FROM added GROUP BY party_type, id_hash HAVING count(*) > 1 ORDER BY 1 LIMIT 1;
    IF FOUND THEN
      PERFORM work.refuse('IDENTITY_TAKEN', 'party_ref', format('%s has the identity of %s', taken.party_ref, taken.owner));
    END IF;
    INSERT INTO registry.party_identity SELECT party_type, id_hash, party_id FROM added;
    INSERT INTO registry.party_version (party_ref, name_masked, phone_masked, country, birth_year, registered_on, valid_from, version, recorded_at, actor)
    SELECT party_ref, name_masked, phone_masked, detail ->> 'country', (detail ->> 'birth_year')::int, (detail ->> 'registered_on')::date,
           recorded_at::date, 1, ledger.clock_now(), by_whom FROM added;
  WHEN 'customer' THEN
    INSERT INTO registry.customer_version (platform_id, customer_no, roles, kyc_level, valid_from, version, recorded_at, actor)
    SELECT platform_id, customer_no, roles, (detail ->> 'kyc_level')::int, opened_on, 1, ledger.clock_now(), by_whom FROM added;
    INSERT INTO registry.customer_status (platform_id, customer_no, status, reason, valid_from, version, recorded_at, actor)
    SELECT platform_id, customer_no, 'ACTIVE', 'registered', opened_on, 1, ledger.clock_now(), by_whom FROM added;
  WHEN 'account' THEN
    INSERT INTO registry.account_status (platform_id, account_no, status, reason, valid_from, version, recorded_at, actor)
    SELECT platform_id, account_no, 'OPEN', 'registered', recorded_at::date, 1, ledger.clock_now(), by_whom FROM added WHERE NOT is_control;
  END CASE;
  RETURN NULL;
END $$;
DO $$
DECLARE identity text;
BEGIN
  FOREACH identity IN ARRAY ARRAY['platform', 'party', 'customer', 'account'] LOOP
    EXECUTE format('CREATE TRIGGER first_version AFTER INSERT ON registry.%I REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION registry.first_version()', identity);
  END LOOP;
END $$;

-- Add a version of a subject, when the content differs from the current one. Answers {outcome NEW | CHANGED | UNCHANGED, version, changes}
-- with changes = [{field, before, after}]. Refuses, in one form, what columns, keys, laws and check functions do not admit.
CREATE FUNCTION registry.append_version(subject text, given jsonb, valid_from date, actor text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  tail CONSTANT text[] := '{valid_from,version,recorded_at,actor}';
  kind registry.subject;
  before jsonb;
  after jsonb;
  last_version int;
  changes jsonb;
  stranger text;
  name_of_column text;
  name_of_constraint text;
  words text;
BEGIN
  SELECT * INTO STRICT kind FROM registry.subject s WHERE s.subject = append_version.subject;
  PERFORM registry.take_turn();
  EXECUTE format('SELECT to_jsonb(r) - $2 FROM jsonb_populate_record(NULL::registry.%I, $1 - $2) r', subject) INTO after USING given, tail;
  SELECT k INTO stranger FROM jsonb_object_keys(given) k WHERE NOT after ? k ORDER BY k LIMIT 1;
  IF FOUND THEN
    PERFORM work.refuse('BODY_INVALID', stranger, 'unknown field');
  END IF;
  EXECUTE format('SELECT to_jsonb(t) - $2, t.version FROM registry.%1$I t JOIN jsonb_populate_record(NULL::registry.%1$I, $1) g USING (%2$s) ORDER BY t.version DESC LIMIT 1',
    subject, array_to_string(kind.key_columns, ', ')) INTO before, last_version USING after, tail;
  SELECT coalesce(jsonb_agg(jsonb_build_object('field', a.key, 'before', before -> a.key, 'after', a.value) ORDER BY a.key), '[]') INTO changes
  FROM jsonb_each(after) a WHERE NOT a.key = ANY(kind.key_columns) AND (before IS NULL OR before -> a.key IS DISTINCT FROM a.value);
  IF before IS NOT NULL AND changes = '[]' THEN
    RETURN jsonb_build_object('outcome', 'UNCHANGED', 'version', last_version, 'changes', changes);
  ELSIF before IS NOT NULL AND kind.is_final THEN
    PERFORM work.refuse('REGISTRY_DIFFERS', changes #>> '{0,field}', changes #>> '{0,after}');
  END IF;
  PERFORM registry.check_status(kind.subject, before, after);
  IF kind.check_function IS NOT NULL THEN
    EXECUTE format('SELECT %s($1, $2)', kind.check_function::oid::regproc) USING before, after;
  END IF;
  EXECUTE format('INSERT INTO registry.%1$I SELECT * FROM jsonb_populate_record(NULL::registry.%1$I, $1)', subject)
  USING after || jsonb_build_object('valid_from', append_version.valid_from, 'version', coalesce(last_version, 0) + 1,
                                    'recorded_at', ledger.clock_now(), 'actor', append_version.actor);
  PERFORM audit.record(actor, 'REGISTRY_' || CASE WHEN before IS NULL THEN 'ADDED' ELSE 'CHANGED' END, subject,
                       (SELECT string_agg(after ->> k, ' ' ORDER BY o) FROM unnest(kind.key_columns) WITH ORDINALITY x(k, o)),
                       after ->> 'platform_id', before, after || jsonb_build_object('valid_from', append_version.valid_from));
  PERFORM outbox.append('registry.' || subject, after ->> 'platform_id',
                        (SELECT string_agg(after ->> k, ' ' ORDER BY o) FROM unnest(kind.key_columns) WITH ORDINALITY x(k, o)),
                        after || jsonb_build_object('valid_from', append_version.valid_from, 'version', coalesce(last_version, 0) + 1));
  RETURN jsonb_build_object('outcome', CASE WHEN before IS NULL THEN 'NEW' ELSE 'CHANGED' END,
                            'version', coalesce(last_version, 0) + 1, 'changes', changes);
EXCEPTION
  WHEN foreign_key_violation THEN
    GET STACKED DIAGNOSTICS words = PG_EXCEPTION_DETAIL;
    PERFORM work.refuse('UNKNOWN_REFERENCE', subject, words);
  WHEN not_null_violation THEN
    GET STACKED DIAGNOSTICS name_of_column = COLUMN_NAME;
    PERFORM work.refuse('BODY_INVALID', name_of_column, 'missing');
  WHEN check_violation THEN
    GET STACKED DIAGNOSTICS name_of_constraint = CONSTRAINT_NAME;
    PERFORM work.refuse('BODY_INVALID', subject, name_of_constraint);
  WHEN data_exception THEN
    GET STACKED DIAGNOSTICS words = MESSAGE_TEXT;
    PERFORM work.refuse('BODY_INVALID', subject, words);
END $$;

CREATE FUNCTION registry.check_status(subject text, before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE law registry.allowed_status;
BEGIN
  IF NOT EXISTS (SELECT FROM registry.allowed_status a WHERE a.subject = check_status.subject)
     OR (before IS NOT NULL AND before ->> 'status' = after ->> 'status' AND NOT after ? 'approval_id') THEN
    RETURN;
  END IF;
  SELECT * INTO law FROM registry.allowed_status a WHERE a.subject = check_status.subject
    AND a.from_status IS NOT DISTINCT FROM before ->> 'status' AND a.to_status = after ->> 'status';
  IF NOT FOUND OR law.approval_kind <> coalesce(
       (SELECT kind FROM work.approval WHERE approval_id = (after ->> 'approval_id')::bigint), '') THEN
    PERFORM work.refuse('STATUS_NOT_ALLOWED', 'status', format('%s after %s', after ->> 'status', coalesce(before ->> 'status', 'nothing')));
  END IF;
END $$;

-- What the service may add by itself; the other subjects change by decisions.
CREATE FUNCTION registry.put(subject text, given jsonb, valid_from date, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM registry.subject s WHERE s.subject = put.subject AND s.needs_approval) THEN
    PERFORM work.refuse('NEEDS_APPROVAL', 'subject', subject);
  END IF;
  RETURN registry.append_version(subject, given, valid_from, actor);
END $$;

CREATE FUNCTION registry.check_related_party(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE other registry.current_related_party;
BEGIN
  SELECT * INTO other FROM registry.current_related_party r
  WHERE r.platform_id = after ->> 'platform_id' AND r.party_ref = after ->> 'party_ref' AND r.relation = after ->> 'relation'
    AND r.holds_from <> (after ->> 'holds_from')::date
    AND daterange(r.holds_from, r.holds_to, '[]') && daterange((after ->> 'holds_from')::date, (after ->> 'holds_to')::date, '[]');
  IF FOUND THEN
    PERFORM work.refuse('PERIOD_OVERLAPS', 'holds_from', other.holds_from::text);
  END IF;
END $$;

CREATE FUNCTION registry.check_bank_account(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (after ->> 'is_mapped')::boolean AND EXISTS (
       SELECT FROM registry.bank_account candidate JOIN registry.current_bank_account b USING (platform_id, customer_no, version)
       WHERE candidate.platform_id = after ->> 'platform_id' AND candidate.bank_account_hash = after ->> 'bank_account_hash'
         AND b.is_mapped AND b.customer_no <> after ->> 'customer_no') THEN
    PERFORM work.refuse('BANK_ACCOUNT_TAKEN', 'bank_account_hash', after ->> 'bank_account_hash');
  END IF;
END $$;

CREATE FUNCTION registry.check_bound_card(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- another card is bound only after the one before was unbound, so that a change of cards is two recorded steps
  IF (before ->> 'is_bound')::boolean AND (after ->> 'is_bound')::boolean AND before ->> 'card_hash' <> after ->> 'card_hash' THEN
    PERFORM work.refuse('CARD_BOUND', 'purpose', after ->> 'purpose');
  ELSIF (SELECT is_control OR customer_no IS NULL FROM registry.account a
         WHERE a.platform_id = after ->> 'platform_id' AND a.account_no = after ->> 'account_no') THEN
    PERFORM work.refuse('BODY_INVALID', 'account_no', 'a card is bound to an account of a customer');
  END IF;
END $$;

CREATE FUNCTION registry.check_white_list(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF after ->> 'kind' = 'IP' AND (after ->> 'value')::cidr::text <> after ->> 'value' THEN -- one form of a network
    PERFORM work.refuse('BODY_INVALID', 'value', (after ->> 'value')::cidr::text);
  END IF;
END $$;

-- The facts of a project stand from the start of its raise on; its status begins with its registration.
CREATE FUNCTION registry.check_project(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  borrower registry.account;
BEGIN
  SELECT * INTO borrower FROM registry.account WHERE platform_id = after ->> 'platform_id' AND account_no = after ->> 'account_no';
  IF FOUND AND (borrower.account_role <> 'BORROWERS' OR borrower.customer_no IS DISTINCT FROM after ->> 'customer_no'
                OR borrower.currency <> after ->> 'currency') THEN
    PERFORM work.refuse('BODY_INVALID', 'account_no', 'not a borrower''s account of this customer and currency');
  ELSIF before IS NOT NULL AND (SELECT status FROM registry.current_project_status s WHERE s.platform_id = after ->> 'platform_id'
          AND s.project_no = after ->> 'project_no') IS DISTINCT FROM 'REGISTERED' THEN
    PERFORM work.refuse('STATUS_NOT_ALLOWED', 'project_no', 'a project is changed before its raise only');
  END IF;
END $$;
CREATE FUNCTION registry.check_project_status(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM registry.project p WHERE p.platform_id = after ->> 'platform_id' AND p.project_no = after ->> 'project_no') THEN
    PERFORM work.refuse('UNKNOWN_REFERENCE', 'project_no', after ->> 'project_no');
  END IF;
END $$;

CREATE FUNCTION registry.check_complaint(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF before - '{status,category}'::text[] <> after - '{status,category}'::text[] THEN
    PERFORM work.refuse('REGISTRY_DIFFERS', 'complaint_no', after ->> 'complaint_no');
  END IF;
END $$;

CREATE FUNCTION registry.check_customer_status(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE still_open text;
BEGIN
  SELECT min(a.account_no) INTO still_open FROM registry.account a JOIN registry.current_account_status s USING (platform_id, account_no)
  WHERE a.platform_id = after ->> 'platform_id' AND a.customer_no = after ->> 'customer_no' AND s.status <> 'CLOSED';
  IF after ->> 'status' = 'CLOSED' AND still_open IS NOT NULL THEN
    PERFORM work.refuse('ACCOUNT_OPEN', 'account_no', still_open);
  END IF;
END $$;
UPDATE registry.subject SET check_function = ('registry.check_' || subject)::regproc
WHERE subject IN ('related_party', 'bank_account', 'bound_card', 'white_list', 'project', 'project_status', 'complaint', 'customer_status');

-- Whether lenders' claims hang on an account: the loans' side replaces this.
CREATE FUNCTION registry.has_open_claims(account_id bigint) RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;

-- Effects of decisions. The kind is the subject in capitals; the payload is the content, with the day it counts from.
CREATE FUNCTION registry.apply_version(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  kind registry.subject;
  content jsonb := asked.payload - '{valid_from,approval_id,maker,checker}'::text[] || jsonb_build_object('approval_id', asked.approval_id);
BEGIN
  SELECT * INTO STRICT kind FROM registry.subject WHERE subject = lower(asked.kind);
  IF 'platform_id' = ANY(kind.key_columns) THEN
    content := content || jsonb_build_object('platform_id', asked.platform_id);
  END IF;
  IF 'paycom_id' = ANY(kind.key_columns) THEN
    content := content || jsonb_build_object('paycom_id', asked.subject);
  END IF;
  IF 'customer_no' = ANY(kind.key_columns) THEN
    content := content || jsonb_build_object('customer_no', asked.subject);
  END IF;
  IF asked.kind = 'PACK_ACTIVATION' THEN
    -- in a rehearsal the second person is not known yet
    content := content || jsonb_build_object('maker', asked.maker, 'checker', CASE checker WHEN asked.maker THEN 'second person' ELSE checker END);
  END IF;
  RETURN registry.append_version(kind.subject, content, registry.day_of(asked.payload), checker);
END $$;

CREATE FUNCTION registry.day_of(payload jsonb) RETURNS date LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF payload ->> 'valid_from' IS NULL OR payload ->> 'valid_from' !~ '^\d{4}-\d\d-\d\d$' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.valid_from', payload ->> 'valid_from');
  END IF;
  RETURN (payload ->> 'valid_from')::date;
EXCEPTION WHEN data_exception THEN
  PERFORM work.refuse('BODY_INVALID', 'payload.valid_from', payload ->> 'valid_from');
END $$;

CREATE FUNCTION registry.apply_account_status(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wanted CONSTANT text := CASE asked.kind WHEN 'ACCOUNT_LOCK' THEN 'LOCKED' WHEN 'ACCOUNT_ACTIVATE' THEN 'OPEN' ELSE 'CLOSED' END;
  account registry.account;
  done jsonb;
BEGIN
  SELECT * INTO account FROM registry.account a WHERE a.platform_id = asked.platform_id AND a.account_no = asked.subject AND NOT a.is_control;
  IF NOT FOUND THEN
    PERFORM work.refuse('ACCOUNT_NOT_FOUND', 'subject', asked.subject);
  ELSIF wanted = 'CLOSED' AND registry.has_open_claims(account.account_id) THEN
    PERFORM work.refuse('ACCOUNT_HAS_CLAIMS', 'subject', asked.subject);
  END IF;
  done := registry.append_version('account_status',
    jsonb_build_object('platform_id', account.platform_id, 'account_no', account.account_no, 'status', wanted, 'reason', asked.reason,
                       'approval_id', asked.approval_id), registry.day_of(asked.payload), checker);
  PERFORM ledger.set_account_state(account.account_id, wanted, checker); -- refuses to close what is not empty
  RETURN done;
END $$;

-- A proposal is put down only when its effect would be possible now: it is carried out and taken back.
CREATE FUNCTION registry.rehearse(asked work.approval) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE effect regproc;
BEGIN
  SELECT apply_function INTO STRICT effect FROM work.kind k WHERE k.kind = asked.kind;
  BEGIN
    EXECUTE format('SELECT %s($1, $2)', effect::oid::regproc) USING asked, asked.maker;
    RAISE EXCEPTION USING ERRCODE = 'FW001', MESSAGE = 'rehearsed';
  EXCEPTION WHEN SQLSTATE 'FW001' THEN NULL;
  END;
END $$;

-- A platform in no state to trade: what is posted meanwhile (statement trigger, one look-up a platform and call).
CREATE FUNCTION registry.check_platform_state() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE stopped record;
BEGIN
  SELECT a.platform_id, s.status INTO stopped
  FROM (SELECT DISTINCT platform_id, order_type FROM added) a
  CROSS JOIN LATERAL (SELECT status FROM registry.platform_status p WHERE p.platform_id = a.platform_id ORDER BY p.version DESC LIMIT 1) s
  WHERE s.status = 'LEFT' OR (s.status = 'ONBOARDING' AND a.order_type <> 'OPENING')
     OR (s.status = 'SUSPENDED' AND a.order_type IN ('TENDER', 'DISBURSE', 'CREDIT_ASSIGNMENT')) -- no new lending; paying back goes on
  ORDER BY a.platform_id LIMIT 1;
  IF FOUND THEN
    PERFORM work.refuse('PLATFORM_NOT_ACTIVE', 'platform_id', stopped.platform_id || ' is ' || stopped.status);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER platform_trades AFTER INSERT ON ledger.trade_order REFERENCING NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION registry.check_platform_state();

-- A platform that has yet to be taken over from another custodian: registered, and in state ONBOARDING.
CREATE FUNCTION registry.open_platform(given jsonb, actor text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM registry.take_turn();
  IF EXISTS (SELECT FROM registry.platform WHERE platform_id = given ->> 'platform_id') THEN
    PERFORM work.refuse('REGISTRY_DIFFERS', 'platform_id', given ->> 'platform_id');
  END IF;
  PERFORM set_config('fundwatch.platform_status', 'ONBOARDING', true), set_config('fundwatch.actor', actor, true);
  INSERT INTO registry.platform (platform_id, name, legal_name, currency, pack_id, onboarded_on, recorded_at)
  SELECT platform_id, name, legal_name, currency, pack_id, onboarded_on, ledger.clock_now()
  FROM jsonb_to_record(given) x(platform_id text, name text, legal_name text, currency text, pack_id text, onboarded_on date);
  PERFORM set_config('fundwatch.platform_status', '', true), set_config('fundwatch.actor', '', true);
  INSERT INTO registry.account (account_no, platform_id, account_role, is_control, currency, recorded_at)
  SELECT given ->> 'platform_id' || '-X-' || suffix, given ->> 'platform_id', account_role, true, given ->> 'currency', ledger.clock_now()
  FROM (VALUES ('SPECIAL', 'SPECIAL_ACCOUNT'), ('WITHDRAWAL', 'WITHDRAWAL_PAYABLE'), ('OWNFUNDS', 'OWN_FUNDS'), ('SUSPENSE', 'SUSPENSE')) x(suffix, account_role);
  PERFORM audit.record(actor, 'PLATFORM_REGISTERED', 'platform', given ->> 'platform_id', given ->> 'platform_id', NULL, given);
END $$;

-- Payload of PLATFORM_ONBOARDING: {valid_from, zone, cutoff, old_custodian, special_account_minor, balances: [{account_no, amount_minor}],
-- loans: [{loan_no, outstanding_minor, claims_minor}]}, as both custodians and the platform agreed. Everything to the cent, or nothing.
CREATE FUNCTION registry.apply_onboarding(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  given CONSTANT jsonb := asked.payload;
  home registry.platform;
  total numeric;
  lent numeric;
  claimed numeric;
  fault text;
BEGIN
  PERFORM registry.take_turn();
  SELECT * INTO STRICT home FROM registry.platform p WHERE p.platform_id = asked.platform_id;
  SELECT coalesce(sum(b.amount_minor), 0) INTO total FROM jsonb_to_recordset(given -> 'balances') b(account_no text, amount_minor bigint);
  SELECT coalesce(sum(l.outstanding_minor), 0), coalesce(sum(l.claims_minor), 0), min(l.loan_no) FILTER (WHERE l.outstanding_minor <> l.claims_minor)
  INTO lent, claimed, fault FROM jsonb_to_recordset(given -> 'loans') l(loan_no text, outstanding_minor bigint, claims_minor bigint);
  IF total IS DISTINCT FROM (given ->> 'special_account_minor')::numeric THEN
    PERFORM work.refuse('OPENING_DIFFERS', 'special_account_minor', format('the sub-accounts add up to %s, not %s', total, given ->> 'special_account_minor'));
  ELSIF fault IS NOT NULL THEN
    PERFORM work.refuse('OPENING_DIFFERS', 'loans', fault);
  END IF;
  SELECT min(b.account_no) INTO fault FROM jsonb_to_recordset(given -> 'balances') b(account_no text)
  LEFT JOIN registry.account a ON a.account_no = b.account_no AND a.platform_id = asked.platform_id AND NOT a.is_control AND a.currency = home.currency
  WHERE a.account_id IS NULL;
  IF fault IS NOT NULL THEN
    PERFORM work.refuse('UNKNOWN_ACCOUNT', 'balances', fault);
  END IF;
  SELECT min(account_no) INTO fault FROM (SELECT b.account_no FROM jsonb_to_recordset(given -> 'balances') b(account_no text) GROUP BY 1 HAVING count(*) > 1) twice;
  IF fault IS NOT NULL THEN
    PERFORM work.refuse('OPENING_DIFFERS', 'balances', fault || ' is there twice');
  ELSIF EXISTS (SELECT FROM ledger.trade_order o WHERE o.platform_id = asked.platform_id) THEN
    PERFORM work.refuse('STATUS_NOT_ALLOWED', 'platform_id', 'the platform has orders already');
  END IF;
  IF total > 0 THEN
    PERFORM registry.post_opening(asked, home.currency, checker);
  END IF;
  PERFORM registry.append_version('platform_status', jsonb_build_object('platform_id', asked.platform_id, 'status', 'ACTIVE', 'reason', asked.reason,
    'approval_id', asked.approval_id), registry.day_of(given), checker);
  RETURN jsonb_build_object('status', 'ACTIVE', 'special_account_minor', total, 'outstanding_minor', lent, 'claims_minor', claimed);
END $$;

-- One OPENING order of at most 10,000 movements after the other, through the posting engine, in the decision's transaction.
CREATE FUNCTION registry.post_opening(asked work.approval, currency text, checker text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM ledger.post_all((
    WITH line AS (
      SELECT (row_number() OVER (ORDER BY b.account_no) - 1) / 10000 AS o, (row_number() OVER (ORDER BY b.account_no) - 1) % 10000 + 1 AS seq, b.*
      FROM jsonb_to_recordset(asked.payload -> 'balances') b(account_no text, amount_minor bigint) WHERE b.amount_minor > 0)
    SELECT jsonb_build_object('scope', 'approval:' || asked.approval_id, 'endpoint', 'POST /v1/approvals/{approval_id}/decision',
      'zone', asked.payload ->> 'zone', 'cutoff', asked.payload ->> 'cutoff', 'bulk', true, 'entered_by', checker, 'answers', '[]'::jsonb, 'holds', '[]'::jsonb,
      'orders', (SELECT jsonb_agg(jsonb_build_object('o', o, 'platform_id', asked.platform_id, 'request_no', format('OPENING-%s-%s', asked.approval_id, o + 1),
        'order_type', 'OPENING', 'currency', currency) ORDER BY o) FROM (SELECT DISTINCT o FROM line) orders),
      'movements', jsonb_agg(jsonb_build_object('o', o, 'seq', seq, 'movement_type', 'OPENING_BALANCE', 'debit_account', asked.platform_id || '-X-SPECIAL',
        'credit_account', account_no, 'amount_minor', amount_minor) ORDER BY o, seq))
    FROM line));
END $$;

-- The statement a platform leaves with: each account's opening, what went out and came in, and zero at the end.
CREATE TABLE registry.final_statement (
  platform_id text REFERENCES registry.platform,
  account_no text NOT NULL,
  account_role text NOT NULL,
  currency text NOT NULL,
  opening_minor bigint NOT NULL, -- taken over from the custodian before
  debit_minor numeric NOT NULL,
  credit_minor numeric NOT NULL, -- without the opening
  closing_minor bigint NOT NULL CHECK (closing_minor = 0),
  approval_id bigint NOT NULL REFERENCES work.approval,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (platform_id, account_no),
  CHECK (opening_minor + credit_minor - debit_minor = closing_minor)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON registry.final_statement FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE FUNCTION registry.apply_leaving(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  obstacle text;
  totals jsonb;
BEGIN
  PERFORM registry.take_turn();
  PERFORM pg_advisory_xact_lock(7401); -- nothing is posted until this is decided
  SELECT a.account_no INTO obstacle FROM registry.account a JOIN ledger.balance b USING (account_id)
  WHERE a.platform_id = asked.platform_id AND (b.debit_minor <> b.credit_minor OR b.held_minor <> 0) ORDER BY a.is_control, a.account_no LIMIT 1;
  IF FOUND THEN
    PERFORM work.refuse('PLATFORM_NOT_EMPTY', 'account_no', obstacle);
  END IF;
  SELECT a.account_no INTO obstacle FROM registry.account a
  WHERE a.platform_id = asked.platform_id AND registry.has_open_claims(a.account_id) ORDER BY a.account_no LIMIT 1;
  IF FOUND THEN
    PERFORM work.refuse('ACCOUNT_HAS_CLAIMS', 'account_no', obstacle);
  END IF;
  INSERT INTO registry.final_statement
  SELECT a.platform_id, a.account_no, a.account_role, a.currency, coalesce(o.opening, 0),
         b.debit_minor + least(coalesce(o.opening, 0), 0), b.credit_minor - greatest(coalesce(o.opening, 0), 0),
         b.credit_minor - b.debit_minor, asked.approval_id, ledger.clock_now()
  FROM registry.account a JOIN ledger.balance b USING (account_id)
  LEFT JOIN (SELECT x.account_id, sum(x.amount)::bigint AS opening
             FROM ledger.trade_order t JOIN ledger.movement m USING (order_id)
             CROSS JOIN LATERAL (VALUES (m.credit_account_id, m.amount_minor), (m.debit_account_id, -m.amount_minor)) x(account_id, amount)
             WHERE t.platform_id = asked.platform_id AND m.movement_type = 'OPENING_BALANCE' GROUP BY 1) o USING (account_id)
  WHERE a.platform_id = asked.platform_id;
  PERFORM registry.append_version('platform_status', jsonb_build_object('platform_id', asked.platform_id, 'status', 'LEFT', 'reason', asked.reason,
    'approval_id', asked.approval_id), registry.day_of(asked.payload), checker);
  SELECT jsonb_build_object('status', 'LEFT', 'accounts', count(*), 'opening_minor', sum(opening_minor), 'debit_minor', sum(debit_minor),
    'credit_minor', sum(credit_minor), 'closing_minor', sum(closing_minor),
    'sha256', encode(sha256(convert_to(string_agg(to_jsonb(s)::text, E'\n' ORDER BY account_no), 'UTF8')), 'hex'))
  INTO totals FROM registry.final_statement s WHERE s.platform_id = asked.platform_id;
  RETURN totals;
END $$;

-- Customers and sub-accounts in one go, row by row: each is NEW, CHANGED, UNCHANGED or REFUSED, and a refused one keeps no other back.
CREATE FUNCTION registry.upsert(platform_id text, customers jsonb, accounts jsonb, valid_from date, actor text)
RETURNS TABLE (list text, place int, key text, outcome text, changes jsonb, code text, field text, value text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  item record;
  done jsonb;
  words text;
BEGIN
  PERFORM registry.take_turn();
  PERFORM set_config('fundwatch.actor', actor, true);
  FOR item IN
    SELECT 'customers' AS list, o::int - 1 AS place, x AS content FROM jsonb_array_elements(customers) WITH ORDINALITY c(x, o)
    UNION ALL SELECT 'accounts', o::int - 1, x FROM jsonb_array_elements(accounts) WITH ORDINALITY a(x, o)
  LOOP
    list := item.list; place := item.place; code := NULL; field := NULL; value := NULL; changes := '[]';
    key := item.content ->> CASE list WHEN 'customers' THEN 'customer_no' ELSE 'account_no' END;
    BEGIN
      IF list = 'customers' THEN
        done := registry.upsert_customer(upsert.platform_id, item.content, valid_from, actor);
      ELSE
        done := registry.upsert_account(upsert.platform_id, item.content, actor);
      END IF;
      outcome := done ->> 'outcome'; changes := done -> 'changes';
    EXCEPTION WHEN SQLSTATE 'FW422' THEN
      GET STACKED DIAGNOSTICS code = MESSAGE_TEXT, words = PG_EXCEPTION_DETAIL;
      outcome := 'REFUSED'; field := words::json ->> 'field'; value := words::json ->> 'value';
    END;
    RETURN NEXT;
  END LOOP;
  PERFORM set_config('fundwatch.actor', '', true);
END $$;

CREATE FUNCTION registry.upsert_customer(platform_id text, given jsonb, valid_from date, actor text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known registry.customer;
  person registry.party;
  of_party jsonb;
  of_customer jsonb;
BEGIN
  PERFORM set_config('fundwatch.detail', given::text, true); -- first versions are whole
  SELECT * INTO person FROM registry.party p WHERE p.party_ref = given ->> 'party_ref';
  IF NOT FOUND THEN
    INSERT INTO registry.party (party_ref, party_type, id_hash, name_masked, phone_masked, recorded_at)
    VALUES (given ->> 'party_ref', given ->> 'party_type', given ->> 'id_hash', given ->> 'name_masked', given ->> 'phone_masked', ledger.clock_now())
    RETURNING * INTO person;
    of_party := '{"outcome": "NEW", "changes": []}';
  ELSIF person.party_type <> given ->> 'party_type' OR person.id_hash <> given ->> 'id_hash' THEN
    PERFORM work.refuse('REGISTRY_DIFFERS', CASE WHEN person.id_hash <> given ->> 'id_hash' THEN 'id_hash' ELSE 'party_type' END, given ->> 'party_ref');
  END IF;
  SELECT * INTO known FROM registry.customer c WHERE c.platform_id = upsert_customer.platform_id AND c.customer_no = given ->> 'customer_no';
  IF NOT FOUND THEN
    INSERT INTO registry.customer (platform_id, customer_no, party_id, roles, opened_on, recorded_at)
    VALUES (platform_id, given ->> 'customer_no', person.party_id, array(SELECT jsonb_array_elements_text(given -> 'roles') ORDER BY 1),
            (given ->> 'opened_on')::date, ledger.clock_now());
    of_customer := '{"outcome": "NEW", "changes": []}';
    PERFORM audit.record(actor, 'CUSTOMER_REGISTERED', 'customer', platform_id || ' ' || (given ->> 'customer_no'), platform_id, NULL, given);
    PERFORM outbox.append('registry.customer', platform_id, platform_id || ' ' || (given ->> 'customer_no'), given);
  ELSIF known.party_id <> person.party_id OR known.opened_on <> (given ->> 'opened_on')::date THEN
    PERFORM work.refuse('REGISTRY_DIFFERS', CASE WHEN known.party_id <> person.party_id THEN 'party_ref' ELSE 'opened_on' END, given ->> 'customer_no');
  END IF;
  PERFORM set_config('fundwatch.detail', '', true);
  IF of_party IS NULL THEN
    of_party := registry.append_version('party_version',
      (SELECT jsonb_object_agg(k, given -> k) FROM unnest('{party_ref,name_masked,phone_masked,country,birth_year,registered_on}'::text[]) k), valid_from, actor);
  END IF;
  IF of_customer IS NULL THEN
    of_customer := registry.append_version('customer_version', jsonb_build_object('platform_id', platform_id, 'customer_no', given -> 'customer_no',
      'roles', (SELECT coalesce(jsonb_agg(r ORDER BY r), '[]') FROM jsonb_array_elements_text(given -> 'roles') r), 'kyc_level', given -> 'kyc_level'),
      valid_from, actor);
  END IF;
  RETURN jsonb_build_object('changes', (of_party -> 'changes') || (of_customer -> 'changes'), 'outcome',
    CASE WHEN of_customer ->> 'outcome' = 'NEW' THEN 'NEW'
         WHEN of_party ->> 'outcome' = 'UNCHANGED' AND of_customer ->> 'outcome' = 'UNCHANGED' THEN 'UNCHANGED' ELSE 'CHANGED' END);
EXCEPTION WHEN check_violation OR unique_violation OR foreign_key_violation THEN
  PERFORM work.refuse('BODY_INVALID', 'customers', SQLERRM);
END $$;

CREATE FUNCTION registry.upsert_account(platform_id text, given jsonb, actor text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE known registry.account;
BEGIN
  SELECT * INTO known FROM registry.account a WHERE a.account_no = given ->> 'account_no';
  IF NOT FOUND THEN
    IF given ->> 'customer_no' IS NOT NULL AND NOT EXISTS (
         SELECT FROM registry.customer c WHERE c.platform_id = upsert_account.platform_id AND c.customer_no = given ->> 'customer_no') THEN
      PERFORM work.refuse('UNKNOWN_REFERENCE', 'customer_no', given ->> 'customer_no');
    END IF;
    INSERT INTO registry.account (account_no, platform_id, account_role, is_control, currency, customer_no, recorded_at)
    VALUES (given ->> 'account_no', platform_id, given ->> 'account_role', false, given ->> 'currency', given ->> 'customer_no', ledger.clock_now());
    PERFORM audit.record(actor, 'ACCOUNT_REGISTERED', 'account', given ->> 'account_no', platform_id, NULL, given);
    RETURN '{"outcome": "NEW", "changes": []}'::jsonb;
  ELSIF known.platform_id <> upsert_account.platform_id THEN
    PERFORM work.refuse('REGISTRY_DIFFERS', 'account_no', given ->> 'account_no');
  ELSIF known.account_role <> given ->> 'account_role' THEN
    PERFORM work.refuse('REGISTRY_DIFFERS', 'account_role', given ->> 'account_no');
  ELSIF known.currency <> given ->> 'currency' THEN
    PERFORM work.refuse('REGISTRY_DIFFERS', 'currency', given ->> 'account_no');
  ELSIF known.customer_no IS DISTINCT FROM given ->> 'customer_no' THEN
    PERFORM work.refuse('REGISTRY_DIFFERS', 'customer_no', given ->> 'account_no');
  END IF;
  RETURN '{"outcome": "UNCHANGED", "changes": []}'::jsonb;
END $$;

-- May the borrower have the money of a project? Reasons, empty when yes; the holds named must be the lenders', and sum to the contract.
CREATE FUNCTION registry.disbursement_obstacles(platform_id text, project_no text, hold_nos text[], today date) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wanted registry.current_project;
  state text;
  borrower text;
  held record;
  reasons jsonb := '[]';
BEGIN
  SELECT * INTO wanted FROM registry.current_project p WHERE p.platform_id = disbursement_obstacles.platform_id AND p.project_no = disbursement_obstacles.project_no;
  IF NOT FOUND THEN
    RETURN '["PROJECT_NOT_REGISTERED"]';
  END IF;
  SELECT status INTO state FROM registry.current_project_status s WHERE s.platform_id = wanted.platform_id AND s.project_no = wanted.project_no;
  SELECT status INTO borrower FROM registry.current_account_status s WHERE s.platform_id = wanted.platform_id AND s.account_no = wanted.account_no;
  SELECT count(DISTINCT open.hold_no) AS holds, coalesce(sum(open.held), 0) AS amount,
         coalesce(bool_or(a.account_role <> 'INVESTOR' OR a.currency <> wanted.currency), false) AS is_foreign INTO held
  FROM (SELECT h.hold_no, h.account_id, sum(CASE h.event_type WHEN 'PLACE' THEN h.amount_minor ELSE -h.amount_minor END) AS held
        FROM ledger.hold_event h WHERE h.platform_id = wanted.platform_id AND h.hold_no = ANY(hold_nos) GROUP BY 1, 2) open
  JOIN registry.account a USING (account_id) WHERE open.held > 0;
  SELECT coalesce(jsonb_agg(reason), '[]') INTO reasons FROM (VALUES
    (1, 'STATUS_NOT_FULL', state IS DISTINCT FROM 'FULL'), (2, 'RAISE_NOT_BEGUN', today < wanted.raise_start),
    (3, 'BORROWER_ACCOUNT_NOT_OPEN', borrower IS DISTINCT FROM 'OPEN'),
    (4, 'HOLDS_MISSING', held.holds <> cardinality(array(SELECT DISTINCT unnest(hold_nos))) OR held.holds = 0),
    (5, 'HOLDS_NOT_OF_LENDERS', held.is_foreign), (6, 'HOLDS_DIFFER_FROM_CONTRACT', held.amount <> wanted.contract_minor)) r(rank, reason, is_so)
  WHERE is_so;
  RETURN reasons;
END $$;

INSERT INTO work.kind (kind, maker_roles, checker_roles, check_function, apply_function)
SELECT kind, '{officer,checker}', '{checker}', 'registry.rehearse', effect::regproc FROM (VALUES
  ('PLATFORM_TERMS', 'registry.apply_version'), ('PLATFORM_STATUS', 'registry.apply_version'), ('PACK_ACTIVATION', 'registry.apply_version'),
  ('PAYMENT_COMPANY_TERMS', 'registry.apply_version'), ('PAYMENT_MAPPING', 'registry.apply_version'), ('WHITE_LIST', 'registry.apply_version'),
  ('CUSTOMER_STATUS', 'registry.apply_version'), ('ACCOUNT_LOCK', 'registry.apply_account_status'),
  ('ACCOUNT_ACTIVATE', 'registry.apply_account_status'), ('ACCOUNT_CANCEL', 'registry.apply_account_status'),
  ('PLATFORM_ONBOARDING', 'registry.apply_onboarding'), ('PLATFORM_LEAVING', 'registry.apply_leaving')) k(kind, effect);

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA registry FROM PUBLIC;
GRANT EXECUTE ON FUNCTION registry.take_turn, registry.is_masked, registry.put, registry.open_platform, registry.upsert,
  registry.disbursement_obstacles TO service;
GRANT SELECT ON registry.subject, registry.allowed_status, registry.party_identity, registry.party_duplicate, registry.final_statement TO service;
