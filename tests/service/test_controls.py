"""Operator controls: proposed by one person, decided by another, kept for ever; what they do to opening and publishing a run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.kinds import BANK, KINDS, PAYMENT_COMPANY, PLATFORM
from transactional import controls
from transactional.controls import Control, ControlRefused

D1, D2 = date(2026, 8, 30), date(2026, 8, 31)
T0 = datetime(2026, 8, 1, tzinfo=UTC)
NOW = datetime(2026, 8, 31, 17, 30, tzinfo=UTC)
PEOPLE = ("ann", "ben", "cai")
RERUN = Control("RERUN", "P01", D1, reason="the bank sent a corrected statement")
WITHOUT = Control("WITHOUT_FILE", "P01", D2, "PC01", "channel", "their system is down until Monday")
HOLD = Control("HOLD", reason="the special account does not add up")


@pytest.fixture
def bank(database: Any) -> Iterator[Any]:
    """Two platforms of which P01 published one date, one payment company of P01; the clock stands at 01:30 bank time."""
    with psycopg.connect(database.url("migrator"), autocommit=True) as connection:
        for statement in (
            f"insert into registry.platform select p, p, p, 'CNY', 'CN_2017', '{D1}', '{T0}' from unnest(array['P01','P02']) p",
            f"insert into registry.payment_company values ('PC01', 'Pay', '{T0}')",
            f"insert into registry.payment_company_platform values ('PC01', 'P01', '{T0}')",
            "insert into run.run (first_date, last_date, ledger_no_to, packs, code_version, state, opened_at) "
            f"values ('{D1}', '{D1}', 0, '{{}}', 'x', 'PUBLISHED', '{T0}')",
            f"insert into run.published values ('{D1}', 'P01', 1, 1, 'COMPLETE', null, '{T0}')",
        ):
            connection.execute(statement)
    at(database, NOW)
    yield database


@pytest.fixture
def desk(bank: Any) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the role that people's programs have."""
    with psycopg.connect(bank.url("service"), autocommit=True) as connection:
        yield connection


def at(database: Any, moment: datetime) -> None:
    """Set the clock."""
    with psycopg.connect(database.url("migrator"), autocommit=True) as connection:
        connection.execute("update ledger.clock set now_at = %s", [moment])


def approved(desk: Any, control: Control, maker: str = "ann", checker: str = "ben") -> int:
    """A control that was proposed and approved."""
    control_id = controls.propose(desk, control, maker)
    controls.decide(desk, control_id, checker, True, "seen")
    return control_id


def refused(code: str, desk: Any, *arguments: Any, by: Any = controls.propose) -> ControlRefused:
    """The refusal of a call, which must be of that code and leave every row as it was."""
    before = controls.listed(desk)
    with pytest.raises(ControlRefused) as caught:
        by(desk, *arguments)
    assert caught.value.code == code
    assert caught.value.exit_code == 3
    assert controls.listed(desk) == before
    return caught.value


def test_a_control_is_proposed_by_one_person_and_approved_by_another(desk: Any) -> None:
    control_id = controls.propose(desk, WITHOUT, "ann")
    (waiting,) = controls.pending(desk)
    assert (waiting.control_id, waiting.state, waiting.maker, waiting.proposed_at) == (control_id, "PENDING", "ann", NOW)
    controls.decide(desk, control_id, "ben", True, "confirmed by phone")
    assert controls.pending(desk) == []
    (there,) = controls.listed(desk)
    assert (there.state, there.checker, there.note, there.decided_at) == ("APPROVED", "ben", "confirmed by phone", NOW)


def test_nobody_decides_what_they_proposed_and_nothing_is_decided_twice(desk: Any) -> None:
    control_id = controls.propose(desk, RERUN, "ann")
    for name in ("ann", "ANN", " ann "):
        refused("OWN_CONTROL", desk, control_id, name, True, by=controls.decide)
    controls.decide(desk, control_id, "ben", False, "not needed")
    assert "rejected by ben" in str(refused("DECIDED_ALREADY", desk, control_id, "cai", True, by=controls.decide))
    refused("UNKNOWN_CONTROL", desk, control_id + 1, "ben", True, by=controls.decide)
    refused("NOTE", desk, controls.propose(desk, RERUN, "ann"), "ben", False, "  ", by=controls.decide)


@pytest.mark.parametrize(
    ("code", "control"),
    [
        ("UNKNOWN_KIND", Control("STOP", reason="x")),
        ("SHAPE", Control("HOLD", "P01", reason="x")),
        ("SHAPE", Control("RESUME", None, D1, reason="x")),
        ("SHAPE", Control("RERUN", "P01", reason="x")),
        ("SHAPE", Control("RERUN", "P01", D1, "PC01", reason="x")),
        ("SHAPE", Control("WITHOUT_FILE", "P01", D1, "PC01", reason="x")),
        ("REASON", Control("HOLD", reason=" \n")),
        ("REASON", Control("HOLD", reason="x" * 501)),
        ("UNKNOWN_PLATFORM", Control("RERUN", "P09", D1, reason="x")),
        ("BEFORE_ONBOARDING", Control("WITHOUT_FILE", "P01", D1 - timedelta(1), "BANK", "statement", "x")),
        ("NOT_PUBLISHED", Control("RERUN", "P01", D2, reason="x")),
        ("NOT_PUBLISHED", Control("RERUN", "P02", D1, reason="x")),
        ("NOT_HELD", Control("RESUME", reason="x")),
        ("UNKNOWN_FILE_KIND", Control("WITHOUT_FILE", "P01", D1, "P01", "gossip", "x")),
        ("UNKNOWN_SENDER", Control("WITHOUT_FILE", "P01", D1, "P01", "statement", "x")),
        ("UNKNOWN_SENDER", Control("WITHOUT_FILE", "P02", D1, "PC01", "channel", "x")),
        ("UNKNOWN_SENDER", Control("WITHOUT_FILE", "P01", D1, "P02", "orders", "x")),
    ],
)
def test_a_control_that_cannot_be_is_refused(desk: Any, code: str, control: Control) -> None:
    refused(code, desk, control, "ann")


def test_every_kind_of_file_can_be_waived_from_who_sends_it(desk: Any) -> None:
    roles = {PLATFORM: ("PLATFORM", "P01"), PAYMENT_COMPANY: ("PAYMENT_COMPANY", "PC01"), BANK: ("BANK", "BANK")}
    law = dict(desk.execute("select file_kind, sender_role from ops.file_sender").fetchall())
    assert set(KINDS) <= set(law)
    for kind in KINDS.values():
        role, sender = roles.get(kind.sender, ("BUREAU", "BUREAU"))
        assert law[str(kind.kind)] == role
        controls.propose(desk, Control("WITHOUT_FILE", "P01", D1, sender, str(kind.kind), "x"), "ann")


def test_a_refusal_leaves_the_callers_transaction_going(bank: Any) -> None:
    with psycopg.connect(bank.url("service")) as connection:
        control_id = controls.propose(connection, RERUN, "ann")
        with pytest.raises(ControlRefused):
            controls.decide(connection, control_id, "ann", True)
        controls.decide(connection, control_id, "ben", True)
    with psycopg.connect(bank.url("service")) as connection:
        assert controls.get(connection, control_id).state == "APPROVED"


@pytest.mark.parametrize(
    ("table", "column"),
    [("control", "reason"), ("control_decision", "note"), ("control_run", "started_at"), ("control_done", "detail")],
)
def test_rows_are_never_changed_by_anybody(bank: Any, desk: Any, table: str, column: str) -> None:
    control_id = approved(desk, RERUN)
    with psycopg.connect(bank.url("jobs"), autocommit=True) as jobs:
        jobs.execute("insert into ops.control_run (control_id, run_id) values (%s, 1)", [control_id])
        jobs.execute(
            "insert into ops.control_done (control_id, run_id, outcome, detail) values (%s, 1, 'PUBLISHED', '')", [control_id]
        )
    for role in ("migrator", "service", "jobs", "reader"):
        with psycopg.connect(bank.url(role), autocommit=True) as connection:
            for words in (
                f"update ops.{table} set {column} = {column}",
                f"delete from ops.{table}",
                f"truncate ops.{table} cascade",
            ):
                with pytest.raises(
                    psycopg.errors.InsufficientPrivilege if role != "migrator" else psycopg.DatabaseError
                ) as caught:
                    connection.execute(words.encode())
                assert role != "migrator" or caught.value.sqlstate == "FW403"


def test_four_eyes_hold_for_the_owner_of_the_table_too(bank: Any, desk: Any) -> None:
    control_id = controls.propose(desk, HOLD, "ann")
    with psycopg.connect(bank.url("migrator"), autocommit=True) as owner:
        with pytest.raises(psycopg.DatabaseError, match="second person"):
            owner.execute(
                "insert into ops.control_decision (control_id, decision, checker, decided_at, last_run_id) "
                "values (%s, 'APPROVED', 'Ann', now(), 0)",
                [control_id],
            )
        with pytest.raises(psycopg.DatabaseError, match="is not approved"):
            owner.execute(
                "insert into ops.control_done (control_id, run_id, outcome, detail) values (%s, 1, 'PUBLISHED', '')", [control_id]
            )
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        desk.execute("insert into ops.control (kind, reason, maker, proposed_at) values ('HOLD', 'x', 'x', now())")


def test_a_hold_lasts_until_it_is_lifted_and_history_knows_it(bank: Any, desk: Any) -> None:
    held_id = controls.propose(desk, HOLD, "ann")
    assert controls.held(desk) is None
    controls.decide(desk, held_id, "ben", True)
    hold = controls.held(desk)
    assert hold is not None
    assert (hold.control_id, hold.since) == (held_id, NOW)
    assert hold.sentence == f"held by ann (approved by ben) since {NOW.isoformat()}: {HOLD.reason}"
    refused("HELD_ALREADY", desk, HOLD, "cai")
    at(bank, NOW + timedelta(hours=1))
    approved(desk, Control("RESUME", reason="it adds up again"), "ben", "ann")
    assert controls.held(desk) is None
    assert controls.held(desk, NOW + timedelta(minutes=30)) is not None
    assert controls.held(desk, NOW - timedelta(minutes=1)) is None


_STEP = st.tuples(
    st.sampled_from(["propose", "approve", "reject"]),
    st.sampled_from(["HOLD", "RESUME", "RERUN"]),
    st.sampled_from(PEOPLE),
    st.integers(0, 4),
)


@given(steps=st.lists(_STEP, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_people_do_every_decision_is_by_a_second_person_and_the_last_of_hold_and_resume_counts(
    bank: Any, steps: list[tuple[str, str, str, int]]
) -> None:
    """A model beside the database: the same steps, the same answers, the same hold."""
    with psycopg.connect(bank.url("service")) as connection:
        is_held, made, decided = controls.held(connection) is not None, [], set()
        assert not is_held
        for word, kind, person, number in steps:
            if word == "propose":
                control = RERUN if kind == "RERUN" else Control(kind, reason="because")
                if (kind == "HOLD" and is_held) or (kind == "RESUME" and not is_held):
                    refused("HELD_ALREADY" if is_held else "NOT_HELD", connection, control, person)
                else:
                    made.append((controls.propose(connection, control, person), kind, person))
            elif made:
                control_id, its_kind, maker = made[number % len(made)]
                arguments = (control_id, person, word == "approve", "why")
                if control_id in decided:
                    refused("DECIDED_ALREADY", connection, *arguments, by=controls.decide)
                elif maker == person:
                    refused("OWN_CONTROL", connection, *arguments, by=controls.decide)
                else:
                    controls.decide(connection, *arguments)
                    decided.add(control_id)
                    if word == "approve" and its_kind != "RERUN":
                        is_held = its_kind == "HOLD"
            assert (controls.held(connection) is not None) == is_held
        for state in controls.listed(connection):
            assert state.checker != state.maker
            assert (state.state == "PENDING") == (state.control_id not in decided)
        connection.rollback()
