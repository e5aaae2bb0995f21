#!/usr/bin/env bash
# Airflow's tables, and the pool of one slot for tasks that change what is published. Run again, it changes nothing.
set -euo pipefail

airflow db migrate
airflow pools set fundwatch_books 1 "One at a time: whatever changes what is published"
