-- People under four eyes, a second factor, calendars with versions, the review of who may do what (issue 5 "System").
-- Times of persons are real, as in 0010; what the bank decides carries the service's clock.

-- the sixth role: corrections of customers' accounts (spec 07 section 7.8)
ALTER TABLE auth.person DROP CONSTRAINT person_role_check, ADD CONSTRAINT person_role_check
  CHECK (role IN ('viewer', 'officer', 'checker', 'finance', 'admin', 'auditor'));
ALTER TABLE auth.person_event DROP CONSTRAINT person_event_kind_check, ADD CONSTRAINT person_event_kind_check
  CHECK (kind IN ('CREATED', 'PASSWORD_SET', 'ROLE_CHANGED', 'DISABLED', 'ENABLED', 'SECOND_FACTOR_SET', 'SECOND_FACTOR_RESET',
    'RECOVERY_CODE_USED'));
ALTER TABLE auth.session DROP CONSTRAINT session_end_reason_check, ADD CONSTRAINT session_end_reason_check
  CHECK (end_reason IN ('LOGOUT', 'REPLACED', 'IDLE', 'EXPIRED', 'PASSWORD_SET', 'ROLE_CHANGED', 'DISABLED', 'SECOND_FACTOR_SET',
    'SECOND_FACTOR_RESET'));
-- CODE_ASKED: the password was right and a code is needed; neither a failure nor a success, or the password would reset the count
ALTER TABLE auth.login_attempt DROP CONSTRAINT login_attempt_outcome_check, ADD CONSTRAINT login_attempt_outcome_check
  CHECK (outcome IN ('TRIED', 'SUCCEEDED', 'FAILED', 'LOCKED', 'CODE_ASKED'));
ALTER TABLE auth.access_log DROP CONSTRAINT access_log_kind_check, ADD CONSTRAINT access_log_kind_check
  CHECK (kind IN ('ACCOUNT_SEEN', 'LOAN_SEEN', 'PERSON_SEEN', 'CUSTOMER_SEEN', 'USERS_SEEN', 'AUDIT_SEEN', 'EXPORT', 'REFUSED'));
CREATE INDEX access_log_of_exports ON auth.access_log (access_id) WHERE kind = 'EXPORT';

-- An event of a person, and the same change in the hash-chained audit.
CREATE FUNCTION auth.note_event(of_person bigint, what text, before jsonb, after jsonb, actor bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO auth.person_event (person_id, kind, before, after, actor_id) VALUES (of_person, what, before, after, actor);
  PERFORM audit.record(coalesce((SELECT login_name FROM auth.person WHERE person_id = actor), 'console'), 'PERSON_' || what, 'person',
    (SELECT login_name FROM auth.person WHERE person_id = of_person), NULL, before, after);
END $$;

-- The actor of a change: an enabled administrator, or (null) the operator at the console, who never comes as role web or service.
CREATE OR REPLACE FUNCTION auth.check_actor(actor bigint) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  -- one change of persons at a time: two administrators cannot disable each other at once
  LOCK TABLE auth.person IN SHARE ROW EXCLUSIVE MODE;
  IF (actor IS NULL AND session_user IN ('web', 'service'))
     OR (actor IS NOT NULL AND NOT EXISTS (SELECT FROM auth.person WHERE person_id = actor AND role = 'admin' AND NOT is_disabled)) THEN
    RAISE EXCEPTION USING ERRCODE = 'FW403', MESSAGE = 'a change needs an administrator';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION auth.create_person(login text, display text, with_role text, hash text, must_change boolean, actor bigint)
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
  PERFORM auth.note_event(made, 'CREATED', NULL, jsonb_build_object('role', with_role, 'display_name', display), actor);
  PERFORM auth.note_event(made, 'PASSWORD_SET', NULL, jsonb_build_object('must_change', create_person.must_change), actor);
  RETURN made;
END $$;

-- What every change of another person checks first: who makes it, and that the person exists. Null when nothing would change.
CREATE FUNCTION auth.person_to_change(of_person bigint, actor bigint, field text, to_value text) RETURNS auth.person
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE there auth.person;
BEGIN
  PERFORM auth.check_actor(actor);
  SELECT * INTO there FROM auth.person WHERE person_id = of_person;
  IF there.person_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'FW404', MESSAGE = 'unknown_person';
  ELSIF to_jsonb(there) ->> field = to_value THEN
    RETURN NULL;
  ELSIF of_person = actor THEN
    RAISE EXCEPTION USING ERRCODE = 'FW409', MESSAGE = 'own_person';
  END IF;
  RETURN there;
END $$;

-- False when the person has the role already. Nobody changes their own role; one enabled administrator always remains.
CREATE OR REPLACE FUNCTION auth.set_role(of_person bigint, to_role text, actor bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE there auth.person := auth.person_to_change(of_person, actor, 'role', to_role);
BEGIN
  IF there.person_id IS NULL THEN
    RETURN false;
  END IF;
  UPDATE auth.person SET role = to_role WHERE person_id = of_person;
  PERFORM auth.check_admin_remains(there.role = 'admin');
  PERFORM auth.end_sessions(of_person, 'ROLE_CHANGED');
  PERFORM auth.note_event(of_person, 'ROLE_CHANGED', jsonb_build_object('role', there.role), jsonb_build_object('role', to_role), actor);
  RETURN true;
END $$;

-- False when the person is in that state already. Nobody disables themselves; one enabled administrator always remains.
CREATE OR REPLACE FUNCTION auth.set_disabled(of_person bigint, disabled boolean, actor bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE there auth.person := auth.person_to_change(of_person, actor, 'is_disabled', disabled::text);
BEGIN
  IF there.person_id IS NULL THEN
    RETURN false;
  END IF;
  UPDATE auth.person SET is_disabled = disabled WHERE person_id = of_person;
  PERFORM auth.check_admin_remains(disabled AND there.role = 'admin');
  IF disabled THEN
    PERFORM auth.end_sessions(of_person, 'DISABLED');
  END IF;
  PERFORM auth.note_event(of_person, CASE WHEN disabled THEN 'DISABLED' ELSE 'ENABLED' END,
    jsonb_build_object('is_disabled', there.is_disabled), jsonb_build_object('is_disabled', disabled), actor);
  RETURN true;
END $$;

-- One's own password, or another's by an administrator. Ends every session of the person.
CREATE OR REPLACE FUNCTION auth.set_password(of_person bigint, hash text, must_change boolean, actor bigint)
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
  PERFORM auth.note_event(of_person, 'PASSWORD_SET', NULL, jsonb_build_object('must_change', set_password.must_change), actor);
END $$;

-- The second factor of a person: the newest row that has not ended; it counts once a code confirmed it.
CREATE TABLE auth.second_factor (
  factor_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  person_id bigint NOT NULL REFERENCES auth.person,
  sealed_secret bytea NOT NULL CHECK (octet_length(sealed_secret) BETWEEN 40 AND 200), -- AES-GCM; the key is in no database
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX second_factor_of_person ON auth.second_factor (person_id, factor_id);
-- time steps of 30 s whose code was used: the key lets none be used twice
CREATE TABLE auth.second_factor_step (
  factor_id bigint NOT NULL REFERENCES auth.second_factor,
  step bigint NOT NULL,
  used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (factor_id, step)
);
CREATE TABLE auth.second_factor_end (
  factor_id bigint PRIMARY KEY REFERENCES auth.second_factor,
  approval_id bigint NOT NULL REFERENCES work.approval,
  ended_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE auth.recovery_code (
  factor_id bigint NOT NULL REFERENCES auth.second_factor,
  code_hash bytea NOT NULL CHECK (octet_length(code_hash) = 32), -- sha256 of 80 random bits and the factor's number
  PRIMARY KEY (factor_id, code_hash)
);
CREATE TABLE auth.recovery_code_use (
  factor_id bigint NOT NULL,
  code_hash bytea NOT NULL,
  used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (factor_id, code_hash),
  FOREIGN KEY (factor_id, code_hash) REFERENCES auth.recovery_code
);
CREATE VIEW auth.second_factor_state AS
SELECT DISTINCT ON (f.person_id) f.factor_id, f.person_id, f.sealed_secret,
  (SELECT min(s.used_at) FROM auth.second_factor_step s WHERE s.factor_id = f.factor_id) AS confirmed_at,
  (SELECT count(*) FROM auth.recovery_code r LEFT JOIN auth.recovery_code_use u USING (factor_id, code_hash)
   WHERE r.factor_id = f.factor_id AND u.used_at IS NULL) AS recovery_codes_left
FROM auth.second_factor f WHERE NOT EXISTS (SELECT FROM auth.second_factor_end e WHERE e.factor_id = f.factor_id)
ORDER BY f.person_id, f.factor_id DESC;

CREATE FUNCTION auth.begin_second_factor(of_person bigint, sealed bytea) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE made bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(7450, hashtext(of_person::text));
  IF EXISTS (SELECT FROM auth.second_factor_state WHERE person_id = of_person AND confirmed_at IS NOT NULL) THEN
    PERFORM work.refuse('SECOND_FACTOR_IN_FORCE', 'person', (SELECT login_name FROM auth.person WHERE person_id = of_person));
  END IF;
  INSERT INTO auth.second_factor (person_id, sealed_secret) VALUES (of_person, sealed) RETURNING factor_id INTO made;
  RETURN made;
END $$;

-- The first code puts the factor in force, with its recovery codes; every other session of the person ends.
CREATE FUNCTION auth.confirm_second_factor(of_person bigint, of_factor bigint, with_step bigint, hashes bytea[], session_hash bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7450, hashtext(of_person::text));
  IF NOT EXISTS (SELECT FROM auth.second_factor_state WHERE person_id = of_person AND factor_id = of_factor AND confirmed_at IS NULL) THEN
    PERFORM work.refuse('SECOND_FACTOR_NOT_BEGUN', 'person', (SELECT login_name FROM auth.person WHERE person_id = of_person));
  END IF;
  INSERT INTO auth.second_factor_step (factor_id, step) VALUES (of_factor, with_step);
  INSERT INTO auth.recovery_code (factor_id, code_hash) SELECT of_factor, unnest(hashes);
  UPDATE auth.session SET ended_at = clock_timestamp(), end_reason = 'SECOND_FACTOR_SET'
  WHERE person_id = of_person AND ended_at IS NULL AND token_hash <> session_hash;
  PERFORM auth.note_event(of_person, 'SECOND_FACTOR_SET', NULL, jsonb_build_object('factor_id', of_factor), of_person);
END $$;

-- True once for each step, and never for one before the last.
CREATE FUNCTION auth.use_second_factor(of_factor bigint, with_step bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7451, hashtext(of_factor::text));
  INSERT INTO auth.second_factor_step (factor_id, step)
  SELECT of_factor, with_step WHERE with_step > (SELECT max(step) FROM auth.second_factor_step WHERE factor_id = of_factor);
  RETURN FOUND;
END $$;

-- True once for each code.
CREATE FUNCTION auth.use_recovery_code(of_factor bigint, hash bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE whose bigint;
BEGIN
  INSERT INTO auth.recovery_code_use (factor_id, code_hash)
  SELECT factor_id, code_hash FROM auth.recovery_code WHERE factor_id = of_factor AND code_hash = hash ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT person_id INTO STRICT whose FROM auth.second_factor WHERE factor_id = of_factor;
  PERFORM auth.note_event(whose, 'RECOVERY_CODE_USED', NULL,
    jsonb_build_object('left', (SELECT recovery_codes_left FROM auth.second_factor_state WHERE factor_id = of_factor)), whose);
  RETURN true;
END $$;

-- What a login needs of one person; the hash is null where no password was given yet.
CREATE FUNCTION auth.credentials(login text, OUT person_id bigint, OUT role text, OUT display_name text, OUT is_disabled boolean,
  OUT must_change boolean, OUT password_hash text, OUT factor_id bigint, OUT sealed_secret bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT p.person_id, p.role, p.display_name, p.is_disabled, w.must_change, nullif(w.password_hash, '$argon2id$none given'), f.factor_id, f.sealed_secret
  FROM auth.person p JOIN auth.password w USING (person_id)
  LEFT JOIN auth.second_factor_state f ON f.person_id = p.person_id AND f.confirmed_at IS NOT NULL
  WHERE p.login_name = login $$;

CREATE FUNCTION auth.await_code(attempt bigint) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE auth.login_attempt SET outcome = 'CODE_ASKED' WHERE attempt_id = attempt AND outcome = 'TRIED' $$;

-- A session for an enabled person; null when the person was disabled since the password was looked at.
CREATE FUNCTION auth.begin_session(hash bytea, of_person bigint, from_address text, max_s int) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO auth.session (token_hash, person_id, address, expires_at)
  SELECT hash, person_id, from_address, clock_timestamp() + make_interval(secs => max_s)
  FROM auth.person WHERE person_id = of_person AND NOT is_disabled RETURNING session_id $$;

CREATE FUNCTION auth.end_session(hash bytea, why text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE auth.session SET ended_at = clock_timestamp(), end_reason = why WHERE token_hash = hash AND ended_at IS NULL;
  RETURN FOUND;
END $$;

DROP FUNCTION auth.live_session;
CREATE FUNCTION auth.live_session(hash bytea, idle_s int) RETURNS TABLE (person_id bigint, login_name text, role text, must_change boolean,
  session_id bigint, display_name text, expires_at timestamptz, has_second_factor boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH live AS (
    UPDATE auth.session s SET last_seen_at = clock_timestamp()
    WHERE s.token_hash = hash AND s.ended_at IS NULL AND s.expires_at > clock_timestamp()
      AND s.last_seen_at > clock_timestamp() - make_interval(secs => idle_s)
    RETURNING s.person_id, s.session_id, s.expires_at)
  SELECT p.person_id, p.login_name, p.role, w.must_change, live.session_id, p.display_name, live.expires_at,
    EXISTS (SELECT FROM auth.second_factor_state f WHERE f.person_id = p.person_id AND f.confirmed_at IS NOT NULL)
  FROM live JOIN auth.person p USING (person_id) JOIN auth.password w USING (person_id) WHERE NOT p.is_disabled
$$;

-- A first password for a person who was made by two; nobody gives one to somebody who has chosen their own.
CREATE FUNCTION auth.give_one_time_password(login text, hash text, actor bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE there record;
BEGIN
  SELECT p.person_id, p.is_disabled, w.must_change INTO there FROM auth.person p JOIN auth.password w USING (person_id) WHERE p.login_name = login;
  IF there.person_id IS NULL THEN
    PERFORM work.refuse('USER_NOT_FOUND', 'login_name', login);
  ELSIF there.is_disabled OR NOT there.must_change THEN
    PERFORM work.refuse('PASSWORD_IS_OWN', 'login_name', login);
  END IF;
  PERFORM auth.set_password(there.person_id, hash, true, actor);
END $$;

-- Kinds USER_CREATE {display_name, role}, USER_ROLE {role}, USER_DISABLE {is_disabled}, SECOND_FACTOR_RESET {}; subject: the login name.
-- Maker and checker are two administrators: nobody else knows who is who, and the auditor only reads.
CREATE FUNCTION auth.check_user_change(asked work.approval) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fields text[] := CASE asked.kind WHEN 'USER_CREATE' THEN '{display_name,role}' WHEN 'USER_ROLE' THEN '{role}'
    WHEN 'USER_DISABLE' THEN '{is_disabled}' ELSE '{}' END;
  field text;
  is_known boolean := EXISTS (SELECT FROM auth.person WHERE login_name = asked.subject);
BEGIN
  FOR field IN SELECT jsonb_object_keys(asked.payload) EXCEPT SELECT unnest(fields) LOOP
    PERFORM work.refuse('BODY_INVALID', 'payload.' || field, NULL);
  END LOOP;
  FOREACH field IN ARRAY fields LOOP
    IF jsonb_typeof(asked.payload -> field) IS DISTINCT FROM (CASE field WHEN 'is_disabled' THEN 'boolean' ELSE 'string' END) THEN
      PERFORM work.refuse('BODY_INVALID', 'payload.' || field, NULL);
    END IF;
  END LOOP;
  IF asked.payload ->> 'role' NOT IN ('viewer', 'officer', 'checker', 'finance', 'admin', 'auditor') THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.role', asked.payload ->> 'role');
  ELSIF asked.kind = 'USER_CREATE' AND asked.subject !~ '^[a-z0-9._-]{2,32}$' THEN
    PERFORM work.refuse('BODY_INVALID', 'subject', asked.subject);
  ELSIF asked.payload ->> 'display_name' !~ '^[^[:cntrl:]]{1,64}$' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.display_name', NULL);
  ELSIF asked.platform_id IS NOT NULL THEN
    PERFORM work.refuse('BODY_INVALID', 'platform_id', asked.platform_id);
  ELSIF asked.kind = 'USER_CREATE' AND is_known THEN
    PERFORM work.refuse('NAME_TAKEN', 'subject', asked.subject);
  ELSIF asked.kind <> 'USER_CREATE' AND NOT is_known THEN
    PERFORM work.refuse('UNKNOWN_PERSON', 'subject', asked.subject);
  ELSIF asked.subject = asked.maker THEN
    PERFORM work.refuse('OWN_PERSON', 'subject', asked.subject);
  ELSIF asked.kind = 'SECOND_FACTOR_RESET' AND NOT EXISTS (SELECT FROM auth.second_factor_state JOIN auth.person USING (person_id)
      WHERE login_name = asked.subject AND confirmed_at IS NOT NULL) THEN
    PERFORM work.refuse('NO_SECOND_FACTOR', 'subject', asked.subject);
  END IF;
END $$;

CREATE FUNCTION auth.apply_user_change(asked work.approval, checker text) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  actor bigint := (SELECT person_id FROM auth.person WHERE login_name = asked.maker);
  subject bigint := (SELECT person_id FROM auth.person WHERE login_name = asked.subject);
BEGIN
  PERFORM auth.check_user_change(asked);
  IF asked.subject = checker THEN
    PERFORM work.refuse('OWN_PERSON', 'subject', checker);
  END IF;
  CASE asked.kind
    WHEN 'USER_CREATE' THEN
      -- no password yet: an administrator hands out a one-time password when the person sits there
      subject := auth.create_person(asked.subject, asked.payload ->> 'display_name', asked.payload ->> 'role', '$argon2id$none given', true, actor);
    WHEN 'USER_ROLE' THEN PERFORM auth.set_role(subject, asked.payload ->> 'role', actor);
    WHEN 'USER_DISABLE' THEN PERFORM auth.set_disabled(subject, (asked.payload -> 'is_disabled')::boolean, actor);
    WHEN 'SECOND_FACTOR_RESET' THEN
      INSERT INTO auth.second_factor_end (factor_id, approval_id)
      SELECT factor_id, asked.approval_id FROM auth.second_factor_state WHERE person_id = subject;
      PERFORM auth.end_sessions(subject, 'SECOND_FACTOR_RESET');
      PERFORM auth.note_event(subject, 'SECOND_FACTOR_RESET', NULL, jsonb_build_object('approval_id', asked.approval_id), actor);
  END CASE;
  RETURN (SELECT jsonb_build_object('login_name', login_name, 'role', role, 'is_disabled', is_disabled) FROM auth.person WHERE person_id = subject);
EXCEPTION
  WHEN SQLSTATE 'FW403' THEN
    PERFORM work.refuse('NOT_PERMITTED', 'maker', asked.maker);
  WHEN SQLSTATE 'FW404' OR SQLSTATE 'FW409' THEN
    PERFORM work.refuse(upper(SQLERRM), 'subject', asked.subject);
END $$;

-- Working days of a market. A version holds the whole calendar; the highest is in force.
CREATE FUNCTION registry.are_exceptions(days date[], first_day date, last_day date, of_weekend boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(bool_and(day BETWEEN first_day AND last_day AND (extract(isodow FROM day) >= 6) = of_weekend), true)
    AND count(*) = count(DISTINCT day) FROM unnest(days) AS day $$;
CREATE TABLE registry.calendar_version (
  calendar_id text NOT NULL CHECK (calendar_id ~ '^[A-Z0-9]{2,16}$'),
  version int NOT NULL CHECK (version > 0),
  first_day date NOT NULL,
  last_day date NOT NULL CHECK (last_day < '2200-01-01'),
  holidays date[] NOT NULL, -- weekdays on which banks do not work
  make_up_days date[] NOT NULL, -- weekends on which they do
  source text NOT NULL CHECK (char_length(source) BETWEEN 1 AND 200),
  actor text NOT NULL,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (calendar_id, version),
  CHECK (first_day <= last_day AND registry.are_exceptions(holidays, first_day, last_day, false)
    AND registry.are_exceptions(make_up_days, first_day, last_day, true))
);
CREATE VIEW registry.calendar AS
SELECT DISTINCT ON (calendar_id) * FROM registry.calendar_version ORDER BY calendar_id, version DESC;
-- the calendars of the package (domain/calendars) on the day this was written; a test compares them
INSERT INTO registry.calendar_version (calendar_id, version, first_day, last_day, holidays, make_up_days, source, actor, recorded_at) VALUES
  ('CN', 1, '2015-01-01', '2026-12-31',
   '{2015-01-01, 2015-01-02, 2015-02-18, 2015-02-19, 2015-02-20, 2015-02-23, 2015-02-24, 2015-04-06, 2015-05-01, 2015-06-22,
   2015-09-03, 2015-09-04, 2015-10-01, 2015-10-02, 2015-10-05, 2015-10-06, 2015-10-07, 2016-01-01, 2016-02-08, 2016-02-09,
   2016-02-10, 2016-02-11, 2016-02-12, 2016-04-04, 2016-05-02, 2016-06-09, 2016-06-10, 2016-09-15, 2016-09-16, 2016-10-03,
   2016-10-04, 2016-10-05, 2016-10-06, 2016-10-07, 2017-01-02, 2017-01-27, 2017-01-30, 2017-01-31, 2017-02-01, 2017-02-02,
   2017-04-03, 2017-04-04, 2017-05-01, 2017-05-29, 2017-05-30, 2017-10-02, 2017-10-03, 2017-10-04, 2017-10-05, 2017-10-06,
   2018-01-01, 2018-02-15, 2018-02-16, 2018-02-19, 2018-02-20, 2018-02-21, 2018-04-05, 2018-04-06, 2018-04-30, 2018-05-01,
   2018-06-18, 2018-09-24, 2018-10-01, 2018-10-02, 2018-10-03, 2018-10-04, 2018-10-05, 2018-12-31, 2019-01-01, 2019-02-04,
   2019-02-05, 2019-02-06, 2019-02-07, 2019-02-08, 2019-04-05, 2019-05-01, 2019-05-02, 2019-05-03, 2019-06-07, 2019-09-13,
   2019-10-01, 2019-10-02, 2019-10-03, 2019-10-04, 2019-10-07, 2020-01-01, 2020-01-24, 2020-01-27, 2020-01-28, 2020-01-29,
   2020-01-30, 2020-01-31, 2020-04-06, 2020-05-01, 2020-05-04, 2020-05-05, 2020-06-25, 2020-06-26, 2020-10-01, 2020-10-02,
   2020-10-05, 2020-10-06, 2020-10-07, 2020-10-08, 2021-01-01, 2021-02-11, 2021-02-12, 2021-02-15, 2021-02-16, 2021-02-17,
   2021-04-05, 2021-05-03, 2021-05-04, 2021-05-05, 2021-06-14, 2021-09-20, 2021-09-21, 2021-10-01, 2021-10-04, 2021-10-05,
   2021-10-06, 2021-10-07, 2022-01-03, 2022-01-31, 2022-02-01, 2022-02-02, 2022-02-03, 2022-02-04, 2022-04-04, 2022-04-05,
   2022-05-02, 2022-05-03, 2022-05-04, 2022-06-03, 2022-09-12, 2022-10-03, 2022-10-04, 2022-10-05, 2022-10-06, 2022-10-07,
   2023-01-02, 2023-01-23, 2023-01-24, 2023-01-25, 2023-01-26, 2023-01-27, 2023-04-05, 2023-05-01, 2023-05-02, 2023-05-03,
   2023-06-22, 2023-06-23, 2023-09-29, 2023-10-02, 2023-10-03, 2023-10-04, 2023-10-05, 2023-10-06, 2024-01-01, 2024-02-12,
   2024-02-13, 2024-02-14, 2024-02-15, 2024-02-16, 2024-04-04, 2024-04-05, 2024-05-01, 2024-05-02, 2024-05-03, 2024-06-10,
   2024-09-16, 2024-09-17, 2024-10-01, 2024-10-02, 2024-10-03, 2024-10-04, 2024-10-07, 2025-01-01, 2025-01-28, 2025-01-29,
   2025-01-30, 2025-01-31, 2025-02-03, 2025-02-04, 2025-04-04, 2025-05-01, 2025-05-02, 2025-05-05, 2025-06-02, 2025-10-01,
   2025-10-02, 2025-10-03, 2025-10-06, 2025-10-07, 2025-10-08, 2026-01-01, 2026-01-02, 2026-02-16, 2026-02-17, 2026-02-18,
   2026-02-19, 2026-02-20, 2026-02-23, 2026-04-06, 2026-05-01, 2026-05-04, 2026-05-05, 2026-06-19, 2026-09-25, 2026-10-01,
   2026-10-02, 2026-10-05, 2026-10-06, 2026-10-07}',
   '{2015-01-04, 2015-02-15, 2015-02-28, 2015-09-06, 2015-10-10, 2016-02-06, 2016-02-14, 2016-06-12, 2016-09-18, 2016-10-08,
   2016-10-09, 2017-01-22, 2017-02-04, 2017-04-01, 2017-05-27, 2017-09-30, 2018-02-11, 2018-02-24, 2018-04-08, 2018-04-28,
   2018-09-29, 2018-09-30, 2018-12-29, 2019-02-02, 2019-02-03, 2019-04-28, 2019-05-05, 2019-09-29, 2019-10-12, 2020-01-19,
   2020-04-26, 2020-05-09, 2020-06-28, 2020-09-27, 2020-10-10, 2021-02-07, 2021-02-20, 2021-04-25, 2021-05-08, 2021-09-18,
   2021-09-26, 2021-10-09, 2022-01-29, 2022-01-30, 2022-04-02, 2022-04-24, 2022-05-07, 2022-10-08, 2022-10-09, 2023-01-28,
   2023-01-29, 2023-04-23, 2023-05-06, 2023-06-25, 2023-10-07, 2023-10-08, 2024-02-04, 2024-02-18, 2024-04-07, 2024-04-28,
   2024-05-11, 2024-09-14, 2024-09-29, 2024-10-12, 2025-01-26, 2025-02-08, 2025-04-27, 2025-09-28, 2025-10-11, 2026-01-04,
   2026-02-14, 2026-02-28, 2026-05-09, 2026-09-20, 2026-10-10}',
   'State Council, as packaged (chinesecalendar 1.11.0)', 'migration', '2000-01-01Z'),
  ('GENERIC', 1, '2000-01-01', '2099-12-31',
   '{}',
   '{}',
   'Monday to Friday, as packaged', 'migration', '2000-01-01Z');

-- Kind CALENDAR_CHANGE, subject the calendar, payload {base_version, source, days: {"2027-01-01": "HOLIDAY" | "MAKE_UP" | "REGULAR"},
-- last_day?}: the next version. What has begun anywhere on earth or belongs to a closed business date stays as it was.
CREATE FUNCTION registry.calendar_after(asked work.approval) RETURNS registry.calendar_version
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' AS $$
DECLARE
  base registry.calendar_version;
  made registry.calendar_version;
  field text;
  one record;
  fixed_to date := greatest((ledger.clock_now() AT TIME ZONE 'UTC' + interval '14 hours')::date,
                            (SELECT max(business_date) FROM ledger.day_close));
BEGIN
  SELECT * INTO base FROM registry.calendar c WHERE c.calendar_id = asked.subject;
  IF NOT FOUND THEN
    PERFORM work.refuse('UNKNOWN_CALENDAR', 'subject', asked.subject);
  END IF;
  FOR field IN SELECT jsonb_object_keys(asked.payload) EXCEPT SELECT unnest('{base_version,source,days,last_day}'::text[]) LOOP
    PERFORM work.refuse('BODY_INVALID', 'payload.' || field, NULL);
  END LOOP;
  IF jsonb_typeof(asked.payload -> 'base_version') IS DISTINCT FROM 'number' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.base_version', NULL);
  ELSIF jsonb_typeof(asked.payload -> 'source') IS DISTINCT FROM 'string' OR char_length(asked.payload ->> 'source') NOT BETWEEN 1 AND 200 THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.source', NULL);
  ELSIF jsonb_typeof(asked.payload -> 'days') IS DISTINCT FROM 'object' OR length((asked.payload -> 'days')::text) > 100000 THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.days', NULL);
  ELSIF asked.payload ->> 'base_version' <> base.version::text THEN
    PERFORM work.refuse('CALENDAR_CHANGED', 'payload.base_version', asked.payload ->> 'base_version');
  END IF;
  made := base;
  made.version := base.version + 1;
  made.source := asked.payload ->> 'source';
  made.recorded_at := ledger.clock_now();
  IF asked.payload ? 'last_day' THEN
    made.last_day := registry.calendar_day(asked.payload ->> 'last_day', 'payload.last_day');
    IF made.last_day <= base.last_day OR made.last_day >= '2200-01-01' THEN
      PERFORM work.refuse('BODY_INVALID', 'payload.last_day', made.last_day::text);
    END IF;
  END IF;
  FOR one IN SELECT registry.calendar_day(key, 'payload.days') AS day, value FROM jsonb_each_text(asked.payload -> 'days') LOOP
    IF one.day NOT BETWEEN base.first_day AND made.last_day OR one.value IS NULL OR one.value NOT IN ('HOLIDAY', 'MAKE_UP', 'REGULAR')
       OR (one.value <> 'REGULAR' AND (extract(isodow FROM one.day) >= 6) <> (one.value = 'MAKE_UP')) THEN
      PERFORM work.refuse('BODY_INVALID', 'payload.days', one.day::text);
    ELSIF one.day <= least(fixed_to, base.last_day) THEN
      PERFORM work.refuse('CALENDAR_DAY_PAST', 'payload.days', one.day::text);
    END IF;
    made.holidays := array_remove(made.holidays, one.day);
    made.make_up_days := array_remove(made.make_up_days, one.day);
    IF one.value = 'HOLIDAY' THEN
      made.holidays := made.holidays || one.day;
    ELSIF one.value = 'MAKE_UP' THEN
      made.make_up_days := made.make_up_days || one.day;
    END IF;
  END LOOP;
  made.holidays := ARRAY(SELECT day FROM unnest(made.holidays) AS day ORDER BY day);
  made.make_up_days := ARRAY(SELECT day FROM unnest(made.make_up_days) AS day ORDER BY day);
  IF (made.holidays, made.make_up_days, made.last_day) = (base.holidays, base.make_up_days, base.last_day) THEN
    PERFORM work.refuse('NOTHING_CHANGES', 'payload.days', NULL);
  END IF;
  RETURN made;
END $$;

CREATE FUNCTION registry.calendar_day(word text, field text) RETURNS date
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' AS $$
BEGIN
  IF word IS NULL OR word !~ '^\d{4}-\d{2}-\d{2}$' THEN
    PERFORM work.refuse('BODY_INVALID', field, word);
  END IF;
  RETURN word::date;
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
  PERFORM work.refuse('BODY_INVALID', field, word);
END $$;

CREATE FUNCTION registry.check_calendar_change(asked work.approval) RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT (registry.calendar_after(asked)).version $$;

CREATE FUNCTION registry.apply_calendar_change(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made registry.calendar_version;
  days jsonb := asked.payload - 'base_version';
BEGIN
  PERFORM pg_advisory_xact_lock(7452, hashtext(asked.subject));
  made := registry.calendar_after(asked);
  made.actor := checker;
  INSERT INTO registry.calendar_version VALUES (made.*);
  PERFORM audit.record(checker, 'CALENDAR_CHANGED', 'calendar', asked.subject, NULL, asked.payload -> 'base_version' , to_jsonb(made) || jsonb_build_object('change', days));
  PERFORM outbox.append('calendar.changed', NULL, asked.subject, jsonb_build_object('version', made.version, 'last_day', made.last_day));
  RETURN jsonb_build_object('calendar_id', made.calendar_id, 'version', made.version, 'last_day', made.last_day);
END $$;

-- Persons with what an access review looks at: changes are those since a moment.
CREATE FUNCTION auth.access_review(since timestamptz) RETURNS TABLE (login_name text, display_name text, role text, is_disabled boolean,
  has_second_factor boolean, created_by text, created_at timestamptz, last_login_at timestamptz, last_use_at timestamptz, changes jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
  SELECT p.login_name, p.display_name, p.role, p.is_disabled,
    EXISTS (SELECT FROM auth.second_factor_state f WHERE f.person_id = p.person_id AND f.confirmed_at IS NOT NULL),
    coalesce(maker.login_name, 'console'), p.created_at,
    (SELECT max(a.at) FROM auth.login_attempt a WHERE a.person_id = p.person_id AND a.outcome = 'SUCCEEDED'),
    (SELECT max(s.last_seen_at) FROM auth.session s WHERE s.person_id = p.person_id),
    coalesce((SELECT jsonb_agg(jsonb_build_object('at', e.at, 'kind', e.kind, 'before', e.before, 'after', e.after,
                'actor', coalesce(actor.login_name, 'console')) ORDER BY e.event_id)
              FROM auth.person_event e LEFT JOIN auth.person actor ON actor.person_id = e.actor_id
              WHERE e.person_id = p.person_id AND e.at >= since), '[]')
  FROM auth.person p LEFT JOIN auth.person maker ON maker.person_id = p.created_by ORDER BY p.login_name $$;

-- What two sign: persons, roles, states and changes; logins meanwhile do not matter.
CREATE FUNCTION auth.access_review_hash(since timestamptz) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
  SELECT encode(sha256(convert_to(coalesce(string_agg((to_jsonb(r) - 'last_login_at' - 'last_use_at')::text, E'\n' ORDER BY login_name), ''), 'UTF8')), 'hex')
  FROM auth.access_review(since) r $$;

CREATE TABLE auth.access_review_signed (
  approval_id bigint PRIMARY KEY REFERENCES work.approval,
  since timestamptz NOT NULL,
  review_hash text NOT NULL,
  review jsonb NOT NULL, -- what was signed, whole
  maker text NOT NULL REFERENCES auth.person (login_name),
  checker text NOT NULL REFERENCES auth.person (login_name),
  signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Kind ACCESS_REVIEW, payload {since, review_hash}: refused when persons changed after the review was read.
CREATE FUNCTION auth.check_access_review(asked work.approval) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE since timestamptz;
BEGIN
  BEGIN
    since := (asked.payload ->> 'since')::timestamptz;
  EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
    since := NULL;
  END;
  IF since IS NULL THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.since', asked.payload ->> 'since');
  ELSIF asked.payload ->> 'review_hash' IS DISTINCT FROM auth.access_review_hash(since) THEN
    PERFORM work.refuse('ACCESS_REVIEW_STALE', 'payload.review_hash', asked.payload ->> 'review_hash');
  END IF;
END $$;

CREATE FUNCTION auth.sign_access_review(asked work.approval, checker text) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE since timestamptz;
BEGIN
  PERFORM auth.check_access_review(asked);
  since := (asked.payload ->> 'since')::timestamptz;
  INSERT INTO auth.access_review_signed (approval_id, since, review_hash, review, maker, checker)
  VALUES (asked.approval_id, since, asked.payload ->> 'review_hash',
          (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.login_name), '[]') FROM auth.access_review(since) r), asked.maker, checker);
  PERFORM audit.record(checker, 'ACCESS_REVIEW_SIGNED', 'access_review', asked.approval_id::text, NULL, NULL,
    jsonb_build_object('since', since, 'review_hash', asked.payload ->> 'review_hash', 'maker', asked.maker));
  RETURN jsonb_build_object('review_hash', asked.payload ->> 'review_hash', 'persons', (SELECT count(*) FROM auth.person));
END $$;

INSERT INTO work.kind (kind, maker_roles, checker_roles, check_function, apply_function, expires_h) VALUES
  ('USER_CREATE', '{admin}', '{admin}', 'auth.check_user_change', 'auth.apply_user_change', 168),
  ('USER_ROLE', '{admin}', '{admin}', 'auth.check_user_change', 'auth.apply_user_change', 168),
  ('USER_DISABLE', '{admin}', '{admin}', 'auth.check_user_change', 'auth.apply_user_change', 168),
  ('SECOND_FACTOR_RESET', '{admin}', '{admin}', 'auth.check_user_change', 'auth.apply_user_change', 24),
  ('CALENDAR_CHANGE', '{officer,checker,admin}', '{checker,admin}', 'registry.check_calendar_change', 'registry.apply_calendar_change', 720),
  ('ACCESS_REVIEW', '{admin}', '{admin,checker}', 'auth.check_access_review', 'auth.sign_access_review', 168);

DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['auth.second_factor', 'auth.second_factor_step', 'auth.second_factor_end', 'auth.recovery_code',
                              'auth.recovery_code_use', 'auth.access_review_signed', 'registry.calendar_version'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION auth.note_event, auth.person_to_change, auth.begin_second_factor, auth.confirm_second_factor, auth.use_second_factor,
  auth.use_recovery_code, auth.credentials, auth.await_code, auth.begin_session, auth.end_session, auth.live_session,
  auth.give_one_time_password, auth.check_user_change, auth.apply_user_change, auth.access_review, auth.access_review_hash,
  auth.check_access_review, auth.sign_access_review, registry.calendar_after, registry.calendar_day, registry.check_calendar_change,
  registry.apply_calendar_change FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth.begin_second_factor, auth.confirm_second_factor, auth.use_second_factor, auth.use_recovery_code,
  auth.credentials, auth.await_code, auth.begin_session, auth.end_session, auth.begin_attempt, auth.end_attempt, auth.live_session,
  auth.set_password TO service, web;
GRANT EXECUTE ON FUNCTION auth.give_one_time_password, auth.access_review, auth.access_review_hash TO service;
GRANT SELECT ON auth.second_factor_state TO service, web;
GRANT SELECT ON auth.person, auth.access_log, auth.access_review_signed, registry.calendar_version, registry.calendar TO service;
GRANT SELECT ON registry.calendar_version, registry.calendar TO jobs, reader;
GRANT INSERT (person_id, session_id, address, kind, subject, path, row_count, detail) ON auth.access_log TO service;
