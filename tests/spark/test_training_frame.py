"""The training frame on a real published lake: features as known at disbursement, outcomes as known at training."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pyspark.sql import functions as F

from domain.errors import BadInput, CheckFailed
from fundwatch.settings import Settings, load
from lake import store
from lake.steps import Run, StepContext
from lake.tables import TABLES
from spark_jobs import training_frame as frames

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RUN_ID, TRAINED_TO = 7_900_001, date(2033, 8, 31)
DISBURSED = date(2032, 6, 10)
DUE = date(2032, 7, 10)
DAY = timedelta(days=1)
PEOPLE = 12
"""Persons 0 to 5 never pay; 6 to 9 pay on time; 10 pays ten days late; the loan of 11 is young."""


def disbursed(person: int) -> date:
    return date(2033, 5, 1) if person == 11 else DISBURSED


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 4, tzinfo=UTC)


def applications(person: int) -> list[tuple[str, date, datetime]]:
    """Member, date and when it was knowable: bads applied at two lenders before, everybody at three more after."""
    on = disbursed(person)
    before = [(f"M{n}", on - 5 * DAY, noon(on - 4 * DAY)) for n in range(2 if person < 6 else 1)]
    told_late = [("M7", on - 5 * DAY, noon(on + DAY))]
    after = [(f"M{n}", on + 3 * DAY, noon(on + 4 * DAY)) for n in (8, 9)]
    return before + told_late + after


def rows_of(person: int) -> dict[str, list[dict[str, Any]]]:
    name, loan_no, on = f"P01-C-{person}", f"L{person:02d}", disbursed(person)
    front = {"business_date": TRAINED_TO, "run_id": RUN_ID, "platform_id": "P01", "line_no": person, "currency": "CNY"}
    loan = front | {"loan_no": loan_no, "borrower_customer_no": name, "disbursed_on": on, "disbursed_minor": 1000}
    due = on + 30 * DAY
    paid = [] if person < 6 else [front | {"loan_no": loan_no, "issue_no": 1, "payer_role": "BORROWERS", "component": "P"}]
    for payment in paid:
        payment |= {"payment_no": f"PAY{person}", "amount_minor": 1000, "paid_on": due + (10 * DAY if person == 10 else 0 * DAY)}
    return {
        "loan": [loan],
        "loan_snapshot": [loan | {"borrower_ref": f"hash-{person}"}],
        "plan_row": [front | {"loan_no": loan_no, "plan_version": 1, "issue_no": 1, "due_on": due, "due_principal_minor": 1000}
                     | {"due_interest_minor": 0, "due_fee_minor": 0}],
        "customer": [front | {"customer_no": name, "id_hash": f"hash-{person}", "opened_on": on - 100 * DAY, "roles": "B"}],
        "opening_payment": paid,
        "industry_record": [
            front | {"record_no": f"R{person}-{n}", "subject_hash": f"hash-{person}", "member_no": member, "decision": "A"}
            | {"record_type": "APPLICATION", "occurred_on": day, "knowable_at": known}
            for n, (member, day, known) in enumerate(applications(person))
        ],
    }  # fmt: skip


@pytest.fixture
def settings(spark: SparkSession, database: Any) -> Settings:
    """A lake in which one date is published, with the loans of twelve persons."""
    store.ensure_tables(spark)
    found = load()
    context = StepContext(Run(RUN_ID, TRAINED_TO, TRAINED_TO, None, None, 0), found, spark)
    tables: dict[str, list[dict[str, Any]]] = {}
    for person in range(PEOPLE):
        for name, rows in rows_of(person).items():
            tables.setdefault(name, []).extend(rows)
    for name, rows in tables.items():
        values = [tuple(row.get(column) for column in TABLES[name].columns) for row in rows]
        store.write(context, name, spark.createDataFrame(values, TABLES[name].ddl))
    with psycopg.connect(database.url("jobs")) as connection:
        connection.execute(
            """insert into run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
               values (%s, %s, %s, 0, '{}', 'x', 'PUBLISHED', now())""",
            [RUN_ID, TRAINED_TO, TRAINED_TO],
        )
        connection.execute("insert into run.published values (%s, 'P01', 1, %s, 'COMPLETE', null, now())", [TRAINED_TO, RUN_ID])
    return found


def test_features_are_those_of_the_disbursement_and_outcomes_those_known_at_training(
    spark: SparkSession, settings: Settings
) -> None:
    found = frames.training_frame(settings, spark, TRAINED_TO, {"P01|L00": 0.9})
    assert dict(found.outcomes) == {"GOOD": 4, "BAD": 6, "INDETERMINATE": 1, "IMMATURE": 1}
    sample = found.sample
    assert sample.keys == tuple(f"P01|L{person:02d}" for person in range(10))
    assert sample.is_bad == (1,) * 6 + (0,) * 4
    assert sample.subjects[0] == "hash-0" and sample.true_pd[0] == 0.9 and sample.true_pd[1] is None
    # the application that was told late and those after the disbursement are not there
    assert sample.columns["app_member_cnt_90"] == (2,) * 6 + (1,) * 4
    # the loan itself and its payments are not known at its disbursement
    assert set(sample.columns["own_loan_cnt"]) == {0}
    assert set(sample.columns["own_age_days"]) <= {99, 100}


def test_before_anything_is_published_there_is_nothing_to_learn(spark: SparkSession, settings: Settings) -> None:
    with pytest.raises(BadInput, match="no loan is published"):
        frames.training_frame(settings, spark, TRAINED_TO - DAY, {})


def test_a_feature_that_knows_too_much_stops_the_training(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = frames.person_features

    def leaking(observations: DataFrame, sources: Any) -> DataFrame:
        late = F.expr("case when borrower_ref = 'hash-3' then as_of + interval 1 second else bureau_known_at end")
        return honest(observations, sources).withColumn("bureau_known_at", late)

    monkeypatch.setattr(frames, "person_features", leaking)
    with pytest.raises(CheckFailed, match="1 training rows use what was not yet known"):
        frames.training_frame(settings, spark, TRAINED_TO, {})
