REVOKE SELECT (attempt_id) ON auth.login_attempt FROM jobs;
REVOKE SELECT (session_id) ON auth.session FROM jobs;
REVOKE USAGE ON SCHEMA auth FROM jobs;
DROP FUNCTION auth.forget_attempts, auth.forget_sessions, auth.old_attempts, auth.old_sessions;
DROP INDEX auth.access_log_of_session;
