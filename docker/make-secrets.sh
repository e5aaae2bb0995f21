#!/usr/bin/env bash
# Make the demo's secrets in docker/secrets/: random, once; what is there stays. A bank mounts its own instead.
#
# The folder is 0700: nobody else on this machine reaches the files. The files themselves are 0444, because an engine without a
# secret store mounts them as they are, with their owner, and the containers run as other users than you (uid 999 and 10001).
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 0700 secrets

random() { head -c "$1" /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_' | tr -d '='; }
fernet() { head -c 32 /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'; }

# keep NAME CONTENT: write the file whole, only when it is missing, and without a newline: Airflow takes it as part of the value
keep() {
  if [ -s "secrets/$1" ]; then
    return
  fi
  printf '%s' "$2" > "secrets/.$1.partial"
  chmod 0444 "secrets/.$1.partial"
  mv "secrets/.$1.partial" "secrets/$1"
  echo "made secrets/$1"
}

for name in pg_superuser pg_migrator pg_service pg_jobs pg_verifier pg_reader pg_catalog pg_web pg_airflow connect_token api_admin_key second_factor_key; do
  keep "${name}" "$(random 24)"
done
keep airflow_jwt "$(random 64)"
keep airflow_api "$(random 48)"
keep airflow_fernet "$(fernet)"
keep airflow_admin.json "{\"admin\": \"$(random 18)\"}"
keep airflow_database_url "postgresql+psycopg2://airflow:$(cat secrets/pg_airflow)@postgres:5432/airflow"
keep airflow_database_url_async "postgresql+asyncpg://airflow:$(cat secrets/pg_airflow)@postgres:5432/airflow"

# the demo's key for reports: RSA, self-signed and named so
if [ ! -s secrets/report_signing_key.pem ] || [ ! -s secrets/report_signing_certificate.pem ]; then
  openssl req -x509 -newkey rsa:3072 -nodes -sha256 -days 7300 -config report-signing.cnf \
    -keyout secrets/.key.partial -out secrets/.certificate.partial 2> /dev/null
  chmod 0444 secrets/.key.partial secrets/.certificate.partial
  mv secrets/.key.partial secrets/report_signing_key.pem
  mv secrets/.certificate.partial secrets/report_signing_certificate.pem
  echo "made secrets/report_signing_key.pem and its certificate"
fi
