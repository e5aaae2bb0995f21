"""From lake to figure set: snapshot, indicators, publication, `report build` and `report verify` on real parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import psycopg
import pytest
from typer.testing import CliRunner

from domain.errors import BadInput
from fundwatch.cli import app
from fundwatch.settings import Settings
from lake import store
from lake.steps import Run, StepContext
from lake.tables import TABLES
from spark_jobs import indicators, snapshot

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST, LAST = date(2026, 8, 30), date(2026, 8, 31)
JULY, MAY = date(2026, 7, 31), date(2026, 5, 31)
PLATFORM = "P77"


def given(context: StepContext, name: str, *rows: dict[str, Any]) -> None:
    """Rows of an input table as the steps before would have written them."""
    table = TABLES[name]
    fixed = {"business_date": FIRST, "run_id": context.run.run_id, "platform_id": PLATFORM, "line_no": 1, "currency": "CNY"}
    values = [tuple({**fixed, **row}.get(column) for column in table.columns) for row in rows]
    store.write(context, name, context.spark.createDataFrame(values, table.ddl))


def fill(context: StepContext) -> None:
    """One loan of 1,000.00 with a claim, half repaid on the second date, the rest overdue."""
    for_file = {"sender_id": PLATFORM, "file_kind": "loans", "file_name": "loans", "state": "ACCEPTED"}
    given(context, "file_control", for_file, {**for_file, "business_date": LAST})
    who = {"borrower_customer_no": "P77-C1", "loan_no": "LN"}
    given(context, "loan", {**who, "disbursed_minor": 100_000, "disbursed_on": date(2026, 1, 5), "plan_type": "BULLET"})
    due = {"due_on": date(2026, 8, 1), "due_principal_minor": 100_000, "due_interest_minor": 500}
    given(context, "plan_row", {"loan_no": "LN", "plan_version": 1, "issue_no": 1, **due})
    lender = {"lender_customer_no": "P77-C2", "lender_account_no": "P77-L-1", "opened_on": date(2026, 1, 5)}
    given(context, "claim", {"claim_no": "CL", "loan_no": "LN", "principal_minor": 100_000, **lender})
    given(context, "customer", *({"customer_no": f"P77-C{n}", "id_hash": f"token-{n}"} for n in (1, 2)))
    given(context, "opening_payment")
    roles = {"debit_role": "BORROWERS", "credit_role": "INVESTOR", "credit_account_no": "P77-L-1", "claim_no": "CL"}
    paid = {"movement_type": "PRINCIPAL", "component": "P", "amount_minor": 50_000, "loan_no": "LN", "issue_no": 1}
    given(context, "ledger_movement", {"business_date": LAST, **roles, **paid})


@pytest.fixture(scope="module")
def night(spark: SparkSession, test_settings: Settings) -> Iterator[StepContext]:
    """A published run of two dates."""
    store.ensure_tables(spark)
    with psycopg.connect(test_settings.database_url("jobs"), autocommit=True) as database:
        july = opened(database, JULY, JULY)
        database.execute(
            """insert into mart.indicator (business_date, run_id, platform_id, pack_id, code, definition_version, unit, currency,
                                           value, numerator, denominator, evidence_rows)
               values (%s, %s, %s, 'CN_2017', 'CUM_AMT', '1', 'MINOR', 'CNY', 100000, 100000, null, 1)""",
            [JULY, july, PLATFORM],
        )
        run_id = opened(database, FIRST, LAST)
        database.execute(
            """insert into mart.file_control (business_date, run_id, platform_id, sender_id, file_kind, file_name, state)
               values (%s, %s, %s, 'PC01', 'channel', 'x', 'WAIVED'), (%s, %s, %s, 'PC01', 'settlement', 'x', 'ACCEPTED')""",
            [FIRST, run_id, PLATFORM] * 2,
        )
        context = StepContext(Run(run_id, FIRST, LAST, PLATFORM, None, 0), test_settings, spark)
        fill(context)
        result = snapshot.run(context)
        assert result.tables == {"loan_snapshot": 2, "claim_snapshot": 2}
        # the platform did not report the claim again after its repayment: told, not raised
        assert {name: count for name, count in result.detail.items() if count} == {"claims_reported_otherwise": 1}
        indicators.run(context)
        for day, run, state in (
            (FIRST, run_id, "COMPLETE"),
            (LAST, run_id, "COMPLETE"),
            (JULY, july, "COMPLETE"),
            (MAY, july, "INCOMPLETE"),
        ):
            database.execute(
                "insert into run.published values (%s, %s, 1, %s, %s, null, '2026-09-01T02:00:00+08:00')",
                [day, PLATFORM, run, state],
            )
        yield context
        for table in ("run.published", "mart.indicator", "mart.file_control", "run.run"):
            database.execute(f"delete from {table} where run_id in (%s, %s)", [run_id, july])


def opened(database: psycopg.Connection[Any], first: date, last: date) -> int:
    """A published run over some dates; its id."""
    row = database.execute(
        """insert into run.run (first_date, last_date, platform_id, ledger_no_to, packs, code_version, state, opened_at)
           values (%s, %s, %s, 0, '{}', 'test', 'PUBLISHED', '2026-09-01T01:30:00+08:00') returning run_id""",
        [first, last, PLATFORM],
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_published_month_becomes_a_bundle_that_verifies_and_is_built_once(night: StepContext) -> None:
    runner = CliRunner()
    arguments = ["report", "build", "--platform", PLATFORM, "--period", "2026-08", "--json"]
    built = runner.invoke(app, arguments, catch_exceptions=False)
    folder = Path(json.loads(built.stdout)["folder"])
    assert folder == night.settings.reports_dir / "CN_2017" / PLATFORM / "2026-08" / "v1"
    assert runner.invoke(app, ["report", "verify", str(folder)], catch_exceptions=False).exit_code == 0
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    values = {figure["code"]: figure["value"] for figure in figures["figures"]}
    assert (values["BAL_AMT"], values["OVD_AMT"], values["OVD_RATE_ITEM"], values["CUR_LENDER"]) == (
        "50000",
        "50500",
        "1.000000",
        "1",
    )
    assert (figures["as_of"], figures["known_as_of"]) == ("2026-08-31", "2026-08-31T17:30:00+00:00")
    assert figures["previous_month"] == {
        "period": "2026-07",
        "run_id": ANY,
        "published_version": 1,
        "values": {"CNY": {"CUM_AMT": "100000"}},
    }
    rules = {
        rule["rule"]: rule["state"]
        for rule in json.loads((folder / "validation.json").read_text(encoding="utf-8"))["consistency"]
    }
    assert (rules["CUM_AMT_DOES_NOT_FALL"], rules["CUM_AMT_GROWS_BY_DISBURSED"], rules["CUM_CNT_DOES_NOT_FALL"]) == (
        "PASSED",
        "PASSED",
        "NOT_CHECKED",
    )
    assert figures["waived_files"] == [{"business_date": "2026-08-30", "sender_id": "PC01", "file_kind": "channel"}]
    again = json.loads(runner.invoke(app, arguments, catch_exceptions=False).stdout)
    assert (again["folder"], again["skipped"], again["failed_rules"]) == (str(folder), True, [])
    certificate = night.settings.secrets_dir / "report_signing_certificate.pem"
    named = runner.invoke(app, ["report", "verify", str(folder), "--certificate", str(certificate), "--json"])
    assert json.loads(named.stdout)["ok"] is True


@pytest.mark.parametrize(
    ("platform", "period", "told"),
    [
        ("P99", "2026-08", "nothing is published of a platform 'P99'"),
        (PLATFORM, "2026-06", "not published as complete"),
        (PLATFORM, "2026-05", "not published as complete"),
        (PLATFORM, "2026-07", "no figures|lacks the figures"),
        ("../x", "2026-08", "nothing is published"),
        (PLATFORM, "August", "a period is written YYYY-MM"),
    ],
)
def test_an_unknown_platform_or_a_month_that_was_not_published_complete_is_refused_and_leaves_nothing(
    night: StepContext, platform: str, period: str, told: str
) -> None:
    before = sorted(night.settings.reports_dir.rglob("*"))
    refused = CliRunner().invoke(app, ["report", "build", "--platform", platform, "--period", period])
    assert isinstance(refused.exception, BadInput) and re.search(told, str(refused.exception))
    assert sorted(night.settings.reports_dir.rglob("*")) == before


def test_an_unknown_pack_is_refused(night: StepContext) -> None:
    arguments = ["report", "build", "--pack", "XX_1", "--platform", PLATFORM, "--period", "2026-08"]
    assert isinstance(CliRunner().invoke(app, arguments).exception, BadInput)
