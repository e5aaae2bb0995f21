-- R2 within minutes of the event and R1 without pause (spec 07 section 7.1): what a platform tells of its own postings and orders, transaction by
-- transaction, beside book B. What is told and every verdict are appended; `cursor` and `open_key` say where the work stands and follow from them.
CREATE SCHEMA live;

-- Book V as it is told. The same line heard again is one row; the same key in other words is another row: the platform posted twice.
CREATE TABLE live.posting (
  posting_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  platform_id text NOT NULL REFERENCES registry.platform,
  request_no text NOT NULL,
  seq int NOT NULL CHECK (seq >= 1),
  movement_type text NOT NULL,
  debit_account_no text NOT NULL,
  credit_account_no text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  currency text NOT NULL,
  txn_at timestamptz NOT NULL, -- by the platform's clock
  loan_no text,
  issue_no int,
  component text CHECK (component IN ('P', 'I')),
  business_date date NOT NULL, -- of txn_at, by the day rule in force when it was told
  content_sha256 bytea NOT NULL,
  recorded_at timestamptz NOT NULL,
  transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
  UNIQUE (platform_id, request_no, seq, content_sha256)
);
CREATE INDEX posting_by_transaction ON live.posting (transaction_id, posting_id);
-- Book O as it is told, a row each time an order is told with other content.
CREATE TABLE live.platform_order (
  platform_order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  platform_id text NOT NULL REFERENCES registry.platform,
  request_no text NOT NULL,
  order_type text NOT NULL,
  account_no text NOT NULL,
  counter_account_no text,
  amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
  currency text NOT NULL,
  order_status text NOT NULL,
  created_at timestamptz NOT NULL, -- by the platform's clock
  loan_no text,
  business_date date NOT NULL,
  content_sha256 bytea NOT NULL,
  recorded_at timestamptz NOT NULL,
  transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
  UNIQUE (platform_id, request_no, content_sha256)
);
CREATE INDEX platform_order_by_transaction ON live.platform_order (transaction_id, platform_order_id);
-- Words of book O as R1 reads them; a test compares them with recon.platform_orders.
CREATE TABLE live.order_word (
  kind text CHECK (kind IN ('PENDING', 'FEE', 'HOLDING', 'LEFT_OUT')),
  word text,
  PRIMARY KEY (kind, word)
);
INSERT INTO live.order_word
SELECT 'PENDING', unnest(ARRAY['ACCEPT', 'ACCEPTED', 'PENDING', 'PROCESSING', 'REMITING', 'REMITTING'])
UNION ALL SELECT 'FEE', unnest(ARRAY['COMMISSION', 'BACKROLL_COMMISSION'])
UNION ALL SELECT 'HOLDING', 'TENDER'
UNION ALL SELECT 'LEFT_OUT', unnest(ARRAY['ADJUST_INCREASE', 'ADJUST_REDUCE', 'APPEND_FREEZE', 'BACKROLL', 'BANK_CHARGE', 'CANCEL_PRE_TRANSACTION', 'CHANNEL_FEE', 'DEDUCT',
  'FREEZE', 'INTEREST_CREDITED', 'OPENING', 'SETTLEMENT', 'UNFREEZE', 'UNIDENTIFIED_RECEIPT', 'WITHDRAW_PAYOUT']);
-- A platform takes part with a book from its first word about it on: what custody does from then on must be told.
CREATE TABLE live.participant (
  platform_id text REFERENCES registry.platform,
  book text CHECK (book IN ('V', 'O')),
  since timestamptz NOT NULL,
  transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (platform_id, book)
);
-- What was thought of a key, in order. The newest is the one in force.
CREATE TABLE live.verdict (
  verdict_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  recon_id text NOT NULL CHECK (recon_id IN ('R1', 'R2')),
  platform_id text NOT NULL,
  currency text NOT NULL,
  request_no text NOT NULL,
  match_key text NOT NULL, -- R2: request_no#seq, as R3's; R1: request_no
  verdict_no int NOT NULL CHECK (verdict_no >= 1),
  state text NOT NULL CHECK (state IN ('MATCHED', 'WAITING', 'BREAK', 'LEFT')), -- LEFT: nothing to judge here, the other run has it
  code text CHECK (code ~ '^B[0-9]{2}$'), -- of a break; of what waits, what it will be
  failing text NOT NULL, -- attributes that differ, or the side that lacks
  item_id text, -- as the night numbers the same break (R3, R1)
  opened_on date,
  effect_minor bigint NOT NULL, -- left book less right book
  effects jsonb NOT NULL, -- [{book, account_no, effect_minor}], credit +
  due_at timestamptz, -- until when it waits
  recorded_at timestamptz NOT NULL,
  UNIQUE (recon_id, platform_id, currency, match_key, verdict_no),
  CHECK ((state = 'MATCHED' OR state = 'LEFT') = (code IS NULL) AND (state = 'BREAK') = (item_id IS NOT NULL) AND (state = 'WAITING') = (due_at IS NOT NULL))
);
CREATE INDEX verdict_not_matched ON live.verdict (verdict_id) WHERE state IN ('WAITING', 'BREAK');
CREATE INDEX verdict_of_request ON live.verdict (platform_id, request_no);
-- Keys whose newest verdict is WAITING (with the time it ends) or BREAK.
CREATE TABLE live.open_key (
  recon_id text,
  platform_id text,
  currency text,
  match_key text,
  request_no text NOT NULL,
  verdict_id bigint NOT NULL REFERENCES live.verdict,
  state text NOT NULL,
  due_at timestamptz,
  PRIMARY KEY (recon_id, platform_id, currency, match_key)
);
CREATE INDEX open_key_due ON live.open_key (due_at) WHERE due_at IS NOT NULL;
-- Where the reading stands, as outside.cursor: events and postings of transactions in [done_to, horizon) are taken, all of which have ended.
CREATE TABLE live.cursor (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  done_to xid8 NOT NULL,
  horizon xid8 NOT NULL,
  last_event_id bigint NOT NULL,
  last_posting_id bigint NOT NULL,
  last_order_id bigint NOT NULL,
  turned_at timestamptz -- real time of the last turn that found nothing left
);
INSERT INTO live.cursor SELECT true, pg_snapshot_xmin(s), pg_snapshot_xmin(s), 0, 0, 0, NULL FROM pg_current_snapshot() s;
DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['live.posting', 'live.platform_order', 'live.order_word', 'live.participant', 'live.verdict'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;

-- The newest verdict of every key.
CREATE VIEW live.current_verdict AS
SELECT v.* FROM live.verdict v
WHERE NOT EXISTS (SELECT FROM live.verdict n WHERE n.recon_id = v.recon_id AND n.platform_id = v.platform_id AND n.currency = v.currency
                  AND n.match_key = v.match_key AND n.verdict_no = v.verdict_no + 1);

-- Before the first platform takes part nothing is read: what lies there concerns nobody.
CREATE FUNCTION live.take_part(of_platform text, of_book text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM registry.platform p WHERE p.platform_id = of_platform) THEN
    PERFORM work.refuse('UNKNOWN_PLATFORM', 'platform_id', of_platform);
  END IF;
  INSERT INTO live.participant VALUES (of_platform, of_book, ledger.clock_now()) ON CONFLICT DO NOTHING;
  IF FOUND AND (SELECT count(*) = 1 FROM live.participant) THEN
    UPDATE live.cursor SET done_to = pg_snapshot_xmin(pg_current_snapshot()), horizon = pg_snapshot_xmin(pg_current_snapshot()),
      last_event_id = 0, last_posting_id = 0, last_order_id = 0;
  END IF;
END $$;

-- Keep lines of a platform's ledger: how many are new, were heard before, and repeat a key in other words.
CREATE FUNCTION live.tell_postings(of_platform text, postings jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  told int := jsonb_array_length(postings);
  made int;
  repeats int;
BEGIN
  PERFORM live.take_part(of_platform, 'V');
  WITH line AS (
    SELECT DISTINCT r.*, sha256(convert_to(jsonb_build_array(r.movement_type, r.debit_account_no, r.credit_account_no, r.amount_minor, r.currency,
                                           r.txn_at, r.loan_no, r.issue_no, r.component)::text, 'UTF8')) AS content
    FROM jsonb_to_recordset(postings) r(request_no text, seq int, movement_type text, debit_account_no text, credit_account_no text,
      amount_minor bigint, currency text, txn_at timestamptz, loan_no text, issue_no int, component text)),
  kept AS (
    INSERT INTO live.posting (platform_id, request_no, seq, movement_type, debit_account_no, credit_account_no, amount_minor, currency, txn_at,
                              loan_no, issue_no, component, business_date, content_sha256, recorded_at)
    SELECT of_platform, l.request_no, l.seq, l.movement_type, l.debit_account_no, l.credit_account_no, l.amount_minor, l.currency, l.txn_at,
           l.loan_no, l.issue_no, l.component, work.business_date(l.txn_at), l.content, ledger.clock_now()
    FROM line l ORDER BY l.request_no, l.seq, l.content
    ON CONFLICT DO NOTHING RETURNING request_no, seq)
  -- the statement's own snapshot has only lines of before, so a repetition inside the call is counted by its place
  SELECT count(*), count(*) FILTER (WHERE k.place > 1 OR EXISTS (
           SELECT FROM live.posting p WHERE p.platform_id = of_platform AND p.request_no = k.request_no AND p.seq = k.seq))
  INTO made, repeats
  FROM (SELECT request_no, seq, row_number() OVER (PARTITION BY request_no, seq) AS place FROM kept) k;
  RETURN jsonb_build_object('postings', told, 'new', made, 'unchanged', told - made, 'repeats', repeats);
END $$;

-- Keep orders as a platform has them now; the same content heard again is known.
CREATE FUNCTION live.tell_orders(of_platform text, orders jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  told int := jsonb_array_length(orders);
  made int;
BEGIN
  PERFORM live.take_part(of_platform, 'O');
  WITH line AS (
    SELECT DISTINCT r.*, sha256(convert_to(jsonb_build_array(r.order_type, r.account_no, r.counter_account_no, r.amount_minor, r.currency,
                                           r.order_status, r.created_at, r.loan_no)::text, 'UTF8')) AS content
    FROM jsonb_to_recordset(orders) r(request_no text, order_type text, account_no text, counter_account_no text, amount_minor bigint,
      currency text, order_status text, created_at timestamptz, loan_no text))
  INSERT INTO live.platform_order (platform_id, request_no, order_type, account_no, counter_account_no, amount_minor, currency, order_status,
                                   created_at, loan_no, business_date, content_sha256, recorded_at)
  SELECT of_platform, l.request_no, l.order_type, l.account_no, l.counter_account_no, l.amount_minor, l.currency, l.order_status, l.created_at,
         l.loan_no, work.business_date(l.created_at), l.content, ledger.clock_now()
  FROM line l ORDER BY l.request_no, l.content
  ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS made = ROW_COUNT;
  RETURN jsonb_build_object('orders', told, 'orders_new', made, 'orders_unchanged', told - made);
END $$;

-- Keep what a platform tells of both of its books, all or nothing.
CREATE FUNCTION live.tell(of_platform text, postings jsonb, orders jsonb, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  result jsonb := '{"postings": 0, "new": 0, "unchanged": 0, "repeats": 0, "orders": 0, "orders_new": 0, "orders_unchanged": 0}';
BEGIN
  IF jsonb_array_length(postings) > 0 THEN
    result := result || live.tell_postings(of_platform, postings);
  END IF;
  IF jsonb_array_length(orders) > 0 THEN
    result := result || live.tell_orders(of_platform, orders);
  END IF;
  IF (result ->> 'new')::int + (result ->> 'orders_new')::int > 0 THEN
    PERFORM audit.record(actor, 'BOOKS_TOLD', 'live.posting', of_platform, of_platform, NULL, result);
  END IF;
  RETURN result;
END $$;

-- The number that the night gives the same break (contracts section 8): neither rule, run nor code.
CREATE FUNCTION live.item_id(of_recon text, of_platform text, of_currency text, of_key text, of_date date) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT left(encode(sha256(convert_to(concat_ws('|', of_recon, of_platform, of_currency, of_key, to_char(of_date, 'YYYY-MM-DD')), 'UTF8')), 'hex'), 32) $$;

-- What lines [book, debit, credit, amount, debit counts, credit counts] add to the balances of accounts, by book; control accounts do not count.
-- A repetition is wrong in book V alone: its lines less custody's (recon.timeline.effects).
CREATE FUNCTION live.effects(lines jsonb, is_repetition boolean) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_object('book', e.book, 'account_no', e.account_no, 'effect_minor', e.effect_minor)
                            ORDER BY e.book, e.account_no), '[]')
  FROM (SELECT CASE WHEN is_repetition THEN 'V' ELSE l.value ->> 0 END AS book, leg.account_no,
               sum(CASE WHEN is_repetition AND l.value ->> 0 = 'B' THEN -leg.change_minor ELSE leg.change_minor END)::bigint AS effect_minor
        FROM jsonb_array_elements(lines) l
        CROSS JOIN LATERAL (VALUES (l.value ->> 1, -(l.value ->> 3)::bigint, (l.value ->> 4)::boolean),
                                   (l.value ->> 2, (l.value ->> 3)::bigint, (l.value ->> 5)::boolean)) leg(account_no, change_minor, counts)
        WHERE leg.counts GROUP BY 1, 2) e
  WHERE e.effect_minor <> 0 $$;

-- What is to be said of every key of some requests now. A pure function of both books, the day a platform joined, and the time.
-- Of custody's movements those between two control accounts are not the platform's to post, as in R3.
CREATE FUNCTION live.judged(platforms text[], requests text[], wait_s int)
RETURNS TABLE (platform_id text, currency text, request_no text, match_key text, state text, code text, failing text, item_id text,
               opened_on date, effect_minor bigint, effects jsonb, due_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- everything goes forward by grouping, nothing is joined back: the planner does not know how many requests are asked for
  WITH asked AS MATERIALIZED (
    SELECT DISTINCT u.p AS platform_id, u.r AS request_no, w.since
    FROM unnest(platforms, requests) u(p, r) JOIN live.participant w ON w.platform_id = u.p AND w.book = 'V'),
  line AS (
    SELECT 'V' AS book, a.since, p.platform_id, p.currency, p.request_no, p.seq, p.movement_type, p.debit_account_no AS debit,
           p.credit_account_no AS credit, p.amount_minor, p.business_date, least(p.txn_at, p.recorded_at) AS happened_at, p.content_sha256 AS place,
           NOT coalesce(d.is_control, false) AS debit_counts, NOT coalesce(c.is_control, false) AS credit_counts
    FROM asked a JOIN live.posting p USING (platform_id, request_no)
    LEFT JOIN registry.account d ON d.account_no = p.debit_account_no
    LEFT JOIN registry.account c ON c.account_no = p.credit_account_no
    UNION ALL
    SELECT 'B', a.since, t.platform_id, m.currency, t.request_no, m.seq, m.movement_type, d.account_no, c.account_no, m.amount_minor,
           m.business_date, m.recorded_at, NULL, NOT d.is_control, NOT c.is_control
    FROM asked a JOIN ledger.trade_order t USING (platform_id, request_no) JOIN ledger.movement m USING (order_id)
    JOIN registry.account d ON d.account_id = m.debit_account_id JOIN registry.account c ON c.account_id = m.credit_account_id
    WHERE NOT (d.is_control AND c.is_control)),
  key AS (
    SELECT l.platform_id, l.currency, l.request_no, l.seq, min(l.since) AS since, count(*) FILTER (WHERE l.book = 'V') AS n_left,
           count(*) FILTER (WHERE l.book = 'B') AS n_right,
           coalesce(sum(l.amount_minor) FILTER (WHERE l.book = 'V'), 0)::bigint AS left_minor,
           coalesce(sum(l.amount_minor) FILTER (WHERE l.book = 'B'), 0)::bigint AS right_minor,
           (array_agg(l.movement_type ORDER BY l.business_date, l.place) FILTER (WHERE l.book = 'V'))[1] AS left_type,
           (array_agg(l.debit || ' ' || l.credit ORDER BY l.business_date, l.place) FILTER (WHERE l.book = 'V'))[1] AS left_accounts,
           (array_agg(l.amount_minor ORDER BY l.business_date, l.place) FILTER (WHERE l.book = 'V'))[1] AS first_minor,
           (array_agg(l.business_date ORDER BY l.business_date, l.place) FILTER (WHERE l.book = 'V'))[1] AS first_on,
           (array_agg(l.business_date ORDER BY l.business_date, l.place) FILTER (WHERE l.book = 'V'))[2] AS second_on,
           min(l.movement_type) FILTER (WHERE l.book = 'B') AS right_type,
           min(l.debit || ' ' || l.credit) FILTER (WHERE l.book = 'B') AS right_accounts,
           min(l.business_date) FILTER (WHERE l.book = 'B') AS right_on, min(l.happened_at) AS happened_at,
           jsonb_agg(jsonb_build_array(l.book, l.debit, l.credit, l.amount_minor, l.debit_counts, l.credit_counts)) AS lines
    FROM line l GROUP BY l.platform_id, l.currency, l.request_no, l.seq),
  compared AS (
    SELECT k.*, k.left_type <> k.right_type AS type_differs, k.left_accounts <> k.right_accounts AS accounts_differ,
           k.first_minor <> k.right_minor AS amount_differs
    FROM key k
    -- what custody moved before the platform took part is not missed, whatever comes of it is compared
    WHERE k.n_left > 0 OR k.happened_at >= k.since),
  named AS (
    SELECT c.*, CASE WHEN c.n_left > 1 THEN 'B08' WHEN c.n_right = 0 THEN 'B01' WHEN c.n_left = 0 THEN 'B02' WHEN c.type_differs THEN 'B07'
                     WHEN c.accounts_differ THEN 'B05' WHEN c.amount_differs THEN 'B04' END AS code,
           -- after a first match only what repeats it later is open, as in the night (recon.timeline)
           CASE WHEN c.n_right = 1 AND NOT (c.type_differs OR c.accounts_differ OR c.amount_differs)
                     AND greatest(c.first_on, c.right_on) < c.second_on THEN c.second_on
                ELSE least(c.first_on, c.right_on) END AS opened_on,
           c.happened_at + make_interval(secs => wait_s) AS due_at
    FROM compared c),
  stated AS (
    SELECT n.*, CASE WHEN n.code IS NULL THEN 'MATCHED' WHEN n.code IN ('B01', 'B02') AND ledger.clock_now() < n.due_at THEN 'WAITING'
                     ELSE 'BREAK' END AS state
    FROM named n)
  SELECT s.platform_id, s.currency, s.request_no, s.request_no || '#' || s.seq, s.state, s.code,
         CASE WHEN s.code = 'B08' THEN 'key repeats in V' WHEN s.code = 'B01' THEN 'not in B' WHEN s.code = 'B02' THEN 'not in V'
              ELSE concat_ws(', ', CASE WHEN s.type_differs THEN 'movement type' END, CASE WHEN s.accounts_differ THEN 'accounts' END,
                             CASE WHEN s.amount_differs THEN 'amount' END) END,
         CASE WHEN s.state = 'BREAK' THEN live.item_id('R3', s.platform_id, s.currency, s.request_no || '#' || s.seq, s.opened_on) END,
         CASE WHEN s.state <> 'MATCHED' THEN s.opened_on END, s.left_minor - s.right_minor,
         CASE WHEN s.state = 'MATCHED' THEN '[]' ELSE live.effects(s.lines, s.code = 'B08') END,
         CASE WHEN s.state = 'WAITING' THEN s.due_at END
  FROM stated s $$;

CREATE FUNCTION live.words(of_kind text) RETURNS text[] LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT array_agg(w.word) FROM live.order_word w WHERE w.kind = of_kind $$;

-- The same of requests as wholes: the platform's order against what both ledgers moved (R1, recon.platform_orders). A request on which the
-- ledgers differ has its item in R2: it is LEFT here. An order without an answer is no record yet; one that ended without money matches nothing.
CREATE FUNCTION live.judged_orders(platforms text[], requests text[], wait_s int)
RETURNS TABLE (platform_id text, currency text, request_no text, match_key text, state text, code text, failing text, item_id text,
               opened_on date, effect_minor bigint, effects jsonb, due_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH asked AS MATERIALIZED (
    SELECT DISTINCT u.p AS platform_id, u.r AS request_no, w.since
    FROM unnest(platforms, requests) u(p, r) JOIN live.participant w ON w.platform_id = u.p AND w.book = 'O'
    JOIN live.participant v ON v.platform_id = u.p AND v.book = 'V'),
  fact AS (
    -- of lines that custody moved before the platform told its ledger there is no verdict: they are taken as agreed
    SELECT a.platform_id, a.request_no, v.currency, a.since, 'L' AS source, v.state = 'MATCHED' AS agrees, NULL AS order_type, NULL AS order_status,
           NULL::bigint AS amount_minor, NULL::date AS business_date, NULL::timestamptz AS happened_at, NULL::bytea AS place
    FROM asked a JOIN live.current_verdict v USING (platform_id, request_no) WHERE v.recon_id = 'R2'
    UNION ALL
    SELECT a.platform_id, a.request_no, t.currency, a.since, 'B', NULL, t.order_type, NULL,
           CASE WHEN t.order_type = ANY (live.words('HOLDING')) THEN t.amount_minor ELSE m.principal_minor END, t.business_date, t.recorded_at, NULL
    FROM asked a JOIN ledger.trade_order t USING (platform_id, request_no)
    CROSS JOIN LATERAL (
      SELECT coalesce(sum(x.amount_minor), 0)::bigint AS principal_minor
      FROM ledger.movement x JOIN registry.account d ON d.account_id = x.debit_account_id JOIN registry.account c ON c.account_id = x.credit_account_id
      WHERE x.order_id = t.order_id AND NOT (d.is_control AND c.is_control) AND x.movement_type <> ALL (live.words('FEE'))) m
    WHERE t.order_type <> ALL (live.words('LEFT_OUT')) AND (m.principal_minor > 0 OR t.order_type = ANY (live.words('HOLDING')))
    UNION ALL
    SELECT a.platform_id, a.request_no, o.currency, a.since, 'O', NULL, o.order_type, o.order_status, o.amount_minor, o.business_date,
           least(o.created_at, o.recorded_at), o.content_sha256
    FROM asked a JOIN live.platform_order o USING (platform_id, request_no)
    WHERE o.amount_minor > 0 AND o.order_status <> ALL (live.words('PENDING')) AND o.order_type <> ALL (live.words('LEFT_OUT'))),
  joined AS (
    SELECT f.platform_id, f.request_no, f.currency, min(f.since) AS since, count(*) FILTER (WHERE f.source = 'O') AS n_left,
           (array_agg(f.order_type ORDER BY f.business_date, f.place) FILTER (WHERE f.source = 'O'))[1] AS left_type,
           (array_agg(f.order_status ORDER BY f.business_date, f.place) FILTER (WHERE f.source = 'O'))[1] AS order_status,
           (array_agg(f.amount_minor ORDER BY f.business_date, f.place) FILTER (WHERE f.source = 'O'))[1] AS first_minor,
           (array_agg(f.business_date ORDER BY f.business_date, f.place) FILTER (WHERE f.source = 'O'))[1] AS first_on,
           (array_agg(f.business_date ORDER BY f.business_date, f.place) FILTER (WHERE f.source = 'O'))[2] AS second_on,
           coalesce(sum(f.amount_minor) FILTER (WHERE f.source = 'O'), 0)::bigint AS left_minor,
           min(f.happened_at) FILTER (WHERE f.source = 'O') AS left_at, min(f.order_type) FILTER (WHERE f.source = 'B') AS right_type,
           min(f.amount_minor) FILTER (WHERE f.source = 'B') AS right_minor, min(f.business_date) FILTER (WHERE f.source = 'B') AS right_on,
           min(f.happened_at) FILTER (WHERE f.source = 'B') AS right_at, coalesce(bool_and(f.agrees), true) AS agrees,
           count(*) FILTER (WHERE f.source <> 'O') > 0 AS has_lines
    FROM fact f GROUP BY f.platform_id, f.request_no, f.currency),
  named AS (
    SELECT j.*, CASE WHEN j.has_lines AND NOT j.agrees THEN NULL
                     WHEN NOT j.has_lines AND j.order_status <> 'SUCCESS' THEN NULL
                     WHEN j.n_left > 1 THEN 'B08' WHEN j.right_type IS NULL THEN 'B03' WHEN j.n_left = 0 THEN 'B02'
                     WHEN j.order_status <> 'SUCCESS' THEN 'B06' WHEN j.left_type <> j.right_type THEN 'B07'
                     WHEN j.first_minor <> j.right_minor THEN 'B16' END AS code,
           CASE WHEN j.order_status = 'SUCCESS' AND j.left_type = j.right_type AND j.first_minor = j.right_minor
                     AND greatest(j.first_on, j.right_on) < j.second_on THEN j.second_on
                ELSE least(j.first_on, j.right_on) END AS opened_on,
           CASE WHEN j.n_left = 0 THEN j.right_at ELSE j.left_at END + make_interval(secs => wait_s) AS due_at
    FROM joined j
    WHERE j.n_left > 0 OR j.right_at >= j.since),
  stated AS (
    SELECT n.*, CASE WHEN n.has_lines AND NOT n.agrees THEN 'LEFT' WHEN n.code IS NULL THEN 'MATCHED'
                     WHEN n.code IN ('B02', 'B03') AND ledger.clock_now() < n.due_at THEN 'WAITING' ELSE 'BREAK' END AS state
    FROM named n)
  SELECT s.platform_id, s.currency, s.request_no, s.request_no, s.state, s.code,
         CASE s.code WHEN 'B08' THEN 'key repeats in O' WHEN 'B03' THEN 'not in V, not in B' WHEN 'B02' THEN 'not in O'
              ELSE CASE WHEN s.code IS NULL THEN '' ELSE concat_ws(', ', CASE WHEN s.order_status <> 'SUCCESS' THEN 'status' END,
                     CASE WHEN s.left_type <> s.right_type THEN 'movement type' END, CASE WHEN s.first_minor <> s.right_minor THEN 'amount' END) END END,
         CASE WHEN s.state = 'BREAK' THEN live.item_id('R1', s.platform_id, s.currency, s.request_no, s.opened_on) END,
         CASE WHEN s.code IS NOT NULL THEN s.opened_on END,
         CASE WHEN s.code IS NULL THEN 0 ELSE s.left_minor - coalesce(s.right_minor, 0) END, '[]'::jsonb,
         CASE WHEN s.state = 'WAITING' THEN s.due_at END
  FROM stated s $$;

-- Judge requests and write down what is new of their keys; tells the outbox of every break that appears and of every one that is gone.
CREATE FUNCTION live.judge(of_recon text, platforms text[], requests text[], wait_s int) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  said int;
BEGIN
  WITH told AS MATERIALIZED (
    SELECT of_recon AS recon_id, j.*, b.verdict_no AS before_no, b.state AS before_state, b.code AS before_code, b.item_id AS before_item
    FROM (SELECT * FROM live.judged(platforms, requests, wait_s) WHERE of_recon = 'R2'
          UNION ALL SELECT * FROM live.judged_orders(platforms, requests, wait_s) WHERE of_recon = 'R1') j
    LEFT JOIN LATERAL (
      SELECT * FROM live.verdict v WHERE v.recon_id = of_recon AND v.platform_id = j.platform_id AND v.currency = j.currency
        AND v.match_key = j.match_key ORDER BY v.verdict_no DESC LIMIT 1) b ON true
    WHERE b.verdict_no IS NULL
       OR (b.state, b.code, b.failing, b.item_id, b.opened_on, b.effect_minor, b.effects)
          IS DISTINCT FROM (j.state, j.code, j.failing, j.item_id, j.opened_on, j.effect_minor, j.effects)),
  made AS (
    INSERT INTO live.verdict (recon_id, platform_id, currency, request_no, match_key, verdict_no, state, code, failing, item_id, opened_on,
                              effect_minor, effects, due_at, recorded_at)
    SELECT t.recon_id, t.platform_id, t.currency, t.request_no, t.match_key, coalesce(t.before_no, 0) + 1, t.state, t.code, t.failing, t.item_id,
           t.opened_on, t.effect_minor, t.effects, t.due_at, ledger.clock_now()
    FROM told t ORDER BY t.platform_id, t.match_key, t.currency
    RETURNING *),
  opened AS (
    INSERT INTO live.open_key (recon_id, platform_id, currency, match_key, request_no, verdict_id, state, due_at)
    SELECT m.recon_id, m.platform_id, m.currency, m.match_key, m.request_no, m.verdict_id, m.state, m.due_at
    FROM made m WHERE m.state IN ('WAITING', 'BREAK')
    ON CONFLICT (recon_id, platform_id, currency, match_key)
      DO UPDATE SET verdict_id = excluded.verdict_id, state = excluded.state, due_at = excluded.due_at),
  closed AS (
    DELETE FROM live.open_key o USING made m
    WHERE m.state NOT IN ('WAITING', 'BREAK')
      AND (o.recon_id, o.platform_id, o.currency, o.match_key) = (m.recon_id, m.platform_id, m.currency, m.match_key)),
  heard AS (
    SELECT outbox.append(CASE t.state WHEN 'BREAK' THEN 'recon.break' ELSE 'recon.cured' END, t.platform_id,
                         t.platform_id || ' ' || t.match_key,
                         jsonb_build_object('recon_id', t.recon_id, 'match_key', t.match_key, 'currency', t.currency,
                           'code', CASE t.state WHEN 'BREAK' THEN t.code ELSE t.before_code END,
                           'item_id', CASE t.state WHEN 'BREAK' THEN t.item_id ELSE t.before_item END,
                           'failing', t.failing, 'opened_on', t.opened_on, 'effect_minor', t.effect_minor, 'effects', t.effects))::text AS told
    FROM (SELECT * FROM told ORDER BY platform_id, match_key, currency) t
    WHERE t.state = 'BREAK' OR t.before_state = 'BREAK')
  SELECT count(*) INTO said FROM made CROSS JOIN (SELECT count(told) FROM heard) h;
  RETURN said;
END $$;

-- Of a platform that has joined in the window: what custody moved since, though its event may have been read before.
CREATE FUNCTION live.of_new_participants(stands live.cursor) RETURNS TABLE (platform_id text, request_no text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  joined live.participant;
BEGIN
  FOR joined IN SELECT * FROM live.participant w WHERE w.transaction_id >= stands.done_to AND w.transaction_id < stands.horizon
                AND stands.last_event_id = 0 AND stands.last_posting_id = 0 AND stands.last_order_id = 0
  LOOP
    RETURN QUERY SELECT t.platform_id, t.request_no FROM ledger.movement m JOIN ledger.trade_order t ON t.order_id = m.order_id
      WHERE m.business_date >= work.business_date(joined.since) AND m.recorded_at >= joined.since AND t.platform_id = joined.platform_id;
  END LOOP;
END $$;

-- One turn: the next events and postings, and keys whose time is over. One worker at a time; killed anywhere, nothing of it is there.
-- Answers {"taken": events, postings and due keys, "verdicts": new ones}; null when another is at it.
CREATE FUNCTION live.turn(events_max int, postings_max int, wait_s int) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands live.cursor;
  events bigint[];
  postings bigint[];
  orders bigint[];
  platforms text[];
  requests text[];
  due int;
  verdicts int := 0;
BEGIN
  IF NOT EXISTS (SELECT FROM live.participant) THEN
    RETURN '{"taken": 0, "verdicts": 0}';
  END IF;
  SELECT * INTO stands FROM live.cursor FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF stands.done_to = stands.horizon THEN
    stands.horizon := pg_snapshot_xmin(pg_current_snapshot());
    stands.last_event_id := 0;
    stands.last_posting_id := 0;
    stands.last_order_id := 0;
  END IF;
  SELECT array_agg(n.event_id ORDER BY n.event_id) INTO events
  FROM (SELECT e.event_id FROM outbox.event e
        WHERE e.transaction_id >= stands.done_to AND e.transaction_id < stands.horizon AND e.event_id > stands.last_event_id
          AND e.topic = 'ledger.posted'
        ORDER BY e.event_id LIMIT events_max) n;
  SELECT array_agg(n.posting_id ORDER BY n.posting_id) INTO postings
  FROM (SELECT p.posting_id FROM live.posting p
        WHERE p.transaction_id >= stands.done_to AND p.transaction_id < stands.horizon AND p.posting_id > stands.last_posting_id
        ORDER BY p.posting_id LIMIT postings_max) n;
  SELECT array_agg(n.platform_order_id ORDER BY n.platform_order_id) INTO orders
  FROM (SELECT o.platform_order_id FROM live.platform_order o
        WHERE o.transaction_id >= stands.done_to AND o.transaction_id < stands.horizon AND o.platform_order_id > stands.last_order_id
        ORDER BY o.platform_order_id LIMIT postings_max) n;
  IF events IS NOT NULL OR postings IS NOT NULL OR orders IS NOT NULL
     OR EXISTS (SELECT FROM live.open_key o WHERE o.due_at <= ledger.clock_now()) THEN
    WITH due_key AS MATERIALIZED (
      SELECT o.platform_id, o.request_no FROM live.open_key o WHERE o.due_at <= ledger.clock_now() ORDER BY o.due_at LIMIT postings_max),
    touched AS (
      SELECT o.value ->> 1 AS platform_id, o.value ->> 2 AS request_no
      FROM outbox.event e CROSS JOIN LATERAL jsonb_array_elements(e.payload -> 'orders') o
      WHERE e.event_id = ANY(events)
      UNION SELECT p.platform_id, p.request_no FROM live.posting p WHERE p.posting_id = ANY(postings)
      UNION SELECT o.platform_id, o.request_no FROM live.platform_order o WHERE o.platform_order_id = ANY(orders)
      UNION SELECT d.platform_id, d.request_no FROM due_key d
      UNION SELECT j.platform_id, j.request_no FROM live.of_new_participants(stands) j)
    SELECT array_agg(t.platform_id), array_agg(t.request_no), (SELECT count(*) FROM due_key) INTO platforms, requests, due
    FROM touched t WHERE EXISTS (SELECT FROM live.participant w WHERE w.platform_id = t.platform_id);
  END IF;
  IF platforms IS NOT NULL THEN
    -- orders are compared with what the ledgers' verdicts are by now
    verdicts := live.judge('R2', platforms, requests, wait_s) + live.judge('R1', platforms, requests, wait_s);
  END IF;
  IF events IS NULL AND postings IS NULL AND orders IS NULL THEN
    UPDATE live.cursor SET done_to = stands.horizon, horizon = stands.horizon, last_event_id = 0, last_posting_id = 0, last_order_id = 0,
      turned_at = clock_timestamp();
  ELSE
    UPDATE live.cursor SET done_to = stands.done_to, horizon = stands.horizon,
      last_event_id = greatest(stands.last_event_id, events[cardinality(events)]),
      last_posting_id = greatest(stands.last_posting_id, postings[cardinality(postings)]),
      last_order_id = greatest(stands.last_order_id, orders[cardinality(orders)]);
  END IF;
  RETURN jsonb_build_object('taken', coalesce(cardinality(events), 0) + coalesce(cardinality(postings), 0)
                            + coalesce(cardinality(orders), 0) + coalesce(due, 0),
                            'verdicts', verdicts);
END $$;

-- How the work stands: platforms that take part, keys that wait and that are breaks, and for how long the oldest word was not yet looked at.
CREATE FUNCTION live.health() RETURNS TABLE (platforms bigint, waiting bigint, breaks bigint, lag_s double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT (SELECT count(DISTINCT p.platform_id) FROM live.participant p), count(*) FILTER (WHERE o.state = 'WAITING'), count(*) FILTER (WHERE o.state = 'BREAK'),
         CASE WHEN EXISTS (SELECT FROM live.participant) THEN coalesce(extract(epoch FROM ledger.clock_now() - (
           SELECT min(u.recorded_at) FROM live.cursor c CROSS JOIN LATERAL (
             (SELECT e.recorded_at FROM outbox.event e
              WHERE e.transaction_id >= c.done_to AND (e.transaction_id >= c.horizon OR e.event_id > c.last_event_id) AND e.topic = 'ledger.posted'
              ORDER BY e.transaction_id, e.event_id LIMIT 1)
             UNION ALL
             (SELECT p.recorded_at FROM live.posting p
              WHERE p.transaction_id >= c.done_to AND (p.transaction_id >= c.horizon OR p.posting_id > c.last_posting_id)
              ORDER BY p.transaction_id, p.posting_id LIMIT 1)
             UNION ALL
             (SELECT o.recorded_at FROM live.platform_order o
              WHERE o.transaction_id >= c.done_to AND (o.transaction_id >= c.horizon OR o.platform_order_id > c.last_order_id)
              ORDER BY o.transaction_id, o.platform_order_id LIMIT 1)) u)), 0) ELSE 0 END::double precision
  FROM live.open_key o $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA live FROM PUBLIC;
GRANT USAGE ON SCHEMA live TO service, reader;
GRANT SELECT ON ALL TABLES IN SCHEMA live TO service, reader;
GRANT EXECUTE ON FUNCTION live.tell, live.turn, live.health TO service;
