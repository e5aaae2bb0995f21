-- The night verifies the ledger before it publishes: its role reads what the verification compares, and still writes none of it.
-- Tables of later migrations in these schemas follow by default.
GRANT USAGE ON SCHEMA api, audit, ledger, loans, outbox, registry, work TO jobs;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger, audit, loans, outbox, registry, work TO jobs;
GRANT SELECT ON api.answer, public.migration TO jobs;
ALTER DEFAULT PRIVILEGES IN SCHEMA ledger, audit, loans, outbox, registry, work GRANT SELECT ON TABLES TO jobs;
GRANT EXECUTE ON FUNCTION work.desk_faults, ledger.sealed_text, ledger.sealed_json, audit.sealed_text,
  loans.claim_outstanding, loans.plan_hash, loans.days_past_due, loans.accrued_share, loans.deal_obstacle, loans.untold TO jobs;
