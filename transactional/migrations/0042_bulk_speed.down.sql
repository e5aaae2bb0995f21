-- The fast path again. Parallel lists: p_ one element an order, x_ an account number, m_ a movement (its accounts by their places in
-- x_no), h_ a hold (PLACE, or RELEASE of all that remains), a_ an answer; m_o and h_o are positions of orders, from 1. A list that
-- nobody fills is null. p_first and p_count say where an order's movements stand. Reversals, captures and OWN_FUNDS are for the careful
-- path. Any doubt raises (FW409, a unique or a check constraint), nothing stays.
DROP FUNCTION ledger.post_fast;
CREATE FUNCTION ledger.post_fast(zone text, cutoff interval, endpoint text, is_bulk boolean,
  p_platform text[], p_request text[], p_type text[], p_currency text[], p_entered_by text[], p_amount bigint[], p_first int[], p_count int[],
  p_simulated_at timestamptz[], p_effective_at timestamptz[], x_no text[],
  m_o int[], m_seq int[], m_type text[], m_debit int[], m_credit int[], m_amount bigint[], m_loan text[], m_issue int[], m_component text[],
  m_claim text[],
  h_o int[], h_event text[], h_no text[], h_account text[], h_amount bigint[], h_expires_at timestamptz[], h_platform text[], h_currency text[],
  a_scope text[], a_key text[], a_hash bytea[], a_body text[]) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET join_collapse_limit = 1 AS $$
DECLARE
  clock ledger.clock;
  order_count int := cardinality(p_platform);
  leg_count int := coalesce(cardinality(m_o), 0);
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
    SELECT array_agg(coalesce(u.effective_at, u.at) ORDER BY u.o),
           coalesce(bool_or(u.effective_at > u.at), false) OR ledger.is_in_closed_day(min(u.effective_at))
    INTO effective, is_doubtful
    FROM unnest(p_effective_at, ats) WITH ORDINALITY u(effective_at, at, o);
  END IF;
  IF is_doubtful OR registry.stopped_platform(p_platform, p_type) IS NOT NULL THEN
    RAISE EXCEPTION 'doubtful times or platform' USING ERRCODE = 'FW409';
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

  WITH account AS MATERIALIZED (
    SELECT a.account_id, a.platform_id, a.currency, a.account_role, x.n
    FROM unnest(x_no) WITH ORDINALITY x(account_no, n) JOIN registry.account a ON a.account_no = x.account_no),
  ordered AS MATERIALIZED (
    SELECT p.*, first_order + p.n - 1 AS order_id
    FROM unnest(p_platform, p_currency, p_type, effective, ats, dates)
         WITH ORDINALITY p(platform_id, currency, order_type, effective_at, at, day, n)),
  leg AS MATERIALIZED (
    SELECT l.*, first_movement + l.n - 1 AS movement_id, o.order_id, o.order_type, o.currency, o.effective_at, o.at, o.day,
           d.account_id AS debit_id, c.account_id AS credit_id, d.account_role AS debit_role, c.account_role AS credit_role,
           (d.platform_id, c.platform_id, d.currency, c.currency) = (o.platform_id, o.platform_id, o.currency, o.currency)
             AND d.account_id <> c.account_id AS is_of_order
    FROM unnest(m_o, m_seq, m_type, m_debit, m_credit, m_amount, m_loan, m_issue, m_component, m_claim)
         WITH ORDINALITY l(o, seq, movement_type, debit, credit, amount, loan_no, issue_no, component, claim_no, n)
    JOIN ordered o ON o.n = l.o
    JOIN account d ON d.n = l.debit
    JOIN account c ON c.n = l.credit),
  -- both laws, once for all movements of one kind
  lawful AS (
    SELECT coalesce(sum(k.legs), 0) AS legs
    FROM (SELECT order_type, movement_type, debit_role, credit_role, count(*) AS legs FROM leg WHERE is_of_order GROUP BY 1, 2, 3, 4) k
    JOIN ledger.allowed_movement a ON a.movement_type = k.movement_type AND a.debit_role = k.debit_role AND a.credit_role = k.credit_role
    JOIN ledger.allowed_order b ON b.order_type = k.order_type AND b.movement_type = k.movement_type
    WHERE k.debit_role <> 'OWN_FUNDS' AND k.credit_role <> 'OWN_FUNDS'),
  moved AS (
    INSERT INTO ledger.movement
    SELECT l.movement_id, l.order_id, l.seq, l.movement_type, l.debit_id, l.credit_id, l.amount, l.currency, l.loan_no,
           l.issue_no, l.component, l.claim_no, NULL, l.effective_at, l.at, l.day
    FROM leg l),
  -- what an order releases comes before what it spends, what it sets aside after it
  line AS (
    SELECT debit_id AS account_id, o, 2 AS phase, 2 * n AS place, movement_id AS movement, -amount AS amount, 0::bigint AS held FROM leg
    UNION ALL SELECT credit_id, o, 2, 2 * n + 1, movement_id, amount, 0 FROM leg
    UNION ALL SELECT h.account_id, h.o, CASE h.event WHEN 'PLACE' THEN 3 ELSE 1 END, h.n, NULL, 0, h.held
    FROM unnest(h_o, h_event, h_id, h_held) WITH ORDINALITY h(o, event, account_id, held, n) WHERE h.o IS NOT NULL),
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
    SELECT r.account_id, a.version + r.entries, r.movement, r.amount, a.balance + r.balance
    FROM run r JOIN applied a USING (account_id) WHERE r.movement IS NOT NULL)
  SELECT (SELECT l.legs FROM lawful l), coalesce(bool_or(a.is_doubtful), false) INTO legs, is_doubtful FROM applied a;
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

CREATE OR REPLACE FUNCTION registry.stopped_platform(platforms text[], order_types text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.platform_id || ' is ' || s.status
  FROM (SELECT DISTINCT platform_id, order_type FROM unnest(platforms, order_types) u(platform_id, order_type)) a
  CROSS JOIN LATERAL (SELECT status FROM registry.platform_status p WHERE p.platform_id = a.platform_id ORDER BY p.version DESC LIMIT 1) s
  WHERE s.status = 'LEFT' OR (s.status = 'ONBOARDING' AND a.order_type <> 'OPENING')
     OR (s.status = 'SUSPENDED' AND a.order_type IN ('TENDER', 'DISBURSE', 'CREDIT_ASSIGNMENT')) -- no new lending; paying back goes on
  ORDER BY a.platform_id LIMIT 1 $$;

DROP TRIGGER desk_state ON ledger.balance;
CREATE TRIGGER desk_state BEFORE UPDATE OF state ON ledger.balance FOR EACH ROW EXECUTE FUNCTION work.guard_state();
