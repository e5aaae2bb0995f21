CREATE TABLE api.key (
  key_hash bytea PRIMARY KEY,
  scope text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  revoked_at timestamptz
);
-- first answers (architecture section 6.3): refusals are not stored; the body is kept to name what differs
CREATE TABLE api.answer (
  scope text,
  endpoint text,
  idempotency_key text,
  body_hash bytea NOT NULL,
  body text NOT NULL,
  answer json NOT NULL,
  answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (scope, endpoint, idempotency_key)
);
GRANT SELECT ON api.key, api.answer TO service;
