REVOKE SELECT ON auth.person, auth.access_log FROM service;
REVOKE INSERT (person_id, session_id, address, kind, subject, path, row_count, detail) ON auth.access_log FROM service;
REVOKE EXECUTE ON FUNCTION auth.begin_attempt, auth.end_attempt, auth.set_password FROM service;
DELETE FROM work.kind WHERE kind IN ('USER_CREATE', 'USER_ROLE', 'USER_DISABLE', 'SECOND_FACTOR_RESET', 'CALENDAR_CHANGE', 'ACCESS_REVIEW');
DROP FUNCTION auth.sign_access_review, auth.check_access_review;
DROP TABLE auth.access_review_signed;
DROP FUNCTION auth.access_review_hash, auth.access_review, registry.apply_calendar_change, registry.check_calendar_change, registry.calendar_after,
  registry.calendar_day;
DROP VIEW registry.calendar;
DROP TABLE registry.calendar_version;
DROP FUNCTION registry.are_exceptions, auth.apply_user_change, auth.check_user_change, auth.give_one_time_password, auth.end_session,
  auth.begin_session, auth.await_code, auth.credentials, auth.use_recovery_code, auth.use_second_factor, auth.confirm_second_factor,
  auth.begin_second_factor, auth.live_session;
DROP VIEW auth.second_factor_state;
DROP TABLE auth.recovery_code_use, auth.recovery_code, auth.second_factor_end, auth.second_factor_step, auth.second_factor;

-- as they were in 0010 and 0012
CREATE OR REPLACE FUNCTION auth.check_actor(actor bigint) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
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
  INSERT INTO auth.person_event (person_id, kind, after, actor_id)
  VALUES (made, 'CREATED', jsonb_build_object('role', with_role, 'display_name', display), actor),
         (made, 'PASSWORD_SET', jsonb_build_object('must_change', create_person.must_change), actor);
  RETURN made;
END $$;
CREATE OR REPLACE FUNCTION auth.set_role(of_person bigint, to_role text, actor bigint)
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
CREATE OR REPLACE FUNCTION auth.set_disabled(of_person bigint, disabled boolean, actor bigint)
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
  INSERT INTO auth.person_event (person_id, kind, after, actor_id)
  VALUES (of_person, 'PASSWORD_SET', jsonb_build_object('must_change', set_password.must_change), actor);
END $$;
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
REVOKE EXECUTE ON FUNCTION auth.live_session FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth.live_session TO service;
DROP FUNCTION auth.person_to_change, auth.note_event;

DROP INDEX auth.access_log_of_exports;
ALTER TABLE auth.access_log DROP CONSTRAINT access_log_kind_check, ADD CONSTRAINT access_log_kind_check
  CHECK (kind IN ('ACCOUNT_SEEN', 'LOAN_SEEN', 'PERSON_SEEN', 'EXPORT', 'REFUSED'));
ALTER TABLE auth.login_attempt DROP CONSTRAINT login_attempt_outcome_check, ADD CONSTRAINT login_attempt_outcome_check
  CHECK (outcome IN ('TRIED', 'SUCCEEDED', 'FAILED', 'LOCKED'));
ALTER TABLE auth.session DROP CONSTRAINT session_end_reason_check, ADD CONSTRAINT session_end_reason_check
  CHECK (end_reason IN ('LOGOUT', 'REPLACED', 'IDLE', 'EXPIRED', 'PASSWORD_SET', 'ROLE_CHANGED', 'DISABLED'));
ALTER TABLE auth.person_event DROP CONSTRAINT person_event_kind_check, ADD CONSTRAINT person_event_kind_check
  CHECK (kind IN ('CREATED', 'PASSWORD_SET', 'ROLE_CHANGED', 'DISABLED', 'ENABLED'));
ALTER TABLE auth.person DROP CONSTRAINT person_role_check, ADD CONSTRAINT person_role_check
  CHECK (role IN ('viewer', 'officer', 'checker', 'admin', 'auditor'));
