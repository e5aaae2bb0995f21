-- Role web stays: other databases of the cluster may use it.
REVOKE EXECUTE ON FUNCTION ops.propose_control, ops.decide_control, ops.hold_at FROM web;
REVOKE SELECT ON ops.control_state, ops.file_sender FROM web;
REVOKE USAGE ON SCHEMA ops FROM web;
DROP FUNCTION auth.end_attempt, auth.begin_attempt, auth.set_password, auth.set_disabled, auth.set_role, auth.create_person,
  auth.check_admin_remains, auth.end_sessions, auth.check_actor;
DROP TABLE auth.access_log, auth.login_attempt, auth.session, auth.person_event, auth.password, auth.person;
DROP FUNCTION auth.refuse_change;
DROP SCHEMA auth;
