"""Loan and claim positions through the real Spark transforms, on the worked example of spec 11 appendix A and around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lake.tables import TABLES
from spark_jobs.positions import payments, versions
from spark_jobs.snapshot import claim_snapshot, cross_checks, loan_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

D = date(2026, 8, 31)
BOOKED = date(2026, 1, 5)
Rows = list[dict[str, Any]]
Story = Callable[["Book"], None]


class Book:
    """Rows of the input tables; every story has a platform of its own, so that all are told in one pass of Spark."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark, self.platform_id = spark, ""
        self.dates: list[tuple[str, date]] = []
        self.rows: dict[str, Rows] = {
            name: [] for name in ("loan", "plan_row", "claim", "customer", "opening_payment", "ledger_movement")
        }

    def tell(self, name: str, story: Story, *days: date) -> None:
        """Add a story as platform `name`, to be looked at on some dates."""
        self.platform_id = name
        story(self)
        self.dates += [(name, day) for day in days]

    def add(self, table: str, on: date, **values: Any) -> None:
        self.rows[table].append(
            {"business_date": on, "run_id": 1, "platform_id": self.platform_id, "line_no": 1, "currency": "CNY", **values}
        )

    def loan(self, loan_no: str, borrower: str, minor: int, on: date, booked: date = BOOKED) -> None:
        values = {"borrower_customer_no": borrower, "disbursed_minor": minor, "disbursed_on": on, "plan_type": "BULLET"}
        self.add("loan", booked, loan_no=loan_no, **values)

    def due(
        self, loan_no: str, issue_no: int, on: date, principal: int, interest: int, version: int = 1, booked: date = BOOKED
    ) -> None:
        values = {"due_on": on, "due_principal_minor": principal, "due_interest_minor": interest}
        self.add("plan_row", booked, loan_no=loan_no, plan_version=version, issue_no=issue_no, **values)

    def claim(
        self, claim_no: str, loan_no: str, lender: str, minor: int, on: date, closed: date | None = None, booked: date = BOOKED
    ) -> None:
        account = f"P01-L-{lender}"
        values = {"lender_account_no": account, "principal_minor": minor, "opened_on": on, "closed_on": closed}
        self.add("claim", booked, claim_no=claim_no, loan_no=loan_no, lender_customer_no=lender, **values)

    def move(
        self,
        kind: str,
        on: date,
        loan_no: str,
        issue: int,
        component: str,
        minor: int,
        claim_no: str | None = None,
        lender: str = "x",
        reverse: bool = False,
    ) -> None:
        payer = "GUARANTEECORP" if kind == "COMPENSATORY" else "BORROWERS"
        receiver = "GUARANTEECORP" if kind == "COMPENSATORY_REPAYMENT" else "INVESTOR"
        debit, credit = ((payer, "payer"), (receiver, f"P01-L-{lender}"))[:: -1 if reverse else 1]
        values = {"debit_role": debit[0], "debit_account_no": debit[1], "credit_role": credit[0], "credit_account_no": credit[1]}
        more = {"loan_no": loan_no, "issue_no": issue, "component": component, "claim_no": claim_no, "amount_minor": minor}
        self.add("ledger_movement", on, movement_type=kind, **values, **more)

    def frame(self, name: str) -> DataFrame:
        table = TABLES[name]
        rows = [tuple(row.get(column) for column in table.columns) for row in self.rows[name]]
        return self.spark.createDataFrame(rows, table.ddl)

    def snapshots(self, dates: list[tuple[str, date]]) -> tuple[DataFrame, DataFrame]:
        """Loans and claims of platforms on dates, from what had come by the last of the dates."""
        days = [day for _, day in dates]
        frames = {name: self.frame(name).where(f"business_date <= date'{max(days)}'") for name in self.rows}
        asked = self.spark.createDataFrame(dates, "platform_id string, business_date date")
        paid = payments(frames["ledger_movement"], frames["opening_payment"])
        people = versions(frames["customer"], ("platform_id", "customer_no"))
        loans = loan_snapshot(frames["loan"], frames["plan_row"], paid, people, asked, min(days))
        return loans, claim_snapshot(frames["claim"], paid, people, asked, min(days))


def worked_example(book: Book) -> None:
    """Spec 11 appendix A, in minor units; every loan has one lender, but L1 two."""
    for number, customer in enumerate(("b1", "b2", "l1", "l2")):
        book.add("customer", BOOKED, customer_no=customer, id_hash=f"hash-{number}", party_type="N", roles="")
    book.loan("L1", "b1", 120_000, BOOKED)
    book.loan("L2", "b2", 100_000, BOOKED)
    book.loan("L3", "b1", 50_000, date(2026, 6, 1), booked=date(2026, 6, 1))
    for issue in range(1, 13):
        book.due("L1", issue, date(2026 + (issue == 12), issue % 12 + 1, 5), 10_000, 100)
    book.due("L2", 1, date(2026, 5, 1), 100_000, 5_000)
    book.due("L3", 1, date(2027, 6, 1), 50_000, 2_500, booked=date(2026, 6, 1))
    book.claim("C1", "L1", "l1", 90_000, BOOKED)
    book.claim("C2", "L1", "l2", 30_000, BOOKED)
    book.claim("C3", "L2", "l1", 100_000, BOOKED)
    book.claim("C4", "L3", "l2", 50_000, date(2026, 6, 1), booked=date(2026, 6, 1))
    for issue in range(1, 6):
        on, by = date(2026, issue + 1, 5), "COMPENSATORY" if issue == 5 else "PRINCIPAL"
        book.move(by, on, "L1", issue, "P", 7_500, "C1", "l1")
        book.move(by, on, "L1", issue, "P", 2_500, "C2", "l2")
        book.move("COMPENSATORY" if issue == 5 else "INTEREST", on, "L1", issue, "I", 100, "C1", "l1")


def one_cent_missing(book: Book) -> None:
    two_cents_missing(book)
    book.move("INTEREST", date(2026, 5, 4), "L2", 1, "I", 1, "C3", "l1")


def two_cents_missing(book: Book) -> None:
    worked_example(book)
    book.move("PRINCIPAL", date(2026, 5, 3), "L2", 1, "P", 99_999, "C3", "l1")
    book.move("INTEREST", date(2026, 5, 3), "L2", 1, "I", 4_999, "C3", "l1")


def guarantor_repaid(book: Book) -> None:
    worked_example(book)
    book.move("COMPENSATORY_REPAYMENT", date(2026, 7, 1), "L1", 5, "P", 10_000)
    book.move("COMPENSATORY_REPAYMENT", date(2026, 7, 1), "L1", 5, "I", 100)


def repayment_reversed(book: Book) -> None:
    worked_example(book)
    book.move("PRINCIPAL", date(2026, 8, 20), "L1", 4, "P", 7_500, "C1", "l1", reverse=True)


def compensation_reversed(book: Book) -> None:
    worked_example(book)
    for minor, component, claim, lender in ((7_500, "P", "C1", "l1"), (2_500, "P", "C2", "l2"), (100, "I", "C1", "l1")):
        book.move("COMPENSATORY", date(2026, 8, 20), "L1", 5, component, minor, claim, lender, reverse=True)


def lenders_miss_money(book: Book) -> None:
    worked_example(book)
    for component, minor in (("P", 10_000), ("I", 100)):
        book.move("COMPENSATORY_REPAYMENT", date(2026, 8, 6), "L1", 6, component, minor)
        book.move("COMPENSATORY_REPAYMENT", date(2026, 7, 1), "L1", 5, component, minor)


def opening_book(book: Book) -> None:
    book.loan("L9", "b9", 20_000, date(2025, 1, 5))
    book.due("L9", 1, date(2025, 2, 5), 10_000, 100)
    book.due("L9", 2, date(2025, 3, 5), 10_000, 100)
    paid = [(1, "P", 10_000, "BORROWERS"), (1, "I", 100, "BORROWERS")]
    paid += [(2, "P", 10_000, "GUARANTEECORP"), (2, "I", 100, "GUARANTEECORP")]
    for number, (issue, component, minor, payer) in enumerate(paid):
        values = {"issue_no": issue, "component": component, "amount_minor": minor, "payer_role": payer}
        book.add("opening_payment", BOOKED, payment_no=str(number), loan_no="L9", paid_on=date(2025, 2 + issue, 1), **values)
    book.claim("C9", "L9", "l9", 0, date(2025, 1, 5), closed=date(2025, 4, 1))


def new_plan(book: Book) -> None:
    worked_example(book)
    book.due("L2", 1, date(2026, 9, 1), 100_000, 6_000, version=2, booked=date(2026, 8, 1))


def claim_sold(book: Book) -> None:
    worked_example(book)
    sold_on = date(2026, 7, 10)
    book.claim("C1", "L1", "l1", 52_500, BOOKED, closed=sold_on, booked=sold_on)
    book.claim("C5", "L1", "l2", 52_500, sold_on, booked=sold_on)
    book.move("PRINCIPAL", date(2026, 7, 20), "L1", 6, "P", 7_500, "C5", "l2")
    book.move("PRINCIPAL", date(2026, 7, 20), "L1", 6, "P", 2_500, None, "l2")


MAY_1, MAY_2, MAY_31, JULY_31 = date(2026, 5, 1), date(2026, 5, 2), date(2026, 5, 31), date(2026, 7, 31)
SERIES = [date(2026, 6, 4) + timedelta(days=offset) for offset in range(0, 60, 20)]


@dataclass
class Told:
    """All stories' positions, computed once in one pass."""

    book: Book
    loans: DataFrame
    claims: DataFrame
    loan_rows: dict[tuple[str, date], dict[str, Any]]
    claim_rows: dict[tuple[str, date], dict[str, Any]]

    def loan(self, story: str, loan_no: str, day: date = D) -> Any:
        return self.loan_rows[story, day][loan_no]

    def checks(self, story: str) -> dict[str, Any]:
        mine = f"platform_id = '{story}' and business_date = date'{D}'"
        return cross_checks(self.loans.where(mine), self.claims.where(mine))


def keyed(frame: DataFrame, number: str) -> dict[tuple[str, date], dict[str, Any]]:
    found: dict[tuple[str, date], dict[str, Any]] = {}
    for row in frame.collect():
        found.setdefault((row.platform_id, row.business_date), {})[row[number]] = row
    return found


@pytest.fixture(scope="module")
def told(spark: SparkSession) -> Iterator[Told]:
    book = Book(spark)
    book.tell("worked example", worked_example, MAY_1, MAY_2, MAY_31, *SERIES, D)
    book.tell("new plan", new_plan, JULY_31, D)
    for story in (one_cent_missing, two_cents_missing, guarantor_repaid, repayment_reversed, compensation_reversed):
        book.tell(story.__name__, story, D)
    for story in (lenders_miss_money, claim_sold):
        book.tell(story.__name__, story, D)
    book.tell("opening book", opening_book, BOOKED)
    loans, claims = (frame.persist() for frame in book.snapshots(book.dates))
    yield Told(book, loans, claims, keyed(loans, "loan_no"), keyed(claims, "claim_no"))
    loans.unpersist()
    claims.unpersist()


FIELDS = ("outstanding_principal_minor", "outstanding_interest_minor", "lender_dpd", "borrower_dpd")


def test_the_worked_example_gives_the_printed_positions(told: Told) -> None:
    rows = told.loan_rows["worked example", D]
    overdue = {loan: row.overdue_principal_minor + row.overdue_interest_minor for loan, row in rows.items()}
    assert {loan: (*(row[field] for field in FIELDS), overdue[loan]) for loan, row in rows.items()} == {
        "L1": (70_000, 700, 57, 87, 20_200),
        "L2": (100_000, 5_000, 122, 122, 105_000),
        "L3": (50_000, 2_500, 0, 0, 0),
    }
    assert (rows["L1"].compensated_minor, rows["L1"].compensated_issue_count) == (10_100, 1)
    assert [(rows[loan].lender_bucket, rows[loan].borrower_bucket) for loan in ("L1", "L2", "L3")] == [
        ("M2", "M3"),
        ("M5", "M5"),
        ("M0", "M0"),
    ]
    assert all(row.finding is None for row in rows.values())


def test_claims_add_up_to_their_loan_and_follow_its_repayments(told: Told) -> None:
    claims = told.claim_rows["worked example", D]
    assert {number: (row.outstanding_principal_minor, row.lender_ref) for number, row in claims.items()} == {
        "C1": (52_500, "hash-2"),
        "C2": (17_500, "hash-3"),
        "C3": (100_000, "hash-2"),
        "C4": (50_000, "hash-3"),
    }
    checks = told.checks("worked example")
    assert checks["loans_whose_claims_differ"] == checks["loans_without_customer"] == checks["lender_dpd_above_borrower_dpd"] == 0


def test_many_dates_in_one_pass_equal_each_date_alone(told: Told) -> None:
    singles = [told.book.snapshots([("worked example", day)]) for day in SERIES]
    for together, place in ((told.loans, 0), (told.claims, 1)):
        alone = sorted(str(row) for pair in singles for row in pair[place].collect())
        mine = together.where("platform_id = 'worked example'").collect()
        assert sorted(str(row) for row in mine if row.business_date in SERIES) == alone
        assert alone


def test_a_row_due_today_is_overdue_only_tomorrow(told: Told) -> None:
    assert told.loan("worked example", "L2", MAY_1).lender_dpd == 0
    assert told.loan("worked example", "L2", MAY_2).lender_dpd == 1


def test_one_cent_missing_cures_a_row_and_two_cents_do_not(told: Told) -> None:
    cents = told.loan("two_cents_missing", "L2")
    assert (cents.lender_dpd, cents.overdue_principal_minor, cents.overdue_interest_minor) == (122, 1, 1)
    cured = told.loan("one_cent_missing", "L2")
    assert (cured.lender_dpd, cured.overdue_principal_minor, cured.outstanding_principal_minor) == (0, 0, 1)


def test_the_borrower_who_repays_the_guarantor_is_cured_on_his_side(told: Told) -> None:
    row = told.loan("guarantor_repaid", "L1")
    assert (row.lender_dpd, row.borrower_dpd, row.outstanding_principal_minor) == (57, 57, 70_000)


def test_a_reversed_repayment_is_owed_again(told: Told) -> None:
    row = told.loan("repayment_reversed", "L1")
    assert (row.outstanding_principal_minor, row.lender_dpd, row.borrower_dpd) == (77_500, 118, 118)


def test_a_reversed_compensation_is_no_longer_counted(told: Told) -> None:
    row = told.loan("compensation_reversed", "L1")
    assert (row.compensated_minor, row.compensated_issue_count, row.lender_dpd) == (0, 0, 87)


def test_money_lenders_miss_though_the_borrower_paid_is_a_finding(told: Told) -> None:
    row = told.loan("lenders_miss_money", "L1")
    assert (row.lender_dpd, row.borrower_dpd, row.finding) == (57, 26, "LD_GT_BD")


def test_payments_of_the_opening_book_count_like_movements(told: Told) -> None:
    row = told.loan("opening book", "L9", BOOKED)
    claim = told.claim_rows["opening book", BOOKED]["C9"]
    assert (row.outstanding_principal_minor, row.compensated_minor, row.compensated_issue_count) == (0, 10_100, 1)
    assert (row.lender_dpd, row.borrower_dpd) == (0, (BOOKED - date(2025, 3, 5)).days)
    assert (claim.is_open, claim.outstanding_principal_minor) == (False, 0)


def test_a_new_plan_version_replaces_the_old_from_its_date(told: Told) -> None:
    before, after = told.loan("new plan", "L2", JULY_31), told.loan("new plan", "L2")
    assert (before.lender_dpd, before.outstanding_interest_minor) == (91, 5_000)
    assert (after.lender_dpd, after.outstanding_interest_minor) == (0, 6_000)


def test_a_sold_claim_closes_and_the_buyers_claim_carries_on(told: Told) -> None:
    claims = {number: row for number, row in told.claim_rows["claim_sold", D].items() if row.loan_no == "L1"}
    assert {number: (row.is_open, row.outstanding_principal_minor) for number, row in claims.items()} == {
        "C1": (False, 0),
        "C2": (True, 15_000),
        "C5": (True, 45_000),
    }
    assert told.checks("claim_sold")["loans_whose_claims_differ"] == 0


def test_a_loan_not_yet_disbursed_or_known_later_is_not_there(told: Told) -> None:
    assert set(told.loan_rows["worked example", MAY_31]) == {"L1", "L2"}
