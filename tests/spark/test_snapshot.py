"""Loan and claim positions through the real Spark transforms, on the worked example of spec 11 appendix A and around it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lake.tables import TABLES
from spark_jobs.positions import complete_dates, payments, versions
from spark_jobs.snapshot import claim_snapshot, cross_checks, loan_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

D = date(2026, 8, 31)
BOOKED = date(2026, 1, 5)
Rows = list[dict[str, Any]]


class Book:
    """Rows of the input tables of one platform, and the snapshot of some dates."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark
        self.rows: dict[str, Rows] = {
            name: [] for name in ("loan", "plan_row", "claim", "customer", "opening_payment", "ledger_movement")
        }

    def add(self, table: str, on: date, **values: Any) -> None:
        self.rows[table].append(
            {"business_date": on, "run_id": 1, "platform_id": "P01", "line_no": 1, "currency": "CNY", **values}
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

    def snapshots(self, *days: date) -> tuple[DataFrame, DataFrame]:
        frames = {name: self.frame(name).where(f"business_date <= date'{max(days)}'") for name in self.rows}
        dates = self.spark.createDataFrame([("P01", day) for day in days], "platform_id string, business_date date")
        paid = payments(frames["ledger_movement"], frames["opening_payment"])
        people = versions(frames["customer"], ("platform_id", "customer_no"))
        loans = loan_snapshot(frames["loan"], frames["plan_row"], paid, people, dates, min(days))
        return loans, claim_snapshot(frames["claim"], paid, people, dates, min(days))

    def loan_on(self, loan_no: str, day: date) -> dict[str, Any]:
        loans, _ = self.snapshots(day)
        (row,) = loans.where(f"loan_no = '{loan_no}'").collect()
        return dict(row.asDict())


@pytest.fixture
def book(spark: SparkSession) -> Book:
    return Book(spark)


def worked_example(book: Book) -> Book:
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
    return book


FIELDS = ("outstanding_principal_minor", "outstanding_interest_minor", "overdue_minor", "lender_dpd", "borrower_dpd")


def test_the_worked_example_gives_the_printed_positions(book: Book) -> None:
    loans, _ = worked_example(book).snapshots(D)
    rows = {
        row.loan_no: row
        for row in loans.selectExpr("*", "overdue_principal_minor + overdue_interest_minor as overdue_minor").collect()
    }
    assert {loan: tuple(row[field] for field in FIELDS) for loan, row in rows.items()} == {
        "L1": (70_000, 700, 20_200, 57, 87),
        "L2": (100_000, 5_000, 105_000, 122, 122),
        "L3": (50_000, 2_500, 0, 0, 0),
    }
    assert (rows["L1"].compensated_minor, rows["L1"].compensated_issue_count) == (10_100, 1)
    assert [(rows[loan].lender_bucket, rows[loan].borrower_bucket) for loan in ("L1", "L2", "L3")] == [
        ("M2", "M3"),
        ("M5", "M5"),
        ("M0", "M0"),
    ]
    assert all(row.finding is None for row in rows.values())


def test_claims_add_up_to_their_loan_and_follow_its_repayments(book: Book) -> None:
    loans, claims = worked_example(book).snapshots(D)
    outstanding = {row.claim_no: (row.outstanding_principal_minor, row.lender_ref) for row in claims.collect()}
    assert outstanding == {
        "C1": (52_500, "hash-2"),
        "C2": (17_500, "hash-3"),
        "C3": (100_000, "hash-2"),
        "C4": (50_000, "hash-3"),
    }
    checks = cross_checks(loans, claims)
    assert checks["loans_whose_claims_differ"] == checks["loans_without_customer"] == checks["lender_dpd_above_borrower_dpd"] == 0


def test_many_dates_in_one_pass_equal_each_date_alone(book: Book) -> None:
    worked_example(book)
    days = [date(2026, 6, 4) + timedelta(days=offset) for offset in range(0, 60, 12)]
    together_loans, together_claims = book.snapshots(*days)
    alone_loans, alone_claims = zip(*(book.snapshots(day) for day in days), strict=True)
    for together, alone in ((together_loans, alone_loans), (together_claims, alone_claims)):
        singles = sorted(str(row) for frame in alone for row in frame.collect())
        assert sorted(str(row) for row in together.collect()) == singles
        assert singles


def test_a_row_due_today_is_overdue_only_tomorrow(book: Book) -> None:
    worked_example(book)
    assert book.loan_on("L2", date(2026, 5, 1))["lender_dpd"] == 0
    assert book.loan_on("L2", date(2026, 5, 2))["lender_dpd"] == 1


def test_one_cent_missing_cures_a_row_and_two_cents_do_not(book: Book) -> None:
    worked_example(book)
    book.move("PRINCIPAL", date(2026, 5, 3), "L2", 1, "P", 99_999, "C3", "l1")
    book.move("INTEREST", date(2026, 5, 3), "L2", 1, "I", 4_999, "C3", "l1")
    cents = book.loan_on("L2", D)
    assert (cents["lender_dpd"], cents["overdue_principal_minor"], cents["overdue_interest_minor"]) == (122, 1, 1)
    book.move("INTEREST", date(2026, 5, 4), "L2", 1, "I", 1, "C3", "l1")
    cured = book.loan_on("L2", D)
    assert (cured["lender_dpd"], cured["overdue_principal_minor"], cured["outstanding_principal_minor"]) == (0, 0, 1)


def test_the_borrower_who_repays_the_guarantor_is_cured_on_his_side(book: Book) -> None:
    worked_example(book)
    book.move("COMPENSATORY_REPAYMENT", date(2026, 7, 1), "L1", 5, "P", 10_000)
    book.move("COMPENSATORY_REPAYMENT", date(2026, 7, 1), "L1", 5, "I", 100)
    row = book.loan_on("L1", D)
    assert (row["lender_dpd"], row["borrower_dpd"], row["outstanding_principal_minor"]) == (57, 57, 70_000)


def test_a_reversed_repayment_is_owed_again(book: Book) -> None:
    worked_example(book)
    book.move("PRINCIPAL", date(2026, 8, 20), "L1", 4, "P", 7_500, "C1", "l1", reverse=True)
    row = book.loan_on("L1", D)
    assert (row["outstanding_principal_minor"], row["lender_dpd"], row["borrower_dpd"]) == (77_500, 118, 118)


def test_a_reversed_compensation_is_no_longer_counted(book: Book) -> None:
    worked_example(book)
    for minor, component, claim, lender in ((7_500, "P", "C1", "l1"), (2_500, "P", "C2", "l2"), (100, "I", "C1", "l1")):
        book.move("COMPENSATORY", date(2026, 8, 20), "L1", 5, component, minor, claim, lender, reverse=True)
    row = book.loan_on("L1", D)
    assert (row["compensated_minor"], row["compensated_issue_count"], row["lender_dpd"]) == (0, 0, 87)


def test_money_lenders_miss_though_the_borrower_paid_is_a_finding(book: Book) -> None:
    worked_example(book)
    for component, minor in (("P", 10_000), ("I", 100)):
        book.move("COMPENSATORY_REPAYMENT", date(2026, 8, 6), "L1", 6, component, minor)
        book.move("COMPENSATORY_REPAYMENT", date(2026, 7, 1), "L1", 5, component, minor)
    row = book.loan_on("L1", D)
    assert (row["lender_dpd"], row["borrower_dpd"], row["finding"]) == (57, 26, "LD_GT_BD")


def test_payments_of_the_opening_book_count_like_movements(book: Book) -> None:
    book.loan("L9", "b9", 20_000, date(2025, 1, 5))
    book.due("L9", 1, date(2025, 2, 5), 10_000, 100)
    book.due("L9", 2, date(2025, 3, 5), 10_000, 100)
    for number, (issue, component, minor, payer) in enumerate(
        [
            (1, "P", 10_000, "BORROWERS"),
            (1, "I", 100, "BORROWERS"),
            (2, "P", 10_000, "GUARANTEECORP"),
            (2, "I", 100, "GUARANTEECORP"),
        ]
    ):
        values = {"issue_no": issue, "component": component, "amount_minor": minor, "payer_role": payer}
        book.add("opening_payment", BOOKED, payment_no=str(number), loan_no="L9", paid_on=date(2025, 2 + issue, 1), **values)
    book.claim("C9", "L9", "l9", 0, date(2025, 1, 5), closed=date(2025, 4, 1))
    loans, claims = book.snapshots(BOOKED)
    (row,), (claim,) = loans.collect(), claims.collect()
    assert (row.outstanding_principal_minor, row.compensated_minor, row.compensated_issue_count) == (0, 10_100, 1)
    assert (row.lender_dpd, row.borrower_dpd) == (0, (BOOKED - date(2025, 3, 5)).days)
    assert (claim.is_open, claim.outstanding_principal_minor) == (False, 0)


def test_a_new_plan_version_replaces_the_old_from_its_date(book: Book) -> None:
    worked_example(book)
    book.due("L2", 1, date(2026, 9, 1), 100_000, 6_000, version=2, booked=date(2026, 8, 1))
    before, after = book.loan_on("L2", date(2026, 7, 31)), book.loan_on("L2", D)
    assert (before["lender_dpd"], before["outstanding_interest_minor"]) == (91, 5_000)
    assert (after["lender_dpd"], after["outstanding_interest_minor"]) == (0, 6_000)


def test_a_sold_claim_closes_and_the_buyers_claim_carries_on(book: Book) -> None:
    worked_example(book)
    sold_on = date(2026, 7, 10)
    book.claim("C1", "L1", "l1", 52_500, BOOKED, closed=sold_on, booked=sold_on)
    book.claim("C5", "L1", "l2", 52_500, sold_on, booked=sold_on)
    book.move("PRINCIPAL", date(2026, 7, 20), "L1", 6, "P", 7_500, "C5", "l2")
    book.move("PRINCIPAL", date(2026, 7, 20), "L1", 6, "P", 2_500, None, "l2")
    loans, claims = book.snapshots(D)
    state = {row.claim_no: (row.is_open, row.outstanding_principal_minor) for row in claims.where("loan_no = 'L1'").collect()}
    assert state == {"C1": (False, 0), "C2": (True, 15_000), "C5": (True, 45_000)}
    assert cross_checks(loans, claims)["loans_whose_claims_differ"] == 0


def test_a_loan_not_yet_disbursed_or_known_later_is_not_there(book: Book) -> None:
    worked_example(book)
    loans, _ = book.snapshots(date(2026, 5, 31))
    assert {row.loan_no for row in loans.collect()} == {"L1", "L2"}


def test_only_dates_with_every_file_accepted_are_complete(spark: SparkSession) -> None:
    files = [
        ("P01", date(2026, 8, 30), "P01", "loans", "ACCEPTED", None),
        ("P01", date(2026, 8, 30), "P01", "claims", "ACCEPTED", None),
        ("P01", date(2026, 8, 30), "P01", "", "REFUSED", "SCHEMA"),
        ("P01", date(2026, 8, 30), "P01", "payments", "REFUSED", "UNEXPECTED"),
        ("P01", D, "P01", "loans", "ACCEPTED", None),
        ("P01", D, "P01", "claims", "MISSING", "MISSING"),
        ("P02", D, "P02", "loans", "REFUSED", "HASH"),
        ("P03", D, "P03", "loans", "ACCEPTED", None),
    ]
    ddl = "platform_id string, business_date date, sender_id string, file_kind string, state string, reason_code string"
    frame = spark.createDataFrame(files, ddl)
    found = {(row.platform_id, row.business_date) for row in complete_dates(frame, None).collect()}
    assert found == {("P01", date(2026, 8, 30)), ("P03", D)}
    assert [row.platform_id for row in complete_dates(frame, "P03").collect()] == ["P03"]
