#!/usr/bin/env bash
# Become Airflow's api-server. Its login opens the file of passwords for writing, and secrets are read-only: it gets a copy in memory.
set -euo pipefail

install -m 0600 /run/secrets/airflow_admin.json "${AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE:?}"
exec airflow api-server --host 0.0.0.0 --port 8080
