REVOKE EXECUTE ON FUNCTION work.desk_faults, ledger.sealed_text, ledger.sealed_json, audit.sealed_text,
  loans.claim_outstanding, loans.plan_hash, loans.days_past_due, loans.accrued_share, loans.deal_obstacle, loans.untold FROM jobs;
ALTER DEFAULT PRIVILEGES IN SCHEMA ledger, audit, loans, outbox, registry, work REVOKE SELECT ON TABLES FROM jobs;
REVOKE SELECT ON api.answer, public.migration FROM jobs;
REVOKE SELECT ON ALL TABLES IN SCHEMA ledger, audit, loans, outbox, registry, work FROM jobs;
REVOKE USAGE ON SCHEMA api, audit, loans, outbox, registry FROM jobs;
-- what it read before
GRANT SELECT ON ledger.day_close, registry.calendar, registry.calendar_version, work.adjustment_daily TO jobs;
