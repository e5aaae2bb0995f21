-- The bulk path again (decision 0020): rows are narrow on their way, accounts and kinds are resolved once a call.

-- The fast path. Parallel lists: k_ a kind of order (platform, type, currency, who entered it), p_ an order, x_ an account number, t_ a
-- movement type, m_ a movement, h_ a hold (PLACE, or RELEASE of all that remains), a_ an answer; p_kind, m_type, m_debit and m_credit are
-- places in those lists, m_o and h_o positions of orders, all from 1. A list that nobody fills is null: m_o, m_seq, p_first, p_count and
-- p_amount are when each order is one movement and no hold. Reversals, captures and OWN_FUNDS are for the careful path. Any doubt raises
-- (FW409, a unique, not-null or check constraint), nothing stays.
DROP FUNCTION ledger.post_fast;
CREATE FUNCTION ledger.post_fast(zone text, cutoff interval, endpoint text, is_bulk boolean,
  k_platform text[], k_type text[], k_currency text[], k_entered_by text[],
  p_kind int[], p_request text[], p_amount bigint[], p_first int[], p_count int[], p_simulated_at timestamptz[], p_effective_at timestamptz[],
  x_no text[], t_type text[],
  m_o int[], m_seq int[], m_type int[], m_debit int[], m_credit int[], m_amount bigint[], m_loan text[], m_issue int[], m_component text[],
  m_claim text[],
  h_o int[], h_event text[], h_no text[], h_account text[], h_amount bigint[], h_expires_at timestamptz[], h_platform text[], h_currency text[],
  a_scope text[], a_key text[], a_hash bytea[], a_body text[]) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET join_collapse_limit = 1 AS $$
DECLARE
  clock ledger.clock;
  order_count int := cardinality(p_request);
  leg_count int := coalesce(cardinality(m_amount), 0);
  first_order bigint;
  first_movement bigint;
  posted_at timestamptz;
  posted_on date;
  -- of each order, when orders bring times of their own; else null, and `posted_at` and `posted_on` are those of all
  ats timestamptz[];
  effective timestamptz[];
  dates date[];
  roles text[];
  books text[]; -- platform and currency of each kind
  x_id bigint[];
  x_role int[]; -- place in roles
  x_book int[]; -- first place in books, 0 when none
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
  posted_at := clock.now_at;
  posted_on := ((posted_at AT TIME ZONE zone) + (interval '24 hours' - cutoff))::date;
  IF p_simulated_at IS NOT NULL THEN
    SELECT array_agg(t.at ORDER BY t.o), array_agg(((t.at AT TIME ZONE zone) + (interval '24 hours' - cutoff))::date ORDER BY t.o),
           clock.mode = 'system' OR coalesce(bool_or(t.simulated_at < t.at), false)
    INTO ats, dates, is_doubtful
    FROM (SELECT u.o, u.simulated_at, greatest(clock.now_at, max(u.simulated_at) OVER (ORDER BY u.o)) AS at
          FROM unnest(p_simulated_at) WITH ORDINALITY u(simulated_at, o)) t;
    effective := ats;
  END IF;
  IF p_effective_at IS NOT NULL AND NOT is_doubtful THEN
    SELECT array_agg(coalesce(u.effective_at, u.at, posted_at) ORDER BY u.o),
           coalesce(bool_or(u.effective_at > coalesce(u.at, posted_at)), false) OR ledger.is_in_closed_day(min(u.effective_at))
    INTO effective, is_doubtful
    FROM unnest(p_effective_at, ats) WITH ORDINALITY u(effective_at, at, o);
  END IF;
  IF is_doubtful OR registry.stopped_platform(k_platform, k_type) IS NOT NULL THEN
    RAISE EXCEPTION 'doubtful times or platform' USING ERRCODE = 'FW409';
  END IF;

  -- whoever takes numbers holds the posting lock, so a run of them can be taken at once
  first_order := setval('ledger.order_id', nextval('ledger.order_id') + order_count - 1) - order_count + 1;
  first_movement := setval('ledger.movement_id', nextval('ledger.movement_id') + greatest(leg_count, 1) - 1) - greatest(leg_count, 1) + 1;

  INSERT INTO ledger.trade_order (order_id, platform_id, request_no, order_type, currency, amount_minor, effective_at, recorded_at,
                                  business_date, entered_by)
  SELECT first_order + p.n - 1, k_platform[p.kind], p.request_no, k_type[p.kind], k_currency[p.kind], p.amount_minor,
         coalesce(effective[p.n], posted_at), coalesce(ats[p.n], posted_at), coalesce(dates[p.n], posted_on), k_entered_by[p.kind]
  FROM (SELECT unnest(p_kind) AS kind, unnest(p_request) AS request_no, unnest(coalesce(p_amount, m_amount)) AS amount_minor,
               generate_series(1, order_count) AS n) p;

  IF cardinality(h_o) > 0 THEN
    SELECT array_agg(coalesce(a.account_id, s.account_id) ORDER BY h.n), array_agg(CASE h.event WHEN 'PLACE' THEN h.amount ELSE -s.remains END ORDER BY h.n),
           bool_or(CASE h.event WHEN 'PLACE' THEN a.account_id IS NULL OR a.is_control OR a.platform_id <> h.platform_id
                                                  OR a.currency <> h.currency OR coalesce(h.expires_at <= coalesce(ats[h.o], posted_at), false)
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
      SELECT h.platform_id, h.hold_no, h.event, h.account_id, abs(h.held), first_order + h.o - 1, coalesce(ats[h.o], posted_at),
             coalesce(dates[h.o], posted_on), h.expires_at
      FROM unnest(h_o, h_event, h_no, h_id, h_held, h_expires_at, h_platform) WITH ORDINALITY h(o, event, hold_no, account_id, held, expires_at, platform_id, n)
      ORDER BY h.o, h.event DESC, h.n
      RETURNING hold_event_id, expires_at, platform_id, hold_no, event_type),
    gone AS (
      DELETE FROM ledger.hold_to_expire q USING made JOIN ledger.hold_event p
        ON p.platform_id = made.platform_id AND p.hold_no = made.hold_no AND p.event_type = 'PLACE'
      WHERE made.event_type = 'RELEASE' AND q.hold_event_id = p.hold_event_id)
    INSERT INTO ledger.hold_to_expire SELECT made.hold_event_id, made.expires_at FROM made WHERE made.expires_at IS NOT NULL;
  END IF;

  IF leg_count > 0 THEN
    roles := ARRAY(SELECT account_role FROM registry.account_role);
    books := ARRAY(SELECT k.platform_id || ' ' || k.currency FROM unnest(k_platform, k_currency) WITH ORDINALITY k(platform_id, currency, n) ORDER BY k.n);
    SELECT array_agg(a.account_id ORDER BY x.n), array_agg(array_position(roles, a.account_role) ORDER BY x.n),
           array_agg(coalesce(array_position(books, a.platform_id || ' ' || a.currency), 0) ORDER BY x.n)
    INTO x_id, x_role, x_book
    FROM (SELECT unnest(x_no) AS account_no, generate_series(1, cardinality(x_no)) AS n) x
    LEFT JOIN LATERAL (SELECT * FROM registry.account r WHERE r.account_no = x.account_no OFFSET 0) a ON true; -- by its index, whatever the plan
    -- both laws, once for all movements of one kind
    SELECT coalesce(sum(k.legs), 0) INTO legs
    FROM (SELECT l.kind, l.movement_type, x_role[l.debit] AS debit_role, x_role[l.credit] AS credit_role, count(*) AS legs
          FROM (SELECT p_kind[coalesce(u.o, u.n)] AS kind, u.movement_type, u.debit, u.credit
                FROM (SELECT unnest(m_o) AS o, unnest(m_type) AS movement_type, unnest(m_debit) AS debit, unnest(m_credit) AS credit,
                             generate_series(1, leg_count) AS n) u) l
          WHERE x_book[l.debit] = array_position(books, books[l.kind]) AND x_book[l.credit] = x_book[l.debit] AND l.debit <> l.credit
          GROUP BY 1, 2, 3, 4) k
    CROSS JOIN LATERAL (SELECT FROM ledger.allowed_movement w WHERE w.movement_type = t_type[k.movement_type]
      AND w.debit_role = roles[k.debit_role] AND w.credit_role = roles[k.credit_role] OFFSET 0) a
    CROSS JOIN LATERAL (SELECT FROM ledger.allowed_order w WHERE w.order_type = k_type[k.kind] AND w.movement_type = t_type[k.movement_type] OFFSET 0) b
    WHERE roles[k.debit_role] <> 'OWN_FUNDS' AND roles[k.credit_role] <> 'OWN_FUNDS';
    IF legs <> leg_count THEN
      RAISE EXCEPTION 'doubtful movement' USING ERRCODE = 'FW409';
    END IF;
    INSERT INTO ledger.movement
    SELECT first_movement + l.n - 1, first_order + l.p - 1, coalesce(l.seq, 1), t_type[l.movement_type], x_id[l.debit], x_id[l.credit],
           l.amount, k_currency[p_kind[l.p]], l.loan_no, l.issue_no, l.component, l.claim_no, NULL,
           coalesce(effective[l.p], posted_at), coalesce(ats[l.p], posted_at), coalesce(dates[l.p], posted_on)
    FROM (SELECT u.*, coalesce(u.o, u.n) AS p
          FROM (SELECT unnest(m_o) AS o, unnest(m_seq) AS seq, unnest(m_type) AS movement_type, unnest(m_debit) AS debit,
                       unnest(m_credit) AS credit, unnest(m_amount) AS amount, unnest(m_loan) AS loan_no, unnest(m_issue) AS issue_no,
                       unnest(m_component) AS component, unnest(m_claim) AS claim_no, generate_series(1, leg_count) AS n) u) l;
  END IF;

  -- The lines of an account in their order, one number: what an order releases comes before what it spends, what it sets aside after it.
  WITH line AS (
    SELECT x_id[l.debit] AS account_id, (coalesce(l.o, l.n)::bigint << 34) + (2::bigint << 32) + 2 * l.n AS place,
           first_movement + l.n - 1 AS movement, -l.amount AS amount, 0::bigint AS held
    FROM (SELECT unnest(m_o) AS o, unnest(m_debit) AS debit, unnest(m_amount) AS amount, generate_series(1, leg_count) AS n) l
    UNION ALL
    SELECT x_id[l.credit], (coalesce(l.o, l.n)::bigint << 34) + (2::bigint << 32) + 2 * l.n + 1, first_movement + l.n - 1, l.amount, 0
    FROM (SELECT unnest(m_o) AS o, unnest(m_credit) AS credit, unnest(m_amount) AS amount, generate_series(1, leg_count) AS n) l
    UNION ALL
    SELECT h.account_id, (h.o::bigint << 34) + (CASE h.event WHEN 'PLACE' THEN 3::bigint ELSE 1 END << 32) + h.n, NULL, 0, h.held
    FROM unnest(h_o, h_event, h_id, h_held) WITH ORDINALITY h(o, event, account_id, held, n) WHERE h.o IS NOT NULL),
  run AS MATERIALIZED (
    SELECT account_id, movement, amount, held, (sum(amount) OVER w)::bigint AS balance, (sum(held) OVER w)::bigint AS reserved,
           count(movement) OVER w AS entries
    FROM line WINDOW w AS (PARTITION BY account_id ORDER BY place ROWS UNBOUNDED PRECEDING)),
  total AS MATERIALIZED (
    SELECT account_id, coalesce(-sum(amount) FILTER (WHERE amount < 0), 0)::bigint AS debit,
           coalesce(sum(amount) FILTER (WHERE amount > 0), 0)::bigint AS credit, sum(held)::bigint AS held, count(movement) AS entries,
           min(balance - reserved) AS lowest
    FROM run GROUP BY account_id),
  applied AS (
    UPDATE ledger.balance b
    SET debit_minor = b.debit_minor + t.debit, credit_minor = b.credit_minor + t.credit, held_minor = b.held_minor + t.held,
        version = b.version + t.entries
    FROM total t WHERE b.account_id BETWEEN t.account_id AND t.account_id -- equality would let a plan walk all balances
    RETURNING b.account_id, b.credit_minor - t.credit - b.debit_minor + t.debit AS balance, b.version - t.entries AS version,
              b.state <> 'OPEN' OR (NOT b.is_control AND t.lowest < 0
                AND b.credit_minor - t.credit - b.debit_minor + t.debit - b.held_minor + t.held + t.lowest < 0) AS is_doubtful),
  entered AS (
    INSERT INTO ledger.entry
    SELECT r.account_id, a.version + r.entries, r.movement, r.amount, a.balance + r.balance
    FROM run r JOIN applied a USING (account_id) WHERE r.movement IS NOT NULL)
  SELECT coalesce(bool_or(a.is_doubtful), false) INTO is_doubtful FROM applied a;
  IF is_doubtful THEN
    RAISE EXCEPTION 'doubtful movement' USING ERRCODE = 'FW409';
  END IF;

  IF is_bulk THEN
    answers := ARRAY[format('{"orders":%s,"movements":%s}', order_count, leg_count)];
  ELSE -- numbers that the API lets in need no escapes
    SELECT array_agg('{"order_id":' || first_order + p.n - 1 || ',"request_no":"' || p.request_no || '","business_date":"'
             || coalesce(p.day, posted_on) || '","recorded_at":' || to_json(coalesce(p.at, posted_at)) || ',"movement_ids":['
             || CASE coalesce(p.many, 1)
               WHEN 1 THEN (first_movement + coalesce(p.first, p.n - 1))::text WHEN 0 THEN ''
               ELSE (SELECT string_agg(id::text, ',' ORDER BY id) FROM generate_series(first_movement + p.first, first_movement + p.first + p.many - 1) id) END
             || ']}' ORDER BY p.n)
    INTO answers
    FROM unnest(p_request, dates, ats, p_first, p_count) WITH ORDINALITY p(request_no, day, at, first, many, n);
  END IF;
  INSERT INTO api.answer (scope, endpoint, idempotency_key, body_hash, body, answer)
  SELECT x.scope, post_fast.endpoint, x.key, x.hash, x.body, x.answer::json
  FROM unnest(a_scope, a_key, a_hash, a_body, answers) x(scope, key, hash, body, answer);
  INSERT INTO outbox.event (topic, platform_id, subject, payload, recorded_at)
  SELECT 'ledger.posted', CASE WHEN k.is_of_one THEN k_platform[1] END, CASE WHEN k.is_of_one THEN k_platform[1] ELSE 'batch' END,
         ('{"orders":[' || p.orders || ']}')::jsonb, clock.now_at
  FROM (SELECT string_agg('[' || first_order + u.n - 1 || ',"' || k_platform[u.kind] || '","' || u.request_no || '","' || k_type[u.kind] || '"]', ','
                          ORDER BY u.n) AS orders
        FROM (SELECT unnest(p_kind) AS kind, unnest(p_request) AS request_no, generate_series(1, order_count) AS n) u) p,
       (SELECT k_platform[1] = ALL (k_platform) AS is_of_one) k;
  UPDATE ledger.clock SET now_at = coalesce(ats[order_count], posted_at);
  RETURN answers;
END $$;
REVOKE EXECUTE ON FUNCTION ledger.post_fast FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.post_fast TO service;

-- The same, with a plan that is kept: a function in SQL is planned at every call.
CREATE OR REPLACE FUNCTION registry.stopped_platform(platforms text[], order_types text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT a.platform_id || ' is ' || s.status
    FROM unnest(platforms, order_types) a(platform_id, order_type)
    CROSS JOIN LATERAL (SELECT status FROM registry.platform_status p WHERE p.platform_id = a.platform_id ORDER BY p.version DESC LIMIT 1) s
    WHERE s.status = 'LEFT' OR (s.status = 'ONBOARDING' AND a.order_type <> 'OPENING')
       OR (s.status = 'SUSPENDED' AND a.order_type IN ('TENDER', 'DISBURSE', 'CREDIT_ASSIGNMENT')) -- no new lending; paying back goes on
    ORDER BY a.platform_id LIMIT 1);
END $$;

-- It refuses and changes nothing, so it may look after the update; before it, every posting locked the row of each balance once more.
DROP TRIGGER desk_state ON ledger.balance;
CREATE TRIGGER desk_state AFTER UPDATE OF state ON ledger.balance FOR EACH ROW EXECUTE FUNCTION work.guard_state();
