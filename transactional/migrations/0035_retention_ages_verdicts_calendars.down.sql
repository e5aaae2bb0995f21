DROP TABLE run.calendar;
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
DROP FUNCTION registry.working_days_after;
REVOKE SELECT (attempt_id) ON auth.login_attempt FROM jobs;
REVOKE SELECT (session_id) ON auth.session FROM jobs;
REVOKE USAGE ON SCHEMA auth FROM jobs;
DROP FUNCTION auth.forget_attempts, auth.forget_sessions, auth.old_attempts, auth.old_sessions;
DROP INDEX auth.access_log_of_session;
