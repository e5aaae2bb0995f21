-- Book B (architecture section 6). Balance of an account = credits - debits, in minor units.
CREATE TABLE ledger.clock (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  mode text NOT NULL CHECK (mode IN ('system', 'simulated')),
  now_at timestamptz NOT NULL
);
CREATE TABLE ledger.allowed_movement (
  movement_type text,
  debit_role text REFERENCES registry.account_role,
  credit_role text REFERENCES registry.account_role,
  PRIMARY KEY (movement_type, debit_role, credit_role)
);
-- one narrow row an account, no secondary index: every update is HOT
CREATE TABLE ledger.balance (
  account_id bigint PRIMARY KEY REFERENCES registry.account,
  is_control boolean NOT NULL,
  debit_minor bigint NOT NULL DEFAULT 0,
  credit_minor bigint NOT NULL DEFAULT 0,
  held_minor bigint NOT NULL DEFAULT 0 CHECK (held_minor >= 0),
  version bigint NOT NULL DEFAULT 0,
  CHECK (is_control OR credit_minor - debit_minor - held_minor >= 0)
) WITH (fillfactor = 50);
CREATE SEQUENCE ledger.order_id;
CREATE TABLE ledger.trade_order (
  order_id bigint PRIMARY KEY,
  platform_id text NOT NULL REFERENCES registry.platform,
  request_no text NOT NULL,
  order_type text NOT NULL,
  currency text NOT NULL,
  amount_minor bigint NOT NULL,
  reverses_order_id bigint UNIQUE REFERENCES ledger.trade_order,
  effective_at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL,
  business_date date NOT NULL,
  UNIQUE (platform_id, request_no)
);
CREATE SEQUENCE ledger.movement_id;
-- no foreign keys to accounts: the posting function joins them and the checker looks at them (recipe: 15 against 56 us a posting)
CREATE TABLE ledger.movement (
  movement_id bigint PRIMARY KEY,
  order_id bigint NOT NULL,
  seq int NOT NULL CHECK (seq >= 1),
  movement_type text NOT NULL,
  debit_account_id bigint NOT NULL,
  credit_account_id bigint NOT NULL CHECK (credit_account_id <> debit_account_id),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  currency text NOT NULL,
  loan_no text,
  issue_no int,
  component text CHECK (component IN ('P', 'I')),
  claim_no text,
  reversal_of bigint UNIQUE,
  effective_at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL,
  business_date date NOT NULL
);
CREATE INDEX movement_order ON ledger.movement (order_id, seq);
CREATE TABLE ledger.entry (
  account_id bigint NOT NULL,
  account_version bigint NOT NULL,
  movement_id bigint NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
  balance_after_minor bigint NOT NULL,
  PRIMARY KEY (account_id, account_version)
);
CREATE TABLE ledger.hold_event (
  hold_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  platform_id text NOT NULL,
  hold_no text NOT NULL,
  event_type text NOT NULL CHECK (event_type IN ('PLACE', 'RELEASE')),
  account_id bigint NOT NULL REFERENCES registry.account,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  order_id bigint NOT NULL REFERENCES ledger.trade_order,
  recorded_at timestamptz NOT NULL,
  business_date date NOT NULL,
  UNIQUE (platform_id, hold_no, event_type)
);
CREATE INDEX hold_event_account ON ledger.hold_event (account_id);
CREATE TABLE ledger.seal_block (
  block_no bigint PRIMARY KEY,
  first_ledger_no bigint NOT NULL,
  last_ledger_no bigint NOT NULL,
  last_movement_id bigint NOT NULL,
  previous_hash bytea NOT NULL,
  hash bytea NOT NULL,
  sealed_through timestamptz NOT NULL
);
CREATE TABLE ledger.seal (
  ledger_no bigint PRIMARY KEY,
  movement_id bigint NOT NULL UNIQUE,
  block_no bigint NOT NULL
);

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows of %.% are posted: correct them by new movements', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'FW403';
END $$;
DO $$
DECLARE posted text;
BEGIN
  FOREACH posted IN ARRAY ARRAY['trade_order', 'movement', 'entry', 'hold_event', 'seal_block', 'seal'] LOOP
    EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()',
                   posted || '_is_posted', posted);
  END LOOP;
END $$;

-- every account has its balance row from the start
CREATE FUNCTION ledger.open_balances() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO ledger.balance (account_id, is_control) SELECT account_id, is_control FROM opened;
  RETURN NULL;
END $$;
CREATE TRIGGER account_opens_balance AFTER INSERT ON registry.account REFERENCING NEW TABLE AS opened
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.open_balances();

-- the law of contracts section 4; a test compares it with domain.vocabulary.ALLOWED_MOVEMENTS
INSERT INTO ledger.allowed_movement
WITH law(movement_type, debits, credits) AS (VALUES
  ('RECHARGE', '{CHANNEL_RECEIVABLE}'::text[], '{INVESTOR,BORROWERS,GUARANTEECORP}'::text[]),
  ('SETTLEMENT', '{SPECIAL_ACCOUNT}', '{CHANNEL_RECEIVABLE}'),
  ('WITHDRAW', '{INVESTOR,BORROWERS,GUARANTEECORP}', '{WITHDRAWAL_PAYABLE}'),
  ('WITHDRAW_PAYOUT', '{WITHDRAWAL_PAYABLE}', '{SPECIAL_ACCOUNT}'),
  ('TENDER', '{INVESTOR}', '{BORROWERS}'),
  ('COMMISSION', '{BORROWERS,INVESTOR}', '{PLATFORM_INCOME}'),
  ('PRINCIPAL', '{BORROWERS}', '{INVESTOR}'),
  ('INTEREST', '{BORROWERS}', '{INVESTOR}'),
  ('COMPENSATORY', '{GUARANTEECORP}', '{INVESTOR}'),
  ('COMPENSATORY_REPAYMENT', '{BORROWERS}', '{GUARANTEECORP}'),
  ('CREDIT_ASSIGNMENT', '{INVESTOR}', '{INVESTOR}'),
  ('MARKETING', '{PLATFORM_MARKETING}', '{INVESTOR}'),
  ('OWN_FUNDS_IN', '{SPECIAL_ACCOUNT}', '{OWN_FUNDS}'),
  ('TOP_UP', '{OWN_FUNDS}', '{PLATFORM_MARKETING,PLATFORM_COMPENSATORY}'),
  ('PROFIT', '{PLATFORM_INCOME}', '{OWN_FUNDS}'),
  ('OWN_FUNDS_OUT', '{OWN_FUNDS}', '{SPECIAL_ACCOUNT}'))
SELECT movement_type, debit, credit FROM law, unnest(debits) debit, unnest(credits) credit
UNION ALL
SELECT 'OPENING_BALANCE', 'SPECIAL_ACCOUNT', account_role FROM registry.account_role WHERE NOT is_control;

-- role service reads; it writes only through the posting and sealing functions
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO service;
