-- What retention may delete of how people signed in: sessions that ended and attempts, older than six months whatever the caller asks
-- (spec 09, 4.1). What the access log names stays with it, and so does the last session and login of each person, which the access review
-- reads. The role of the jobs sees numbers only.
CREATE INDEX access_log_of_session ON auth.access_log (session_id) WHERE session_id IS NOT NULL;

CREATE FUNCTION auth.old_sessions(before timestamptz) RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.session_id FROM auth.session s
  WHERE coalesce(s.ended_at, s.expires_at) < least(before, clock_timestamp() - interval '180 days')
    AND EXISTS (SELECT FROM auth.session later WHERE later.person_id = s.person_id
                AND (later.last_seen_at, later.session_id) > (s.last_seen_at, s.session_id))
    AND NOT EXISTS (SELECT FROM auth.access_log l WHERE l.session_id = s.session_id)
  ORDER BY 1 $$;
CREATE FUNCTION auth.old_attempts(before timestamptz) RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.attempt_id FROM auth.login_attempt a
  WHERE a.at < least(before, clock_timestamp() - interval '180 days')
    AND (a.person_id IS NULL OR a.outcome <> 'SUCCEEDED' OR EXISTS (
         SELECT FROM auth.login_attempt later WHERE later.person_id = a.person_id AND later.outcome = 'SUCCEEDED'
           AND (later.at, later.attempt_id) > (a.at, a.attempt_id)))
  ORDER BY 1 $$;
CREATE FUNCTION auth.forget_sessions(session_ids bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM auth.session s WHERE s.session_id = ANY (session_ids) AND s.session_id IN (SELECT auth.old_sessions('infinity')) $$;
CREATE FUNCTION auth.forget_attempts(attempt_ids bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM auth.login_attempt a WHERE a.attempt_id = ANY (attempt_ids) AND a.attempt_id IN (SELECT auth.old_attempts('infinity')) $$;

REVOKE EXECUTE ON FUNCTION auth.old_sessions, auth.old_attempts, auth.forget_sessions, auth.forget_attempts FROM PUBLIC;
GRANT USAGE ON SCHEMA auth TO jobs;
GRANT SELECT (session_id) ON auth.session TO jobs;
GRANT SELECT (attempt_id) ON auth.login_attempt TO jobs;
GRANT EXECUTE ON FUNCTION auth.old_sessions, auth.old_attempts, auth.forget_sessions, auth.forget_attempts TO jobs;
