-- Roles are cluster-wide: they are there already when `fundwatch up` made the server; a bank's own server may let us create them.
DO $$
DECLARE wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['service', 'jobs', 'reader', 'catalog'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
    END IF;
  END LOOP;
END $$;

CREATE SCHEMA registry;
CREATE SCHEMA ledger;
CREATE SCHEMA api;
CREATE SCHEMA run;
CREATE SCHEMA mart;
CREATE SCHEMA night;
DO $$
BEGIN
  IF pg_has_role(current_user, 'catalog', 'SET') THEN
    CREATE SCHEMA catalog AUTHORIZATION catalog;
  ELSE
    CREATE SCHEMA catalog;
    GRANT ALL ON SCHEMA catalog TO catalog;
  END IF;
END $$;

GRANT USAGE ON SCHEMA registry, ledger, api TO service;
GRANT USAGE ON SCHEMA night, ledger, run, mart TO jobs;
GRANT USAGE ON SCHEMA mart, run, registry, night TO reader;
