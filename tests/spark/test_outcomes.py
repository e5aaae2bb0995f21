"""What became of loans: the worst days past due of their first year, from plans and the borrower's own payments."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.days_past_due import DueRow, days_past_due
from lake.tables import TABLES
from spark_jobs.outcomes import outcomes

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DISBURSED, KNOWN = date(2025, 6, 10), date(2026, 8, 31)
MATURES = date(2026, 6, 10)
LOAN_DDL = "platform_id string, loan_no string, disbursed_on date"
PAID_DDL = "platform_id string, loan_no string, issue_no int, component string, paid_on date, by_borrower_minor bigint"


def plan(loan_no: str, *due: tuple[date, int], version: int = 1, booked: date = date(2026, 8, 1)) -> list[dict[str, Any]]:
    return [
        {
            "business_date": booked, "run_id": 1, "platform_id": "P01", "line_no": number, "loan_no": loan_no,
            "plan_version": version, "issue_no": number, "due_on": on, "due_principal_minor": minor, "due_interest_minor": 10,
            "currency": "CNY",
        }
        for number, (on, minor) in enumerate(due, start=1)
    ]  # fmt: skip


def paid(loan_no: str, issue_no: int, on: date, principal: int, interest: int = 10) -> list[tuple[Any, ...]]:
    return [("P01", loan_no, issue_no, "P", on, principal), ("P01", loan_no, issue_no, "I", on, interest)]


def judged(
    spark: SparkSession, plans: list[dict[str, Any]], payments: list[tuple[Any, ...]], loans: dict[str, date], known: date = KNOWN
) -> dict[str, tuple[int, str]]:
    table = TABLES["plan_row"]
    rows = spark.createDataFrame([tuple(row.get(column) for column in table.columns) for row in plans], table.ddl)
    given_loans = spark.createDataFrame(
        [("P01", *pair) for pair in loans.items()], "platform_id string, loan_no string, disbursed_on date"
    )
    found = outcomes(given_loans, rows, spark.createDataFrame(payments, PAID_DDL), known).collect()
    assert len(found) == len(loans)
    return {row["loan_no"]: (row["max_dpd"], row["outcome"]) for row in found}


JULY = date(2025, 7, 10)


@pytest.fixture(scope="module")
def told(spark: SparkSession) -> dict[str, tuple[int, str]]:
    """Loans of one instalment due on 10 July 2025 unless said otherwise, judged in one pass."""
    day = timedelta(days=1)
    plans, payments = [], []
    paid_after_days = {"on time": -3, "last day good": 0, "one day": 2, "59 days": 60, "60 days": 61, "early": -29}
    loans = dict.fromkeys((*paid_after_days, "never", "one cent", "two cents", "reversed"), DISBURSED)
    for loan_no in loans:
        plans += plan(loan_no, (JULY, 1000))
    for loan_no, late in paid_after_days.items():
        payments += paid(loan_no, 1, JULY + late * day, 1000)
    payments += paid("one cent", 1, JULY, 999) + paid("two cents", 1, JULY, 998)
    # paid on time, taken back on the 20th, paid again on the 30th
    payments += (
        paid("reversed", 1, JULY, 1000)
        + paid("reversed", 1, JULY + 10 * day, -1000, -10)
        + paid("reversed", 1, JULY + 20 * day, 1000)
    )
    # late only after its first year
    loans["late afterwards"] = DISBURSED
    plans += plan("late afterwards", (JULY, 500), (MATURES, 500), (MATURES + day, 500))
    payments += paid("late afterwards", 1, JULY, 500)
    # not yet a year old, and bad already
    loans["young"] = date(2025, 9, 1)
    plans += plan("young", (date(2025, 10, 1), 1000))
    # exactly a year old on the training date
    loans["just mature"] = date(2025, 8, 31)
    plans += plan("just mature", (date(2025, 10, 1), 1000))
    payments += paid("just mature", 1, date(2025, 10, 1), 1000)
    # a new plan from 1 August puts the instalment off: late from 10 to 31 July only
    loans["new plan"] = DISBURSED
    plans += plan("new plan", (JULY, 1000), booked=JULY - 20 * day)
    plans += plan("new plan", (date(2025, 12, 1), 1000), version=2, booked=date(2025, 8, 1))
    payments += paid("new plan", 1, date(2025, 12, 1), 1000)
    # paid after the training date: nobody knows yet
    loans["paid too late to know"] = DISBURSED
    plans += plan("paid too late to know", (JULY, 1000))
    payments += paid("paid too late to know", 1, KNOWN + day, 1000)
    return judged(spark, plans, payments, loans)


def test_good_is_never_a_day_past_due_and_bad_is_sixty_days_within_a_year(told: dict[str, tuple[int, str]]) -> None:
    assert {name: told[name] for name in ("on time", "last day good", "early")} == dict.fromkeys(
        ("on time", "last day good", "early"), (0, "GOOD")
    )
    assert told["one day"] == (1, "INDETERMINATE")
    assert told["59 days"] == (59, "INDETERMINATE")
    assert told["60 days"] == (60, "BAD")
    assert told["never"] == ((MATURES - JULY).days, "BAD")


def test_a_cent_is_nothing_and_two_are_a_debt(told: dict[str, tuple[int, str]]) -> None:
    assert told["one cent"] == (0, "GOOD")
    assert told["two cents"][1] == "BAD"


def test_a_payment_taken_back_is_owed_until_it_comes_again(told: dict[str, tuple[int, str]]) -> None:
    assert told["reversed"] == (19, "INDETERMINATE")


def test_only_the_first_year_counts_and_only_loans_that_have_had_it(told: dict[str, tuple[int, str]]) -> None:
    assert told["late afterwards"] == (0, "GOOD")
    assert told["young"][1] == "IMMATURE" and told["young"][0] > 60
    assert told["just mature"] == (0, "GOOD")


def test_a_new_plan_counts_from_when_it_came(told: dict[str, tuple[int, str]]) -> None:
    assert told["new plan"] == (21, "INDETERMINATE")


def test_nothing_paid_after_the_training_date_is_known(told: dict[str, tuple[int, str]]) -> None:
    assert told["paid too late to know"][1] == "BAD"


def test_the_worst_day_equals_looking_at_every_day(spark: SparkSession) -> None:
    payment = st.tuples(st.integers(1, 3), st.integers(-40, 420), st.integers(1, 1000))
    many = st.lists(st.lists(payment, max_size=5), min_size=15, max_size=15)

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(many)
    def check(stories: list[list[tuple[int, int, int]]]) -> None:
        due = [(JULY, 700), (JULY + timedelta(days=31), 700), (JULY + timedelta(days=200), 700)]
        plans = [row for number in range(len(stories)) for row in plan(f"L{number}", *due)]
        payments = [
            line for number, story in enumerate(stories) for issue, day, minor in story
            for line in paid(f"L{number}", issue, JULY + timedelta(days=day), minor)
        ]  # fmt: skip
        found = judged(spark, plans, payments, {f"L{number}": DISBURSED for number in range(len(stories))})
        for number, story in enumerate(stories):
            assert found[f"L{number}"][0] == _every_day(due, story), story

    check()


def _every_day(due: list[tuple[date, int]], story: list[tuple[int, int, int]]) -> int:
    """The slow way: days past due at the end of every day of the year."""
    worst = 0
    for number in range((MATURES - DISBURSED).days + 1):
        day = DISBURSED + timedelta(days=number)
        rows = []
        for issue, (on, minor) in enumerate(due, start=1):
            events = [one for one in story if one[0] == issue and JULY + timedelta(days=one[1]) <= day]
            rows.append(DueRow(on, minor, 10, sum(one[2] for one in events), 10 * len(events)))
        worst = max(worst, days_past_due(rows, day))
    return worst
