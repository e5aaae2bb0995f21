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

-- Working days after one day up to and including another, by the version in force; null for days that it does not know.
CREATE FUNCTION registry.working_days_after(calendar text, after date, until date) RETURNS int
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT (SELECT count(*) FROM generate_series(after + 1, until, interval '1 day') d
          WHERE (extract(isodow FROM d) < 6 AND d::date <> ALL (c.holidays)) OR d::date = ANY (c.make_up_days))::int
  FROM registry.calendar c WHERE c.calendar_id = calendar AND after >= c.first_day AND until <= c.last_day $$;
REVOKE EXECUTE ON FUNCTION registry.working_days_after FROM PUBLIC;
GRANT EXECUTE ON FUNCTION registry.working_days_after TO service;

-- As in 0013, but to a platform's key another platform's account looks like none in the verdicts of single orders, too.
CREATE OR REPLACE FUNCTION ledger.post_items(batch jsonb) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  item record;
  one jsonb;
  posted record;
  results jsonb[] := '{}';
  code text;
  fault text;
  orders int := 0;
  movements int := 0;
  answer json;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  FOR item IN
    WITH leg AS (SELECT m -> 'o' AS o, jsonb_agg(m || '{"o": 0}') AS found FROM jsonb_array_elements(batch -> 'movements') m GROUP BY m -> 'o'),
    hold AS (SELECT h -> 'o' AS o, jsonb_agg(h || '{"o": 0}') AS found FROM jsonb_array_elements(batch -> 'holds') h GROUP BY h -> 'o')
    SELECT x.value AS body, coalesce(leg.found, '[]') AS movements, coalesce(hold.found, '[]') AS holds
    FROM jsonb_array_elements(batch -> 'orders') WITH ORDINALITY x LEFT JOIN leg ON leg.o = x.value -> 'o' LEFT JOIN hold ON hold.o = x.value -> 'o'
    ORDER BY x.ordinality
  LOOP
    one := batch || jsonb_build_object('orders', jsonb_build_array(item.body || '{"o": 0}'), 'movements', item.movements, 'holds', item.holds);
    BEGIN
      SELECT * INTO posted FROM ledger.post_orders(one);
      results := results || jsonb_build_array('posted', (ledger.answers(posted.orders, posted.legs))[1]);
      orders := orders + 1;
      movements := movements + cardinality(posted.legs);
    EXCEPTION WHEN SQLSTATE 'FW422' THEN
      GET STACKED DIAGNOSTICS code = MESSAGE_TEXT, fault = PG_EXCEPTION_DETAIL;
      IF code = 'ACCOUNT_OF_OTHER_PLATFORM' AND batch #>> '{answers,0,scope}' <> '*' THEN
        code := 'UNKNOWN_ACCOUNT';
      END IF;
      results := results || jsonb_build_array('refused', jsonb_build_object('code', code, 'field', fault::jsonb -> 'field', 'value', fault::jsonb -> 'value'));
    END;
  END LOOP;
  answer := json_build_object('orders', orders, 'movements', movements, 'results',
    (SELECT json_agg(json_build_object('status', r ->> 0) ::jsonb || (r -> 1) ORDER BY n) FROM unnest(results) WITH ORDINALITY u(r, n)));
  INSERT INTO api.answer (scope, endpoint, idempotency_key, body_hash, body, answer)
  SELECT x.scope, batch ->> 'endpoint', x.key, decode(x.hash, 'hex'), x.body, answer
  FROM jsonb_to_recordset(batch -> 'answers') AS x(scope text, key text, hash text, body text);
  RETURN answer;
END $$;

-- The calendar that a run reads, as it was in force when the run was opened; another version decided on meanwhile does not change it.
CREATE TABLE run.calendar (
  run_id bigint PRIMARY KEY REFERENCES run.run,
  calendar_id text NOT NULL,
  version int CHECK (version > 0), -- of registry.calendar_version; null: the packaged one
  content text NOT NULL, -- in the format of domain/calendars
  sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$')
);
GRANT SELECT, INSERT ON run.calendar TO jobs;
GRANT SELECT ON run.calendar TO reader;
