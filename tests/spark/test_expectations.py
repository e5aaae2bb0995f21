"""The suites of book B on Spark: a true book passes, and every kind of fault is found by the check that is meant for it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from domain.errors import Failed
from expectations.suites import SuiteResult, evaluate, load_suite, run_suite
from fundwatch.settings import Settings
from lake import store
from lake.completeness import WAITED_FOR
from lake.published import Winner
from lake.steps import Run, StepContext
from lake.tables import TABLES
from spark_jobs import verify

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PLATFORM, DAY, NEXT_DAY = "P92", date(2031, 4, 1), date(2031, 4, 2)
RUN, BROKEN_RUN, NEXT_RUN = 920_001, 920_002, 920_003
LENDER, SPECIAL, OWN = "P92-L-000001", "P92-X-SPECIAL", "P92-X-OWNFUNDS"
Values = dict[str, Any]
LAW = [("OPENING_BALANCE", "SPECIAL_ACCOUNT", "INVESTOR"), ("RECHARGE", "CHANNEL_RECEIVABLE", "INVESTOR")]


def movement(run_id: int = RUN, **changes: Any) -> Values:
    """100 minor units come in on the first date: special account to lender."""
    row: Values = {
        "business_date": DAY,
        "run_id": run_id,
        "platform_id": PLATFORM,
        "ledger_no": 1,
        "movement_id": 1,
        "order_id": 1,
    }
    row |= {"request_no": "R-1", "seq": 1, "order_type": "OPENING", "movement_type": "OPENING_BALANCE", "amount_minor": 100}
    row |= {"debit_account_no": SPECIAL, "debit_role": "SPECIAL_ACCOUNT", "credit_account_no": LENDER, "credit_role": "INVESTOR"}
    return row | {"currency": "CNY"} | changes


def balance(account_no: str, run_id: int = RUN, **changes: Any) -> Values:
    """The lender's 100 and the special account's -100 at the end of the first date."""
    is_lender = account_no == LENDER
    row: Values = {"business_date": DAY, "run_id": run_id, "platform_id": PLATFORM, "account_no": account_no, "currency": "CNY"}
    row |= {"account_role": "INVESTOR" if is_lender else "SPECIAL_ACCOUNT", "is_control": not is_lender, "opening_minor": 0}
    row |= {"debit_minor": 0 if is_lender else 100, "credit_minor": 100 if is_lender else 0, "held_minor": 0}
    return row | {"closing_minor": 100 if is_lender else -100} | changes


def resting(account_no: str, closing_minor: int, **changes: Any) -> Values:
    """A balance of the second date on which nothing moved."""
    still = {"opening_minor": closing_minor, "closing_minor": closing_minor, "debit_minor": 0, "credit_minor": 0}
    return balance(account_no, business_date=NEXT_DAY) | still | changes


def frame(spark: SparkSession, table: str, rows: list[Values]) -> DataFrame:
    columns = TABLES[table].columns
    return spark.createDataFrame([tuple(row.get(column) for column in columns) for row in rows], TABLES[table].ddl)


def double_entry(spark: SparkSession, movements: list[Values], balances: list[Values]) -> SuiteResult:
    frames = {"movement": frame(spark, "ledger_movement", movements), "balance": frame(spark, "ledger_balance", balances)}
    law = spark.createDataFrame(LAW, "movement_type string, debit_role string, credit_role string")
    return evaluate(spark, "ledger_double_entry", frames | {"allowed": law})


def balances(spark: SparkSession, movements: list[Values], rows: list[Values], equations: list[Values]) -> SuiteResult:
    held = frame(spark, "ledger_balance", rows)
    frames = {"movement": frame(spark, "ledger_movement", movements), "balance": held, "balance_and_day_before": held}
    return evaluate(spark, "balances", frames | {"balance_equation": frame(spark, "balance_equation", equations)})


def files(rows: DataFrame) -> dict[str, DataFrame]:
    return {"file_control": rows, "waited_for": rows.where(WAITED_FOR)}


def failing(result: SuiteResult) -> dict[str, int]:
    return {one.check.name: one.offending_rows for one in result.results if one.offending_rows}


def test_a_true_book_has_no_offending_row(spark: SparkSession) -> None:
    back = movement(movement_id=2, order_id=2, request_no="R-2", reversal_of=1, debit_account_no=LENDER, debit_role="INVESTOR")
    back |= {"credit_account_no": SPECIAL, "credit_role": "SPECIAL_ACCOUNT", "business_date": NEXT_DAY}
    second = [resting(LENDER, 100), resting(SPECIAL, -100)]
    second[0] |= {"debit_minor": 100, "closing_minor": 0}
    second[1] |= {"credit_minor": 100, "closing_minor": 0}
    book = [balance(LENDER), balance(SPECIAL), *second]
    assert failing(double_entry(spark, [movement(), back], book)) == {}
    assert failing(balances(spark, [movement(), back], book, [])) == {}


def test_every_fault_of_the_movements_is_found_by_its_check(spark: SparkSession) -> None:
    faulty = [
        movement(movement_id=2, order_id=2, amount_minor=0),
        movement(movement_id=3, order_id=3, credit_account_no="P92-L-NOBODY"),
        movement(movement_id=4, order_id=4, credit_account_no=SPECIAL),
        movement(movement_id=5, order_id=5),
        movement(movement_id=5, order_id=6),
        movement(movement_id=7, order_id=7, movement_type="RECHARGE"),
        movement(movement_id=8, order_id=8, reversal_of=1),
    ]
    result = double_entry(spark, [movement(), *faulty], [balance(LENDER), balance(SPECIAL)])
    assert failing(result) == {
        "amounts_are_positive": 1,
        "entries_of_an_order_add_up_to_zero": 1,
        "every_movement_has_both_accounts": 1,
        "the_two_accounts_differ": 1,
        "a_movement_is_extracted_once": 1,
        "only_allowed_movements_exist": 2,
    }
    orphan = next(one for one in result.results if one.check.name == "every_movement_has_both_accounts")
    assert orphan.first_rows[0]["account_no"] == "P92-L-NOBODY"
    assert orphan.first_rows[0]["movement_id"] == 3


def test_every_fault_of_the_balances_is_found_by_its_check(spark: SparkSession) -> None:
    rows = [
        balance(LENDER, closing_minor=101),
        balance(SPECIAL),
        resting(LENDER, -1, held_minor=5),
        resting(SPECIAL, -100),
        resting(OWN, 3, account_role="OWN_FUNDS", is_control=True),
    ]
    residual = {"business_date": DAY, "run_id": RUN, "platform_id": PLATFORM, "equation": "B-1", "currency": "CNY"}
    equations = [residual | {"term": "residual", "amount_minor": 7, "is_residual": True}]
    equations += [residual | {"term": "S", "amount_minor": 7, "is_residual": False}]
    assert failing(balances(spark, [movement(amount_minor=99)], rows, equations)) == {
        "opening_plus_turnover_is_closing": 1,
        "opening_is_the_closing_of_the_day_before": 1,
        "turnover_is_the_sum_of_the_movements": 2,
        "no_sub_account_is_below_zero": 1,
        "all_accounts_of_a_platform_add_up_to_zero": 2,
        "holds_are_covered_by_the_balance": 1,
        "own_funds_clear_every_day": 1,
        "balance_equations_leave_no_residual": 1,
    }


def test_a_stop_names_the_suite_the_check_and_the_first_row_and_a_missing_file_does_not_stop(spark: SparkSession) -> None:
    missing: Values = {
        "business_date": DAY,
        "run_id": RUN,
        "platform_id": PLATFORM,
        "sender_id": "BANK",
        "file_kind": "statement",
    }
    missing |= {"file_name": "P92.statement.csv.gz", "state": "MISSING", "reason_code": "MISSING", "reason": "it did not come"}
    result = run_suite(spark, "file_control", files(frame(spark, "file_control", [missing])))
    assert failing(result) == {"expected_files_are_accepted_or_waived": 1}
    silent = frame(spark, "file_control", [missing | {"reason": None}])
    with pytest.raises(
        Failed, match=r'^suite file_control, check a_file_that_is_not_accepted_says_why: 1 .*"P92.statement.csv.gz"'
    ):
        run_suite(spark, "file_control", files(silent))


def test_verify_passes_a_true_run_and_stops_before_publish_on_a_false_one(
    spark: SparkSession, test_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.ensure_tables(spark)
    published: list[Winner] = []
    monkeypatch.setattr(store, "winners_before", lambda *_: published)

    def context(run_id: int, day: date = DAY) -> StepContext:
        return StepContext(Run(run_id, day, day, PLATFORM, None, 0), test_settings, spark)

    store.write(context(RUN), "ledger_movement", frame(spark, "ledger_movement", [movement()]))
    store.write(context(RUN), "ledger_balance", frame(spark, "ledger_balance", [balance(LENDER), balance(SPECIAL)]))
    residual = {"business_date": DAY, "run_id": RUN, "platform_id": PLATFORM, "equation": "B-6", "currency": "CNY", "term": "x"}
    residual |= {"amount_minor": -4, "is_residual": True}
    store.write(context(RUN), "balance_equation", frame(spark, "balance_equation", [residual]))
    result = verify.run(context(RUN))
    assert (result.rows_in, result.detail["residual_rows"]) == (3, 1)
    assert result.detail["residuals"][0]["amount_minor"] == -4
    assert [suite["suite"] for suite in result.detail["expectations"]] == ["ledger_double_entry", "balances"]

    broken = [balance(LENDER, BROKEN_RUN, closing_minor=101), balance(SPECIAL, BROKEN_RUN)]
    store.write(context(BROKEN_RUN), "ledger_movement", frame(spark, "ledger_movement", [movement(BROKEN_RUN)]))
    store.write(context(BROKEN_RUN), "ledger_balance", frame(spark, "ledger_balance", broken))
    with pytest.raises(Failed, match=r'suite balances, check opening_plus_turnover_is_closing: 1 .*"P92-L-000001"'):
        verify.run(context(BROKEN_RUN))

    # the next night must open where the published one closed
    published.append(Winner(DAY, PLATFORM, RUN, 1, "COMPLETE"))
    opened = [resting(LENDER, 90, run_id=NEXT_RUN), resting(SPECIAL, -90, run_id=NEXT_RUN)]
    store.write(context(NEXT_RUN, NEXT_DAY), "ledger_balance", frame(spark, "ledger_balance", opened))
    with pytest.raises(Failed, match="check opening_is_the_closing_of_the_day_before: 2 offending rows"):
        verify.run(context(NEXT_RUN, NEXT_DAY))


def test_every_suite_is_well_formed_and_stops_for_our_own_book() -> None:
    for name in ("file_control", "ledger_double_entry", "balances"):
        assert load_suite(name)
    assert {check.action_on_fail for check in load_suite("ledger_double_entry")} == {"STOP_DAG"}
