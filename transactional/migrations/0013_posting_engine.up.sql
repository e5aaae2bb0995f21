-- The posting engine (decision 0011): both laws, two-phase holds, states of accounts, who entered an order, and a fast path that does
-- in a few set-based statements what the careful functions do with a reason for every refusal.

-- States of accounts. The newest row counts; ledger.balance repeats it where postings look.
ALTER TABLE ledger.balance ADD COLUMN state text NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'LOCKED', 'CLOSED'));
ALTER TABLE ledger.balance ADD CONSTRAINT closed_is_empty CHECK (state <> 'CLOSED' OR (credit_minor = debit_minor AND held_minor = 0));
CREATE TABLE ledger.account_state (
  account_id bigint NOT NULL REFERENCES registry.account,
  version int NOT NULL CHECK (version >= 1),
  state text NOT NULL CHECK (state IN ('OPEN', 'LOCKED', 'CLOSED')),
  actor text NOT NULL,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (account_id, version)
);
CREATE TRIGGER account_state_is_posted BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.account_state
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- OPEN; LOCKED: no debit and no new hold, credits come in; CLOSED: nothing, for ever, and only an empty account.
-- Refusals: UNKNOWN_ACCOUNT, BODY_INVALID (state), ACCOUNT_CLOSED, ACCOUNT_NOT_EMPTY. The same state again changes nothing.
CREATE FUNCTION ledger.set_account_state(account_id bigint, state text, actor text DEFAULT 'bank') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  account registry.account;
  before ledger.balance;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  SELECT a.* INTO account FROM registry.account a WHERE a.account_id = set_account_state.account_id;
  IF NOT FOUND THEN
    PERFORM work.refuse('UNKNOWN_ACCOUNT', 'account_id', account_id::text);
  ELSIF state NOT IN ('OPEN', 'LOCKED', 'CLOSED') OR state IS NULL THEN
    PERFORM work.refuse('BODY_INVALID', 'state', state);
  END IF;
  SELECT b.* INTO before FROM ledger.balance b WHERE b.account_id = account.account_id FOR UPDATE;
  IF before.state = set_account_state.state THEN
    RETURN;
  ELSIF before.state = 'CLOSED' THEN
    PERFORM work.refuse('ACCOUNT_CLOSED', 'account', account.account_no);
  ELSIF set_account_state.state = 'CLOSED' AND (before.credit_minor <> before.debit_minor OR before.held_minor <> 0) THEN
    PERFORM work.refuse('ACCOUNT_NOT_EMPTY', 'account', account.account_no);
  END IF;
  INSERT INTO ledger.account_state
  SELECT account.account_id, coalesce(max(s.version), 0) + 1, set_account_state.state, set_account_state.actor, ledger.clock_now()
  FROM ledger.account_state s WHERE s.account_id = account.account_id;
  UPDATE ledger.balance b SET state = set_account_state.state WHERE b.account_id = account.account_id;
  PERFORM audit.record(actor, 'ACCOUNT_STATE', 'account', account.account_no, account.platform_id,
                       jsonb_build_object('state', before.state), jsonb_build_object('state', set_account_state.state));
  PERFORM outbox.append('account.state_changed', account.platform_id, account.account_no,
                        jsonb_build_object('account_no', account.account_no, 'state', set_account_state.state));
END $$;
REVOKE EXECUTE ON FUNCTION ledger.set_account_state FROM PUBLIC;
GRANT SELECT ON ledger.account_state TO service;

-- Both laws; a test compares them with domain.vocabulary.
INSERT INTO registry.account_role VALUES ('RESERVE', false), ('MARGIN', false);
CREATE TABLE ledger.allowed_order (
  order_type text,
  movement_type text,
  PRIMARY KEY (order_type, movement_type)
);
INSERT INTO ledger.allowed_movement
WITH word(word, roles) AS (
  SELECT account_role, ARRAY[account_role] FROM registry.account_role
  UNION ALL SELECT 'SUB', array_agg(account_role) FROM registry.account_role WHERE NOT is_control
  UNION ALL VALUES
  ('CUSTOMER', ARRAY['INVESTOR', 'BORROWERS', 'GUARANTEECORP']),
  ('PARTNER', ARRAY['INTERMEDIATOR', 'COLLABORATOR', 'SUPPLIER']),
  ('PREFUNDED', ARRAY['PLATFORM_MARKETING', 'PLATFORM_COMPENSATORY', 'PLATFORM_ALTERNATIVE_RECHARGE', 'PLATFORM_URGENT'])),
law(movement_type, debits, credits) AS (VALUES
  ('OPENING_BALANCE', 'SPECIAL_ACCOUNT', 'SUB'),
  ('RECHARGE', 'CHANNEL_RECEIVABLE', 'CUSTOMER PARTNER'),
  ('ALTERNATIVE_RECHARGE', 'PLATFORM_ALTERNATIVE_RECHARGE', 'CUSTOMER PARTNER'),
  ('SETTLEMENT', 'SPECIAL_ACCOUNT', 'CHANNEL_RECEIVABLE'),
  ('WITHDRAW', 'CUSTOMER PARTNER', 'WITHDRAWAL_PAYABLE'),
  ('WITHDRAW_PAYOUT', 'WITHDRAWAL_PAYABLE', 'SPECIAL_ACCOUNT'),
  ('BACKROLL', 'WITHDRAWAL_PAYABLE SPECIAL_ACCOUNT', 'CUSTOMER PARTNER'),
  ('BACKROLL_COMMISSION', 'PLATFORM_INCOME', 'CUSTOMER PARTNER'),
  ('TENDER', 'INVESTOR', 'BORROWERS'),
  ('COMMISSION', 'CUSTOMER PARTNER', 'PLATFORM_INCOME'),
  ('FIDUCIARY_PAYMENT', 'BORROWERS', 'SUPPLIER COLLABORATOR WITHDRAWAL_PAYABLE'),
  ('PRINCIPAL', 'BORROWERS', 'INVESTOR'),
  ('INTEREST', 'BORROWERS', 'INVESTOR'),
  ('INTEREST_REPAYMENT', 'BORROWERS', 'INVESTOR'),
  ('COMPENSATORY', 'GUARANTEECORP PLATFORM_COMPENSATORY RESERVE MARGIN', 'INVESTOR'),
  ('INDIRECT_COMPENSATORY', 'GUARANTEECORP PLATFORM_COMPENSATORY RESERVE MARGIN', 'BORROWERS'),
  ('COMPENSATORY_REPAYMENT', 'BORROWERS', 'GUARANTEECORP PLATFORM_COMPENSATORY RESERVE MARGIN'),
  ('CREDIT_ASSIGNMENT', 'INVESTOR', 'INVESTOR'),
  ('MARKETING', 'PLATFORM_MARKETING', 'INVESTOR BORROWERS'),
  ('PLATFORM_INDEPENDENT_PROFIT', 'PLATFORM_INCOME', 'PLATFORM_PROFIT PARTNER'),
  ('PLATFORM_URGENT_PAY', 'PLATFORM_URGENT', 'INVESTOR BORROWERS'),
  ('PLATFORM_URGENT_RETURN', 'INVESTOR BORROWERS', 'PLATFORM_URGENT'),
  ('FUNDS_TRANSFER', 'PLATFORM_INCOME PLATFORM_PROFIT PLATFORM_INTEREST PREFUNDED', 'PLATFORM_FUNDS_TRANSFER'),
  ('FUNDS_TRANSFER', 'PLATFORM_FUNDS_TRANSFER', 'PREFUNDED'),
  ('RESERVE_IN', 'BORROWERS GUARANTEECORP PLATFORM_INCOME', 'RESERVE'),
  ('RESERVE_OUT', 'RESERVE', 'BORROWERS GUARANTEECORP'),
  ('MARGIN_IN', 'BORROWERS GUARANTEECORP PARTNER', 'MARGIN'),
  ('MARGIN_OUT', 'MARGIN', 'BORROWERS GUARANTEECORP PARTNER'),
  ('OWN_FUNDS_IN', 'SPECIAL_ACCOUNT', 'OWN_FUNDS'),
  ('TOP_UP', 'OWN_FUNDS', 'PREFUNDED PLATFORM_FUNDS_TRANSFER RESERVE'),
  ('PROFIT', 'PLATFORM_INCOME PLATFORM_PROFIT PLATFORM_INTEREST', 'OWN_FUNDS'),
  ('OWN_FUNDS_OUT', 'OWN_FUNDS', 'SPECIAL_ACCOUNT'),
  ('DEDUCT', 'SUB', 'WITHDRAWAL_PAYABLE'),
  ('ADJUST_INCREASE', 'SUSPENSE', 'SUB'),
  ('ADJUST_REDUCE', 'SUB', 'SUSPENSE'),
  ('BANK_INTEREST', 'SPECIAL_ACCOUNT', 'SUSPENSE'),
  ('INTEREST_PASSED_ON', 'SUSPENSE', 'PLATFORM_INTEREST CUSTOMER PARTNER'),
  ('BANK_CHARGE', 'SUSPENSE', 'SPECIAL_ACCOUNT'),
  ('BANK_TAX', 'SUSPENSE', 'SPECIAL_ACCOUNT'),
  ('CHARGE_PASSED_ON', 'PLATFORM_INCOME PLATFORM_PROFIT PLATFORM_INTEREST OWN_FUNDS', 'SUSPENSE'),
  ('CHANNEL_FEE', 'PLATFORM_INCOME PLATFORM_PROFIT SUSPENSE', 'CHANNEL_RECEIVABLE'),
  ('UNIDENTIFIED_RECEIPT', 'SPECIAL_ACCOUNT', 'SUSPENSE'),
  ('RECEIPT_CLAIMED', 'SUSPENSE', 'CUSTOMER PARTNER PREFUNDED'),
  ('RECEIPT_RETURNED', 'SUSPENSE', 'WITHDRAWAL_PAYABLE'))
SELECT DISTINCT movement_type, debit, credit
FROM law, string_to_table(debits, ' ') dw JOIN word d ON d.word = dw, unnest(d.roles) debit,
     string_to_table(credits, ' ') cw JOIN word c ON c.word = cw, unnest(c.roles) credit
ON CONFLICT DO NOTHING;
INSERT INTO ledger.allowed_order
WITH law(order_types, movement_types) AS (VALUES
  ('OPENING', 'OPENING_BALANCE'),
  ('RECHARGE RECHARGE_WEB RECHARGE_TERMINAL RECHARGE_WITHHOLDING', 'RECHARGE COMMISSION'),
  ('ALTERNATIVE_RECHARGE', 'ALTERNATIVE_RECHARGE'),
  ('SETTLEMENT', 'SETTLEMENT CHANNEL_FEE'),
  ('WITHDRAW WITHDRAW_T1 WITHDRAW_T0 WITHDRAW_REAL_TIME', 'WITHDRAW COMMISSION'),
  ('WITHDRAW_PAYOUT', 'WITHDRAW_PAYOUT'),
  ('BACKROLL', 'BACKROLL BACKROLL_COMMISSION'),
  ('DISBURSE', 'TENDER COMMISSION FIDUCIARY_PAYMENT RESERVE_IN'),
  ('FIDUCIARY_PAYMENT', 'FIDUCIARY_PAYMENT COMMISSION'),
  ('REPAYMENT', 'PRINCIPAL INTEREST INTEREST_REPAYMENT COMMISSION'),
  ('COMPENSATORY', 'COMPENSATORY COMMISSION'),
  ('INDIRECT_COMPENSATORY', 'INDIRECT_COMPENSATORY PRINCIPAL INTEREST INTEREST_REPAYMENT'),
  ('COMPENSATORY_REPAYMENT', 'COMPENSATORY_REPAYMENT COMMISSION'),
  ('CREDIT_ASSIGNMENT', 'CREDIT_ASSIGNMENT COMMISSION'),
  ('MARKETING', 'MARKETING'),
  ('PLATFORM_SERVICE_DEDUCT', 'COMMISSION'),
  ('PLATFORM_INDEPENDENT_PROFIT', 'PLATFORM_INDEPENDENT_PROFIT'),
  ('PLATFORM_URGENT_PAY', 'PLATFORM_URGENT_PAY'),
  ('PLATFORM_URGENT_RETURN', 'PLATFORM_URGENT_RETURN'),
  ('FUNDS_TRANSFER', 'FUNDS_TRANSFER'),
  ('RESERVE', 'RESERVE_IN RESERVE_OUT'),
  ('MARGIN', 'MARGIN_IN MARGIN_OUT'),
  ('TOP_UP', 'OWN_FUNDS_IN TOP_UP'),
  ('PROFIT', 'PROFIT OWN_FUNDS_OUT'),
  ('DEDUCT', 'DEDUCT'),
  ('ADJUST_INCREASE', 'ADJUST_INCREASE'),
  ('ADJUST_REDUCE', 'ADJUST_REDUCE'),
  ('INTEREST_CREDITED', 'BANK_INTEREST INTEREST_PASSED_ON'),
  ('BANK_CHARGE', 'BANK_CHARGE BANK_TAX CHARGE_PASSED_ON OWN_FUNDS_IN'),
  ('CHANNEL_FEE', 'CHANNEL_FEE'),
  ('UNIDENTIFIED_RECEIPT', 'UNIDENTIFIED_RECEIPT RECEIPT_CLAIMED RECEIPT_RETURNED'))
SELECT order_type, movement_type FROM law, string_to_table(order_types, ' ') order_type, string_to_table(movement_types, ' ') movement_type;
GRANT SELECT ON ledger.allowed_order TO service;

-- Who entered an order; rows of before came by the key of the whole bank.
ALTER TABLE ledger.trade_order ADD COLUMN entered_by text NOT NULL DEFAULT 'key:*';
-- the posting functions and the checker hold what this key did: 8 us an order (recipe ledger)
ALTER TABLE ledger.trade_order DROP CONSTRAINT trade_order_platform_id_fkey;

-- Holds: one PLACE, then CAPTURE (spent by its order), RELEASE and EXPIRE until nothing remains. Held = PLACE less all others.
ALTER TABLE ledger.hold_event DROP CONSTRAINT hold_event_event_type_check,
  ADD CONSTRAINT hold_event_event_type_check CHECK (event_type IN ('PLACE', 'CAPTURE', 'RELEASE', 'EXPIRE')),
  DROP CONSTRAINT hold_event_platform_id_hold_no_event_type_key,
  ADD COLUMN expires_at timestamptz CHECK (expires_at IS NULL OR (event_type = 'PLACE' AND expires_at > recorded_at));
CREATE UNIQUE INDEX hold_placed_once ON ledger.hold_event (platform_id, hold_no) WHERE event_type = 'PLACE';
CREATE INDEX hold_event_of_hold ON ledger.hold_event (platform_id, hold_no, hold_event_id);
-- Which holds the service has still to look at when their time comes; a queue, no book: rows go when nothing of the hold remains.
CREATE TABLE ledger.hold_to_expire (
  hold_event_id bigint PRIMARY KEY REFERENCES ledger.hold_event,
  expires_at timestamptz NOT NULL
);
CREATE INDEX hold_to_expire_at ON ledger.hold_to_expire (expires_at);
GRANT SELECT ON ledger.hold_to_expire TO service;
CREATE OR REPLACE VIEW night.hold_event AS
SELECT h.hold_event_id, h.hold_no, h.platform_id, a.account_no, CASE h.event_type WHEN 'PLACE' THEN 'PLACE' ELSE 'RELEASE' END AS event_type,
       h.amount_minor, a.currency, h.order_id, h.recorded_at, h.business_date
FROM ledger.hold_event h JOIN registry.account a USING (account_id);

-- The sealed text now names who entered the order, and is a row's own text (3 us against 15 of jsonb); blocks sealed before keep the text
-- they were sealed with.
CREATE OR REPLACE VIEW ledger.movement_full AS
SELECT m.movement_id, m.order_id, o.platform_id, o.request_no, m.seq, o.order_type, m.movement_type,
       d.account_no AS debit_account_no, m.debit_account_id, d.account_role AS debit_role,
       c.account_no AS credit_account_no, m.credit_account_id, c.account_role AS credit_role,
       m.amount_minor, m.currency, m.loan_no, m.issue_no, m.component, m.claim_no, m.reversal_of,
       m.effective_at, m.recorded_at, m.business_date, o.entered_by
FROM ledger.movement m
JOIN ledger.trade_order o USING (order_id)
JOIN registry.account d ON d.account_id = m.debit_account_id
JOIN registry.account c ON c.account_id = m.credit_account_id;
DO $do$
BEGIN
  EXECUTE format($f$
CREATE OR REPLACE FUNCTION ledger.sealed_text(ledger_no bigint, row_of ledger.movement_full) RETURNS text
LANGUAGE sql STABLE SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
  SELECT ledger_no || ' ' || CASE WHEN ledger_no <= %s THEN (to_jsonb(row_of) - 'entered_by')::text ELSE row_of::text END $$
$f$, coalesce((SELECT max(last_ledger_no) FROM ledger.seal_block), 0));
END $do$;
-- as before, with ledger.sealed_text written out: its settings, pinned here once, would be set and reset for every row
CREATE OR REPLACE FUNCTION ledger.seal_pending(blocks_max int) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
DECLARE
  last_block ledger.seal_block;
  block ledger.seal_block;
  sealed bigint := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(7402);
  FOR turn IN 1..blocks_max LOOP
    SELECT * INTO last_block FROM ledger.seal_block ORDER BY block_no DESC LIMIT 1;
    WITH pending AS MATERIALIZED (
      SELECT movement_id FROM ledger.movement WHERE movement_id > coalesce(last_block.last_movement_id, 0)
      ORDER BY movement_id LIMIT 1000),
    numbered AS MATERIALIZED (
      SELECT movement_id, coalesce(last_block.last_ledger_no, 0) + row_number() OVER (ORDER BY movement_id) AS ledger_no
      FROM pending),
    kept AS (
      INSERT INTO ledger.seal SELECT ledger_no, movement_id, coalesce(last_block.block_no, 0) + 1 FROM numbered)
    SELECT coalesce(last_block.block_no, 0) + 1, min(n.ledger_no), max(n.ledger_no), max(n.movement_id),
           coalesce(last_block.hash, '\x'::bytea),
           sha256(coalesce(last_block.hash, '\x'::bytea)
                  || convert_to(string_agg(n.ledger_no || ' ' || f::text, E'\n' ORDER BY n.ledger_no), 'UTF8')),
           max(f.recorded_at)
    INTO block FROM numbered n JOIN ledger.movement_full f USING (movement_id);
    EXIT WHEN block.first_ledger_no IS NULL;
    INSERT INTO ledger.seal_block SELECT (block).*;
    sealed := sealed + block.last_ledger_no - block.first_ledger_no + 1;
  END LOOP;
  RETURN sealed;
END $$;

-- The careful path: one call of JSON, every refusal with its field. What services of the bank post by SQL takes it, too.
-- batch: {"endpoint","zone","cutoff","bulk","entered_by"?, "answers":[{"o","scope","key","hash","body"}], "orders":[…], "movements":[…],
--   "holds":[{"o","position","hold_no","event_type" PLACE|CAPTURE|RELEASE,"account"?,"amount_minor"?,"expires_at"?,"final"?}]}; o counts
--   from 0. An order was entered by its own `entered_by`, else the batch's, else the key that the answer is kept under.
ALTER TYPE ledger.order_in ADD ATTRIBUTE entered_by text;
CREATE OR REPLACE FUNCTION ledger.read_orders(batch jsonb) RETURNS ledger.order_in[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  clock ledger.clock;
  orders ledger.order_in[];
  fault record;
BEGIN
  SELECT * INTO STRICT clock FROM ledger.clock;
  IF clock.mode = 'system' THEN
    clock.now_at := greatest(clock_timestamp(), clock.now_at);
  END IF;
  WITH given AS (
    SELECT x.* FROM jsonb_to_recordset(batch -> 'orders') AS x(o int, platform_id text, request_no text, order_type text,
      currency text, reverses_request_no text, simulated_at timestamptz, effective_at timestamptz, entered_by text)),
  timed AS (
    SELECT g.*, greatest(clock.now_at, max(simulated_at) OVER (ORDER BY o)) AS at FROM given g ORDER BY o)
  SELECT array_agg(ROW(t.o, t.platform_id, t.request_no, t.order_type, t.currency, t.reverses_request_no, t.at,
           coalesce(t.effective_at, t.at),
           ((t.at AT TIME ZONE (batch ->> 'zone')) + (interval '24 hours' - (batch ->> 'cutoff')::interval))::date,
           nextval('ledger.order_id'), reversed.order_id,
           coalesce(t.entered_by, batch ->> 'entered_by', 'key:' || (batch -> 'answers'
             -> CASE WHEN (batch ->> 'bulk')::boolean THEN 0 ELSE t.o END ->> 'scope'), 'bank'))::ledger.order_in ORDER BY t.o)
  INTO orders
  FROM timed t LEFT JOIN ledger.trade_order reversed
    ON reversed.platform_id = t.platform_id AND reversed.request_no = t.reverses_request_no;

  SELECT x.o, x.simulated_at, x.effective_at,
         CASE WHEN clock.mode = 'system' AND x.simulated_at IS NOT NULL THEN 'CLOCK_NOT_SIMULATED'
              WHEN x.simulated_at < o.at THEN 'CLOCK_BACKWARDS'
              WHEN o.effective_at > o.at THEN 'EFFECTIVE_IN_FUTURE' END AS code
  INTO fault
  FROM jsonb_to_recordset(batch -> 'orders') AS x(o int, simulated_at timestamptz, effective_at timestamptz)
  JOIN unnest(orders) o ON o.o = x.o
  WHERE (clock.mode = 'system' AND x.simulated_at IS NOT NULL) OR x.simulated_at < o.at OR o.effective_at > o.at
  ORDER BY x.o LIMIT 1;
  IF FOUND THEN
    IF fault.code = 'EFFECTIVE_IN_FUTURE' THEN
      PERFORM ledger.refuse(fault.code, fault.o, 'effective_at', fault.effective_at::text);
    END IF;
    PERFORM ledger.refuse(fault.code, fault.o, 'simulated_at', fault.simulated_at::text);
  END IF;

  SELECT o.o, v.code, v.field, v.value
  INTO fault
  FROM (SELECT u.*, row_number() OVER (PARTITION BY u.platform_id, u.request_no ORDER BY u.o) AS occurrence,
               count(u.reverses_order_id) OVER (PARTITION BY u.reverses_order_id ORDER BY u.o) AS reversals
        FROM unnest(orders) u) o
  LEFT JOIN registry.platform p USING (platform_id)
  LEFT JOIN ledger.trade_order t ON t.platform_id = o.platform_id AND t.request_no = o.request_no
  LEFT JOIN ledger.trade_order r ON r.reverses_order_id = o.reverses_order_id
  LEFT JOIN ledger.trade_order original ON original.order_id = o.reverses_order_id
  CROSS JOIN LATERAL (VALUES
    (1, 'UNKNOWN_PLATFORM', 'platform_id', o.platform_id, p.platform_id IS NULL),
    (2, 'REQUEST_NO_TAKEN', 'request_no', o.request_no, t.order_id IS NOT NULL OR o.occurrence > 1),
    (3, 'UNKNOWN_REVERSED_ORDER', 'reverses_request_no', o.reverses_request_no,
     o.reverses_request_no IS NOT NULL AND o.reverses_order_id IS NULL),
    (4, 'ALREADY_REVERSED', 'reverses_request_no', o.reverses_request_no, r.order_id IS NOT NULL OR o.reversals > 1),
    (5, 'REVERSAL_DIFFERS', 'order_type', o.order_type, original.order_type <> o.order_type)
  ) v(rank, code, field, value, is_fault)
  WHERE v.is_fault
  ORDER BY o.o, v.rank LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse(fault.code, fault.o, fault.field, fault.value);
  END IF;
  UPDATE ledger.clock SET now_at = orders[cardinality(orders)].at;
  RETURN orders;
END $$;

CREATE OR REPLACE FUNCTION ledger.read_legs(batch jsonb, orders ledger.order_in[]) RETURNS ledger.leg_in[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  legs ledger.leg_in[];
  fault record;
BEGIN
  WITH given AS (
    SELECT x.* FROM jsonb_to_recordset(batch -> 'movements') AS x(o int, seq int, movement_type text, debit_account text,
      credit_account text, amount_minor bigint, loan_no text, issue_no int, component text, claim_no text) ORDER BY o, seq)
  SELECT coalesce(array_agg(ROW(g.o, g.seq, g.movement_type, g.debit_account, g.credit_account, d.account_id, c.account_id,
           g.amount_minor, g.loan_no, g.issue_no, g.component, g.claim_no, original.movement_id, NULL)::ledger.leg_in
           ORDER BY g.o, g.seq), '{}')
  INTO legs
  FROM given g
  JOIN unnest(orders) o ON o.o = g.o
  LEFT JOIN registry.account d ON d.account_no = g.debit_account
  LEFT JOIN registry.account c ON c.account_no = g.credit_account
  LEFT JOIN ledger.movement original ON original.order_id = o.reverses_order_id AND original.seq = g.seq
    AND original.movement_type = g.movement_type AND original.debit_account_id = c.account_id
    AND original.credit_account_id = d.account_id AND original.amount_minor = g.amount_minor AND original.reversal_of IS NULL
    AND original.loan_no IS NOT DISTINCT FROM g.loan_no AND original.issue_no IS NOT DISTINCT FROM g.issue_no
    AND original.component IS NOT DISTINCT FROM g.component AND original.claim_no IS NOT DISTINCT FROM g.claim_no;

  SELECT * INTO fault FROM (
    SELECT l.o, l.seq, v.* FROM unnest(legs) l
    JOIN unnest(orders) o ON o.o = l.o
    LEFT JOIN registry.account d ON d.account_id = l.debit_id
    LEFT JOIN registry.account c ON c.account_id = l.credit_id
    CROSS JOIN LATERAL (VALUES
      (1, 'UNKNOWN_ACCOUNT', 'debit_account', l.debit_account, d.account_id IS NULL),
      (2, 'UNKNOWN_ACCOUNT', 'credit_account', l.credit_account, c.account_id IS NULL),
      (3, 'ACCOUNT_OF_OTHER_PLATFORM', 'debit_account', l.debit_account, d.platform_id <> o.platform_id),
      (4, 'ACCOUNT_OF_OTHER_PLATFORM', 'credit_account', l.credit_account, c.platform_id <> o.platform_id),
      (5, 'CURRENCY_MISMATCH', 'debit_account', l.debit_account, d.currency <> o.currency),
      (6, 'CURRENCY_MISMATCH', 'credit_account', l.credit_account, c.currency <> o.currency),
      (7, 'SAME_ACCOUNT', 'credit_account', l.credit_account, d.account_id = c.account_id),
      (8, 'REVERSAL_DIFFERS', 'movement_type', l.movement_type, o.reverses_order_id IS NOT NULL AND l.reversal_of IS NULL),
      (9, 'MOVEMENT_NOT_ALLOWED', 'movement_type', l.movement_type || ' ' || d.account_role || ' > ' || c.account_role,
       o.reverses_order_id IS NULL AND NOT EXISTS (
         SELECT FROM ledger.allowed_movement a WHERE a.movement_type = l.movement_type
           AND a.debit_role = d.account_role AND a.credit_role = c.account_role)),
      (10, 'MOVEMENT_NOT_OF_ORDER', 'movement_type', o.order_type || ' ' || l.movement_type,
       o.reverses_order_id IS NULL AND NOT EXISTS (
         SELECT FROM ledger.allowed_order a WHERE a.order_type = o.order_type AND a.movement_type = l.movement_type))
    ) v(rank, code, field, value, is_fault)
    WHERE v.is_fault) faults
  ORDER BY o, seq, rank LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse(fault.code, fault.o, format('movements[%s].%s', fault.seq - 1, fault.field), fault.value);
  END IF;

  -- a reversal takes back the whole order, no less
  SELECT o.o, o.reverses_request_no INTO fault FROM unnest(orders) o WHERE o.reverses_order_id IS NOT NULL
    AND (SELECT count(*) FROM ledger.movement m WHERE m.order_id = o.reverses_order_id)
     <> (SELECT count(*) FROM unnest(legs) l WHERE l.o = o.o)
  ORDER BY o.o LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse('REVERSAL_DIFFERS', fault.o, 'movements', fault.reverses_request_no);
  END IF;
  RETURN array(SELECT ROW(l.o, l.seq, l.movement_type, l.debit_account, l.credit_account, l.debit_id, l.credit_id, l.amount_minor,
                 l.loan_no, l.issue_no, l.component, l.claim_no, l.reversal_of, nextval('ledger.movement_id'))::ledger.leg_in
               FROM unnest(legs) WITH ORDINALITY l ORDER BY l.ordinality);
END $$;

-- End a hold in whole (wanted null) or in part, as an event of an order; returns the amount, or the code of what forbids it.
CREATE FUNCTION ledger.end_hold(of_order ledger.order_in, hold text, kind text, wanted bigint,
  OUT account bigint, OUT ended bigint, OUT code text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  placed ledger.hold_event;
  remains bigint;
BEGIN
  SELECT h.* INTO placed FROM ledger.hold_event h
  WHERE h.platform_id = of_order.platform_id AND h.hold_no = hold AND h.event_type = 'PLACE';
  IF NOT FOUND THEN
    code := 'UNKNOWN_HOLD';
    RETURN;
  END IF;
  SELECT sum(CASE h.event_type WHEN 'PLACE' THEN h.amount_minor ELSE -h.amount_minor END) INTO remains
  FROM ledger.hold_event h WHERE h.platform_id = of_order.platform_id AND h.hold_no = hold;
  account := placed.account_id;
  ended := coalesce(wanted, remains);
  code := CASE WHEN (SELECT a.currency <> of_order.currency FROM registry.account a WHERE a.account_id = account) THEN 'CURRENCY_MISMATCH'
               WHEN remains = 0 THEN 'HOLD_RELEASED'
               WHEN kind = 'CAPTURE' AND placed.expires_at <= of_order.at THEN 'HOLD_EXPIRED'
               WHEN ended > remains THEN 'HOLD_EXCEEDED' END;
  IF code IS NULL THEN
    INSERT INTO ledger.hold_event (platform_id, hold_no, event_type, account_id, amount_minor, order_id, recorded_at, business_date)
    VALUES (of_order.platform_id, hold, kind, account, ended, of_order.order_id, of_order.at, of_order.business_date);
    IF ended = remains THEN
      DELETE FROM ledger.hold_to_expire e WHERE e.hold_event_id = placed.hold_event_id;
    END IF;
  END IF;
END $$;

-- Carry out the holds of a batch, one after the other: within an order releases come first, then captures, then new holds.
-- Returns what each did to its account (PLACE adds to held, all others take from it).
CREATE FUNCTION ledger.post_holds(batch jsonb, orders ledger.order_in[]) RETURNS ledger.hold_in[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  done ledger.hold_in[] := '{}';
  item record;
  account registry.account;
  made ledger.hold_event;
  ended record;
  place text;
BEGIN
  IF jsonb_array_length(batch -> 'holds') = 0 THEN
    RETURN done;
  END IF;
  FOR item IN
    SELECT x.*, p AS of_order FROM jsonb_to_recordset(batch -> 'holds') AS x(o int, position int, hold_no text, event_type text,
      account text, amount_minor bigint, expires_at timestamptz, final boolean) JOIN unnest(orders) p ON p.o = x.o
    ORDER BY x.o, CASE x.event_type WHEN 'RELEASE' THEN 1 WHEN 'CAPTURE' THEN 2 ELSE 3 END, x.position
  LOOP
    IF item.event_type = 'PLACE' THEN
      place := format('place_holds[%s]', item.position);
      SELECT a.* INTO account FROM registry.account a WHERE a.account_no = item.account;
      IF account.account_id IS NULL THEN
        PERFORM ledger.refuse('UNKNOWN_ACCOUNT', item.o, place || '.account', item.account);
      ELSIF account.platform_id <> (item.of_order).platform_id THEN
        PERFORM ledger.refuse('ACCOUNT_OF_OTHER_PLATFORM', item.o, place || '.account', item.account);
      ELSIF account.currency <> (item.of_order).currency THEN
        PERFORM ledger.refuse('CURRENCY_MISMATCH', item.o, place || '.account', item.account);
      ELSIF account.is_control THEN
        PERFORM ledger.refuse('HOLD_NOT_ALLOWED', item.o, place || '.account', item.account);
      ELSIF EXISTS (SELECT FROM ledger.hold_event h WHERE h.platform_id = (item.of_order).platform_id AND h.hold_no = item.hold_no) THEN
        PERFORM ledger.refuse('HOLD_NO_TAKEN', item.o, place || '.hold_no', item.hold_no);
      ELSIF item.expires_at <= (item.of_order).at THEN
        PERFORM ledger.refuse('HOLD_EXPIRED', item.o, place || '.expires_at', item.expires_at::text);
      END IF;
      INSERT INTO ledger.hold_event (platform_id, hold_no, event_type, account_id, amount_minor, order_id, recorded_at, business_date, expires_at)
      VALUES ((item.of_order).platform_id, item.hold_no, 'PLACE', account.account_id, item.amount_minor, (item.of_order).order_id,
              (item.of_order).at, (item.of_order).business_date, item.expires_at)
      RETURNING * INTO made;
      IF made.expires_at IS NOT NULL THEN
        INSERT INTO ledger.hold_to_expire VALUES (made.hold_event_id, made.expires_at);
      END IF;
      done := done || ROW(item.o, item.position, item.hold_no, 'PLACE', item.account, account.account_id, item.amount_minor)::ledger.hold_in;
    ELSE
      place := CASE item.event_type WHEN 'RELEASE' THEN format('release_holds[%s]', item.position)
                                    ELSE format('capture_holds[%s].hold_no', item.position) END;
      SELECT * INTO ended FROM ledger.end_hold(item.of_order, item.hold_no, item.event_type, item.amount_minor);
      IF ended.code IS NOT NULL THEN
        PERFORM ledger.refuse(ended.code, item.o, place, item.hold_no);
      END IF;
      done := done || ROW(item.o, item.position, item.hold_no, item.event_type, NULL, ended.account, ended.ended)::ledger.hold_in;
      IF item.final THEN
        SELECT * INTO ended FROM ledger.end_hold(item.of_order, item.hold_no, 'RELEASE', NULL);
        IF ended.code IS NULL THEN -- HOLD_RELEASED: nothing was left
          done := done || ROW(item.o, item.position, item.hold_no, 'RELEASE', NULL, ended.account, ended.ended)::ledger.hold_in;
        END IF;
      END IF;
    END IF;
  END LOOP;
  RETURN done;
END $$;

-- No order takes from a locked account or touches a closed one; supposing that every order is posted, no account may fall below what
-- it holds after any of them (exact, not an estimate); what an order captures it spends.
CREATE OR REPLACE FUNCTION ledger.check_funds(orders ledger.order_in[], legs ledger.leg_in[], holds ledger.hold_in[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fault record;
BEGIN
  WITH change AS (
    SELECT o, debit_id AS account_id, -amount_minor AS available, true AS takes, 0::bigint AS captured, amount_minor AS spent FROM unnest(legs)
    UNION ALL SELECT o, credit_id, amount_minor, false, 0, 0 FROM unnest(legs)
    UNION ALL SELECT o, account_id, CASE event_type WHEN 'PLACE' THEN -amount_minor ELSE amount_minor END, event_type = 'PLACE',
                     CASE event_type WHEN 'CAPTURE' THEN amount_minor ELSE 0 END, 0 FROM unnest(holds)),
  step AS (SELECT account_id, o, sum(available) AS available, bool_or(takes) AS takes, sum(captured) AS captured, sum(spent) AS spent
           FROM change GROUP BY account_id, o),
  running AS (SELECT s.*, available AS step, sum(available) OVER (PARTITION BY account_id ORDER BY o) AS total FROM step s)
  SELECT r.o, a.account_no, v.code
  INTO fault
  FROM running r JOIN ledger.balance b USING (account_id) JOIN registry.account a USING (account_id)
  CROSS JOIN LATERAL (VALUES
    (1, 'ACCOUNT_CLOSED', b.state = 'CLOSED'),
    (2, 'ACCOUNT_LOCKED', b.state = 'LOCKED' AND r.takes),
    (3, 'CAPTURE_NOT_SPENT', r.captured > r.spent),
    (4, 'INSUFFICIENT_FUNDS', NOT b.is_control AND b.credit_minor - b.debit_minor - b.held_minor + r.total < 0),
    (5, 'OWN_FUNDS_NOT_CLEARED', a.account_role = 'OWN_FUNDS' AND r.step <> 0)) v(rank, code, is_fault)
  WHERE v.is_fault
  ORDER BY r.o, v.rank, a.account_no LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse(fault.code, fault.o, 'account', fault.account_no);
  END IF;
END $$;

CREATE FUNCTION ledger.store_orders(batch jsonb, orders ledger.order_in[], legs ledger.leg_in[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH part AS (
    SELECT o, amount_minor FROM unnest(legs)
    UNION ALL SELECT x.o, x.amount_minor FROM jsonb_to_recordset(batch -> 'holds') AS x(o int, event_type text, amount_minor bigint)
    WHERE x.event_type = 'PLACE'),
  total AS (SELECT o, sum(amount_minor) AS amount_minor FROM part GROUP BY o)
  INSERT INTO ledger.trade_order (order_id, platform_id, request_no, order_type, currency, amount_minor, reverses_order_id, effective_at,
                                  recorded_at, business_date, entered_by)
  SELECT o.order_id, o.platform_id, o.request_no, o.order_type, o.currency, coalesce(t.amount_minor, 0), o.reverses_order_id,
         o.effective_at, o.at, o.business_date, o.entered_by
  FROM unnest(orders) o LEFT JOIN total t USING (o) ORDER BY o.o $$;

-- movements, entries and balances of orders that passed every check
CREATE OR REPLACE FUNCTION ledger.store(orders ledger.order_in[], legs ledger.leg_in[], holds ledger.hold_in[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO ledger.movement
  SELECT l.movement_id, o.order_id, l.seq, l.movement_type, l.debit_id, l.credit_id, l.amount_minor, o.currency, l.loan_no,
         l.issue_no, l.component, l.claim_no, l.reversal_of, o.effective_at, o.at, o.business_date
  FROM unnest(legs) l JOIN unnest(orders) o ON o.o = l.o;

  WITH line AS (
    SELECT movement_id, 1 AS side, debit_id AS account_id, -amount_minor AS amount FROM unnest(legs)
    UNION ALL SELECT movement_id, 2, credit_id, amount_minor FROM unnest(legs))
  INSERT INTO ledger.entry
  SELECT l.account_id, b.version + row_number() OVER w, l.movement_id, l.amount, b.credit_minor - b.debit_minor + sum(l.amount) OVER w
  FROM line l JOIN ledger.balance b USING (account_id)
  WINDOW w AS (PARTITION BY l.account_id ORDER BY l.movement_id, l.side);

  UPDATE ledger.balance b
  SET debit_minor = b.debit_minor + x.debit, credit_minor = b.credit_minor + x.credit, held_minor = b.held_minor + x.held,
      version = b.version + x.entries
  FROM (
    SELECT account_id, sum(debit) AS debit, sum(credit) AS credit, sum(held) AS held, sum(entries) AS entries FROM (
      SELECT debit_id AS account_id, amount_minor AS debit, 0::bigint AS credit, 0::bigint AS held, 1 AS entries FROM unnest(legs)
      UNION ALL SELECT credit_id, 0, amount_minor, 0, 1 FROM unnest(legs)
      UNION ALL SELECT account_id, 0, 0, CASE event_type WHEN 'PLACE' THEN amount_minor ELSE -amount_minor END, 0 FROM unnest(holds)) c
    GROUP BY account_id ORDER BY account_id) x
  WHERE b.account_id = x.account_id;
END $$;

-- Check and store the orders of a batch, all or none, without its answers; raises FW422 (ledger.refuse) for the first fault.
CREATE FUNCTION ledger.post_orders(batch jsonb, OUT orders ledger.order_in[], OUT legs ledger.leg_in[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  holds ledger.hold_in[];
BEGIN
  orders := ledger.read_orders(batch);
  legs := ledger.read_legs(batch, orders);
  PERFORM ledger.store_orders(batch, orders, legs);
  holds := ledger.post_holds(batch, orders);
  PERFORM ledger.check_funds(orders, legs, holds);
  PERFORM ledger.store(orders, legs, holds);
  INSERT INTO outbox.event (topic, platform_id, subject, payload, recorded_at)
  SELECT 'ledger.posted', CASE WHEN count(DISTINCT o.platform_id) = 1 THEN min(o.platform_id) END,
         CASE WHEN count(DISTINCT o.platform_id) = 1 THEN min(o.platform_id) ELSE 'batch' END,
         jsonb_build_object('orders', jsonb_agg(jsonb_build_array(o.order_id, o.platform_id, o.request_no, o.order_type) ORDER BY o.o)),
         max(o.at)
  FROM unnest(orders) o;
END $$;

-- What each posted order is answered.
CREATE FUNCTION ledger.answers(orders ledger.order_in[], legs ledger.leg_in[]) RETURNS json[]
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
  SELECT array_agg(json_build_object('order_id', o.order_id, 'request_no', o.request_no, 'business_date', o.business_date,
                     'recorded_at', o.at, 'movement_ids', coalesce(m.ids, '[]'::json)) ORDER BY o.o)
  FROM unnest(orders) o
  LEFT JOIN (SELECT l.o, json_agg(l.movement_id ORDER BY l.seq) AS ids FROM unnest(legs) l GROUP BY l.o) m ON m.o = o.o $$;

CREATE OR REPLACE FUNCTION ledger.post_all(batch jsonb) RETURNS json[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  posted record;
  answers json[];
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM FROM jsonb_to_recordset(batch -> 'answers') AS x(key text, scope text) JOIN api.answer a
    ON a.scope = x.scope AND a.endpoint = batch ->> 'endpoint' AND a.idempotency_key = x.key;
  IF FOUND THEN
    RAISE EXCEPTION 'known idempotency key' USING ERRCODE = 'FW409';
  END IF;
  SELECT * INTO posted FROM ledger.post_orders(batch);
  IF (batch ->> 'bulk')::boolean THEN
    answers := ARRAY[json_build_object('orders', cardinality(posted.orders), 'movements', cardinality(posted.legs))];
  ELSE
    answers := ledger.answers(posted.orders, posted.legs);
  END IF;
  INSERT INTO api.answer (scope, endpoint, idempotency_key, body_hash, body, answer)
  SELECT x.scope, batch ->> 'endpoint', x.key, decode(x.hash, 'hex'), x.body, answers[x.o + 1]
  FROM jsonb_to_recordset(batch -> 'answers') AS x(o int, scope text, key text, hash text, body text);
  RETURN answers;
END $$;

-- A bulk batch with a verdict an order: what is refused leaves nothing, the others are posted; one answer under one key.
CREATE FUNCTION ledger.post_items(batch jsonb) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  item record;
  one jsonb;
  posted record;
  results jsonb[] := '{}';
  code text;
  fault text;
  orders int := 0;
  movements int := 0;
  answer json;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  FOR item IN
    WITH leg AS (SELECT m -> 'o' AS o, jsonb_agg(m || '{"o": 0}') AS found FROM jsonb_array_elements(batch -> 'movements') m GROUP BY m -> 'o'),
    hold AS (SELECT h -> 'o' AS o, jsonb_agg(h || '{"o": 0}') AS found FROM jsonb_array_elements(batch -> 'holds') h GROUP BY h -> 'o')
    SELECT x.value AS body, coalesce(leg.found, '[]') AS movements, coalesce(hold.found, '[]') AS holds
    FROM jsonb_array_elements(batch -> 'orders') WITH ORDINALITY x LEFT JOIN leg ON leg.o = x.value -> 'o' LEFT JOIN hold ON hold.o = x.value -> 'o'
    ORDER BY x.ordinality
  LOOP
    one := batch || jsonb_build_object('orders', jsonb_build_array(item.body || '{"o": 0}'), 'movements', item.movements, 'holds', item.holds);
    BEGIN
      SELECT * INTO posted FROM ledger.post_orders(one);
      results := results || jsonb_build_array('posted', (ledger.answers(posted.orders, posted.legs))[1]);
      orders := orders + 1;
      movements := movements + cardinality(posted.legs);
    EXCEPTION WHEN SQLSTATE 'FW422' THEN
      GET STACKED DIAGNOSTICS code = MESSAGE_TEXT, fault = PG_EXCEPTION_DETAIL;
      results := results || jsonb_build_array('refused', jsonb_build_object('code', code, 'field', fault::jsonb -> 'field', 'value', fault::jsonb -> 'value'));
    END;
  END LOOP;
  answer := json_build_object('orders', orders, 'movements', movements, 'results',
    (SELECT json_agg(json_build_object('status', r ->> 0) ::jsonb || (r -> 1) ORDER BY n) FROM unnest(results) WITH ORDINALITY u(r, n)));
  INSERT INTO api.answer (scope, endpoint, idempotency_key, body_hash, body, answer)
  SELECT x.scope, batch ->> 'endpoint', x.key, decode(x.hash, 'hex'), x.body, answer
  FROM jsonb_to_recordset(batch -> 'answers') AS x(scope text, key text, hash text, body text);
  RETURN answer;
END $$;

CREATE OR REPLACE FUNCTION ledger.post_each(batches jsonb)
RETURNS TABLE (verdict text, answer json, code text, detail text, body text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  batch jsonb;
  known api.answer;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  FOR batch IN SELECT value FROM jsonb_array_elements(batches) WITH ORDINALITY ORDER BY ordinality LOOP
    answer := NULL; code := NULL; detail := NULL; body := NULL;
    SELECT a.* INTO known FROM api.answer a WHERE a.scope = batch #>> '{answers,0,scope}' AND a.endpoint = batch ->> 'endpoint'
      AND a.idempotency_key = batch #>> '{answers,0,key}';
    IF FOUND THEN
      verdict := CASE WHEN known.body_hash = decode(batch #>> '{answers,0,hash}', 'hex') THEN 'replayed' ELSE 'conflict' END;
      answer := known.answer;
      body := CASE verdict WHEN 'conflict' THEN known.body END;
    ELSIF (batch ->> 'each')::boolean THEN
      verdict := 'posted';
      answer := ledger.post_items(batch);
    ELSE
      BEGIN
        answer := (ledger.post_all(batch))[1];
        verdict := 'posted';
      EXCEPTION WHEN SQLSTATE 'FW422' THEN
        verdict := 'refused';
        GET STACKED DIAGNOSTICS code = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
      END;
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;

-- End holds whose time has come, each by an order of its own (type HOLD_EXPIRY) recorded at the clock; returns how many.
-- Until then they are held: nothing changes silently. Run again, or by two at once, it ends each of them once.
CREATE FUNCTION ledger.expire_holds(holds_max int, zone text, cutoff interval) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  due record;
  expiry ledger.order_in;
  ended record;
  at timestamptz := ledger.clock_now();
  expired int := 0;
BEGIN
  IF NOT EXISTS (SELECT FROM ledger.hold_to_expire e WHERE e.expires_at <= at) THEN -- most calls: without the posting lock
    RETURN 0;
  END IF;
  PERFORM pg_advisory_xact_lock(7401);
  at := ledger.clock_now();
  FOR due IN
    SELECT h.*, a.currency FROM ledger.hold_to_expire e JOIN ledger.hold_event h USING (hold_event_id) JOIN registry.account a USING (account_id)
    WHERE e.expires_at <= at ORDER BY e.expires_at, e.hold_event_id LIMIT holds_max
  LOOP
    -- "@" cannot stand in a platform's own request number
    expiry := ROW(0, due.platform_id, '@expiry-' || due.hold_event_id, 'HOLD_EXPIRY', due.currency, NULL, at, at,
                  ((at AT TIME ZONE zone) + (interval '24 hours' - cutoff))::date, nextval('ledger.order_id'), NULL, 'clock')::ledger.order_in;
    PERFORM ledger.store_orders('{"holds": []}', ARRAY[expiry], '{}');
    SELECT * INTO ended FROM ledger.end_hold(expiry, due.hold_no, 'EXPIRE', NULL);
    UPDATE ledger.balance b SET held_minor = b.held_minor - ended.ended WHERE b.account_id = ended.account;
    PERFORM outbox.append('hold.expired', due.platform_id, due.hold_no, jsonb_build_object('hold_no', due.hold_no, 'amount_minor', ended.ended));
    expired := expired + 1;
  END LOOP;
  UPDATE ledger.clock SET now_at = at WHERE now_at < at;
  RETURN expired;
END $$;

-- The fast path: the same checks without reasons. Any doubt raises (FW409, a unique or a check constraint), nothing stays, and the
-- caller sends the same orders down the careful path. Parallel lists: p_ one element an order, m_ a movement, h_ a hold (PLACE, or
-- RELEASE of all that remains), a_ an answer; m_o and h_o are positions of orders, from 1. The lists of times are null when no order
-- gives one. p_first and p_count say where an order's movements stand. Reversals, captures and OWN_FUNDS are for the careful path.
CREATE FUNCTION ledger.post_fast(zone text, cutoff interval, endpoint text, is_bulk boolean,
  p_platform text[], p_request text[], p_type text[], p_currency text[], p_entered_by text[], p_amount bigint[], p_first int[], p_count int[],
  p_simulated_at timestamptz[], p_effective_at timestamptz[],
  m_o int[], m_seq int[], m_type text[], m_debit text[], m_credit text[], m_amount bigint[], m_loan text[], m_issue int[], m_component text[],
  m_claim text[], m_platform text[], m_currency text[], m_order_type text[],
  h_o int[], h_event text[], h_no text[], h_account text[], h_amount bigint[], h_expires_at timestamptz[], h_platform text[], h_currency text[],
  a_scope text[], a_key text[], a_hash bytea[], a_body text[]) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET join_collapse_limit = 1 AS $$
DECLARE
  clock ledger.clock;
  order_count int := cardinality(p_platform);
  leg_count int := cardinality(m_o);
  first_order bigint;
  first_movement bigint;
  ats timestamptz[];
  effective timestamptz[];
  dates date[];
  h_id bigint[] := '{}';
  h_held bigint[] := '{}';
  is_doubtful boolean := false;
  legs bigint;
  answers text[];
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  SELECT * INTO STRICT clock FROM ledger.clock;
  IF clock.mode = 'system' THEN
    clock.now_at := greatest(clock_timestamp(), clock.now_at);
  END IF;
  IF p_simulated_at IS NULL THEN
    ats := array_fill(clock.now_at, ARRAY[order_count]);
    dates := array_fill(((clock.now_at AT TIME ZONE zone) + (interval '24 hours' - cutoff))::date, ARRAY[order_count]);
  ELSE
    SELECT array_agg(t.at ORDER BY t.o), array_agg(((t.at AT TIME ZONE zone) + (interval '24 hours' - cutoff))::date ORDER BY t.o),
           clock.mode = 'system' OR coalesce(bool_or(t.simulated_at < t.at), false)
    INTO ats, dates, is_doubtful
    FROM (SELECT u.o, u.simulated_at, greatest(clock.now_at, max(u.simulated_at) OVER (ORDER BY u.o)) AS at
          FROM unnest(p_simulated_at) WITH ORDINALITY u(simulated_at, o)) t;
  END IF;
  effective := ats;
  IF p_effective_at IS NOT NULL AND NOT is_doubtful THEN
    SELECT array_agg(coalesce(u.effective_at, u.at) ORDER BY u.o), coalesce(bool_or(u.effective_at > u.at), false)
    INTO effective, is_doubtful
    FROM unnest(p_effective_at, ats) WITH ORDINALITY u(effective_at, at, o);
  END IF;
  IF is_doubtful THEN
    RAISE EXCEPTION 'doubtful times' USING ERRCODE = 'FW409';
  END IF;

  -- whoever takes numbers holds the posting lock, so a run of them can be taken at once
  first_order := nextval('ledger.order_id');
  PERFORM setval('ledger.order_id', first_order + order_count - 1);
  first_movement := nextval('ledger.movement_id');
  PERFORM setval('ledger.movement_id', first_movement + greatest(leg_count, 1) - 1);

  INSERT INTO ledger.trade_order (order_id, platform_id, request_no, order_type, currency, amount_minor, effective_at, recorded_at,
                                  business_date, entered_by)
  SELECT first_order + p.n - 1, p.platform_id, p.request_no, p.order_type, p.currency, p.amount_minor, p.effective_at, p.at, p.day, p.entered_by
  FROM unnest(p_platform, p_request, p_type, p_currency, p_amount, effective, ats, dates, p_entered_by)
       WITH ORDINALITY p(platform_id, request_no, order_type, currency, amount_minor, effective_at, at, day, entered_by, n);

  IF cardinality(h_o) > 0 THEN
    SELECT array_agg(coalesce(a.account_id, s.account_id) ORDER BY h.n), array_agg(CASE h.event WHEN 'PLACE' THEN h.amount ELSE -s.remains END ORDER BY h.n),
           bool_or(CASE h.event WHEN 'PLACE' THEN a.account_id IS NULL OR a.is_control OR a.platform_id <> h.platform_id
                                                  OR a.currency <> h.currency OR coalesce(h.expires_at <= ats[h.o], false)
                                ELSE coalesce(s.remains, 0) <= 0 OR s.currency <> h.currency END)
             OR count(*) <> count(DISTINCT (h.platform_id, h.hold_no))
    INTO h_id, h_held, is_doubtful
    FROM unnest(h_o, h_event, h_no, h_account, h_amount, h_expires_at, h_platform, h_currency)
         WITH ORDINALITY h(o, event, hold_no, account_no, amount, expires_at, platform_id, currency, n)
    LEFT JOIN registry.account a ON h.event = 'PLACE' AND a.account_no = h.account_no
    LEFT JOIN LATERAL (
      SELECT min(e.account_id) AS account_id, min(b.currency) AS currency,
             sum(CASE e.event_type WHEN 'PLACE' THEN e.amount_minor ELSE -e.amount_minor END)::bigint AS remains
      FROM ledger.hold_event e JOIN registry.account b USING (account_id)
      WHERE e.platform_id = h.platform_id AND e.hold_no = h.hold_no) s ON h.event <> 'PLACE';
    IF is_doubtful THEN
      RAISE EXCEPTION 'doubtful hold' USING ERRCODE = 'FW409';
    END IF;
    WITH made AS (
      INSERT INTO ledger.hold_event (platform_id, hold_no, event_type, account_id, amount_minor, order_id, recorded_at, business_date, expires_at)
      SELECT h.platform_id, h.hold_no, h.event, h.account_id, abs(h.held), first_order + h.o - 1, ats[h.o], dates[h.o], h.expires_at
      FROM unnest(h_o, h_event, h_no, h_id, h_held, h_expires_at, h_platform) WITH ORDINALITY h(o, event, hold_no, account_id, held, expires_at, platform_id, n)
      ORDER BY h.o, h.event DESC, h.n
      RETURNING hold_event_id, expires_at, platform_id, hold_no, event_type),
    gone AS (
      DELETE FROM ledger.hold_to_expire q USING made JOIN ledger.hold_event p
        ON p.platform_id = made.platform_id AND p.hold_no = made.hold_no AND p.event_type = 'PLACE'
      WHERE made.event_type = 'RELEASE' AND q.hold_event_id = p.hold_event_id)
    INSERT INTO ledger.hold_to_expire SELECT made.hold_event_id, made.expires_at FROM made WHERE made.expires_at IS NOT NULL;
  END IF;

  WITH leg AS MATERIALIZED (
    SELECT l.*, d.account_id AS debit_id, c.account_id AS credit_id,
           -- compared here, not joined by: the account's number is the one index to use
           (d.platform_id, c.platform_id, d.currency, c.currency) = (l.platform_id, l.platform_id, l.currency, l.currency)
             AND d.account_id <> c.account_id AND d.account_role <> 'OWN_FUNDS' AND c.account_role <> 'OWN_FUNDS' AS is_lawful
    FROM unnest(m_o, m_seq, m_type, m_debit, m_credit, m_amount, m_loan, m_issue, m_component, m_claim, m_platform, m_currency, m_order_type)
         WITH ORDINALITY l(o, seq, movement_type, debit_no, credit_no, amount, loan_no, issue_no, component, claim_no, platform_id, currency,
                           order_type, n)
    JOIN registry.account d ON d.account_no = l.debit_no
    JOIN registry.account c ON c.account_no = l.credit_no
    JOIN ledger.allowed_movement a ON a.movement_type = l.movement_type AND a.debit_role = d.account_role AND a.credit_role = c.account_role
    JOIN ledger.allowed_order b ON b.order_type = l.order_type AND b.movement_type = l.movement_type),
  moved AS (
    INSERT INTO ledger.movement
    SELECT first_movement + l.n - 1, first_order + l.o - 1, l.seq, l.movement_type, l.debit_id, l.credit_id, l.amount, l.currency, l.loan_no,
           l.issue_no, l.component, l.claim_no, NULL, effective[l.o], ats[l.o], dates[l.o]
    FROM leg l),
  -- what an order releases comes before what it spends, what it sets aside after it
  line AS (
    SELECT debit_id AS account_id, o, 2 AS phase, 2 * n AS place, n AS movement, -amount AS amount, 0::bigint AS held FROM leg
    UNION ALL SELECT credit_id, o, 2, 2 * n + 1, n, amount, 0 FROM leg
    UNION ALL SELECT h.account_id, h.o, CASE h.event WHEN 'PLACE' THEN 3 ELSE 1 END, h.n, NULL, 0, h.held
    FROM unnest(h_o, h_event, h_id, h_held) WITH ORDINALITY h(o, event, account_id, held, n)),
  run AS MATERIALIZED (
    SELECT account_id, movement, amount, held, (sum(amount) OVER w)::bigint AS balance, (sum(amount - held) OVER w)::bigint AS available,
           count(movement) OVER w AS entries
    FROM line WINDOW w AS (PARTITION BY account_id ORDER BY o, phase, place ROWS UNBOUNDED PRECEDING)),
  total AS MATERIALIZED (
    SELECT account_id, coalesce(-sum(amount) FILTER (WHERE amount < 0), 0)::bigint AS debit,
           coalesce(sum(amount) FILTER (WHERE amount > 0), 0)::bigint AS credit, sum(held)::bigint AS held, count(movement) AS entries,
           min(available) AS lowest
    FROM run GROUP BY account_id),
  applied AS (
    UPDATE ledger.balance b
    SET debit_minor = b.debit_minor + t.debit, credit_minor = b.credit_minor + t.credit, held_minor = b.held_minor + t.held,
        version = b.version + t.entries
    FROM total t WHERE b.account_id = t.account_id
    RETURNING b.account_id, b.credit_minor - t.credit - b.debit_minor + t.debit AS balance, b.version - t.entries AS version,
              b.state <> 'OPEN' OR (NOT b.is_control AND t.lowest < 0
                AND b.credit_minor - t.credit - b.debit_minor + t.debit - b.held_minor + t.held + t.lowest < 0) AS is_doubtful),
  entered AS (
    INSERT INTO ledger.entry
    SELECT r.account_id, a.version + r.entries, first_movement + r.movement - 1, r.amount, a.balance + r.balance
    FROM run r JOIN applied a USING (account_id) WHERE r.movement IS NOT NULL)
  SELECT (SELECT count(*) FROM leg WHERE is_lawful), coalesce(bool_or(a.is_doubtful), false) INTO legs, is_doubtful FROM applied a;
  IF legs <> leg_count OR is_doubtful THEN
    RAISE EXCEPTION 'doubtful movement' USING ERRCODE = 'FW409';
  END IF;

  IF is_bulk THEN
    answers := ARRAY[format('{"orders":%s,"movements":%s}', order_count, leg_count)];
  ELSE -- numbers that the API lets in need no escapes
    SELECT array_agg('{"order_id":' || first_order + p.n - 1 || ',"request_no":"' || p.request_no || '","business_date":"' || p.day
             || '","recorded_at":' || to_json(p.at) || ',"movement_ids":[' || CASE p.many
               WHEN 1 THEN (first_movement + p.first)::text WHEN 0 THEN ''
               ELSE (SELECT string_agg(id::text, ',' ORDER BY id) FROM generate_series(first_movement + p.first, first_movement + p.first + p.many - 1) id) END
             || ']}' ORDER BY p.n)
    INTO answers
    FROM unnest(p_request, dates, ats, p_first, p_count) WITH ORDINALITY p(request_no, day, at, first, many, n);
  END IF;
  INSERT INTO api.answer (scope, endpoint, idempotency_key, body_hash, body, answer)
  SELECT x.scope, post_fast.endpoint, x.key, x.hash, x.body, x.answer::json
  FROM unnest(a_scope, a_key, a_hash, a_body, answers) x(scope, key, hash, body, answer);
  INSERT INTO outbox.event (topic, platform_id, subject, payload, recorded_at)
  SELECT 'ledger.posted', CASE WHEN min(p.platform_id) = max(p.platform_id) THEN min(p.platform_id) END,
         CASE WHEN min(p.platform_id) = max(p.platform_id) THEN min(p.platform_id) ELSE 'batch' END,
         ('{"orders":[' || string_agg('[' || first_order + p.n - 1 || ',"' || p.platform_id || '","' || p.request_no || '","' || p.order_type || '"]', ','
                                      ORDER BY p.n) || ']}')::jsonb, clock.now_at
  FROM unnest(p_platform, p_request, p_type) WITH ORDINALITY p(platform_id, request_no, order_type, n);
  UPDATE ledger.clock SET now_at = ats[order_count];
  RETURN answers;
END $$;
DROP FUNCTION ledger.read_holds(jsonb, ledger.order_in[]);
REVOKE EXECUTE ON FUNCTION ledger.end_hold, ledger.post_holds, ledger.store_orders, ledger.post_orders, ledger.answers, ledger.post_items,
  ledger.expire_holds, ledger.post_fast FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.expire_holds, ledger.post_fast TO service;
