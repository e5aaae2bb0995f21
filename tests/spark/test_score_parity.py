"""Score parity: the artefact compiled to SQL equals the artefact in Python, on Spark and on DuckDB, whatever the values are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.artefact import CODE, Artefact, Feature, sealed
from models.sample import Sample
from models.score import REASONS, score
from models.sql import COLUMNS, score_select

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PD_TOLERANCE = 1e-12
BIGINT = 2**63
ROWS_AN_EXAMPLE = 60


def column_type(feature: Feature) -> str:
    return "string" if feature.kind == CODE else f"decimal(20,{feature.scale})" if feature.scale else "bigint"


def values_of(feature: Feature) -> st.SearchStrategy[Any]:
    """Nulls, ordinary, negative, huge, and exactly on and beside the edges; codes known and unknown."""
    if feature.kind == CODE:
        known = [code for group in feature.groups for code in group]
        return st.one_of(st.none(), st.sampled_from(known), st.sampled_from(["", "?", "a", "A ", "ÄÖ", "x" * 60, *known]))
    step = Decimal(1).scaleb(-feature.scale)
    near = [edge + shift * step for edge in feature.edges for shift in (-1, 0, 1)] or [Decimal(0)]
    huge = [Decimal(sign) * (10 ** (20 - feature.scale) - step) for sign in (-1, 1)] if feature.scale else [-BIGINT, BIGINT - 1]
    ordinary = st.integers(-10_000, 10_000).map(lambda units: units * step)
    whole = int if feature.scale == 0 else lambda value: Decimal(value).quantize(step)
    return st.one_of(st.none(), st.sampled_from(near).map(whole), ordinary.map(whole), st.sampled_from(huge).map(whole))


def rows_of(artefact: Artefact) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    row = st.tuples(*(values_of(feature) for feature in artefact.features))
    return st.lists(row, min_size=ROWS_AN_EXAMPLE, max_size=ROWS_AN_EXAMPLE)


def on_spark(spark: SparkSession, artefact: Artefact, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    ddl = ", ".join(["row_no int", *(f"{feature.code} {column_type(feature)}" for feature in artefact.features)])
    frame = spark.createDataFrame([(number, *row) for number, row in enumerate(rows)], ddl)
    scored = spark.sql(score_select(artefact, "{rows}", ("row_no",)), rows=frame).orderBy("row_no").collect()
    return [tuple(row[name] for name in COLUMNS) for row in scored]


def on_duckdb(artefact: Artefact, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        columns = ", ".join(f"{f.code} {column_type(f).replace('string', 'varchar')}" for f in artefact.features)
        connection.execute(f"create table observed (row_no int, {columns})")
        marks = ", ".join("?" for _ in range(len(artefact.features) + 1))
        connection.executemany(f"insert into observed values ({marks})", [(number, *row) for number, row in enumerate(rows)])
        found = connection.execute(score_select(artefact, "observed", ("row_no",)) + " order by row_no").fetchall()
    return [row[1:] for row in found]


def assert_equal(artefact: Artefact, rows: Sequence[tuple[Any, ...]], scored: Sequence[tuple[Any, ...]]) -> None:
    assert len(scored) == len(rows)
    codes = [feature.code for feature in artefact.features]
    for row, found in zip(rows, scored, strict=True):
        wanted = score(artefact, dict(zip(codes, row, strict=True)))
        points, log_odds, pd, band, *reasons = found
        assert (points, band) == (wanted.points, wanted.band), row
        assert log_odds == wanted.log_odds, row
        assert abs(pd - wanted.pd) <= PD_TOLERANCE, row
        assert reasons == [*wanted.reasons, *[None] * (REASONS - len(wanted.reasons))], row


def test_spark_sql_gives_the_points_and_reasons_of_the_python_artefact_exactly(spark: SparkSession, scorecard: Artefact) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rows_of(scorecard))
    def check(rows: list[tuple[Any, ...]]) -> None:
        assert_equal(scorecard, rows, on_spark(spark, scorecard, rows))

    check()


def test_duckdb_gives_the_same_from_the_same_text(scorecard: Artefact) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rows_of(scorecard))
    def check(rows: list[tuple[Any, ...]]) -> None:
        assert_equal(scorecard, rows, on_duckdb(scorecard, rows))

    check()


def test_a_model_of_one_feature_scores_alike_too(
    spark: SparkSession, train_on: Callable[[Sample], Artefact], loans_of_a_known_world: Callable[..., Sample]
) -> None:
    sample = loans_of_a_known_world(1500)
    alone = Sample(
        sample.keys, sample.subjects, sample.dates, sample.is_bad,
        {name: values if name == "applications" else (None,) * 1500 for name, values in sample.columns.items()},
    )  # fmt: skip
    model = train_on(alone)
    assert [feature.code for feature in model.features] == ["applications"]
    rows = [(value,) for value in (None, -5, 0, 1, 2, 3, 4, 5, 6, 10**18)]
    assert_equal(model, rows, on_spark(spark, model, rows))
    assert_equal(model, rows, on_duckdb(model, rows))


def test_the_rows_it_was_trained_on_are_scored_alike(
    spark: SparkSession, scorecard: Artefact, loans_of_a_known_world: Callable[..., Sample]
) -> None:
    sample = loans_of_a_known_world(4000)
    rows = list(zip(*(sample.columns[feature.code] for feature in scorecard.features), strict=True))
    found = on_spark(spark, scorecard, rows)
    assert_equal(scorecard, rows, found)
    assert len({row[0] for row in found}) > 20


def test_reasons_that_tie_keep_the_order_of_the_artefact(scorecard: Artefact) -> None:
    content = {key: value for key, value in scorecard.content.items() if key != "model_id"}
    feature = content["features"][0]
    twins = [{**feature, "code": f"twin_{n}", "reason_code": f"TWIN_{n}"} for n in range(6)]
    scaling, count = scorecard.scaling, len(twins)
    for twin in twins:
        twin["bins"] = [
            {**one, "points": scaling.attribute_points(one["contribution"], scorecard.intercept, count)} for one in twin["bins"]
        ]
    model = sealed({**content, "features": twins})
    worst = min(range(len(model.features[0].bins)), key=lambda number: model.features[0].bins[number].points)
    edges = model.features[0].edges
    value = None if worst == 0 else int(edges[0]) - 1 if worst == 1 else int(edges[worst - 2])
    row = (value,) * count
    assert score(model, {f"twin_{n}": value for n in range(count)}).reasons == ("TWIN_0", "TWIN_1", "TWIN_2", "TWIN_3")
    assert_equal(model, [row], on_duckdb(model, [row]))
