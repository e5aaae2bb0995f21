# Two commands for a bare machine: `make demo` and `make test`. No registry's host is named here: index and CA come from your own pip or uv settings.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

# A night and its tests start hundreds of Python processes: where this is set, each compiles pandas and PySpark anew, two seconds of CPU.
unexport PYTHONDONTWRITEBYTECODE

PY    ?= python3
UV    := .uv/bin/uv
BIN   := .venv/bin
LOCKS := core airflow
KILLS := 20

# uv does not read pip's settings: hand on the index and the CA file when they are set and uv's own are not.
define UV_SETTINGS
index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(PY) -m pip config get global.index-url 2>/dev/null || true)}}"
[ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index"
certificates="$${SSL_CERT_FILE:-$${PIP_CERT:-$$($(PY) -m pip config get global.cert 2>/dev/null || true)}}"
[ -z "$$certificates" ] || export SSL_CERT_FILE="$$certificates"
export UV_SYSTEM_CERTS="$${UV_SYSTEM_CERTS:-1}" UV_PYTHON_DOWNLOADS="$${UV_PYTHON_DOWNLOADS:-never}"
export UV_LINK_MODE="$${UV_LINK_MODE:-hardlink}" UV_HTTP_TIMEOUT="$${UV_HTTP_TIMEOUT:-180}"
endef
export UV_SETTINGS
WITH_UV := eval "$$UV_SETTINGS";

.PHONY: env lock demo test check bench chaos down clean

env: .venv/.ok .venv-airflow/.ok

demo: env
	$(BIN)/fundwatch demo

# Two lanes side by side: what needs PostgreSQL alone or waits for the scheduler, and what computes with Spark, HBase and pages.
BESIDE := tests/e2e/test_scheduler.py tests/e2e/test_operator_controls.py tests/chaos tests/service

test: check
	$(BIN)/fundwatch setup --pages
	mkdir -p .cache
	$(BIN)/pytest $(BESIDE) > .cache/beside.log 2>&1 & beside=$$!; \
	trap 'kill $$beside 2> /dev/null || true' EXIT; \
	failed=0; $(BIN)/pytest --ignore=tests/dags $(BESIDE:%=--ignore=%) || failed=1; \
	echo "beside them ran: $(BESIDE)"; wait $$beside || failed=1; cat .cache/beside.log; exit $$failed
	.venv-airflow/bin/pytest tests/dags --confcutdir=tests/dags -p no:cacheprovider

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: env
	$(BIN)/fundwatch setup --pages
	$(BIN)/python -m bench

# kill -9 twenty times each of the service and of PostgreSQL under twenty clients, some three minutes; `make test` does it five times
chaos: env
	FUNDWATCH_CHAOS_KILLS=$(KILLS) $(BIN)/pytest -m chaos tests/chaos/test_api_killed_under_load.py tests/chaos/test_postgres_killed_under_load.py

down:
	@if [ -e .venv/.ok ]; then $(BIN)/fundwatch down; else echo "nothing is installed, nothing runs"; fi

clean: down
	rm -rf .venv .venv-airflow .uv .cache .fundwatch .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Write requirements/*.txt anew from requirements/*.in; they must name hashes and no host.
lock: | $(UV)
	$(WITH_UV) for name in $(LOCKS) uv; do \
	  $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url requirements/$$name.in -o requirements/$$name.txt; \
	done
	! grep -n '://' requirements/*.txt

$(UV): requirements/uv.txt
	@$(PY) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || { echo "Python 3.11 or 3.12 is needed: make PY=python3.11"; exit 1; }
	@$(PY) -c 'import ensurepip, venv' || { echo "run: sudo apt-get install -y python3-venv"; exit 1; }
	$(PY) -m venv --clear .uv
	.uv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	touch $@

.venv/.ok: requirements/core.txt pyproject.toml | $(UV)
	$(WITH_UV) $(UV) venv -q --allow-existing -p $(PY) .venv
	$(WITH_UV) $(UV) pip sync --python $(BIN)/python --require-hashes $<
	$(WITH_UV) $(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

.venv-airflow/.ok: requirements/airflow.txt | $(UV)
	$(WITH_UV) $(UV) venv -q --allow-existing -p $(PY) .venv-airflow
	$(WITH_UV) $(UV) pip sync --python .venv-airflow/bin/python --require-hashes $<
	touch $@
