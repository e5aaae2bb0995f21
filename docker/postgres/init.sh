#!/usr/bin/env bash
# Run once by the PostgreSQL image on an empty volume: our roles with their passwords, the two databases, who may enter them.
# The same as `fundwatch.services.postgres.create_roles_and_database`. Passwords are read by psql itself: none on a command line.
set -euo pipefail

export SECRETS=${SECRETS:-/run/secrets}
run_sql() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres; }

for role in migrator service jobs verifier reader catalog web airflow; do
  export ROLE=${role}
  test -s "${SECRETS}/pg_${ROLE}" || { echo "no password in ${SECRETS}/pg_${ROLE}" >&2; exit 1; }
  run_sql <<'SQL'
\set role `printf %s "$ROLE"`
\set password `cat "$SECRETS/pg_$ROLE"`
CREATE ROLE :"role" LOGIN PASSWORD :'password';
SQL
done

run_sql <<'SQL'
-- migrations may then create things that belong to the Iceberg catalog's role
GRANT catalog TO migrator;

CREATE DATABASE fundwatch OWNER migrator TEMPLATE template0;
REVOKE ALL ON DATABASE fundwatch FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE fundwatch TO migrator, service, jobs, verifier, reader, catalog, web;

CREATE DATABASE airflow OWNER airflow TEMPLATE template0;
REVOKE ALL ON DATABASE airflow FROM PUBLIC;
SQL
