"""Invariants of the simulated truth (spec 03 section 3.5) and of the files derived from it."""

from collections import Counter, defaultdict
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import WrongUse
from domain.vocabulary import ALLOWED_MOVEMENTS, AccountRole, Component, FileKind, LoanStatus, MovementType, OrderType
from simulator.bank_day import is_working_day
from simulator.life import Life
from simulator.loans import ALLOWED_NEXT
from simulator.opening import open_platform
from simulator.parameters import WorldParameters
from simulator.people import settle_people
from simulator.world import World, make_world, stored_counts, write_world

DAY = timedelta(days=1)
seeds = st.integers(0, 10_000)
few = settings(max_examples=8, deadline=None)


def tiny(seed: int, faults_per_code: int = 0) -> World:
    parameters = WorldParameters(seed=seed, platforms=2, customers=60, history_months=4, days=6, faults_per_code=faults_per_code)
    return make_world(parameters)


def folder_content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    for name, seed in (("first", 7), ("second", 7), ("third", 8)):
        write_world(tiny(seed, faults_per_code=1), tmp_path / name)
    first, second, third = (folder_content(tmp_path / name) for name in ("first", "second", "third"))
    assert first == second
    assert first != third
    assert len(first) > 150


def test_a_folder_that_holds_something_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(WrongUse, match="not empty"):
        write_world(tiny(7), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_world_that_is_there_already_is_recognised_by_its_parameters(tmp_path: Path) -> None:
    world = tiny(7)
    assert stored_counts(world.parameters, tmp_path / "w") is None
    counts = write_world(world, tmp_path / "w")
    assert stored_counts(world.parameters, tmp_path / "w") == counts
    with pytest.raises(WrongUse, match="parameters"):
        stored_counts(tiny(8).parameters, tmp_path / "w")


def test_what_a_killed_process_left_is_replaced_by_a_whole_world(tmp_path: Path) -> None:
    (tmp_path / ".w.part" / "orders").mkdir(parents=True)
    (tmp_path / ".w.part" / "orders" / "half.jsonl").write_text("{")
    write_world(tiny(7), tmp_path / "w")
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    assert not (tmp_path / "w" / "orders" / "half.jsonl").exists()


@pytest.mark.parametrize("wrong", [{"platforms": 0}, {"customers": 10}, {"days": 0}, {"faults_per_code": -1}])
def test_senseless_parameters_are_refused_by_name(wrong: dict[str, int]) -> None:
    with pytest.raises(WrongUse, match=next(iter(wrong)).replace("_", "-")):
        WorldParameters(**wrong)


@few
@given(seeds)
def test_every_order_is_allowed_balanced_and_leaves_no_account_below_zero(seed: int) -> None:
    for state in tiny(seed).states:
        balance: Counter[str] = Counter()
        held: Counter[str] = Counter()
        holds: dict[str, tuple[str, int]] = {}
        last = None
        for order in state.book.orders:
            assert last is None or order.at > last
            last = order.at
            assert order.movements or order.order_type is OrderType.TENDER
            for hold_no in order.release_holds:
                account, amount = holds.pop(hold_no)
                held[account] -= amount
            for hold in order.place_holds:
                holds[hold.hold_no] = (hold.account_no, hold.amount_minor)
                held[hold.account_no] += hold.amount_minor
            for movement in order.movements:
                roles = (state.book.roles[movement.debit], state.book.roles[movement.credit])
                assert roles in ALLOWED_MOVEMENTS[movement.movement_type]
                assert type(movement.amount_minor) is int and movement.amount_minor > 0
                balance[movement.debit] -= movement.amount_minor
                balance[movement.credit] += movement.amount_minor
            touched = [account for account in state.book.sub_accounts() if balance[account] - held[account] < 0]
            assert touched == []
            assert balance[state.community.control_account(AccountRole.OWN_FUNDS)] == 0
        assert sum(balance.values()) == 0
        assert {account: amount for account, amount in balance.items() if amount} == {
            account: amount for account, amount in state.book.balance.items() if amount
        }
        assert len({order.request_no for order in state.book.orders}) == len(state.book.orders)


@few
@given(seeds)
def test_claims_add_up_to_outstanding_principal_at_the_end_of_every_date(seed: int) -> None:
    parameters = WorldParameters(seed=seed, platforms=1, customers=60, history_months=4, days=5, faults_per_code=0)
    (community,) = settle_people(parameters)
    state = open_platform(community, parameters)
    life = Life(state, parameters.opening_date)
    for day in [None, *parameters.nights]:
        if day:
            life.live(day)
        for loan in state.loans:
            principal_due = sum(row.due[Component.PRINCIPAL] for row in loan.rows)
            assert principal_due == (loan.contract_minor if loan.disbursed_on else 0)
            assert sum(claim.principal_minor for claim in loan.open_claims) == loan.outstanding_minor
            for row in loan.rows:
                assert all(0 <= row.received[part] <= row.due[part] for part in Component)
                assert all(0 <= row.paid[part] <= row.due[part] for part in Component)


@few
@given(seeds)
def test_statuses_follow_their_order_and_end_repaid_only_when_all_is_paid(seed: int) -> None:
    for state in tiny(seed).states:
        for loan in state.loans:
            statuses = [status for status, _ in loan.statuses]
            assert statuses[0] is LoanStatus.ANNOUNCED
            assert all(after in ALLOWED_NEXT[before] for before, after in pairwise(statuses))
            times = [at for _, at in loan.statuses]
            assert times == sorted(times)
            settled = bool(loan.rows) and all(row.is_settled for row in loan.rows)
            assert (loan.status is LoanStatus.REPAID) == settled


@few
@given(seeds)
def test_lenders_received_what_payments_and_movements_say(seed: int) -> None:
    to_lenders = ("PRINCIPAL", "INTEREST", "COMPENSATORY")
    for state in tiny(seed).states:
        received: Counter[tuple[str, int, str]] = Counter()
        for payment in state.opening_payments:
            received[payment.loan_no, payment.issue_no, payment.component] += payment.amount_minor
        for order in state.book.orders:
            for movement in order.movements:
                if movement.movement_type in to_lenders:
                    key = (str(movement.loan_no), int(movement.issue_no or 0), str(movement.component))
                    received[key] += movement.amount_minor
        truth = {
            (loan.loan_no, row.issue_no, part.value): row.received[part]
            for loan in state.loans
            for row in loan.rows
            for part in Component
            if row.received[part]
        }
        assert dict(received) == truth


@few
@given(seeds)
def test_bank_statements_chain_and_agree_with_the_special_account(seed: int) -> None:
    world = tiny(seed)
    for state in world.states:
        special = state.community.control_account(AccountRole.SPECIAL_ACCOUNT)
        closing = 0
        for day in world.parameters.dates:
            (feed,) = (
                feed
                for feed in world.feeds
                if (feed.platform_id, feed.business_date, feed.kind) == (state.platform_id, day, FileKind.STATEMENT)
            )
            first, *entries, last = feed.rows
            assert (first["line_type"], last["line_type"]) == ("OPENING", "CLOSING")
            assert first["amount_minor"] == closing
            closing += sum(int(row["amount_minor"] or 0) for row in entries)
            assert last["amount_minor"] == closing == -state.closes[day].balance[special]


@few
@given(seeds)
def test_without_faults_the_platform_and_channel_files_mirror_the_bank(seed: int) -> None:
    world = tiny(seed)
    rows = defaultdict(list)
    for feed in world.feeds:
        rows[feed.platform_id, feed.kind].extend((feed.business_date, row) for row in feed.rows)
    for state in world.states:
        postings = {
            (order.business_date, order.request_no, seq, movement.debit, movement.credit, movement.amount_minor)
            for order in state.book.orders
            for seq, movement in enumerate(order.movements, start=1)
            if {state.book.is_sub_account(movement.debit), state.book.is_sub_account(movement.credit)} != {False}
        }
        names = ("request_no", "seq", "debit_account_no", "credit_account_no", "amount_minor")
        in_v = [(day, *(row[name] for name in names)) for day, row in rows[state.platform_id, FileKind.POSTINGS]]
        assert len(in_v) == len(postings) and set(in_v) == postings
        channel = {row["request_no"] for _, row in rows[state.platform_id, FileKind.CHANNEL]}
        by_channel = (OrderType.RECHARGE, OrderType.WITHDRAW)
        assert channel == {order.request_no for order in state.book.orders if order.order_type in by_channel}


@few
@given(seeds)
def test_settlements_and_payouts_happen_on_working_days_and_batches_equal_statement_entries(seed: int) -> None:
    world = tiny(seed)
    settled: dict[tuple[str, date], int] = Counter()
    for feed in world.feeds:
        if feed.kind is FileKind.SETTLEMENT:
            settled[feed.platform_id, feed.business_date] += sum(int(row["net_minor"] or 0) for row in feed.rows)
            assert not feed.rows or is_working_day(feed.business_date)
    credited: dict[tuple[str, date], int] = Counter()
    for state in world.states:
        for order in state.book.orders:
            if order.order_type in (OrderType.SETTLEMENT, OrderType.WITHDRAW_PAYOUT):
                assert is_working_day(order.business_date)
            if order.order_type is OrderType.SETTLEMENT:
                (cash,) = (one.amount_minor for one in order.movements if one.movement_type is MovementType.SETTLEMENT)
                credited[state.platform_id, order.business_date] += cash
    assert {key: value for key, value in settled.items() if value} == dict(credited)


def test_every_night_has_recharges_just_after_the_cutoff_for_timing_items() -> None:
    world = tiny(7)
    for state in world.states:
        for day in world.parameters.nights:
            late = [
                order
                for order in state.book.orders
                if order.order_type is OrderType.RECHARGE and order.business_date == day and order.at.date() == day - DAY
            ]
            assert late
            assert all(order.at.hour == 23 for order in late)
