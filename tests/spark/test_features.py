"""Features of borrowers through the real Spark transforms, hand-computed: every feature, edges of windows, what is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from fundwatch.settings import Settings
from lake.tables import TABLES
from models.features import FEATURES, FLAG_OF, Group, Missing
from models.leak import KNOWABLE_BY, KNOWS_TOO_MUCH, leaking
from spark_jobs import features
from spark_jobs.features import OBSERVATION, Sources, observations_at_close, observations_at_disbursement, person_features

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

D = date(2026, 8, 31)
CLOSE = datetime(2026, 8, 31, 15, 0, tzinfo=UTC)
"""23:00 in Shanghai."""
ME = "a" * 64
DAY = timedelta(days=1)
Rows = list[dict[str, Any]]
Story = Callable[["Facts"], None]
KEY = ("platform_id", "borrower_ref", "as_of", "known_on")


def ago(days: int) -> date:
    return D - days * DAY


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 4, 0, tzinfo=UTC)


class Facts:
    """Rows of the source tables; every story has a platform of its own, so that all are told in one pass of Spark."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark, self.platform_id = spark, ""
        self.rows: dict[str, Rows] = {name: [] for name in Sources.__dataclass_fields__}
        self.observed: list[tuple[Any, ...]] = []

    def tell(self, name: str, story: Story, day: date = D, known_on: date | None = None) -> None:
        self.platform_id = name
        story(self)
        as_of = CLOSE - (D - day)
        self.observed.append((name, ME, ME, as_of, day, known_on or day))

    def add(self, table: str, on: date = D, **values: Any) -> None:
        row = {"business_date": on, "run_id": 1, "platform_id": self.platform_id, "currency": "CNY", "subject_hash": ME}
        self.rows[table].append({**row, "line_no": len(self.rows[table]), **values})

    def record(self, record: str, days: int, known: datetime | None = None, **values: Any) -> None:
        happened = ago(days)
        number = f"R{len(self.rows['industry_record'])}"
        more = {"record_no": number, "member_no": "M1", "record_type": record, "occurred_on": happened, "amount_minor": 0}
        self.add("industry_record", ago(0), **{**more, "knowable_at": known or noon(happened) + DAY, **values})

    def hit(self, days: int, known: datetime | None = None, **values: Any) -> None:
        published = ago(days)
        more = {
            "hit_no": f"H{len(self.rows['reputation_hit'])}",
            "source_tier": 3,
            "category": "COMPLAINT",
            "polarity_pct": -50,
            "match_pct": 80,
            "review": "PENDING",
            "published_on": published,
        }
        self.add("reputation_hit", ago(0), **{**more, "knowable_at": known or noon(published) + DAY, **values})

    def customer(self, opened: date = ago(700), on: date = ago(40), customer_no: str = "C1", id_hash: str = ME) -> None:
        self.add("customer", on, customer_no=customer_no, id_hash=id_hash, party_type="N", roles="", opened_on=opened)

    def loan(self, loan_no: str, minor: int, disbursed: date | None, on: date = ago(40), customer_no: str = "C1") -> None:
        account = {"borrower_customer_no": customer_no, "borrower_account_no": f"B-{customer_no}"}
        self.add("loan", on, loan_no=loan_no, disbursed_minor=minor, disbursed_on=disbursed, **account)

    def due(
        self, loan_no: str, issue: int, on: date, principal: int, interest: int = 0, version: int = 1, came: date = ago(40)
    ) -> None:
        plan = {"due_on": on, "due_principal_minor": principal, "due_interest_minor": interest}
        self.add("plan_row", came, loan_no=loan_no, plan_version=version, issue_no=issue, **plan)

    def paid(self, loan_no: str, issue: int, on: date, minor: int, component: str = "P", payer: str = "BORROWERS") -> None:
        values = {"component": component, "payer_role": payer, "amount_minor": minor, "paid_on": on}
        self.add("opening_payment", ago(40), loan_no=loan_no, issue_no=issue, **values)

    def move(self, kind: str, on: date, debit: str, credit: str, minor: int, **values: Any) -> None:
        roles = {"X": "CHANNEL_RECEIVABLE", "L": "INVESTOR", "B": "BORROWERS", "G": "GUARANTEECORP", "S": "SPECIAL_ACCOUNT"}
        sides = {
            "debit_account_no": debit,
            "debit_role": roles[debit[0]],
            "credit_account_no": credit,
            "credit_role": roles[credit[0]],
        }
        self.add("ledger_movement", on, movement_type=kind, amount_minor=minor, **sides, **values)

    def balance(self, on: date, minor: int, customer_no: str = "C1") -> None:
        values = {"account_no": f"B-{customer_no}", "account_role": "BORROWERS", "customer_no": customer_no}
        self.add("ledger_balance", on, closing_minor=minor, **values)

    def frame(self, name: str) -> DataFrame:
        table = TABLES[name]
        rows = [tuple(row.get(column) for column in table.columns) for row in self.rows[name]]
        return self.spark.createDataFrame(rows, table.ddl)

    def sources(self) -> Sources:
        return Sources(**{name: self.frame(name) for name in self.rows})

    def observations(self) -> DataFrame:
        ddl = "platform_id string, borrower_ref string, subject_hash string, as_of timestamp, as_of_date date, known_on date"
        return self.spark.createDataFrame(self.observed, ddl)


def nobody_knows_him(facts: Facts) -> None:
    facts.add("industry_record", ago(3), record_no="R-other", subject_hash="b" * 64, member_no="M1", record_type="APPLICATION",
              occurred_on=ago(9), amount_minor=1, knowable_at=noon(ago(8)))  # fmt: skip
    facts.hit(5, subject_hash="b" * 64)


def applications(facts: Facts) -> None:
    facts.record("APPLICATION", 0, member_no="M1", decision="R", knowable_at=CLOSE - timedelta(seconds=1))
    facts.record("APPLICATION", 29, member_no="M1", decision="A")
    facts.record("APPLICATION", 29, member_no="M2", decision="P")
    facts.record("APPLICATION", 30, member_no="M3", decision="A")
    facts.record("APPLICATION", 89, member_no="M4", decision="C")
    facts.record("APPLICATION", 90, member_no="M5", decision="A")
    facts.record("APPLICATION", 179, member_no="M5", decision="R")
    facts.record("APPLICATION", 180, member_no="M5", decision="R")


def knowable_one_moment_later(facts: Facts) -> None:
    facts.record("APPLICATION", 9, member_no="M1")
    facts.record("APPLICATION", 9, member_no="M2", known=CLOSE)
    facts.record("CONTRACT", 2, contract_no="K1", amount_minor=5, known=CLOSE + timedelta(days=3))
    facts.hit(3, known=CLOSE)


def came_with_a_later_file(facts: Facts) -> None:
    facts.record("APPLICATION", 9, member_no="M1", business_date=D + DAY)
    facts.record("APPLICATION", 9, member_no="M2")


def decided_only_later(facts: Facts) -> None:
    facts.record("APPLICATION", 9, record_no="A1", decision="P", known=noon(ago(8)))
    facts.record("APPLICATION", 9, record_no="A1", decision="R", known=CLOSE)
    facts.record("APPLICATION", 20, record_no="A2", decision="P", known=noon(ago(18)))
    facts.record("APPLICATION", 20, record_no="A2", decision="R", known=noon(ago(12)))


def contracts(facts: Facts) -> None:
    facts.record("CONTRACT", 400, contract_no="K0", amount_minor=1_000)
    facts.record("CONTRACT", 300, contract_no="K1", amount_minor=2_000)
    facts.record("CONTRACT", 179, contract_no="K2", amount_minor=3_000)
    facts.record("CONTRACT", 176, contract_no="K3", amount_minor=4_000)
    facts.record("CONTRACT", 180, contract_no="K4", amount_minor=5_000)
    facts.record("REPAY", 364, contract_no="K0", status_code="3", dpd=65)
    facts.record("REPAY", 365, contract_no="K0", status_code="4", dpd=95)
    facts.record("REPAY", 91, contract_no="K1", status_code="2", dpd=40)
    facts.record("REPAY", 10, contract_no="K1", status_code="N", dpd=0)
    facts.record("REPAY", 20, contract_no="K3", status_code="C", dpd=0)
    facts.record("SPECIAL", 300, contract_no="K0", kind="WRITE_OFF")


def one_contract_after_four_days(facts: Facts) -> None:
    facts.record("CONTRACT", 100, contract_no="K1", amount_minor=1)
    facts.record("CONTRACT", 96, contract_no="K2", amount_minor=1)
    facts.record("CONTRACT", 365, contract_no="K3", amount_minor=1)
    facts.record("CONTRACT", 364, contract_no="K4", amount_minor=1)


def searched_without_a_finding(facts: Facts) -> None:
    facts.hit(300, category="NO_HIT", polarity_pct=0, match_pct=0, review="CONFIRMED", published_on=None)


def findings(facts: Facts) -> None:
    facts.hit(180, category="DISHONEST_LIST", source_tier=1, polarity_pct=-100, match_pct=100, review="CONFIRMED")
    facts.hit(0, category="FRAUD_ACCUSATION", source_tier=2, polarity_pct=-50, match_pct=50, knowable_at=noon(D))
    facts.hit(364, category="COMPLAINT", source_tier=3, polarity_pct=-100, match_pct=100)
    facts.hit(365, category="ENFORCEMENT", source_tier=1, polarity_pct=-100, match_pct=100, review="CONFIRMED")
    facts.hit(1825, category="MEDIA_NEGATIVE", source_tier=2, review="CONFIRMED")
    facts.hit(1826, category="MEDIA_NEGATIVE", source_tier=2, review="CONFIRMED")
    facts.hit(5, category="DISHONEST_LIST", source_tier=1, polarity_pct=-100, match_pct=100, review="REJECTED")
    facts.hit(5, category="POSITIVE", source_tier=1, polarity_pct=90, match_pct=100, review="CONFIRMED")


def rejected_after_review(facts: Facts) -> None:
    facts.hit(20, hit_no="H", category="TAX", source_tier=1, known=noon(ago(10)))
    facts.hit(20, hit_no="H", category="TAX", source_tier=1, known=noon(ago(1)), review="REJECTED")
    facts.hit(9, hit_no="I", category="COMPLAINT", published_on=None, known=noon(ago(4)))


def own_loans(facts: Facts) -> None:
    """L1 of 30 000 in three issues: on time, 10 days late, guarantor paid and he has not; L2 is young; L3 is not paid out."""
    facts.customer()
    facts.loan("L1", 30_000, ago(130))
    for issue, due in enumerate((ago(100), ago(70), ago(40)), start=1):
        facts.due("L1", issue, due, 10_000, 100)
        facts.paid("L1", issue, due + 10 * DAY * (issue == 2), 100, "I", "BORROWERS" if issue < 3 else "GUARANTEECORP")
        facts.paid("L1", issue, due + 10 * DAY * (issue == 2), 10_000, "P", "BORROWERS" if issue < 3 else "GUARANTEECORP")
    facts.loan("L2", 8_000, ago(5), on=ago(5))
    facts.due("L2", 1, D, 8_000, 50, came=ago(5))
    facts.loan("L3", 0, None, on=ago(1))
    facts.loan("L4", 7_000, ago(50), customer_no="C2")
    facts.customer(customer_no="C2", id_hash="c" * 64)


def paid_a_day_late_and_half_in_time(facts: Facts) -> None:
    """A row paid on the day after it fell due was never overdue at a close; half a row is as overdue as a whole one."""
    facts.customer(opened=D + DAY)
    facts.loan("L1", 20_000, ago(500))
    facts.due("L1", 1, ago(470), 10_000)
    facts.paid("L1", 1, ago(469), 10_000)
    facts.due("L1", 2, ago(400), 10_000)
    facts.paid("L1", 2, ago(400), 5_000)
    facts.paid("L1", 2, ago(365), 5_000)


def late_on_the_edge_of_the_year(facts: Facts) -> None:
    facts.customer()
    facts.loan("L1", 10_000, ago(500))
    facts.due("L1", 1, ago(400), 10_000)
    facts.paid("L1", 1, ago(363), 9_999)


def repayment_taken_back(facts: Facts) -> None:
    """Paid on its day by book B, taken back five days later: overdue again, and lenders have not got it."""
    facts.customer()
    facts.loan("L1", 10_000, ago(60))
    facts.due("L1", 1, ago(30), 10_000)
    more = {"loan_no": "L1", "issue_no": 1, "component": "P"}
    facts.move("PRINCIPAL", ago(30), "B-C1", "L-x", 10_000, **more)
    facts.move("PRINCIPAL", ago(25), "L-x", "B-C1", 10_000, **more, reversal_of=1)


def another_plan(facts: Facts) -> None:
    """A second plan came yesterday and forgives the first row; a third comes tomorrow."""
    facts.customer()
    facts.loan("L1", 10_000, ago(60))
    facts.due("L1", 1, ago(30), 10_000)
    facts.due("L1", 1, D + 30 * DAY, 10_000, version=2, came=ago(1))
    facts.due("L1", 1, ago(59), 10_000, version=3, came=D + DAY)


def account(facts: Facts) -> None:
    facts.customer()
    for days, minor in ((0, 300), (1, 101), (29, 200), (30, 9_999)):
        facts.balance(ago(days), minor)
    facts.move("OPENING_BALANCE", D, "S", "B-C1", 5)
    facts.move("RECHARGE", ago(1), "X", "B-C1", 70)
    facts.move("RECHARGE", ago(29), "X", "B-C1", 50)
    facts.move("RECHARGE", ago(29), "B-C1", "X", 20, reversal_of=2)
    facts.move("RECHARGE", ago(30), "X", "B-C1", 1_000)
    facts.move("RECHARGE", ago(1), "X", "L-C1", 4_000)


def quiet_account(facts: Facts) -> None:
    facts.customer()
    facts.balance(ago(89), 5)
    facts.balance(D, 0)
    facts.move("WITHDRAW", ago(89), "B-C1", "X", 5)


def forgotten_account(facts: Facts) -> None:
    facts.customer()
    facts.balance(ago(90), 5)
    facts.balance(D, 0)
    facts.move("WITHDRAW", ago(90), "B-C1", "X", 5)


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        nobody_knows_him,
        applications,
        knowable_one_moment_later,
        came_with_a_later_file,
        decided_only_later,
        contracts,
        one_contract_after_four_days,
        searched_without_a_finding,
        findings,
        rejected_after_review,
        own_loans,
        paid_a_day_late_and_half_in_time,
        late_on_the_edge_of_the_year,
        repayment_taken_back,
        another_plan,
        account,
        quiet_account,
        forgotten_account,
    )
}


@pytest.fixture(scope="module")
def facts(spark: SparkSession) -> Facts:
    told = Facts(spark)
    for name, story in STORIES.items():
        told.tell(name, story)
    return told


@pytest.fixture(scope="module")
def found(facts: Facts) -> Iterator[dict[str, Any]]:
    rows = person_features(facts.observations(), facts.sources()).collect()
    assert len(rows) == len(STORIES)
    yield {row.platform_id: row for row in rows}


def values(row: Any, *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def test_what_nobody_knows_is_null_and_what_is_known_to_be_nothing_is_zero(found: dict[str, Any]) -> None:
    row = found["nobody_knows_him"]
    assert values(row, "has_industry", "has_reputation", "has_ledger", "own_loan_cnt") == (0, 0, 0, 0)
    assert [code for code in FEATURES if row[code] is not None] == [
        "own_loan_cnt",
        "has_industry",
        "has_reputation",
        "has_ledger",
    ]
    assert (row.bureau_known_at, row.books_known_on) == (None, None)
    searched = found["searched_without_a_finding"]
    of_web = [code for code, feature in FEATURES.items() if feature.group is Group.REPUTATION]
    assert values(searched, *of_web) == (0, 0, 0, Decimal("0.000000"), 0)
    assert (searched.has_reputation, searched.has_industry) == (1, 0)


def test_every_feature_is_null_for_someone_unless_its_policy_says_never(found: dict[str, Any]) -> None:
    row = found["nobody_knows_him"]
    for code, feature in FEATURES.items():
        assert (row[code] is not None) == (feature.missing is Missing.NEVER), code


def test_applications_count_distinct_members_inside_their_windows(found: dict[str, Any]) -> None:
    row = found["applications"]
    assert values(row, "app_member_cnt_30", "app_member_cnt_90") == (2, 4)
    # decided in the last 180 days: R, A, A, A, R; pending and cancelled ones are not decided
    assert row.app_reject_share_180 == Decimal("0.400000")
    assert values(row, "contract_open_cnt", "contract_new_minor_180", "industry_max_dpd_365", "stacking_flag") == (0, 0, 0, 0)
    assert row.industry_months_since_overdue is None
    assert row.bureau_known_at.astimezone(UTC) == CLOSE - timedelta(seconds=1)


def test_a_record_counts_from_the_moment_after_it_was_knowable(found: dict[str, Any]) -> None:
    row = found["knowable_one_moment_later"]
    assert values(row, "app_member_cnt_30", "contract_open_cnt", "contract_new_minor_180") == (1, 0, 0)
    assert (row.has_reputation, row.reputation_hit_cnt_365) == (0, None)


def test_a_record_of_a_later_file_is_not_read_however_early_it_was_knowable(found: dict[str, Any]) -> None:
    assert found["came_with_a_later_file"].app_member_cnt_30 == 1


def test_a_decision_counts_when_it_was_known_and_then_replaces_the_pending_application(found: dict[str, Any]) -> None:
    row = found["decided_only_later"]
    assert values(row, "app_member_cnt_30", "app_reject_share_180") == (1, Decimal("1.000000"))


def test_contracts_and_their_repayments(found: dict[str, Any]) -> None:
    row = found["contracts"]
    # K0 is written off and K3 settled
    assert row.contract_open_cnt == 3
    assert row.contract_new_minor_180 == 7_000
    assert row.industry_max_dpd_365 == 65
    assert row.industry_months_since_overdue == 3
    assert values(row, "industry_ever_write_off", "stacking_flag") == (1, 1)


def test_two_contracts_are_stacked_within_three_days_of_the_last_year_only(found: dict[str, Any]) -> None:
    assert values(found["one_contract_after_four_days"], "stacking_flag", "contract_open_cnt") == (0, 4)


def test_findings_count_by_tier_review_and_age(found: dict[str, Any]) -> None:
    row = found["findings"]
    assert row.reputation_hit_cnt_365 == 3
    assert values(row, "reputation_confirmed_tier1", "reputation_confirmed_tier2", "reputation_max_severity") == (2, 1, 5)


def test_the_weight_of_findings_is_the_formula_of_the_spec(found: dict[str, Any]) -> None:
    # 1.0·1.0·1.0·exp(−1) + 0.5·0.6·0.5·exp(0) + 1.0·0.2·1.0·exp(−364/180)
    expected = Decimal(-1).exp() + Decimal("0.15") + Decimal("0.2") * (Decimal(-364) / 180).exp()
    assert found["findings"].reputation_neg_weighted_365 == round(expected, 6)


def test_a_rejected_finding_counts_no_more_and_one_without_a_date_counts_from_when_it_was_found(found: dict[str, Any]) -> None:
    row = found["rejected_after_review"]
    assert values(row, "reputation_hit_cnt_365", "reputation_max_severity") == (1, 1)
    assert row.reputation_neg_weighted_365 == Decimal("0.078242")


def test_own_loans_instalments_and_payments(found: dict[str, Any]) -> None:
    row = found["own_loans"]
    assert row.own_age_days == 700
    assert row.own_loan_cnt == 2
    # three rows could be late; the second was overdue until day 9, the third still is, though the guarantor paid
    assert row.own_on_time_ratio == Decimal("0.333333")
    assert values(row, "own_max_dpd_365", "own_late_issue_cnt_365") == (40, 2)
    assert row.own_outstanding_minor == 8_000
    assert row.own_repaid_share == Decimal("0.526316")
    assert row.books_known_on == D


def test_a_row_is_overdue_only_at_a_close_after_its_day_and_forgotten_after_a_year(found: dict[str, Any]) -> None:
    row = found["paid_a_day_late_and_half_in_time"]
    assert row.own_on_time_ratio == Decimal("0.500000")
    # overdue at the last close 366 days ago: outside the 365 days
    assert values(row, "own_max_dpd_365", "own_late_issue_cnt_365", "own_age_days") == (0, 0, None)


def test_an_overdue_row_counts_in_the_year_with_its_days_at_the_last_close_and_a_cent_does_not_matter(
    found: dict[str, Any],
) -> None:
    assert values(found["late_on_the_edge_of_the_year"], "own_max_dpd_365", "own_late_issue_cnt_365") == (36, 1)


def test_a_repayment_taken_back_is_no_repayment(found: dict[str, Any]) -> None:
    row = found["repayment_taken_back"]
    assert values(row, "own_max_dpd_365", "own_on_time_ratio") == (30, Decimal("0.000000"))
    assert values(row, "own_outstanding_minor", "own_repaid_share") == (10_000, Decimal("0.000000"))


def test_the_plan_in_force_counts_and_not_one_that_comes_later(found: dict[str, Any]) -> None:
    row = found["another_plan"]
    assert values(row, "own_on_time_ratio", "own_max_dpd_365", "own_outstanding_minor") == (None, None, 10_000)


def test_balances_recharges_and_movements_of_his_account(found: dict[str, Any]) -> None:
    row = found["account"]
    assert values(row, "has_ledger", "ledger_balance_minor") == (1, 300)
    # (300 + 101 + 200) / 3 = 200.33; half-up
    assert row.ledger_avg_balance_30_minor == 200
    assert row.ledger_recharge_30_minor == 70 + 50 - 20
    assert row.ledger_days_since_movement == 1
    assert found["quiet_account"].ledger_days_since_movement == 89
    assert values(found["forgotten_account"], "ledger_days_since_movement", "ledger_balance_minor") == (None, 0)


def test_what_becomes_known_later_changes_no_feature(facts: Facts, found: dict[str, Any]) -> None:
    """Metamorphic: the same facts with the future added, in other partitions and another order, give the same rows."""
    later = Facts(facts.spark)
    later.rows = {name: rows[::-1] for name, rows in facts.rows.items()}
    for name in STORIES:
        later.platform_id = name
        later.record("APPLICATION", 1, member_no="M99", known=CLOSE)
        later.record("SPECIAL", 30, kind="WRITE_OFF", known=CLOSE + DAY)
        later.record("REPAY", 2, contract_no="K2", status_code="7", dpd=400, known=CLOSE + timedelta(days=400))
        later.hit(2, source_tier=1, category="DISHONEST_LIST", review="CONFIRMED", known=CLOSE + timedelta(seconds=1))
        later.loan("L-next", 1, D + DAY, on=D + DAY)
        later.due("L1", 9, ago(100), 5, version=9, came=D + DAY)
        later.paid("L1", 3, D + DAY, 10_000)
        later.balance(D + DAY, 77)
        later.move("RECHARGE", D + DAY, "X", "B-C1", 1)
    sources = later.sources()
    shuffled = Sources(**{name: getattr(sources, name).repartition(3) for name in later.rows})
    rows = {row.platform_id: row for row in person_features(facts.observations().repartition(2), shuffled).collect()}
    assert rows == found


def test_features_of_many_dates_in_one_pass_are_those_of_each_date(facts: Facts) -> None:
    days = [ago(3), ago(1), D]
    many = Facts(facts.spark)
    many.rows = facts.rows
    many.observed = [(name, ME, ME, CLOSE - (D - day), day, day) for name in STORIES for day in days]
    together = {(row.platform_id, row.as_of_date): row for row in person_features(many.observations(), many.sources()).collect()}
    assert len(together) == len(STORIES) * len(days)
    for day in days:
        alone = Facts(facts.spark)
        alone.rows = {name: [row for row in rows if row["business_date"] <= day] for name, rows in facts.rows.items()}
        alone.observed = [one for one in many.observed if one[4] == day]
        for row in person_features(alone.observations(), alone.sources()).collect():
            assert together[row.platform_id, day] == row


def cut(facts: Facts) -> Sources:
    """The sources with only what was knowable at the close of D, by the declared rule."""
    moment = {"as_of": f"timestamp'{CLOSE:%Y-%m-%d %H:%M:%S}'", "as_of_date": f"date'{D}'"}
    sources = facts.sources()
    return Sources(**{name: getattr(sources, name).where(rule.format(**moment)) for name, rule in KNOWABLE_BY.items()})


def test_the_leak_test_finds_nothing_in_the_features_and_finds_a_planted_leak(facts: Facts) -> None:
    observed, everything, known = facts.observations(), facts.sources(), cut(facts)
    full, less = person_features(observed, everything), person_features(observed, known)
    assert leaking(full, less, KEY, list(FEATURES)) == {}
    assert full.where(KNOWS_TOO_MUCH).count() == 0

    def with_leak(sources: Sources) -> DataFrame:
        """A feature that counts every application of the subject, whenever it was knowable."""
        counts = sources.industry_record.where("record_type = 'APPLICATION'").groupBy("platform_id").count()
        latest = sources.industry_record.groupBy("platform_id").agg({"knowable_at": "max"}).toDF("platform_id", "bureau_known_at")
        rows = person_features(observed, sources).drop("bureau_known_at")
        return rows.join(counts, "platform_id", "left").join(latest, "platform_id", "left")

    assert leaking(with_leak(everything), with_leak(known), KEY, [*FEATURES, "count"]) == {"count": 2}
    late = {row.platform_id for row in with_leak(everything).where(KNOWS_TOO_MUCH).collect()}
    assert late == {"knowable_one_moment_later", "decided_only_later"}


def test_observations_at_disbursement_are_of_the_opening_of_that_date_and_do_not_see_the_loan(
    facts: Facts, test_settings: Settings
) -> None:
    told = Facts(facts.spark)
    told.platform_id = "P"
    own_loans(told)
    told.record("APPLICATION", 135, member_no="M1", knowable_at=datetime(2026, 4, 22, 14, 59, tzinfo=UTC), business_date=ago(40))
    told.record("APPLICATION", 135, member_no="M2", knowable_at=datetime(2026, 4, 22, 15, 0, tzinfo=UTC), business_date=ago(40))
    ddl = "platform_id string, loan_no string, borrower_ref string, disbursed_on date"
    loans = told.spark.createDataFrame([("P", "L1", ME, ago(130)), ("P", "L2", ME, ago(5)), ("P", "L9", "customer-1", D)], ddl)
    observed = observations_at_disbursement(loans, test_settings, D)
    assert set(observed.columns) == {"loan_no", *OBSERVATION}
    by_loan = {row.loan_no: row for row in observed.collect()}
    assert by_loan["L1"].as_of.astimezone(UTC) == datetime(2026, 4, 22, 15, 0, tzinfo=UTC)
    assert (by_loan["L1"].as_of_date, by_loan["L1"].known_on, by_loan["L9"].subject_hash) == (ago(131), D, None)
    features_of = {row.as_of_date: row for row in person_features(observed, told.sources()).collect()}
    first, second = features_of[ago(131)], features_of[ago(6)]
    assert values(first, "own_loan_cnt", "app_member_cnt_30", "own_max_dpd_365") == (0, 1, None)
    assert values(second, "own_loan_cnt", "own_max_dpd_365", "own_outstanding_minor") == (1, 34, 0)


def test_a_borrower_is_observed_while_a_loan_of_his_is_not_finished(spark: SparkSession, test_settings: Settings) -> None:
    ddl = """business_date date, platform_id string, borrower_ref string, outstanding_principal_minor bigint,
             outstanding_interest_minor bigint, borrower_dpd int"""
    rows = [(D, "P", "one", 1, 0, 0), (D, "P", "one", 0, 5, 0), (D, "P", "two", 0, 0, 3), (D, "P", "done", 0, 0, 0)]
    observed = observations_at_close(spark.createDataFrame(rows, ddl), test_settings).collect()
    assert sorted(row.borrower_ref for row in observed) == ["one", "two"]
    assert {row.as_of.astimezone(UTC) for row in observed} == {CLOSE}


def test_the_table_holds_exactly_the_declared_features_in_their_order() -> None:
    ddl = TABLES["person_feature"].ddl
    assert TABLES["person_feature"].columns[6:-2] == tuple(FEATURES)
    assert all(f"{code} {feature.ddl}" in ddl for code, feature in FEATURES.items())
    assert {feature.ddl for feature in FEATURES.values()} <= {"int", "bigint", "decimal(9,6)", "decimal(12,6)"}
    assert set(FLAG_OF.values()) == {code for code, feature in FEATURES.items() if feature.group is Group.FLAG}
    assert all(feature.en and feature.zh and feature.unit for feature in FEATURES.values())
    assert features.OBSERVATION[0] == "platform_id"
