"""The truth behind credit: outcomes realise the true PD, the bureau sees a noisy picture of it, and only when it is knowable."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from datetime import date, datetime, timedelta
from itertools import pairwise
from math import sqrt
from pathlib import Path

import pytest

from domain.vocabulary import ADVISORY_KINDS, AccountRole, Component, FileKind
from simulator.bank_day import business_date_of, closes_at, months_after
from simulator.file_format import Row
from simulator.industry import industry_records
from simulator.life import Life
from simulator.loans import BAD_DPD, BAD_WITHIN_MONTHS, Habit, Loan
from simulator.opening import open_platform
from simulator.parameters import BUREAU, WorldParameters
from simulator.people import settle_people
from simulator.reputation import reputation_hits
from simulator.risk import risk_of
from simulator.state import OpeningPayment, PlatformState
from simulator.world import World, make_world, write_world

DAY = timedelta(days=1)
BIG = WorldParameters(seed=3, platforms=2, customers=8_000, history_months=30, days=1)
SMALL = WorldParameters(seed=5, platforms=2, customers=200, history_months=18, days=8)


@pytest.fixture(scope="module")
def histories() -> list[PlatformState]:
    """The platforms of a big world on their opening date: their loans of two years have been lived through."""
    return [open_platform(community, BIG) for community in settle_people(BIG)]


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SMALL)


def worst_days(loan: Loan, payments: list[OpeningPayment], last: date) -> int:
    """Most days past due of the borrower at the close of any day up to `last`: an own reckoning from payments alone."""
    worst = 0
    for row in loan.rows:
        own = [one for one in payments if one.issue_no == row.issue_no and one.payer_role is AccountRole.BORROWERS]
        missing, settled_on = sum(row.due[part] for part in Component), None
        for payment in sorted(own, key=lambda one: one.paid_on):
            missing -= payment.amount_minor
            settled_on = payment.paid_on if missing == 0 and settled_on is None else settled_on
        last_open = min(settled_on - DAY, last) if settled_on else last
        worst = max(worst, (last_open - row.due_on).days)
    return worst


def mature(states: list[PlatformState]) -> list[tuple[Loan, bool]]:
    """Loans whose twelve months are over, and whether they turned bad by what was paid."""
    found = []
    for state in states:
        payments: dict[str, list[OpeningPayment]] = defaultdict(list)
        for payment in state.opening_payments:
            payments[payment.loan_no].append(payment)
        for loan in state.loans:
            assert loan.disbursed_on is not None
            last = months_after(loan.disbursed_on, BAD_WITHIN_MONTHS)
            if last < BIG.opening_date:
                found.append((loan, worst_days(loan, payments[loan.loan_no], last) >= BAD_DPD))
    return found


def test_realised_outcomes_agree_with_the_true_pd_in_every_tenth(histories: list[PlatformState]) -> None:
    loans = sorted(mature(histories), key=lambda one: (one[0].true_pd, one[0].loan_no))
    assert len(loans) > 5_000
    tenth = len(loans) // 10
    for group in range(10):
        part = loans[group * tenth : (group + 1) * tenth]
        expected = sum(loan.true_pd for loan, _ in part)
        spread = sqrt(sum(loan.true_pd * (1 - loan.true_pd) for loan, _ in part))
        assert abs(sum(bad for _, bad in part) - expected) < 4 * spread, group
    assert loans[tenth][0].true_pd < 0.02
    assert loans[9 * tenth][0].true_pd > 0.15


def test_a_loan_is_bad_exactly_when_its_borrower_stops_and_a_late_one_is_never_sixty_days_late(
    histories: list[PlatformState],
) -> None:
    loans = mature(histories)
    assert all(bad == (loan.habit is Habit.STOPS) for loan, bad in loans)
    assert {loan.habit for loan, _ in loans} == set(Habit)


def test_five_to_nine_percent_of_loans_turn_bad_and_grades_follow_the_risk_only_roughly(histories: list[PlatformState]) -> None:
    loans = mature(histories)
    assert 0.05 < sum(bad for _, bad in loans) / len(loans) < 0.09
    by_grade: dict[str, list[float]] = defaultdict(list)
    for loan, _ in loans:
        by_grade[loan.grade].append(loan.true_pd)
    means = [sum(by_grade[grade]) / len(by_grade[grade]) for grade in "ABCD"]
    assert means == sorted(means)
    assert max(by_grade["A"]) > min(by_grade["D"])


def test_the_default_world_has_enough_mature_loans_to_learn_from() -> None:
    parameters = WorldParameters()
    states = [open_platform(community, parameters) for community in settle_people(parameters)]
    loans = [loan for state in states for loan in state.loans if loan.disbursed_on]
    old = [loan for loan in loans if months_after(loan.disbursed_on, 12) <= parameters.end]
    assert len(old) >= 400
    assert sum(loan.habit is Habit.STOPS for loan in old) >= 30


def test_another_loan_of_the_platform_leaves_the_fate_and_the_bureau_of_everybody_else_alone() -> None:
    longer = WorldParameters(seed=SMALL.seed, platforms=2, customers=200, history_months=18, days=20)
    (one, _), (other, _) = settle_people(SMALL), settle_people(longer)
    borrowers = list(zip(one.with_role(AccountRole.BORROWERS), other.with_role(AccountRole.BORROWERS), strict=True))
    assert all(risk_of(SMALL.seed, a.party.party_ref) == risk_of(longer.seed, b.party.party_ref) for a, b in borrowers)
    assert len({risk_of(SMALL.seed, a.party.party_ref) for a, _ in borrowers}) == len(borrowers)


def rows_of(world: World, kind: FileKind) -> list[tuple[str, date, Row]]:
    return [(feed.platform_id, feed.business_date, row) for feed in world.feeds if feed.kind is kind for row in feed.rows]


@pytest.mark.parametrize("kind", ADVISORY_KINDS)
def test_a_file_of_the_bureau_holds_what_became_known_on_its_date_and_the_first_one_the_history(
    world: World, kind: FileKind
) -> None:
    rows = rows_of(world, kind)
    for _, day, row in rows:
        known = datetime.fromisoformat(str(row["knowable_at"]))
        assert known < closes_at(day)
        assert business_date_of(known) == day or (day == SMALL.opening_date and business_date_of(known) < day)
        happened = row["occurred_on" if kind is FileKind.INDUSTRY else "published_on"]
        if happened:
            assert DAY <= known.date() - date.fromisoformat(str(happened)) <= 75 * DAY
    per_date = {
        (feed.platform_id, feed.business_date): len(feed.rows)
        for feed in world.feeds
        if feed.kind is kind and feed.sender == BUREAU
    }
    assert len(per_date) == len(SMALL.dates) * SMALL.platforms
    assert per_date["P01", SMALL.opening_date] > sum(count for (_, day), count in per_date.items() if day > SMALL.opening_date)


def test_some_dates_bring_nothing_new_and_their_files_are_empty_but_whole(world: World, tmp_path: Path) -> None:
    write_world(world, tmp_path / "w")
    empty = [feed for feed in world.feeds if feed.kind is FileKind.REPUTATION and not feed.rows]
    assert empty
    day = empty[0].business_date.isoformat()
    lines = gzip.decompress((tmp_path / "w/landing" / day / BUREAU / empty[0].file_name).read_bytes()).decode().splitlines()
    assert lines[0].startswith(f"#FUNDWATCH,1,BUREAU,{empty[0].platform_id},reputation,{day},")
    assert lines[2:] == ["#TRAILER,0,0"]
    manifest = (tmp_path / "w/landing" / day / BUREAU / "manifest.csv").read_text()
    assert f"{empty[0].platform_id},reputation,{empty[0].file_name}," in manifest
    assert f"{day}/BUREAU/{empty[0].file_name}," in (tmp_path / "w/landing/arrivals.csv").read_text()


def test_the_bureau_tells_of_this_platforms_borrowers_only_and_of_some_it_knows_nothing(world: World) -> None:
    borrowers = {
        state.platform_id: {one.party.id_hash for one in state.community.with_role(AccountRole.BORROWERS)}
        for state in world.states
    }
    for kind in ADVISORY_KINDS:
        named: dict[str, set[str]] = defaultdict(set)
        for platform_id, _, row in rows_of(world, kind):
            named[platform_id].add(str(row["subject_hash"]))
        for platform_id, subjects in borrowers.items():
            assert named[platform_id] < subjects
            assert len(named[platform_id]) > len(subjects) / 2


def test_risky_people_apply_and_fall_behind_more_and_are_written_about_more_but_nobody_is_given_away() -> None:
    parameters = WorldParameters(seed=9, platforms=1, customers=6_000, history_months=12, days=1)
    (community,) = settle_people(parameters)
    people = [one.party for one in community.with_role(AccountRole.BORROWERS)]
    people.sort(key=lambda party: risk_of(parameters.seed, party.party_ref))
    third = len(people) // 3
    safe, risky = people[:third], people[-third:]

    def worst(party_rows: list[Row]) -> int:
        return max((int(row["dpd"] or 0) for row in party_rows), default=0)

    def figures(parties: list) -> tuple[float, float, float]:
        records = [[row for _, row in industry_records(parameters, party)] for party in parties]
        hits = [reputation_hits(parameters, party) for party in parties]
        known = [rows for rows in records if rows]
        applications = sum(row["record_type"] == "APPLICATION" for rows in known for row in rows) / len(known)
        behind = sum(worst(rows) >= 30 for rows in known) / len(known)
        return applications, behind, sum(len(rows) for rows in hits) / len(parties)

    of_safe, of_risky = figures(safe), figures(risky)
    assert all(1.2 * low < high for low, high in zip(of_safe, of_risky, strict=True)), (of_safe, of_risky)
    assert of_safe[1] > 0 and of_risky[1] < 1


def test_a_status_goes_from_month_to_month_without_a_jump_and_ends_settled_or_written_off() -> None:
    parameters = WorldParameters(seed=9, platforms=1, customers=1_000, history_months=18, days=1)
    (community,) = settle_people(parameters)
    contracts: dict[str, list[Row]] = defaultdict(list)
    for borrower in community.with_role(AccountRole.BORROWERS):
        for _, row in sorted(industry_records(parameters, borrower.party), key=lambda one: str(one[1]["occurred_on"])):
            if row["record_type"] in ("REPAY", "SPECIAL"):
                contracts[str(row["contract_no"])].append(row)
    endings = set()
    for rows in contracts.values():
        months = [int(row["dpd"] or 0) for row in rows if row["record_type"] == "REPAY"]
        assert all(later == 0 or (earlier == 0 and later < 30) or later == earlier + 30 for earlier, later in pairwise(months))
        endings.add(rows[-1]["status_code"] or rows[-1]["kind"])
        assert all(row["status_code"] != "C" for row in rows[:-1])
    assert {"C", "WRITE_OFF"} <= endings


def test_the_true_pd_of_every_loan_paid_out_is_kept_beside_the_world_and_in_no_file(world: World, tmp_path: Path) -> None:
    write_world(world, tmp_path / "w")
    with (tmp_path / "w/truth/pd.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    loans = {loan.loan_no: loan for state in world.states for loan in state.loans if loan.disbursed_on}
    assert {row["loan_no"] for row in rows} == set(loans)
    assert list(rows[0]) == ["platform_id", "customer_no", "subject_hash", "loan_no", "true_pd"]
    for row in rows:
        loan = loans[row["loan_no"]]
        assert (row["customer_no"], row["subject_hash"]) == (loan.borrower.customer_no, loan.borrower.party.id_hash)
        assert row["true_pd"] == f"{loan.true_pd:.9f}"
    telling = {f"{loan.true_pd:.9f}" for loan in loans.values()}
    for path in (tmp_path / "w/landing").rglob("*.gz"):
        assert not telling.intersection(gzip.decompress(path.read_bytes()).decode().replace(",", "\n").split("\n"))
    assert "risk" not in (tmp_path / "w/world.json").read_text()


def test_in_the_daily_life_late_borrowers_are_compensated_and_pay_their_guarantor_back() -> None:
    parameters = WorldParameters(seed=7, platforms=1, customers=1_500, history_months=12, days=20)
    state = open_platform(settle_people(parameters)[0], parameters)
    life = Life(state, parameters.opening_date)
    for day in parameters.nights:
        life.live(day)
    types = {str(movement.movement_type) for order in state.book.orders for movement in order.movements}
    assert {"COMPENSATORY", "COMPENSATORY_REPAYMENT"} <= types
