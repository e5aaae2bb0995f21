#!/usr/bin/env bash
# Build the four images, in the order in which they need each other: docker/build.sh [TAG]
#
# Behind mirrors, name files by these variables; each is handed on as a build secret and stays in no layer:
#   PIP_CONF         pip.conf with the index (and `cert = /run/secrets/ca.pem`)      APT_SOURCES   debian.sources of the mirror
#   MAVEN_SETTINGS   settings.xml with the mirror of Maven Central                    CA_FILE       certificate of the mirrors, PEM
# Base images of a bank: PYTHON_IMAGE and DEBIAN_IMAGE, best by digest (docker/README.md).
set -euo pipefail
cd "$(dirname "$0")/.."

tag=${1:-0.1.0}
engine=${CONTAINER_ENGINE:-docker}
arguments=(--build-arg "VERSION=${tag}" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
for name in PYTHON_IMAGE DEBIAN_IMAGE; do
  if [ -n "${!name:-}" ]; then arguments+=(--build-arg "${name}=${!name}"); fi
done
for pair in pip_conf:PIP_CONF maven_settings:MAVEN_SETTINGS apt_sources:APT_SOURCES ca:CA_FILE; do
  variable=${pair#*:}
  if [ -n "${!variable:-}" ]; then arguments+=(--secret "id=${pair%%:*},src=${!variable}"); fi
done

for name in app jobs hbase; do
  "${engine}" build "${arguments[@]}" -f "docker/${name}.Dockerfile" -t "fundwatch-${name}:${tag}" .
done
"${engine}" build "${arguments[@]}" --build-arg "JOBS_IMAGE=fundwatch-jobs:${tag}" -f docker/airflow.Dockerfile -t "fundwatch-airflow:${tag}" .
