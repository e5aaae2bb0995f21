DROP FUNCTION ledger.post_fast;
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
REVOKE EXECUTE ON FUNCTION ledger.post_fast FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.post_fast TO service;
CREATE OR REPLACE FUNCTION ledger.store_orders(batch jsonb, orders ledger.order_in[], legs ledger.leg_in[]) RETURNS void
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

DROP TRIGGER closed_days_stay_closed ON ledger.trade_order;
DROP FUNCTION ledger.check_orders, ledger.refuse_closed_day, ledger.is_in_closed_day, registry.stopped_platform;
CREATE FUNCTION ledger.refuse_closed_days() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fault record;
BEGIN
  IF NOT EXISTS (SELECT FROM inserted WHERE effective_at < recorded_at) THEN
    RETURN NULL;
  END IF;
  PERFORM pg_advisory_xact_lock_shared(7441);
  SELECT i.at, i.effective_at INTO fault
  FROM (SELECT row_number() OVER (ORDER BY order_id) - 1 AS at, effective_at, recorded_at FROM inserted) i
  WHERE i.effective_at < i.recorded_at AND i.effective_at < (SELECT max(ends_at) FROM ledger.day_close)
  ORDER BY i.at LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse('EFFECTIVE_IN_CLOSED_DAY', fault.at::int, 'effective_at', fault.effective_at::text);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER closed_days_stay_closed AFTER INSERT ON ledger.trade_order REFERENCING NEW TABLE AS inserted
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_closed_days();
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
REVOKE EXECUTE ON FUNCTION ledger.refuse_closed_days FROM PUBLIC;
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
ALTER TABLE api.answer ALTER COLUMN body SET STORAGE EXTENDED;
DROP INDEX ledger.order_reversed_once, ledger.movement_reversed_once;
ALTER TABLE ledger.movement ADD CONSTRAINT movement_reversal_of_key UNIQUE (reversal_of);
ALTER TABLE ledger.trade_order ADD CONSTRAINT trade_order_reverses_order_id_key UNIQUE (reverses_order_id),
  ADD CONSTRAINT trade_order_reverses_order_id_fkey FOREIGN KEY (reverses_order_id) REFERENCES ledger.trade_order;
