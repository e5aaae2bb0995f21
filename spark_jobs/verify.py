"""Step `verify`: our own book and its balances hold before anything is published (architecture section 6, spec 11 appendix D)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from domain.vocabulary import ALLOWED_MOVEMENTS
from expectations.suites import SuiteResult, run_suite
from lake import store
from lake.steps import StepContext, StepResult
from spark_jobs import supervisory_feed

RESIDUALS = "balance_equations_leave_no_residual"


def run(context: StepContext) -> StepResult:
    """Run the suites `ledger_double_entry` and `balances` over the run's rows of book B.

    Raises Failed when a check that stops the night fails. Residuals of the balance equations do not stop it: they are in
    `detail`, to be published in red (B21). So is what the supervisory feed's suite says where a file of it came.
    """
    movement = store.of_run(context, "ledger_movement").persist()
    balance = store.of_run(context, "ledger_balance").persist()
    try:
        double_entry = run_suite(
            context.spark,
            "ledger_double_entry",
            {"movement": movement, "balance": balance, "allowed": _allowed(context)},
        )
        balances = run_suite(
            context.spark,
            "balances",
            {
                "movement": movement,
                "balance": balance,
                "balance_and_day_before": balance.unionByName(_day_before(context)),
                "balance_equation": store.of_run(context, "balance_equation"),
            },
        )
        rows_in = store.count_rows([movement, balance])
    finally:
        movement.unpersist()
        balance.unpersist()
    feed = supervisory_feed.judged(context.settings, context.run)
    return StepResult(rows_in, 0, {}, _detail(double_entry, balances) | ({"supervisory_feed": feed} if feed else {}))


def _day_before(context: StepContext) -> DataFrame:
    """Published balances of the day before the run's first date: what its openings must continue."""
    before = store.published_before(context, "ledger_balance", context.run.first_date)
    return before.where(F.col("business_date") == F.lit(context.run.first_date - timedelta(days=1)))


def _allowed(context: StepContext) -> DataFrame:
    """The law of contracts section 4 as a frame: movement type, debit role, credit role."""
    pairs = [(str(kind), str(debit), str(credit)) for kind, law in ALLOWED_MOVEMENTS.items() for debit, credit in sorted(law)]
    return context.spark.createDataFrame(pairs, "movement_type string, debit_role string, credit_role string")


def _detail(double_entry: SuiteResult, balances: SuiteResult) -> dict[str, Any]:
    residuals = next(one for one in balances.results if one.check.name == RESIDUALS)
    return {
        "expectations": [double_entry.to_json(), balances.to_json()],
        "residual_rows": residuals.offending_rows,
        "residuals": list(residuals.first_rows),
    }
