-- People of the pages: who they are, what changed, their sessions, what they looked at. The pages use role web, which may read
-- all of this and changes persons only through the functions below; times are real, also where the ledger's clock is simulated.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'web') THEN
    CREATE ROLE web NOLOGIN;
  END IF;
END $$;

CREATE SCHEMA auth;
CREATE TABLE auth.person (
  person_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  login_name text NOT NULL UNIQUE CHECK (login_name ~ '^[a-z0-9._-]{2,32}$'),
  display_name text NOT NULL CHECK (char_length(display_name) BETWEEN 1 AND 64 AND display_name !~ '[[:cntrl:]]'),
  role text NOT NULL CHECK (role IN ('viewer', 'officer', 'checker', 'admin', 'auditor')),
  is_disabled boolean NOT NULL DEFAULT false,
  created_by bigint REFERENCES auth.person, -- null: the operator at the console
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- apart from the person, so that nothing that lists persons can show a hash
CREATE TABLE auth.password (
  person_id bigint PRIMARY KEY REFERENCES auth.person,
  password_hash text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
  must_change boolean NOT NULL,
  set_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE auth.person_event (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  person_id bigint NOT NULL REFERENCES auth.person,
  kind text NOT NULL CHECK (kind IN ('CREATED', 'PASSWORD_SET', 'ROLE_CHANGED', 'DISABLED', 'ENABLED')),
  before jsonb,
  after jsonb,
  actor_id bigint REFERENCES auth.person -- null: the operator at the console
);
CREATE TABLE auth.session (
  session_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32), -- sha256: the token itself is nowhere
  person_id bigint NOT NULL REFERENCES auth.person,
  address text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  ended_at timestamptz,
  end_reason text CHECK (end_reason IN ('LOGOUT', 'REPLACED', 'IDLE', 'EXPIRED', 'PASSWORD_SET', 'ROLE_CHANGED', 'DISABLED')),
  CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX session_of_person ON auth.session (person_id) WHERE ended_at IS NULL;
CREATE TABLE auth.login_attempt (
  attempt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  name_key bytea NOT NULL CHECK (octet_length(name_key) = 32), -- sha256 of what was typed: passwords are typed into name fields
  person_id bigint REFERENCES auth.person, -- null: nobody has this name
  address text NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('TRIED', 'SUCCEEDED', 'FAILED', 'LOCKED'))
);
CREATE INDEX login_attempt_by_name ON auth.login_attempt (name_key, at);
CREATE INDEX login_attempt_by_address ON auth.login_attempt (address, at);
CREATE TABLE auth.access_log (
  access_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  person_id bigint REFERENCES auth.person, -- null: nobody was signed in
  session_id bigint REFERENCES auth.session,
  address text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('ACCOUNT_SEEN', 'LOAN_SEEN', 'PERSON_SEEN', 'EXPORT', 'REFUSED')),
  subject text NOT NULL CHECK (char_length(subject) <= 512),
  path text NOT NULL CHECK (char_length(path) <= 512),
  row_count bigint CHECK (row_count >= 0),
  detail jsonb,
  CHECK (kind <> 'EXPORT' OR row_count IS NOT NULL)
);
CREATE INDEX access_log_by_time ON auth.access_log (at);
CREATE INDEX person_event_by_time ON auth.person_event (at);

-- append-only for everybody, the owner included
CREATE FUNCTION auth.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'FW403', MESSAGE = format('rows of %s.%s are never changed or deleted', TG_TABLE_SCHEMA, TG_TABLE_NAME);
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON auth.person_event EXECUTE FUNCTION auth.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON auth.access_log EXECUTE FUNCTION auth.refuse_change();
-- a session that has ended stays ended, and nobody's session becomes somebody else's
CREATE TRIGGER ended_stays_ended BEFORE UPDATE ON auth.session FOR EACH ROW
  WHEN (OLD.ended_at IS NOT NULL OR NEW.token_hash <> OLD.token_hash OR NEW.person_id <> OLD.person_id)
  EXECUTE FUNCTION auth.refuse_change();

-- The actor of a change: an enabled administrator, or (null) the operator at the console, who never comes as role web.
CREATE FUNCTION auth.check_actor(actor bigint) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  -- one change of persons at a time: two administrators cannot disable each other at once
  LOCK TABLE auth.person IN SHARE ROW EXCLUSIVE MODE;
  IF actor IS NULL THEN
    IF session_user = 'web' THEN
      RAISE EXCEPTION USING ERRCODE = 'FW403', MESSAGE = 'a change needs an administrator';
    END IF;
  ELSIF NOT EXISTS (SELECT FROM auth.person WHERE person_id = actor AND role = 'admin' AND NOT is_disabled) THEN
    RAISE EXCEPTION USING ERRCODE = 'FW403', MESSAGE = 'a change needs an administrator';
  END IF;
END $$;

CREATE FUNCTION auth.end_sessions(of_person bigint, why text) RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $$
  UPDATE auth.session SET ended_at = clock_timestamp(), end_reason = why WHERE person_id = of_person AND ended_at IS NULL
$$;

CREATE FUNCTION auth.create_person(login text, display text, with_role text, hash text, must_change boolean, actor bigint)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE made bigint;
BEGIN
  PERFORM auth.check_actor(actor);
  INSERT INTO auth.person (login_name, display_name, role, created_by) VALUES (login, display, with_role, actor)
  ON CONFLICT (login_name) DO NOTHING RETURNING person_id INTO made;
  IF made IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'FW409', MESSAGE = 'name_taken';
  END IF;
  INSERT INTO auth.password (person_id, password_hash, must_change) VALUES (made, hash, create_person.must_change);
  INSERT INTO auth.person_event (person_id, kind, after, actor_id)
  VALUES (made, 'CREATED', jsonb_build_object('role', with_role, 'display_name', display), actor),
         (made, 'PASSWORD_SET', jsonb_build_object('must_change', create_person.must_change), actor);
  RETURN made;
END $$;

-- False when the person has the role already. Nobody changes their own role; one enabled administrator always remains.
CREATE FUNCTION auth.set_role(of_person bigint, to_role text, actor bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE there auth.person;
BEGIN
  PERFORM auth.check_actor(actor);
  SELECT * INTO there FROM auth.person WHERE person_id = of_person;
  IF there.person_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'FW404', MESSAGE = 'unknown_person';
  ELSIF there.role = to_role THEN
    RETURN false;
  ELSIF of_person = actor THEN
    RAISE EXCEPTION USING ERRCODE = 'FW409', MESSAGE = 'own_person';
  END IF;
  UPDATE auth.person SET role = to_role WHERE person_id = of_person;
  PERFORM auth.check_admin_remains(there.role = 'admin');
  PERFORM auth.end_sessions(of_person, 'ROLE_CHANGED');
  INSERT INTO auth.person_event (person_id, kind, before, after, actor_id)
  VALUES (of_person, 'ROLE_CHANGED', jsonb_build_object('role', there.role), jsonb_build_object('role', to_role), actor);
  RETURN true;
END $$;

-- False when the person is in that state already. Nobody disables themselves; one enabled administrator always remains.
CREATE FUNCTION auth.set_disabled(of_person bigint, disabled boolean, actor bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE there auth.person;
BEGIN
  PERFORM auth.check_actor(actor);
  SELECT * INTO there FROM auth.person WHERE person_id = of_person;
  IF there.person_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'FW404', MESSAGE = 'unknown_person';
  ELSIF there.is_disabled = disabled THEN
    RETURN false;
  ELSIF of_person = actor THEN
    RAISE EXCEPTION USING ERRCODE = 'FW409', MESSAGE = 'own_person';
  END IF;
  UPDATE auth.person SET is_disabled = disabled WHERE person_id = of_person;
  PERFORM auth.check_admin_remains(disabled AND there.role = 'admin');
  IF disabled THEN
    PERFORM auth.end_sessions(of_person, 'DISABLED');
  END IF;
  INSERT INTO auth.person_event (person_id, kind, before, after, actor_id)
  VALUES (of_person, CASE WHEN disabled THEN 'DISABLED' ELSE 'ENABLED' END, jsonb_build_object('is_disabled', there.is_disabled),
          jsonb_build_object('is_disabled', disabled), actor);
  RETURN true;
END $$;

CREATE FUNCTION auth.check_admin_remains(needed boolean) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF needed AND NOT EXISTS (SELECT FROM auth.person WHERE role = 'admin' AND NOT is_disabled) THEN
    RAISE EXCEPTION USING ERRCODE = 'FW409', MESSAGE = 'last_admin';
  END IF;
END $$;

-- One's own password, or another's by an administrator. Ends every session of the person.
CREATE FUNCTION auth.set_password(of_person bigint, hash text, must_change boolean, actor bigint)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  IF of_person IS DISTINCT FROM actor THEN
    PERFORM auth.check_actor(actor);
  END IF;
  UPDATE auth.password SET password_hash = hash, must_change = set_password.must_change, set_at = clock_timestamp()
  WHERE person_id = of_person;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'FW404', MESSAGE = 'unknown_person';
  END IF;
  PERFORM auth.end_sessions(of_person, 'PASSWORD_SET');
  INSERT INTO auth.person_event (person_id, kind, after, actor_id)
  VALUES (of_person, 'PASSWORD_SET', jsonb_build_object('must_change', set_password.must_change), actor);
END $$;

-- Before a password is looked at: seconds to wait (0: go on) and the attempt's number. The first `free` failures of a name (since
-- its last success) and of an address cost nothing; each further one doubles the wait. Attempts under way count as failures, so
-- that many at once are no way round; attempts refused here do not, so that waiting always ends.
CREATE FUNCTION auth.begin_attempt(key bytea, from_address text, free_of_name int, free_of_address int, wait_max_s int, window_s int,
  OUT attempt bigint, OUT wait_s int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
  since timestamptz := clock_timestamp() - make_interval(secs => window_s);
BEGIN
  PERFORM pg_advisory_xact_lock(7410, hashtext(encode(key, 'hex')));
  PERFORM pg_advisory_xact_lock(7411, hashtext(from_address));
  SELECT coalesce(max(ceil(least(2.0 ^ least(failures - free, 30), wait_max_s) - extract(epoch FROM clock_timestamp() - last))), 0)
  INTO wait_s
  FROM (
    SELECT count(*) AS failures, max(at) AS last, free_of_name AS free FROM auth.login_attempt
    WHERE name_key = key AND outcome IN ('TRIED', 'FAILED') AND at > greatest(since,
      (SELECT max(at) FROM auth.login_attempt WHERE name_key = key AND outcome = 'SUCCEEDED'))
    UNION ALL
    SELECT count(*), max(at), free_of_address FROM auth.login_attempt
    WHERE address = from_address AND outcome IN ('TRIED', 'FAILED') AND at > since
  ) counted
  WHERE failures >= free;
  wait_s := greatest(wait_s, 0);
  INSERT INTO auth.login_attempt (name_key, person_id, address, outcome)
  SELECT key, (SELECT person_id FROM auth.person WHERE sha256(convert_to(login_name, 'UTF8')) = key), from_address,
    CASE WHEN wait_s > 0 THEN 'LOCKED' ELSE 'TRIED' END
  RETURNING attempt_id INTO attempt;
END $$;

CREATE FUNCTION auth.end_attempt(attempt bigint, succeeded boolean)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
  UPDATE auth.login_attempt SET outcome = CASE WHEN succeeded THEN 'SUCCEEDED' ELSE 'FAILED' END
  WHERE attempt_id = attempt AND outcome = 'TRIED'
$$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA auth FROM PUBLIC;
GRANT USAGE ON SCHEMA auth TO web;
GRANT SELECT ON ALL TABLES IN SCHEMA auth TO web;
GRANT INSERT (token_hash, person_id, address, expires_at), UPDATE (last_seen_at, ended_at, end_reason) ON auth.session TO web;
GRANT INSERT (person_id, session_id, address, kind, subject, path, row_count, detail) ON auth.access_log TO web;
GRANT EXECUTE ON FUNCTION auth.create_person, auth.set_role, auth.set_disabled, auth.set_password, auth.begin_attempt,
  auth.end_attempt TO web;

-- the operations page: controls of 0008, proposed and decided through their functions
GRANT USAGE ON SCHEMA ops TO web;
GRANT SELECT ON ops.control_state, ops.file_sender TO web;
GRANT EXECUTE ON FUNCTION ops.propose_control, ops.decide_control, ops.hold_at TO web;
