-- Holds that were captured or expired, and roles of 0013 in use, have no form in the schema before: such a database cannot go back.
DO $$
BEGIN
  IF EXISTS (SELECT FROM ledger.hold_event GROUP BY platform_id, hold_no, event_type HAVING count(*) > 1 OR event_type IN ('CAPTURE', 'EXPIRE')) THEN
    RAISE EXCEPTION 'holds were captured or expired: the schema before cannot keep them';
  END IF;
END $$;
DROP FUNCTION ledger.post_fast;
DROP FUNCTION ledger.expire_holds(int, text, interval);
DROP FUNCTION ledger.post_items(jsonb);
DROP FUNCTION ledger.post_orders(jsonb);
DROP FUNCTION ledger.answers(ledger.order_in[], ledger.leg_in[]);
DROP FUNCTION ledger.post_holds(jsonb, ledger.order_in[]);
DROP FUNCTION ledger.end_hold(ledger.order_in, text, text, bigint);
DROP FUNCTION ledger.store_orders(jsonb, ledger.order_in[], ledger.leg_in[]);
DROP FUNCTION ledger.set_account_state(bigint, text, text);
ALTER TYPE ledger.order_in DROP ATTRIBUTE entered_by;

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
      currency text, reverses_request_no text, simulated_at timestamptz, effective_at timestamptz)),
  timed AS (
    SELECT g.*, greatest(clock.now_at, max(simulated_at) OVER (ORDER BY o)) AS at FROM given g ORDER BY o)
  SELECT array_agg(ROW(t.o, t.platform_id, t.request_no, t.order_type, t.currency, t.reverses_request_no, t.at,
           coalesce(t.effective_at, t.at),
           ((t.at AT TIME ZONE (batch ->> 'zone')) + (interval '24 hours' - (batch ->> 'cutoff')::interval))::date,
           nextval('ledger.order_id'), reversed.order_id)::ledger.order_in ORDER BY t.o)
  INTO orders
  FROM timed t LEFT JOIN ledger.trade_order reversed
    ON reversed.platform_id = t.platform_id AND reversed.request_no = t.reverses_request_no;

  SELECT x.o, x.simulated_at,
         CASE WHEN clock.mode = 'system' AND x.simulated_at IS NOT NULL THEN 'CLOCK_NOT_SIMULATED'
              WHEN x.simulated_at < o.at THEN 'CLOCK_BACKWARDS'
              WHEN o.effective_at > o.at THEN 'EFFECTIVE_IN_FUTURE' END AS code
  INTO fault
  FROM jsonb_to_recordset(batch -> 'orders') AS x(o int, simulated_at timestamptz) JOIN unnest(orders) o ON o.o = x.o
  WHERE (clock.mode = 'system' AND x.simulated_at IS NOT NULL) OR x.simulated_at < o.at OR o.effective_at > o.at
  ORDER BY x.o LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse(fault.code, fault.o, CASE fault.code WHEN 'EFFECTIVE_IN_FUTURE' THEN 'effective_at' ELSE 'simulated_at' END,
                          fault.simulated_at::text);
  END IF;

  SELECT o.o, CASE WHEN p.platform_id IS NULL THEN 'UNKNOWN_PLATFORM'
                   WHEN t.order_id IS NOT NULL OR o.occurrence > 1 THEN 'REQUEST_NO_TAKEN'
                   WHEN o.reverses_request_no IS NOT NULL AND o.reverses_order_id IS NULL THEN 'UNKNOWN_REVERSED_ORDER'
                   WHEN r.order_id IS NOT NULL OR o.reversals > 1 THEN 'ALREADY_REVERSED' END AS code,
         o.platform_id, o.request_no, o.reverses_request_no
  INTO fault
  FROM (SELECT u.*, row_number() OVER (PARTITION BY u.platform_id, u.request_no ORDER BY u.o) AS occurrence,
               count(u.reverses_order_id) OVER (PARTITION BY u.reverses_order_id ORDER BY u.o) AS reversals
        FROM unnest(orders) u) o
  LEFT JOIN registry.platform p USING (platform_id)
  LEFT JOIN ledger.trade_order t ON t.platform_id = o.platform_id AND t.request_no = o.request_no
  LEFT JOIN ledger.trade_order r ON r.reverses_order_id = o.reverses_order_id
  WHERE p.platform_id IS NULL OR t.order_id IS NOT NULL OR o.occurrence > 1 OR r.order_id IS NOT NULL OR o.reversals > 1
     OR (o.reverses_request_no IS NOT NULL AND o.reverses_order_id IS NULL)
  ORDER BY o.o LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse(fault.code, fault.o,
      CASE fault.code WHEN 'UNKNOWN_PLATFORM' THEN 'platform_id' WHEN 'REQUEST_NO_TAKEN' THEN 'request_no' ELSE 'reverses_request_no' END,
      CASE fault.code WHEN 'UNKNOWN_PLATFORM' THEN fault.platform_id WHEN 'REQUEST_NO_TAKEN' THEN fault.request_no
                      ELSE fault.reverses_request_no END);
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
           AND a.debit_role = d.account_role AND a.credit_role = c.account_role))
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

CREATE OR REPLACE FUNCTION ledger.read_holds(batch jsonb, orders ledger.order_in[]) RETURNS ledger.hold_in[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  holds ledger.hold_in[];
  fault record;
BEGIN
  IF jsonb_array_length(batch -> 'holds') = 0 THEN
    RETURN '{}';
  END IF;
  -- a release takes account and amount from the hold it names, which may stand in an earlier order of the same call
  WITH given AS (
    SELECT x.*, o.platform_id FROM jsonb_to_recordset(batch -> 'holds') AS x(o int, position int, hold_no text, event_type text,
      account text, amount_minor bigint) JOIN unnest(orders) o ON o.o = x.o),
  placed AS (SELECT * FROM given WHERE event_type = 'PLACE')
  SELECT array_agg(ROW(g.o, g.position, g.hold_no, g.event_type, g.account,
           coalesce(a.account_id, stored.account_id), coalesce(g.amount_minor, stored.amount_minor, placed.amount_minor))::ledger.hold_in
           ORDER BY g.o, g.position)
  INTO holds
  FROM given g
  LEFT JOIN placed ON g.event_type = 'RELEASE' AND placed.platform_id = g.platform_id AND placed.hold_no = g.hold_no AND placed.o < g.o
  LEFT JOIN ledger.hold_event stored ON g.event_type = 'RELEASE' AND stored.platform_id = g.platform_id
    AND stored.hold_no = g.hold_no AND stored.event_type = 'PLACE'
  LEFT JOIN registry.account a ON a.account_no = coalesce(g.account, placed.account);

  SELECT * INTO fault FROM (
    SELECT h.o, h.position, h.event_type, v.* FROM (
      SELECT u.*, o.platform_id, o.currency,
             row_number() OVER (PARTITION BY o.platform_id, u.hold_no, u.event_type ORDER BY u.o, u.position) AS occurrence
      FROM unnest(holds) u JOIN unnest(orders) o ON o.o = u.o) h
    LEFT JOIN registry.account a USING (account_id)
    LEFT JOIN ledger.hold_event stored ON stored.platform_id = h.platform_id AND stored.hold_no = h.hold_no
      AND stored.event_type = h.event_type
    CROSS JOIN LATERAL (VALUES
      (1, 'UNKNOWN_ACCOUNT', 'account', h.account, h.event_type = 'PLACE' AND a.account_id IS NULL),
      (2, 'UNKNOWN_HOLD', 'hold_no', h.hold_no, h.event_type = 'RELEASE' AND a.account_id IS NULL),
      (3, 'ACCOUNT_OF_OTHER_PLATFORM', 'account', h.account, a.platform_id <> h.platform_id),
      (4, 'CURRENCY_MISMATCH', 'account', h.account, a.currency <> h.currency),
      (5, 'HOLD_NOT_ALLOWED', 'account', h.account, a.is_control),
      (6, CASE h.event_type WHEN 'PLACE' THEN 'HOLD_NO_TAKEN' ELSE 'HOLD_RELEASED' END, 'hold_no', h.hold_no,
       stored.hold_event_id IS NOT NULL OR h.occurrence > 1)
    ) v(rank, code, field, value, is_fault)
    WHERE v.is_fault) faults
  ORDER BY o, position, rank LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse(fault.code, fault.o, CASE fault.event_type WHEN 'PLACE'
      THEN format('place_holds[%s].%s', fault.position, fault.field) ELSE format('release_holds[%s]', fault.position) END, fault.value);
  END IF;
  RETURN holds;
END $$;

CREATE OR REPLACE FUNCTION ledger.check_funds(orders ledger.order_in[], legs ledger.leg_in[], holds ledger.hold_in[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fault record;
BEGIN
  WITH change AS (
    SELECT o, debit_id AS account_id, -amount_minor AS available FROM unnest(legs)
    UNION ALL SELECT o, credit_id, amount_minor FROM unnest(legs)
    UNION ALL SELECT o, account_id, CASE event_type WHEN 'PLACE' THEN -amount_minor ELSE amount_minor END FROM unnest(holds)),
  step AS (SELECT account_id, o, sum(available) AS available FROM change GROUP BY account_id, o),
  running AS (SELECT account_id, o, available AS step, sum(available) OVER (PARTITION BY account_id ORDER BY o) AS available FROM step)
  SELECT r.o, a.account_no,
         CASE WHEN b.is_control THEN 'OWN_FUNDS_NOT_CLEARED' ELSE 'INSUFFICIENT_FUNDS' END AS code
  INTO fault
  FROM running r JOIN ledger.balance b USING (account_id) JOIN registry.account a USING (account_id)
  WHERE (NOT b.is_control AND b.credit_minor - b.debit_minor - b.held_minor + r.available < 0)
     OR (a.account_role = 'OWN_FUNDS' AND r.step <> 0)
  ORDER BY r.o, code, a.account_no LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse(fault.code, fault.o, 'account', fault.account_no);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger.store(orders ledger.order_in[], legs ledger.leg_in[], holds ledger.hold_in[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO ledger.trade_order
  SELECT o.order_id, o.platform_id, o.request_no, o.order_type, o.currency,
         coalesce((SELECT sum(l.amount_minor) FROM unnest(legs) l WHERE l.o = o.o), 0)
           + coalesce((SELECT sum(h.amount_minor) FROM unnest(holds) h WHERE h.o = o.o AND h.event_type = 'PLACE'), 0),
         o.reverses_order_id, o.effective_at, o.at, o.business_date
  FROM unnest(orders) o;

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

  INSERT INTO ledger.hold_event (platform_id, hold_no, event_type, account_id, amount_minor, order_id, recorded_at, business_date)
  SELECT o.platform_id, h.hold_no, h.event_type, h.account_id, h.amount_minor, o.order_id, o.at, o.business_date
  FROM unnest(holds) h JOIN unnest(orders) o ON o.o = h.o ORDER BY h.o, h.position;

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

CREATE OR REPLACE FUNCTION ledger.post_all(batch jsonb) RETURNS json[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  orders ledger.order_in[];
  legs ledger.leg_in[];
  holds ledger.hold_in[];
  answers json[];
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM FROM jsonb_to_recordset(batch -> 'answers') AS x(key text, scope text) JOIN api.answer a
    ON a.scope = x.scope AND a.endpoint = batch ->> 'endpoint' AND a.idempotency_key = x.key;
  IF FOUND THEN
    RAISE EXCEPTION 'known idempotency key' USING ERRCODE = 'FW409';
  END IF;
  orders := ledger.read_orders(batch);
  legs := ledger.read_legs(batch, orders);
  holds := ledger.read_holds(batch, orders);
  PERFORM ledger.check_funds(orders, legs, holds);
  PERFORM ledger.store(orders, legs, holds);
  IF (batch ->> 'bulk')::boolean THEN
    answers := ARRAY[json_build_object('orders', cardinality(orders), 'movements', cardinality(legs))];
  ELSE
    answers := array(
      SELECT json_build_object('order_id', o.order_id, 'request_no', o.request_no, 'business_date', o.business_date,
               'recorded_at', o.at, 'movement_ids', coalesce(m.ids, '[]'::json))
      FROM unnest(orders) o
      LEFT JOIN (SELECT l.o, json_agg(l.movement_id ORDER BY l.seq) AS ids FROM unnest(legs) l GROUP BY l.o) m ON m.o = o.o
      ORDER BY o.o);
  END IF;
  INSERT INTO api.answer (scope, endpoint, idempotency_key, body_hash, body, answer)
  SELECT x.scope, batch ->> 'endpoint', x.key, decode(x.hash, 'hex'), x.body, answers[x.o + 1]
  FROM jsonb_to_recordset(batch -> 'answers') AS x(o int, scope text, key text, hash text, body text);
  RETURN answers;
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
REVOKE EXECUTE ON FUNCTION ledger.read_holds FROM PUBLIC;

DROP VIEW night.movement;
DROP FUNCTION ledger.sealed_text(bigint, ledger.movement_full);
DROP VIEW ledger.movement_full;
CREATE VIEW ledger.movement_full AS
SELECT m.movement_id, m.order_id, o.platform_id, o.request_no, m.seq, o.order_type, m.movement_type,
       d.account_no AS debit_account_no, m.debit_account_id, d.account_role AS debit_role,
       c.account_no AS credit_account_no, m.credit_account_id, c.account_role AS credit_role,
       m.amount_minor, m.currency, m.loan_no, m.issue_no, m.component, m.claim_no, m.reversal_of,
       m.effective_at, m.recorded_at, m.business_date
FROM ledger.movement m
JOIN ledger.trade_order o USING (order_id)
JOIN registry.account d ON d.account_id = m.debit_account_id
JOIN registry.account c ON c.account_id = m.credit_account_id;
GRANT SELECT ON ledger.movement_full TO service;
CREATE FUNCTION ledger.sealed_text(ledger_no bigint, row_of ledger.movement_full) RETURNS text
LANGUAGE sql STABLE SET timezone = 'UTC' AS $$ SELECT ledger_no || ' ' || to_jsonb(row_of)::text $$;
CREATE OR REPLACE FUNCTION ledger.seal_pending(blocks_max int) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
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
                  || convert_to(string_agg(ledger.sealed_text(n.ledger_no, f), E'\n' ORDER BY n.ledger_no), 'UTF8')),
           max(f.recorded_at)
    INTO block FROM numbered n JOIN ledger.movement_full f USING (movement_id);
    EXIT WHEN block.first_ledger_no IS NULL;
    INSERT INTO ledger.seal_block SELECT (block).*;
    sealed := sealed + block.last_ledger_no - block.first_ledger_no + 1;
  END LOOP;
  RETURN sealed;
END $$;
CREATE VIEW night.movement AS
SELECT s.ledger_no, f.*, s.block_no AS seal_hash_block
FROM ledger.seal s JOIN ledger.movement_full f USING (movement_id);
GRANT SELECT ON night.movement TO jobs;
CREATE OR REPLACE VIEW night.hold_event AS
SELECT h.hold_event_id, h.hold_no, h.platform_id, a.account_no, h.event_type, h.amount_minor, a.currency, h.order_id, h.recorded_at,
       h.business_date
FROM ledger.hold_event h JOIN registry.account a USING (account_id);


DROP TABLE ledger.hold_to_expire;
DROP INDEX ledger.hold_placed_once, ledger.hold_event_of_hold;
ALTER TABLE ledger.hold_event DROP COLUMN expires_at,
  DROP CONSTRAINT hold_event_event_type_check,
  ADD CONSTRAINT hold_event_event_type_check CHECK (event_type IN ('PLACE', 'RELEASE')),
  ADD UNIQUE (platform_id, hold_no, event_type);
ALTER TABLE ledger.trade_order DROP COLUMN entered_by,
  ADD CONSTRAINT trade_order_platform_id_fkey FOREIGN KEY (platform_id) REFERENCES registry.platform;
DROP TABLE ledger.allowed_order;
DELETE FROM ledger.allowed_movement WHERE movement_type NOT IN ('OPENING_BALANCE', 'RECHARGE', 'SETTLEMENT', 'WITHDRAW', 'WITHDRAW_PAYOUT',
    'TENDER', 'COMMISSION', 'PRINCIPAL', 'INTEREST', 'COMPENSATORY', 'COMPENSATORY_REPAYMENT', 'CREDIT_ASSIGNMENT', 'MARKETING', 'OWN_FUNDS_IN',
    'TOP_UP', 'PROFIT', 'OWN_FUNDS_OUT')
  OR debit_role IN ('RESERVE', 'MARGIN') OR credit_role IN ('RESERVE', 'MARGIN')
  OR (movement_type = 'RECHARGE' AND credit_role NOT IN ('INVESTOR', 'BORROWERS', 'GUARANTEECORP'))
  OR (movement_type = 'WITHDRAW' AND debit_role NOT IN ('INVESTOR', 'BORROWERS', 'GUARANTEECORP'))
  OR (movement_type = 'COMMISSION' AND debit_role NOT IN ('INVESTOR', 'BORROWERS'))
  OR (movement_type = 'COMPENSATORY' AND debit_role <> 'GUARANTEECORP')
  OR (movement_type = 'COMPENSATORY_REPAYMENT' AND credit_role <> 'GUARANTEECORP')
  OR (movement_type = 'MARKETING' AND credit_role <> 'INVESTOR')
  OR (movement_type = 'TOP_UP' AND credit_role NOT IN ('PLATFORM_MARKETING', 'PLATFORM_COMPENSATORY'))
  OR (movement_type = 'PROFIT' AND debit_role <> 'PLATFORM_INCOME');
DELETE FROM registry.account_role WHERE account_role IN ('RESERVE', 'MARGIN');
DROP TABLE ledger.account_state;
ALTER TABLE ledger.balance DROP CONSTRAINT closed_is_empty, DROP COLUMN state;
