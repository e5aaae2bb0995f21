"""Indicators through Spark: the worked example of spec 11 appendix A, to the cent and the printed digit."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

import pytest

from domain.packs import Pack
from lake.tables import TABLES
from reports.rederive import evidence_rows, rederive
from spark_jobs.indicators import indicators
from spark_jobs.positions import payments, versions
from spark_jobs.snapshot import claim_snapshot, loan_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

D = date(2026, 8, 31)
BOOKED = date(2026, 1, 5)
JUNE = date(2026, 6, 1)
PACK = Pack.of("CN_2017")


def frame(spark: SparkSession, name: str, rows: list[dict[str, Any]]) -> DataFrame:
    """Rows of a lake table of platform P01."""
    table = TABLES[name]
    fixed = {"business_date": BOOKED, "run_id": 1, "platform_id": "P01", "line_no": 1, "currency": "CNY"}
    return spark.createDataFrame([tuple({**fixed, **row}.get(column) for column in table.columns) for row in rows], table.ddl)


def loan(loan_no: str, borrower: str, minor: int, on: date) -> dict[str, Any]:
    return {
        "loan_no": loan_no,
        "borrower_customer_no": borrower,
        "disbursed_minor": minor,
        "disbursed_on": on,
        "plan_type": "FLAT",
    }


def due(loan_no: str, issue_no: int, on: date, principal: int, interest: int) -> dict[str, Any]:
    amounts = {"due_principal_minor": principal, "due_interest_minor": interest}
    return {"loan_no": loan_no, "plan_version": 1, "issue_no": issue_no, "due_on": on, **amounts}


def claim(claim_no: str, loan_no: str, lender: str, minor: int, on: date) -> dict[str, Any]:
    lender_columns = {"lender_customer_no": lender, "lender_account_no": lender}
    return {"claim_no": claim_no, "loan_no": loan_no, **lender_columns, "principal_minor": minor, "opened_on": on}


def paid(issue_no: int, payer: str, kind: str, component: str, minor: int) -> dict[str, Any]:
    roles = {"debit_role": payer, "credit_role": "INVESTOR", "credit_account_no": "l1", "claim_no": "C1"}
    what = {"loan_no": "L1", "issue_no": issue_no, "component": component, "amount_minor": minor, "movement_type": kind}
    return {"business_date": date(2026, issue_no + 1, 5), **roles, **what}


def snapshots(spark: SparkSession, day: date) -> tuple[DataFrame, DataFrame]:
    """Snapshots of the worked example through the real transforms."""
    plans = [due("L1", n, date(2027, 1, 5) if n == 12 else date(2026, n + 1, 5), 10_000, 100) for n in range(1, 13)]
    plans += [due("L2", 1, date(2026, 5, 1), 100_000, 5_000), due("L3", 1, date(2027, 6, 1), 50_000, 2_500)]
    moves = []
    for issue in range(1, 6):
        payer, kinds = ("BORROWERS", ("PRINCIPAL", "INTEREST")) if issue < 5 else ("GUARANTEECORP", ("COMPENSATORY",) * 2)
        moves += [paid(issue, payer, kinds[0], "P", 10_000), paid(issue, payer, kinds[1], "I", 100)]
    people = [{"customer_no": name, "id_hash": f"hash-{name}"} for name in ("b1", "b2", "l1", "l2")]
    given = {
        "loan": [loan("L1", "b1", 120_000, BOOKED), loan("L2", "b2", 100_000, BOOKED), loan("L3", "b1", 50_000, JUNE)],
        "plan_row": plans,
        "claim": [
            claim("C1", "L1", "l1", 120_000, BOOKED),
            claim("C2", "L2", "l1", 100_000, BOOKED),
            claim("C3", "L3", "l2", 50_000, JUNE),
        ],
        "customer": people,
        "ledger_movement": moves,
        "opening_payment": [],
    }
    frames = {name: frame(spark, name, rows).where(f"business_date <= date'{day}'") for name, rows in given.items()}
    dates = spark.createDataFrame([("P01", day)], "platform_id string, business_date date")
    money = payments(frames["ledger_movement"], frames["opening_payment"])
    customers = versions(frames["customer"], ("platform_id", "customer_no"))
    loans = loan_snapshot(frames["loan"], frames["plan_row"], money, customers, dates, day)
    return loans, claim_snapshot(frames["claim"], money, customers, dates, day)


@pytest.fixture(scope="module")
def figures(spark: SparkSession) -> dict[str, Any]:
    return {row.code: row for row in indicators(PACK, *snapshots(spark, D)).collect()}


AMOUNTS_AND_COUNTS = {
    "CUM_AMT": 270_000,
    "CUM_CNT": 3,
    "BAL_AMT": 220_000,
    "BAL_CNT": 3,
    "INT_BAL": 8_200,
    "CUM_BORROWER": 2,
    "CUR_BORROWER": 2,
    "CUM_LENDER": 2,
    "CUR_LENDER": 2,
    "OVD_AMT": 125_200,
    "OVD_CNT": 2,
    "OVD90_AMT": 100_000,
    "OVD90_CNT": 1,
    "CUM_COMP_AMT": 10_100,
    "CUM_COMP_CNT": 1,
}
RATIOS = {
    "TOP1_BORR": (120_000, 220_000, "54.55"),
    "TOP10_BORR": (220_000, 220_000, "100.00"),
    "OVD_RATE_AMT": (125_200, 228_200, "54.86"),
    "OVD_RATE_ITEM": (2, 3, "66.67"),
    "OVD_RATE_AMT_90": (20_200, 228_200, "8.85"),
    "OVD_RATE_AMT_180": (105_000, 228_200, "46.01"),
    "OVD_RATE_AMT_180P": (0, 228_200, "0.00"),
    "OVD_TO_CUM": (125_200, 270_000, "46.37"),
    "ID_TWP90": (100_000, 220_000, "45.45"),
    "OVD_RATE_ITEM_90": (1, 3, "33.33"),
    "OVD_RATE_ITEM_180": (1, 3, "33.33"),
    "OVD_RATE_ITEM_180P": (0, 3, "0.00"),
    "TOP10_LEND": (220_000, 220_000, "100.00"),
    "TOP1_LEND": (170_000, 220_000, "77.27"),
}
AVERAGES = {"AVG_CUM_BORR": (270_000, 2, 135_000), "AVG_CUM_LEND": (270_000, 2, 135_000)}


def test_the_worked_example_has_exactly_these_indicators(figures: dict[str, Any]) -> None:
    expected = set(AMOUNTS_AND_COUNTS) | set(RATIOS) | set(AVERAGES)
    assert set(figures) == expected == {indicator.code for indicator in PACK.computed}


@pytest.mark.parametrize(("code", "value"), AMOUNTS_AND_COUNTS.items())
def test_amounts_and_counts_of_the_worked_example_agree_to_the_cent(figures: dict[str, Any], code: str, value: int) -> None:
    assert (figures[code].value, figures[code].numerator, figures[code].denominator) == (value, value, None)


@pytest.mark.parametrize(("code", "expected"), RATIOS.items())
def test_ratios_of_the_worked_example_agree_to_the_printed_digit(
    figures: dict[str, Any], code: str, expected: tuple[int, int, str]
) -> None:
    row = figures[code]
    assert (row.numerator, row.denominator) == expected[:2]
    assert (row.value * 100).quantize(Decimal("0.01"), ROUND_HALF_UP) == Decimal(expected[2])
    assert row.value == (Decimal(row.numerator) / row.denominator).quantize(Decimal("0.000001"), ROUND_HALF_UP)


@pytest.mark.parametrize(("code", "expected"), AVERAGES.items())
def test_averages_of_the_worked_example_agree_to_the_cent(
    figures: dict[str, Any], code: str, expected: tuple[int, int, int]
) -> None:
    assert (figures[code].numerator, figures[code].denominator, figures[code].value) == expected


@pytest.mark.parametrize(("borrowers", "average"), [(1, 270_000), (4, 67_500), (7, 38_571), (16, 16_875), (64, 4_219)])
def test_an_average_is_rounded_half_up_to_the_minor_unit(spark: SparkSession, borrowers: int, average: int) -> None:
    """270,000 over 64 people is 4,218.75, over 7 it is 38,571.43."""
    loans, claims = snapshots(spark, D)
    nobody = loans.where("loan_no = 'L2'").selectExpr("* except (disbursed_minor)", "0L as disbursed_minor")
    names = [*range(borrowers - 1)]
    more = nobody.selectExpr("* except (borrower_ref)", f"explode(array({', '.join(map(str, names))})) as n") if names else None
    one = loans.selectExpr("* except (borrower_ref)", "'b' as borrower_ref")
    crowd = one if more is None else one.unionByName(more.selectExpr("* except (n)", "string(n) as borrower_ref"))
    row = next(row for row in indicators(PACK, crowd, claims).where("code = 'AVG_CUM_BORR'").collect())
    assert (row.denominator, row.value) == (borrowers, average)


def test_graded_rates_add_up_to_the_total_rate(figures: dict[str, Any]) -> None:
    for kind in ("AMT", "ITEM"):
        bands = sum(figures[f"OVD_RATE_{kind}_{band}"].numerator for band in ("90", "180", "180P"))
        assert bands == figures[f"OVD_RATE_{kind}"].numerator


def test_every_figure_says_how_many_rows_it_is_made_of(figures: dict[str, Any]) -> None:
    codes = ("CUM_AMT", "OVD_AMT", "OVD90_AMT", "TOP10_BORR", "CUM_LENDER", "TOP1_LEND")
    rows = {code: figures[code].evidence_rows for code in codes}
    assert rows == {"CUM_AMT": 3, "OVD_AMT": 2, "OVD90_AMT": 1, "TOP10_BORR": 2, "CUM_LENDER": 3, "TOP1_LEND": 1}


def test_the_second_way_counts_the_same_rows(figures: dict[str, Any], spark: SparkSession) -> None:
    loans, claims = (
        [
            {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in row.asDict().items()}
            for row in frame.collect()
        ]
        for frame in snapshots(spark, D)
    )
    assert evidence_rows(loans, claims, "CNY") == {code: row.evidence_rows for code, row in figures.items()}
    again = {code: (part.numerator, part.denominator) for code, part in rederive(loans, claims, "CNY").items()}
    assert again == {code: (row.numerator, row.denominator) for code, row in figures.items()}


def test_a_ratio_without_a_denominator_has_no_value(spark: SparkSession) -> None:
    loans, claims = snapshots(spark, D)
    repaid = loans.selectExpr(
        "* except (outstanding_principal_minor, outstanding_interest_minor)",
        "0L as outstanding_principal_minor",
        "0L as outstanding_interest_minor",
    )
    rows = {row.code: row for row in indicators(PACK, repaid, claims).collect()}
    assert (rows["TOP1_BORR"].value, rows["TOP1_BORR"].denominator) == (None, 0)
    assert rows["TOP1_LEND"].value is not None
    assert rows["BAL_AMT"].value == 0
