-- What every service of the bank's side shares: who changed what (audit), a second person's decision on a version (work), what
-- others must hear (outbox). All rows are appended; role service writes them through the functions below only.
CREATE SCHEMA audit;
CREATE SCHEMA work;
CREATE SCHEMA outbox;

CREATE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'FW403', MESSAGE = format('rows of %s.%s are never changed or deleted', TG_TABLE_SCHEMA, TG_TABLE_NAME);
END $$;

CREATE TABLE audit.change (
  change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(), -- real time, also where the service's clock is simulated
  recorded_at timestamptz NOT NULL, -- the service's clock
  actor text NOT NULL, -- login name of a person, or key:SCOPE of an API key
  action text NOT NULL CHECK (action ~ '^[A-Z][A-Z_]{2,59}$'),
  subject_type text NOT NULL,
  subject text NOT NULL,
  platform_id text, -- null: the whole bank
  before jsonb,
  after jsonb
);
CREATE INDEX change_of_subject ON audit.change (subject_type, subject, change_id);
CREATE TABLE audit.block (
  block_no bigint PRIMARY KEY,
  first_change_id bigint NOT NULL,
  last_change_id bigint NOT NULL,
  changes int NOT NULL,
  previous_hash bytea NOT NULL,
  hash bytea NOT NULL,
  sealed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The shared lock keeps the sealer behind every transaction that has a change_id but has not committed.
CREATE FUNCTION audit.record(actor text, action text, subject_type text, subject text, platform_id text, before jsonb, after jsonb)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(7420);
  INSERT INTO audit.change (recorded_at, actor, action, subject_type, subject, platform_id, before, after)
  VALUES (ledger.clock_now(), $1, $2, $3, $4, $5, $6, $7);
END $$;

CREATE FUNCTION audit.sealed_text(row_of audit.change) RETURNS text
LANGUAGE sql STABLE SET timezone = 'UTC' AS $$ SELECT to_jsonb(row_of)::text $$;

-- Bind what was committed since the last block; returns how many changes were sealed.
CREATE FUNCTION audit.seal_pending(changes_max int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  last_block audit.block;
  block record;
BEGIN
  PERFORM pg_advisory_xact_lock(7420);
  SELECT * INTO last_block FROM audit.block ORDER BY block_no DESC LIMIT 1;
  SELECT min(c.change_id) AS first, max(c.change_id) AS last, count(*)::int AS changes,
         string_agg(audit.sealed_text(c), E'\n' ORDER BY c.change_id) AS content
  INTO block
  FROM (SELECT * FROM audit.change WHERE change_id > coalesce(last_block.last_change_id, 0) ORDER BY change_id LIMIT changes_max) c;
  IF block.changes > 0 THEN
    INSERT INTO audit.block (block_no, first_change_id, last_change_id, changes, previous_hash, hash)
    VALUES (coalesce(last_block.block_no, 0) + 1, block.first, block.last, block.changes, coalesce(last_block.hash, '\x'::bytea),
            sha256(coalesce(last_block.hash, '\x'::bytea) || convert_to(block.content, 'UTF8')));
  END IF;
  RETURN block.changes;
END $$;

-- Kinds of decisions: who may propose and decide, and the function that carries an approved one out in the decision's transaction.
CREATE TABLE work.kind (
  kind text PRIMARY KEY CHECK (kind ~ '^[A-Z][A-Z_]{2,39}$'),
  maker_roles text[] NOT NULL,
  checker_roles text[] NOT NULL,
  check_function regproc, -- (work.approval) RETURNS void: refuses what could never be carried out, when it is proposed
  apply_function regproc NOT NULL, -- (work.approval, checker text) RETURNS jsonb: the effect
  expires_h int NOT NULL DEFAULT 720 CHECK (expires_h > 0)
);
CREATE TABLE work.approval (
  approval_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL REFERENCES work.kind,
  platform_id text REFERENCES registry.platform, -- null: the whole bank
  subject text NOT NULL CHECK (char_length(subject) BETWEEN 1 AND 200),
  payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
  payload_hash bytea NOT NULL, -- what the second person decides on
  reason text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 500),
  maker text NOT NULL REFERENCES auth.person (login_name),
  proposed_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX approval_of_subject ON work.approval (kind, subject);
CREATE TABLE work.decision (
  approval_id bigint PRIMARY KEY REFERENCES work.approval,
  checker text NOT NULL REFERENCES auth.person (login_name),
  is_approved boolean NOT NULL,
  note text NOT NULL CHECK (char_length(note) <= 500),
  decided_at timestamptz NOT NULL,
  result jsonb -- what the effect says of itself; null when rejected
);
CREATE VIEW work.approval_state AS
SELECT a.*, d.checker, d.note, d.decided_at, d.result,
       CASE WHEN d.is_approved THEN 'APPROVED' WHEN NOT d.is_approved THEN 'REJECTED'
            WHEN a.expires_at <= ledger.clock_now() THEN 'EXPIRED' ELSE 'PENDING' END AS state
FROM work.approval a LEFT JOIN work.decision d USING (approval_id);

-- as ledger.refuse: MESSAGE is a code of the problem catalogue, DETAIL names field and value
CREATE FUNCTION work.refuse(code text, field text, value text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', code USING ERRCODE = 'FW422', DETAIL = json_build_object('field', field, 'value', value)::text;
END $$;

CREATE FUNCTION work.check_person(login text, roles text[], field text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM auth.person WHERE login_name = login AND role = ANY(roles) AND NOT is_disabled) THEN
    PERFORM work.refuse('NOT_PERMITTED', field, login);
  END IF;
END $$;

CREATE FUNCTION work.propose(kind text, platform_id text, subject text, payload jsonb, reason text, maker text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wanted work.kind;
  made work.approval;
BEGIN
  SELECT * INTO wanted FROM work.kind k WHERE k.kind = propose.kind;
  IF NOT FOUND THEN
    PERFORM work.refuse('UNKNOWN_APPROVAL_KIND', 'kind', kind);
  END IF;
  PERFORM work.check_person(maker, wanted.maker_roles, 'maker');
  IF propose.platform_id IS NOT NULL AND NOT EXISTS (SELECT FROM registry.platform p WHERE p.platform_id = propose.platform_id) THEN
    PERFORM work.refuse('UNKNOWN_PLATFORM', 'platform_id', propose.platform_id);
  END IF;
  -- one open proposal a kind and subject: two people cannot have two versions decided side by side
  PERFORM pg_advisory_xact_lock(7430, hashtext(concat_ws(' ', kind, platform_id, subject)));
  IF EXISTS (SELECT FROM work.approval_state s WHERE s.kind = propose.kind AND s.subject = propose.subject
             AND s.platform_id IS NOT DISTINCT FROM propose.platform_id AND s.state = 'PENDING') THEN
    PERFORM work.refuse('APPROVAL_PENDING', 'subject', subject);
  END IF;
  INSERT INTO work.approval (kind, platform_id, subject, payload, payload_hash, reason, maker, proposed_at, expires_at)
  VALUES (kind, platform_id, subject, payload, sha256(convert_to(payload::text, 'UTF8')), reason, maker, ledger.clock_now(),
          ledger.clock_now() + make_interval(hours => wanted.expires_h))
  RETURNING * INTO made;
  IF wanted.check_function IS NOT NULL THEN
    EXECUTE format('SELECT %s($1)', wanted.check_function::oid::regproc) USING made;
  END IF;
  PERFORM audit.record(maker, 'APPROVAL_PROPOSED', 'approval', made.approval_id::text, platform_id, NULL, to_jsonb(made) - 'payload_hash');
  RETURN made.approval_id;
END $$;

-- Decide once, on the version that was seen; an approved one takes effect in this transaction, or the decision is not there either.
CREATE FUNCTION work.decide(approval_id bigint, checker text, approve boolean, seen_hash bytea, note text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  asked work.approval;
  wanted work.kind;
  result jsonb;
BEGIN
  SELECT * INTO asked FROM work.approval a WHERE a.approval_id = decide.approval_id FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM work.refuse('APPROVAL_NOT_FOUND', 'approval_id', approval_id::text);
  END IF;
  SELECT * INTO STRICT wanted FROM work.kind k WHERE k.kind = asked.kind;
  PERFORM work.check_person(checker, wanted.checker_roles, 'checker');
  IF checker = asked.maker THEN
    PERFORM work.refuse('OWN_APPROVAL', 'checker', checker);
  ELSIF EXISTS (SELECT FROM work.decision d WHERE d.approval_id = asked.approval_id) THEN
    PERFORM work.refuse('APPROVAL_DECIDED', 'approval_id', approval_id::text);
  ELSIF asked.expires_at <= ledger.clock_now() THEN
    PERFORM work.refuse('APPROVAL_EXPIRED', 'approval_id', approval_id::text);
  ELSIF asked.payload_hash IS DISTINCT FROM seen_hash THEN
    PERFORM work.refuse('APPROVAL_DIFFERS', 'payload_hash', encode(seen_hash, 'hex'));
  END IF;
  IF approve THEN
    EXECUTE format('SELECT %s($1, $2)', wanted.apply_function::oid::regproc) INTO result USING asked, checker;
  END IF;
  INSERT INTO work.decision (approval_id, checker, is_approved, note, decided_at, result)
  VALUES (asked.approval_id, decide.checker, approve, coalesce(decide.note, ''), ledger.clock_now(), result);
  PERFORM audit.record(checker, CASE WHEN approve THEN 'APPROVAL_APPROVED' ELSE 'APPROVAL_REJECTED' END, 'approval',
                       approval_id::text, asked.platform_id, NULL, jsonb_build_object('note', note, 'result', result));
  RETURN result;
END $$;

-- What others must hear, in the transaction that made it so. A reader takes `outbox.readable` by windows of transaction_id: what is
-- there was committed by transactions older than every one still open. By event_id alone it would miss what commits late.
CREATE TABLE outbox.event (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic text NOT NULL CHECK (topic ~ '^[a-z_]+(\.[a-z_]+)+$'),
  platform_id text,
  subject text NOT NULL, -- events of one subject are delivered in order
  payload jsonb NOT NULL,
  recorded_at timestamptz NOT NULL,
  transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE VIEW outbox.readable AS
SELECT event_id, topic, platform_id, subject, payload, recorded_at FROM outbox.event
WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot());
CREATE FUNCTION outbox.append(topic text, platform_id text, subject text, payload jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO outbox.event (topic, platform_id, subject, payload, recorded_at) VALUES ($1, $2, $3, $4, ledger.clock_now()) $$;

DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['audit.change', 'audit.block', 'work.approval', 'work.decision', 'outbox.event'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;

-- answers of every other writing endpoint stand beside those of the orders; they carry their status
ALTER TABLE api.answer ADD COLUMN status int NOT NULL DEFAULT 201 CHECK (status BETWEEN 200 AND 299);

-- A session in force by the hash of its token, for the API; one in use is kept alive.
CREATE FUNCTION auth.live_session(hash bytea, idle_s int) RETURNS TABLE (person_id bigint, login_name text, role text, must_change boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH live AS (
    UPDATE auth.session s SET last_seen_at = clock_timestamp()
    WHERE s.token_hash = hash AND s.ended_at IS NULL AND s.expires_at > clock_timestamp()
      AND s.last_seen_at > clock_timestamp() - make_interval(secs => idle_s)
    RETURNING s.person_id)
  SELECT p.person_id, p.login_name, p.role, w.must_change
  FROM live JOIN auth.person p USING (person_id) JOIN auth.password w USING (person_id) WHERE NOT p.is_disabled
$$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA audit, work, outbox FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION auth.live_session FROM PUBLIC;
GRANT USAGE ON SCHEMA audit, work, outbox, auth TO service;
GRANT USAGE ON SCHEMA audit, work TO web;
GRANT SELECT ON audit.change, audit.block, work.kind, work.approval_state TO service, web;
GRANT SELECT ON outbox.readable TO service;
GRANT INSERT ON api.answer TO service;
GRANT EXECUTE ON FUNCTION audit.record, audit.sealed_text, audit.seal_pending, work.propose, work.decide, outbox.append, auth.live_session TO service;
GRANT EXECUTE ON FUNCTION work.propose, work.decide TO web;
