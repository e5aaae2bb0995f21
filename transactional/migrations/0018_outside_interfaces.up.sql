-- What leaves the bank and what comes back (spec 10 rows 0.12, 0.24, 1.4): the outbox is expanded into deliveries, one a target and
-- event, each sent at least once and in order per subject; a try is a row that stays; payments have a state history.
CREATE SCHEMA outside;
CREATE INDEX event_by_transaction ON outbox.event (transaction_id, event_id);

CREATE TABLE outside.target (
  target text NOT NULL CHECK (target ~ '^[a-z][a-z0-9-]{1,39}$'),
  version int NOT NULL CHECK (version >= 1),
  adapter text NOT NULL CHECK (adapter IN ('core-banking', 'outreach', 'sms', 'email', 'reporting')),
  platform_id text REFERENCES registry.platform, -- null: what concerns any platform
  endpoint text NOT NULL CHECK (char_length(endpoint) <= 500 AND endpoint ~ '^((https|smtps)://[^\s]+|(http|smtp)://(127\.0\.0\.1|localhost)([:/][^\s]*)?)$'),
  secret_names text[] NOT NULL CHECK (cardinality(secret_names) BETWEEN 1 AND 2), -- files under secrets/, the newest first
  topics text[] NOT NULL CHECK (cardinality(topics) <= 50), -- `order.posted`, or `order.*`
  is_enabled boolean NOT NULL, -- false: deliveries are kept and wait
  settings jsonb NOT NULL CHECK (jsonb_typeof(settings) = 'object'),
  from_event_id bigint NOT NULL, -- hears what came after it was first approved
  valid_from date NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (target, version)
);
CREATE VIEW outside.target_current AS SELECT DISTINCT ON (target) * FROM outside.target ORDER BY target, version DESC;

-- Where the expansion stands. Events of transactions in [done_to, horizon) are taken in the order of event_id: all of them have
-- ended, and a subject's lock gives its events rising ids, so nothing is passed over and no subject is out of order.
CREATE TABLE outside.cursor (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  done_to xid8 NOT NULL,
  horizon xid8 NOT NULL,
  last_event_id bigint NOT NULL
);
INSERT INTO outside.cursor SELECT true, pg_snapshot_xmin(s), pg_snapshot_xmin(s), 0 FROM pg_current_snapshot() s;

CREATE TABLE outside.delivery (
  delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target text NOT NULL,
  event_id bigint NOT NULL,
  part int NOT NULL,
  topic text NOT NULL,
  platform_id text,
  subject text NOT NULL,
  payload jsonb NOT NULL,
  recorded_at timestamptz NOT NULL, -- of the event, by the service's clock
  made_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- this and the times below: real time, for waiting and leases
  state text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DELIVERED', 'DEAD', 'SKIPPED')),
  tries int NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  lease uuid,
  leased_until timestamptz,
  reason text,
  settled_at timestamptz,
  UNIQUE (target, event_id, part)
);
CREATE INDEX delivery_of_subject ON outside.delivery (target, subject, delivery_id) WHERE state IN ('PENDING', 'DEAD');
CREATE INDEX delivery_due ON outside.delivery (next_at, delivery_id) WHERE state = 'PENDING';
CREATE INDEX delivery_settled ON outside.delivery (settled_at) WHERE state IN ('DELIVERED', 'SKIPPED');

CREATE TABLE outside.delivery_attempt (
  attempt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  delivery_id bigint NOT NULL, -- no reference: the delivery goes by retention, the record of the try stays
  target text NOT NULL,
  event_id bigint NOT NULL,
  part int NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('DELIVERED', 'RETRY', 'WAIT', 'DEAD')),
  reason text,
  worker text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX attempt_of_delivery ON outside.delivery_attempt (delivery_id, attempt_id);

-- One notice a template, subject and business date (spec 10 row 0.12).
CREATE TABLE outside.notice (
  target text NOT NULL,
  template text NOT NULL,
  subject text NOT NULL,
  business_date date NOT NULL,
  event_id bigint NOT NULL,
  part int NOT NULL,
  PRIMARY KEY (target, template, subject, business_date)
);

CREATE TABLE outside.payment_instruction (
  instruction_no text PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('PAYOUT', 'REFUND')),
  platform_id text NOT NULL REFERENCES registry.platform,
  order_id bigint NOT NULL,
  movement_id bigint NOT NULL UNIQUE,
  account_no text NOT NULL,
  method text NOT NULL, -- the order's type: T+1, T+0 or real time
  currency text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  recorded_at timestamptz NOT NULL
);
CREATE TABLE outside.payment_state (
  instruction_no text NOT NULL REFERENCES outside.payment_instruction,
  seq int NOT NULL CHECK (seq >= 1),
  state text NOT NULL CHECK (state IN ('CREATED', 'SENT', 'ACCEPTED', 'PAID', 'FAILED')),
  reason text,
  bank_reference text,
  actor text NOT NULL,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (instruction_no, seq),
  UNIQUE (instruction_no, state)
);
CREATE VIEW outside.payment_current AS
SELECT i.*, s.state, s.reason, s.bank_reference, s.recorded_at AS state_at
FROM outside.payment_instruction i
JOIN LATERAL (SELECT * FROM outside.payment_state s WHERE s.instruction_no = i.instruction_no ORDER BY seq DESC LIMIT 1) s ON true;

DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['target', 'delivery_attempt', 'notice', 'payment_instruction', 'payment_state'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON outside.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;

-- Where instructions about money go is decided by two.
CREATE FUNCTION outside.check_target(asked work.approval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p jsonb := asked.payload;
  unknown text;
  word record;
BEGIN
  SELECT k INTO unknown FROM jsonb_object_keys(p) k
  WHERE k NOT IN ('adapter', 'endpoint', 'secret_names', 'topics', 'is_enabled', 'settings') LIMIT 1;
  IF unknown IS NOT NULL THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.' || unknown, p ->> unknown);
  END IF;
  IF asked.subject !~ '^[a-z][a-z0-9-]{1,39}$' THEN
    PERFORM work.refuse('BODY_INVALID', 'subject', asked.subject);
  ELSIF coalesce(p ->> 'adapter', '') NOT IN ('core-banking', 'outreach', 'sms', 'email', 'reporting') THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.adapter', p ->> 'adapter');
  ELSIF jsonb_typeof(p -> 'endpoint') IS DISTINCT FROM 'string' OR char_length(p ->> 'endpoint') > 500
     OR (p ->> 'endpoint') !~ (CASE p ->> 'adapter' WHEN 'email' THEN '^(smtps://[^\s@]+|smtp://(127\.0\.0\.1|localhost)(:[0-9]+)?)$'
                                   ELSE '^(https://[^\s@]+|http://(127\.0\.0\.1|localhost)([:/][^\s@]*)?)$' END) THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.endpoint', p ->> 'endpoint');
  ELSIF jsonb_typeof(p -> 'is_enabled') IS DISTINCT FROM 'boolean' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.is_enabled', p ->> 'is_enabled');
  ELSIF p ->> 'adapter' = 'outreach' AND asked.platform_id IS NULL THEN
    PERFORM work.refuse('BODY_INVALID', 'platform_id', 'null');
  END IF;
  PERFORM outside.check_texts(p -> 'secret_names', 'payload.secret_names', '^outside_[a-z0-9_]{1,60}$', 1, 2);
  PERFORM outside.check_texts(p -> 'topics', 'payload.topics', '^[a-z_]+(\.[a-z_]+)*(\.\*)?$', 0, 50);
  IF p ? 'settings' AND jsonb_typeof(p -> 'settings') <> 'object' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.settings', p ->> 'settings');
  END IF;
  FOR word IN SELECT key, value FROM jsonb_each(coalesce(p -> 'settings', '{}')) LOOP
    IF NOT (CASE
       WHEN word.key IN ('tries_max', 'retry_base_s', 'retry_cap_s', 'timeout_s') THEN
         jsonb_typeof(word.value) = 'number' AND CASE WHEN jsonb_typeof(word.value) = 'number' THEN
           (word.value)::numeric > 0 AND (word.value)::numeric <= CASE word.key WHEN 'timeout_s' THEN 60 WHEN 'tries_max' THEN 1000 ELSE 86400 END END
       WHEN word.key IN ('private_addresses_allowed', 'dead_blocks') THEN jsonb_typeof(word.value) = 'boolean'
       WHEN word.key IN ('quiet_from', 'quiet_to') THEN (word.value #>> '{}') ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'
       WHEN word.key = 'language' THEN (word.value #>> '{}') IN ('zh', 'en')
       WHEN word.key IN ('mail_from', 'mail_domain') THEN (word.value #>> '{}') ~ '^[A-Za-z0-9.@_-]{1,100}$'
       ELSE false END) THEN
      PERFORM work.refuse('BODY_INVALID', 'payload.settings.' || word.key, word.value #>> '{}');
    END IF;
  END LOOP;
END $$;
CREATE FUNCTION outside.check_texts(value jsonb, field text, pattern text, count_min int, count_max int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF jsonb_typeof(value) IS DISTINCT FROM 'array' OR jsonb_array_length(value) NOT BETWEEN count_min AND count_max
     OR EXISTS (SELECT FROM jsonb_array_elements(value) e WHERE jsonb_typeof(e) <> 'string' OR e #>> '{}' !~ pattern) THEN
    PERFORM work.refuse('BODY_INVALID', field, value #>> '{}');
  END IF;
END $$;
CREATE FUNCTION outside.apply_target(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before outside.target;
  made outside.target;
  p jsonb := asked.payload;
BEGIN
  PERFORM pg_advisory_xact_lock(7418, hashtext(asked.subject));
  SELECT * INTO before FROM outside.target_current t WHERE t.target = asked.subject;
  -- what was meant for one receiver never goes to another kind or platform under the same name
  IF before.target IS NOT NULL AND (before.adapter <> p ->> 'adapter' OR before.platform_id IS DISTINCT FROM asked.platform_id) THEN
    PERFORM work.refuse('STATE_CONFLICT', 'subject', asked.subject);
  END IF;
  INSERT INTO outside.target
  SELECT asked.subject, coalesce(before.version, 0) + 1, p ->> 'adapter', asked.platform_id, p ->> 'endpoint',
         ARRAY(SELECT jsonb_array_elements_text(p -> 'secret_names')), ARRAY(SELECT jsonb_array_elements_text(p -> 'topics')),
         (p ->> 'is_enabled')::boolean, coalesce(p -> 'settings', '{}'),
         coalesce(before.from_event_id, (SELECT coalesce(max(event_id), 0) FROM outbox.event)),
         ledger.clock_now()::date, ledger.clock_now(), checker
  RETURNING * INTO made;
  PERFORM audit.record(checker, 'OUTSIDE_TARGET_SET', 'outside.target', made.target, made.platform_id,
                       CASE WHEN before.target IS NOT NULL THEN to_jsonb(before) END, to_jsonb(made));
  RETURN jsonb_build_object('target', made.target, 'version', made.version);
END $$;
INSERT INTO work.kind (kind, maker_roles, checker_roles, check_function, apply_function)
VALUES ('OUTSIDE_TARGET', '{officer,admin}', '{checker,admin}', 'outside.check_target', 'outside.apply_target');

-- What core banking is asked to pay: a withdrawal, or a receipt that goes back to its sender.
CREATE FUNCTION outside.instruct(event_ids bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made outside.payment_instruction;
BEGIN
  FOR made IN
    INSERT INTO outside.payment_instruction
    SELECT 'PI-' || m.movement_id, CASE m.movement_type WHEN 'WITHDRAW' THEN 'PAYOUT' ELSE 'REFUND' END, t.platform_id, t.order_id,
           m.movement_id, a.account_no, t.order_type, m.currency, m.amount_minor, ledger.clock_now()
    FROM outbox.event e
    CROSS JOIN LATERAL jsonb_array_elements(e.payload -> 'orders') o
    JOIN ledger.trade_order t ON t.order_id = (o ->> 0)::bigint AND t.reverses_order_id IS NULL
    JOIN ledger.movement m ON m.order_id = t.order_id AND m.movement_type IN ('WITHDRAW', 'RECEIPT_RETURNED')
    JOIN registry.account a ON a.account_id = m.debit_account_id
    WHERE e.event_id = ANY(event_ids) AND e.topic = 'ledger.posted'
      AND EXISTS (SELECT FROM outside.target_current c WHERE c.adapter = 'core-banking' AND e.event_id > c.from_event_id
                  AND (c.platform_id IS NULL OR c.platform_id = t.platform_id))
    ORDER BY m.movement_id
    ON CONFLICT DO NOTHING RETURNING *
  LOOP
    INSERT INTO outside.payment_state VALUES (made.instruction_no, 1, 'CREATED', NULL, NULL, 'key:*', made.recorded_at);
    PERFORM outbox.append('payment.created', made.platform_id, made.account_no, to_jsonb(made) - 'recorded_at' - 'movement_id');
  END LOOP;
END $$;

-- Events as they are told: a posted batch becomes one part an order, and one for each side of each movement on a sub-account.
CREATE FUNCTION outside.parts(event_ids bigint[])
RETURNS TABLE (event_id bigint, part bigint, topic text, platform_id text, subject text, payload jsonb, recorded_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH posted AS MATERIALIZED (
    SELECT e.event_id, e.recorded_at, o.n, (o.value ->> 0)::bigint AS order_id, o.value ->> 1 AS platform_id, o.value ->> 2 AS request_no,
           o.value ->> 3 AS order_type
    FROM outbox.event e CROSS JOIN LATERAL jsonb_array_elements(e.payload -> 'orders') WITH ORDINALITY o(value, n)
    WHERE e.event_id = ANY(event_ids) AND e.topic = 'ledger.posted'),
  told AS (
    SELECT p.event_id, p.n, 0 AS seq, 0 AS side, 'order.posted' AS topic, p.platform_id, concat_ws(' ', p.platform_id, p.request_no) AS subject,
           jsonb_build_object('order_id', p.order_id, 'request_no', p.request_no, 'order_type', p.order_type) AS payload, p.recorded_at
    FROM posted p
    UNION ALL
    SELECT p.event_id, p.n, m.seq, s.side, 'account.posted', p.platform_id, a.account_no,
           jsonb_build_object('account_no', a.account_no, 'order_id', p.order_id, 'request_no', p.request_no, 'order_type', p.order_type,
                              'movement_id', m.movement_id, 'movement_type', m.movement_type, 'currency', m.currency,
                              'effect_minor', CASE s.side WHEN 1 THEN -m.amount_minor ELSE m.amount_minor END), p.recorded_at
    FROM posted p JOIN ledger.movement m ON m.order_id = p.order_id
    CROSS JOIN LATERAL (VALUES (1, m.debit_account_id), (2, m.credit_account_id)) s(side, account_id)
    JOIN registry.account a ON a.account_id = s.account_id AND NOT a.is_control)
  SELECT e.event_id, 0, e.topic, e.platform_id, e.subject, e.payload, e.recorded_at
  FROM outbox.event e WHERE e.event_id = ANY(event_ids) AND e.topic <> 'ledger.posted'
  UNION ALL
  SELECT t.event_id, row_number() OVER (PARTITION BY t.event_id ORDER BY t.n, t.seq, t.side), t.topic, t.platform_id, t.subject, t.payload, t.recorded_at
  FROM told t $$;

-- Expand the next events into deliveries, one worker at a time; returns how many events were taken, null when another is at it.
CREATE FUNCTION outside.fan_out(events_max int, zone text) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands outside.cursor;
  ids bigint[];
BEGIN
  SELECT * INTO stands FROM outside.cursor FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF stands.done_to = stands.horizon THEN
    stands.horizon := pg_snapshot_xmin(pg_current_snapshot());
    stands.last_event_id := 0;
  END IF;
  SELECT array_agg(n.event_id ORDER BY n.event_id) INTO ids
  FROM (SELECT e.event_id FROM outbox.event e
        WHERE e.transaction_id >= stands.done_to AND e.transaction_id < stands.horizon AND e.event_id > stands.last_event_id
        ORDER BY e.event_id LIMIT events_max) n;
  IF ids IS NULL THEN
    UPDATE outside.cursor SET done_to = stands.horizon, horizon = stands.horizon, last_event_id = 0 WHERE done_to <> stands.horizon;
    RETURN 0;
  END IF;
  IF EXISTS (SELECT FROM outside.target_current) THEN
    PERFORM outside.instruct(ids);
    WITH wanted AS MATERIALIZED (
      SELECT c.target, c.adapter, p.*, (p.recorded_at AT TIME ZONE zone)::date AS business_date
      FROM outside.parts(ids) p JOIN outside.target_current c ON p.event_id > c.from_event_id
        AND (c.platform_id IS NULL OR c.platform_id = p.platform_id)
        AND (p.topic = ANY(c.topics) OR split_part(p.topic, '.', 1) || '.*' = ANY(c.topics))),
    noticed AS (
      INSERT INTO outside.notice
      SELECT w.target, w.topic, w.subject, w.business_date, w.event_id, w.part FROM wanted w WHERE w.adapter IN ('sms', 'email')
      ORDER BY w.event_id, w.part
      ON CONFLICT DO NOTHING RETURNING target, event_id, part)
    INSERT INTO outside.delivery (target, event_id, part, topic, platform_id, subject, payload, recorded_at)
    SELECT w.target, w.event_id, w.part, w.topic, w.platform_id, w.subject, w.payload, w.recorded_at FROM wanted w
    WHERE w.adapter NOT IN ('sms', 'email')
       OR EXISTS (SELECT FROM noticed n WHERE n.target = w.target AND n.event_id = w.event_id AND n.part = w.part)
    ORDER BY w.event_id, w.part
    ON CONFLICT DO NOTHING;
  END IF;
  UPDATE outside.cursor SET done_to = stands.done_to, horizon = stands.horizon, last_event_id = ids[cardinality(ids)];
  RETURN cardinality(ids);
END $$;

-- Take the next due delivery for `lease_s` seconds: the first of its subject that is not settled, of a target that is enabled.
CREATE FUNCTION outside.claim(lease_s int) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  taken outside.delivery;
BEGIN
  UPDATE outside.delivery d SET lease = gen_random_uuid(), leased_until = clock_timestamp() + make_interval(secs => lease_s)
  WHERE d.delivery_id = (
    SELECT w.delivery_id FROM outside.delivery w JOIN outside.target_current c ON c.target = w.target AND c.is_enabled
    WHERE w.state = 'PENDING' AND w.next_at <= clock_timestamp() AND (w.leased_until IS NULL OR w.leased_until < clock_timestamp())
      AND NOT EXISTS (SELECT FROM outside.delivery e WHERE e.target = w.target AND e.subject = w.subject AND e.delivery_id < w.delivery_id
                      AND (e.state = 'PENDING' OR e.state = 'DEAD' AND coalesce((c.settings ->> 'dead_blocks')::boolean, c.adapter NOT IN ('sms', 'email'))))
    ORDER BY w.next_at, w.delivery_id LIMIT 1 FOR UPDATE OF w SKIP LOCKED)
  RETURNING * INTO taken;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT jsonb_build_object('delivery', to_jsonb(taken), 'target', to_jsonb(c)) FROM outside.target_current c WHERE c.target = taken.target);
END $$;

-- Write down what came of a try. A lease that was lost settles nothing but leaves its row. Returns the state after it.
CREATE FUNCTION outside.settle(delivery_id bigint, lease uuid, worker text, outcome text, reason text, wait_s double precision, tries_max int) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was outside.delivery;
  state_after text;
BEGIN
  SELECT * INTO was FROM outside.delivery d WHERE d.delivery_id = settle.delivery_id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  INSERT INTO outside.delivery_attempt (delivery_id, target, event_id, part, outcome, reason, worker)
  VALUES (was.delivery_id, was.target, was.event_id, was.part, settle.outcome, left(settle.reason, 500), worker);
  IF was.lease IS DISTINCT FROM settle.lease OR was.state <> 'PENDING' THEN
    RETURN was.state;
  END IF;
  state_after := CASE WHEN outcome IN ('DELIVERED', 'DEAD') THEN outcome
                      WHEN outcome = 'RETRY' AND was.tries + 1 >= tries_max THEN 'DEAD' ELSE 'PENDING' END;
  UPDATE outside.delivery d
  SET state = state_after, tries = d.tries + (outcome <> 'WAIT')::int, reason = left(settle.reason, 500), lease = NULL, leased_until = NULL,
      next_at = clock_timestamp() + make_interval(secs => coalesce(wait_s, 0)),
      settled_at = CASE WHEN state_after <> 'PENDING' THEN clock_timestamp() END
  WHERE d.delivery_id = was.delivery_id;
  IF state_after = 'DELIVERED' AND was.topic = 'payment.created' THEN
    PERFORM outside.payment_step(was.payload ->> 'instruction_no', 'SENT', NULL, NULL, 'outside:' || was.target);
  END IF;
  RETURN state_after;
END $$;

CREATE FUNCTION outside.payment_step(instruction_no text, state text, reason text, bank_reference text, actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  paid outside.payment_current;
  wanted constant text[] := ARRAY['CREATED', 'SENT', 'ACCEPTED', 'PAID', 'FAILED'];
BEGIN
  PERFORM FROM outside.payment_instruction i WHERE i.instruction_no = payment_step.instruction_no FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM work.refuse('INSTRUCTION_NOT_FOUND', 'instruction_no', instruction_no);
  END IF;
  SELECT * INTO paid FROM outside.payment_current i WHERE i.instruction_no = payment_step.instruction_no;
  -- an answer heard again, or one that a later answer has overtaken, changes nothing; the end of a payment stands
  IF EXISTS (SELECT FROM outside.payment_state s WHERE s.instruction_no = payment_step.instruction_no AND s.state = payment_step.state)
     OR state IN ('SENT', 'ACCEPTED') AND array_position(wanted, paid.state) > array_position(wanted, state) THEN
    RETURN;
  ELSIF paid.state IN ('PAID', 'FAILED') THEN
    PERFORM work.refuse('STATE_CONFLICT', 'state', state);
  END IF;
  INSERT INTO outside.payment_state
  VALUES (instruction_no, (SELECT max(seq) + 1 FROM outside.payment_state s WHERE s.instruction_no = payment_step.instruction_no), state, reason,
          bank_reference, actor, ledger.clock_now());
  PERFORM audit.record(actor, 'PAYMENT_' || state, 'outside.payment_instruction', instruction_no, paid.platform_id,
                       jsonb_build_object('state', paid.state), jsonb_build_object('state', state, 'reason', reason, 'bank_reference', bank_reference));
  -- FAILED asks the business layer for a BACKROLL order: nothing is posted here
  IF state IN ('PAID', 'FAILED') THEN
    PERFORM outbox.append(CASE paid.kind WHEN 'PAYOUT' THEN 'withdrawal.' ELSE 'refund.' END || lower(state), paid.platform_id, paid.account_no,
                          jsonb_build_object('instruction_no', instruction_no, 'order_id', paid.order_id, 'account_no', paid.account_no,
                                             'currency', paid.currency, 'amount_minor', paid.amount_minor, 'reason', reason)
                          || CASE WHEN state = 'FAILED' THEN jsonb_build_object('demands', 'BACKROLL') ELSE '{}' END);
  END IF;
END $$;

-- Core banking's answer on one instruction: its state after it.
CREATE FUNCTION outside.payment_answer(instruction_no text, state text, reason text, bank_reference text, target text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF state NOT IN ('ACCEPTED', 'PAID', 'FAILED') THEN
    PERFORM work.refuse('BODY_INVALID', 'state', state);
  END IF;
  -- a core-banking target of one platform speaks of that platform's payments alone
  IF NOT EXISTS (SELECT FROM outside.payment_instruction i JOIN outside.target_current c ON c.target = payment_answer.target
                 WHERE i.instruction_no = payment_answer.instruction_no AND (c.platform_id IS NULL OR c.platform_id = i.platform_id)) THEN
    PERFORM work.refuse('INSTRUCTION_NOT_FOUND', 'instruction_no', instruction_no);
  END IF;
  PERFORM outside.payment_step(instruction_no, state, reason, bank_reference, 'outside:' || target);
  RETURN (SELECT jsonb_build_object('instruction_no', p.instruction_no, 'state', p.state) FROM outside.payment_current p
          WHERE p.instruction_no = payment_answer.instruction_no);
END $$;

-- Send again what was delivered, dead or passed over: one delivery, a range of events, or a subject; returns how many.
CREATE FUNCTION outside.replay(target text, first_event_id bigint, last_event_id bigint, subject text, actor text) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  replayed int;
BEGIN
  UPDATE outside.delivery d SET state = 'PENDING', tries = 0, next_at = clock_timestamp(), reason = 'replayed by ' || actor, settled_at = NULL
  WHERE d.target = replay.target AND d.event_id BETWEEN first_event_id AND last_event_id AND d.state <> 'PENDING'
    AND (replay.subject IS NULL OR d.subject = replay.subject);
  GET DIAGNOSTICS replayed = ROW_COUNT;
  PERFORM audit.record(actor, 'DELIVERIES_REPLAYED', 'outside.target', target, NULL, NULL,
                       jsonb_build_object('first_event_id', first_event_id, 'last_event_id', last_event_id, 'subject', subject, 'deliveries', replayed));
  RETURN replayed;
END $$;
-- Pass over a dead delivery, so that its subject goes on.
CREATE FUNCTION outside.skip(delivery_id bigint, reason text, actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was outside.delivery;
BEGIN
  SELECT * INTO was FROM outside.delivery d WHERE d.delivery_id = skip.delivery_id FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM work.refuse('DELIVERY_NOT_FOUND', 'delivery_id', delivery_id::text);
  ELSIF was.state <> 'DEAD' THEN
    PERFORM work.refuse('STATE_CONFLICT', 'state', was.state);
  END IF;
  UPDATE outside.delivery d SET state = 'SKIPPED', reason = skip.reason, settled_at = clock_timestamp() WHERE d.delivery_id = skip.delivery_id;
  PERFORM audit.record(actor, 'DELIVERY_SKIPPED', 'outside.delivery', delivery_id::text, was.platform_id,
                       jsonb_build_object('state', was.state, 'reason', was.reason), jsonb_build_object('state', 'SKIPPED', 'reason', skip.reason));
END $$;

CREATE FUNCTION outside.forget(delivery_ids bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM outside.delivery d WHERE d.delivery_id = ANY(delivery_ids) AND d.state IN ('DELIVERED', 'SKIPPED') $$;

CREATE VIEW outside.health AS
SELECT c.target, c.adapter, c.platform_id, c.is_enabled, count(d.*) FILTER (WHERE d.state = 'PENDING') AS pending,
       count(d.*) FILTER (WHERE d.state = 'DEAD') AS dead,
       coalesce(extract(epoch FROM clock_timestamp() - min(d.made_at) FILTER (WHERE d.state = 'PENDING')), 0)::int AS oldest_age_s
FROM outside.target_current c LEFT JOIN outside.delivery d ON d.target = c.target AND d.state IN ('PENDING', 'DEAD')
GROUP BY 1, 2, 3, 4;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA outside FROM PUBLIC;
GRANT USAGE ON SCHEMA outside TO service, jobs;
GRANT SELECT ON ALL TABLES IN SCHEMA outside TO service;
GRANT SELECT ON outside.delivery TO jobs;
GRANT EXECUTE ON FUNCTION outside.fan_out, outside.claim, outside.settle, outside.payment_answer, outside.replay, outside.skip TO service;
GRANT EXECUTE ON FUNCTION outside.forget TO jobs;
