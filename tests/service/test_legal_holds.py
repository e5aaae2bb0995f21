"""Legal holds: freezes and their queue, deductions, death, dormancy; what is frozen leaves by the court's own order only."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from domain.calendars import Calendar
from transactional.keys import add_key
from transactional.legal_holds_dormancy import quiet_before
from transactional.verify import verify

ACCOUNT = "P01-L-000001"
OTHER = "P01-L-000002"
NOW = "2026-09-01T10:00:00+08:00"
COURT = "Court of Pudong"
EVIDENCE = "ab" * 32


class Desk:
    """The service at a working day, with what these tests ask of it."""

    def __init__(self, api: Any) -> None:
        self.api = api

    def approved(self, kind: str, payload: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Propose and approve by two people; what the effect says."""
        subject = f"{payload.get('account_no') or payload.get('customer_no') or 'hold'} {next(self.api.numbers)}"
        found: dict[str, Any] = self.api.approved(kind, subject, payload, platform_id="P01", **more)
        return found

    def proposed(self, kind: str, payload: dict[str, Any], platform_id: str = "P01") -> Any:
        """Propose as the officer; the answer."""
        subject = f"subject {next(self.api.numbers)}"
        return self.api.put_down(kind, subject, payload, by=self.api.staff("ann", "officer"), platform_id=platform_id)

    def freeze(self, amount: int | None, account: str = ACCOUNT, **more: Any) -> dict[str, Any]:
        """A court's freeze of an amount or the whole account."""
        order = {"account_no": account, "order_no": f"(2026) {next(self.api.numbers)}", "court": COURT}
        dates = {"valid_from": "2026-09-01", "expires_on": "2027-03-01"}
        return self.approved("LEGAL_FREEZE", order | dates | ({} if amount is None else {"amount_minor": amount}) | more)

    def release(self, legal_hold_id: int, amount: int | None = None) -> dict[str, Any]:
        """The court lets go a part or all."""
        more = {} if amount is None else {"amount_minor": amount}
        return self.approved("LEGAL_RELEASE", {"legal_hold_id": legal_hold_id, "order_no": "(2026) 99"} | more)

    def deduct(self, legal_hold_id: int, amount: int) -> dict[str, Any]:
        """The court takes out of a freeze."""
        return self.approved("LEGAL_DEDUCTION", self.deduction(legal_hold_id, amount))

    def deduction(self, legal_hold_id: int, amount: int) -> dict[str, Any]:
        """Payload of a deduction."""
        return {"legal_hold_id": legal_hold_id, "order_no": "(2026) 77", "amount_minor": amount, "payee_hash": EVIDENCE}

    def withdraw(self, amount: int, account: str = ACCOUNT) -> tuple[int, str | None]:
        """A customer's withdrawal: status and code."""
        answer = self.api.post(self.api.order("WITHDRAW", ("WITHDRAW", account, "P01-X-WITHDRAWAL", amount)))
        return answer.status_code, answer.json().get("code")

    def bid(self, hold_no: str, amount: int, account: str = ACCOUNT) -> Any:
        """A hold for a bid."""
        hold = {"hold_no": hold_no, "account": account, "amount_minor": amount}
        return self.api.post(self.api.order("TENDER", place_holds=[hold]))

    def turn(self) -> None:
        """What the service's own clock does every few seconds."""
        with psycopg.connect(self.api.service_url, autocommit=True) as connection:
            connection.execute("SELECT work.expire_legal_holds(100)")
            connection.execute("SELECT work.top_up_legal_holds(100)")

    def clock(self, now: str) -> None:
        """Move the service's clock on."""
        assert self.api.client.post("/v1/clock", json={"now": now}).status_code == 200

    def seen(self, account: str = ACCOUNT) -> dict[str, Any]:
        """What the account's platform sees."""
        answer = self.api.client.get(f"/v1/accounts/{account}/legal-holds")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def money(self, account: str = ACCOUNT) -> tuple[int, int, int, str]:
        """Balance, held, legally held, account state."""
        balance, seen = self.api.balance(account), self.seen(account)
        return (balance["balance_minor"], balance["held_minor"], seen["legal_held_minor"], seen["account_state"])

    def is_consistent(self) -> bool:
        """What freezes say they hold is what the engine holds for them, and the ledger's own checks find nothing."""
        return self.api.rows("SELECT * FROM work.desk_faults()") == [] and verify(self.api.service_url).faults == ()


@pytest.fixture
def desk(api: Any) -> Desk:
    """1,000 on each of two accounts."""
    desk = Desk(api)
    desk.clock(NOW)
    api.recharge(ACCOUNT, 1_000)
    api.recharge(OTHER, 1_000)
    return desk


def refused(answer: Any) -> tuple[int, str]:
    found: tuple[int, str] = (answer.status_code, answer.json()["code"])
    return found


def test_a_freeze_of_a_part_holds_it_and_leaves_the_rest_free(desk: Desk) -> None:
    made = desk.freeze(400)
    assert made == {"legal_hold_id": made["legal_hold_id"], "frozen_minor": 400, "waiting_minor": 0}
    assert desk.money() == (1_000, 400, 400, "OPEN")
    assert desk.withdraw(601) == (422, "INSUFFICIENT_FUNDS")
    assert desk.withdraw(600) == (201, None)
    assert desk.is_consistent()


def test_a_freeze_larger_than_the_balance_freezes_what_is_there_and_what_comes_in(desk: Desk) -> None:
    desk.freeze(1_500)
    assert desk.money() == (1_000, 1_000, 1_000, "LOCKED")
    desk.api.recharge(ACCOUNT, 300)
    assert desk.withdraw(1) == (409, "ACCOUNT_LOCKED")  # before any top-up: what came in is safe at once
    assert refused(desk.bid("H-1", 1)) == (409, "ACCOUNT_LOCKED")
    assert desk.seen()["legal_held_minor"] == 1_300
    desk.turn()
    assert desk.money() == (1_300, 1_300, 1_300, "LOCKED")
    desk.api.recharge(ACCOUNT, 500)
    desk.turn()
    assert desk.money() == (1_800, 1_500, 1_500, "OPEN")
    assert desk.withdraw(300) == (201, None)
    assert desk.withdraw(1) == (422, "INSUFFICIENT_FUNDS")
    assert desk.is_consistent()


def test_a_freeze_of_the_whole_account_lets_nothing_out_whatever_comes_in(desk: Desk) -> None:
    made = desk.freeze(None)
    desk.api.recharge(ACCOUNT, 500)
    desk.turn()
    assert desk.money() == (1_500, 1_500, 1_500, "LOCKED")
    assert desk.withdraw(1) == (409, "ACCOUNT_LOCKED")
    assert desk.release(made["legal_hold_id"])["state"] == "RELEASED"
    assert desk.money() == (1_500, 0, 0, "OPEN")
    assert desk.withdraw(1_500) == (201, None)


def test_freezes_wait_in_line_by_priority_and_then_by_time(desk: Desk) -> None:
    first = desk.freeze(800)["legal_hold_id"]
    later = desk.freeze(600)
    urgent = desk.freeze(100, priority=10)
    assert (later["frozen_minor"], urgent["frozen_minor"]) == (200, 0)
    desk.api.recharge(ACCOUNT, 150)
    desk.turn()
    line = [(row["legal_hold_id"], row["frozen_minor"], row["waiting_minor"]) for row in desk.seen()["legal_holds"]]
    assert line == [(urgent["legal_hold_id"], 100, 0), (first, 800, 0), (later["legal_hold_id"], 250, 350)]
    desk.release(first)
    line = [(row["legal_hold_id"], row["frozen_minor"]) for row in desk.seen()["legal_holds"] if row["state"] == "ACTIVE"]
    assert line == [(urgent["legal_hold_id"], 100), (later["legal_hold_id"], 600)]
    assert desk.money() == (1_150, 700, 700, "OPEN")
    assert desk.is_consistent()


def test_a_part_release_gives_back_what_is_too_much(desk: Desk) -> None:
    made = desk.freeze(900)["legal_hold_id"]
    assert desk.release(made, 500) == {"state": "ACTIVE", "frozen_minor": 400, "waiting_minor": 0}
    assert desk.money() == (1_000, 400, 400, "OPEN")
    too_much = {"legal_hold_id": made, "order_no": "(2026) 99", "amount_minor": 400}
    assert refused(desk.proposed("LEGAL_RELEASE", too_much)) == (422, "BODY_INVALID")


def test_a_deduction_pays_out_of_the_freeze_also_from_a_locked_account(desk: Desk) -> None:
    made = desk.freeze(1_500)["legal_hold_id"]
    posted = desk.deduct(made, 700)
    assert posted["amount_minor"] == 700
    assert desk.money() == (300, 300, 300, "LOCKED")
    rows = desk.api.rows(
        """SELECT o.order_type, m.movement_type, c.account_role, m.amount_minor FROM ledger.movement m
           JOIN ledger.trade_order o USING (order_id)
           JOIN registry.account c ON c.account_id = m.credit_account_id WHERE m.movement_type = 'DEDUCT'"""
    )
    assert rows == [("DEDUCT", "DEDUCT", "WITHDRAWAL_PAYABLE", 700)]
    hold = desk.seen()["legal_holds"][0]
    assert (hold["wanted_minor"], hold["waiting_minor"], hold["deducted_minor"]) == (800, 500, 700)
    assert refused(desk.proposed("LEGAL_DEDUCTION", desk.deduction(made, 301))) == (422, "DEDUCTION_EXCEEDS_FREEZE")
    assert desk.is_consistent()


def test_a_freeze_that_was_deducted_in_full_is_fulfilled_and_the_account_opens(desk: Desk) -> None:
    made = desk.freeze(400)["legal_hold_id"]
    desk.deduct(made, 400)
    assert desk.money() == (600, 0, 0, "OPEN")
    assert desk.seen()["legal_holds"][0]["state"] == "FULFILLED"
    assert refused(desk.proposed("LEGAL_RELEASE", {"legal_hold_id": made, "order_no": "1"})) == (409, "LEGAL_HOLD_ENDED")


def test_a_bid_held_before_stays_held_and_falls_to_the_freeze_when_it_is_let_go(desk: Desk) -> None:
    assert desk.bid("H-1", 400).status_code == 201
    desk.freeze(900)
    assert desk.money() == (1_000, 1_000, 600, "LOCKED")
    disburse = desk.api.order("DISBURSE", ("TENDER", ACCOUNT, "P01-B-000002", 400), release_holds=["H-1"])
    assert refused(desk.api.post(disburse)) == (409, "ACCOUNT_LOCKED")
    assert desk.api.post(desk.api.order("TENDER", release_holds=["H-1"])).status_code == 201
    assert desk.withdraw(100) == (409, "ACCOUNT_LOCKED")
    desk.turn()
    assert desk.money() == (1_000, 900, 900, "OPEN")
    assert desk.is_consistent()


def test_a_bid_beside_a_freeze_that_is_full_is_disbursed_as_ever(desk: Desk) -> None:
    assert desk.bid("H-1", 400).status_code == 201
    desk.freeze(600)
    assert desk.money() == (1_000, 1_000, 600, "OPEN")
    disburse = desk.api.order("DISBURSE", ("TENDER", ACCOUNT, "P01-B-000002", 400), release_holds=["H-1"])
    assert desk.api.post(disburse).status_code == 201
    assert desk.money() == (600, 600, 600, "OPEN")


def test_a_freeze_expires_after_its_last_day_as_an_event_and_a_renewal_carries_it_on(desk: Desk) -> None:
    short = desk.freeze(400, expires_on="2026-09-02")["legal_hold_id"]
    renewed = desk.freeze(300, expires_on="2026-09-02")["legal_hold_id"]
    desk.approved("LEGAL_RENEWAL", {"legal_hold_id": renewed, "order_no": "(2026) 5", "expires_on": "2027-09-01"})
    desk.clock("2026-09-02T22:59:00+08:00")
    desk.turn()
    assert desk.money() == (1_000, 700, 700, "OPEN")
    desk.clock("2026-09-02T23:00:00+08:00")  # the cut-off: the next business date
    desk.turn()
    assert desk.money() == (1_000, 300, 300, "OPEN")
    desk.turn()
    one = desk.api.client.get(f"/v1/legal-holds/{short}", headers=desk.api.staff("ann", "officer")).json()
    assert [event["event"] for event in one["events"]] == ["PLACED", "FROZEN", "UNFROZEN", "EXPIRED"]
    assert refused(desk.proposed("LEGAL_RENEWAL", {"legal_hold_id": short, "order_no": "1", "expires_on": "2027-01-01"})) == (
        409,
        "LEGAL_HOLD_ENDED",
    )
    assert desk.is_consistent()


def test_proposals_that_could_not_be_carried_out_are_refused_and_leave_nothing(desk: Desk) -> None:
    good = {"account_no": ACCOUNT, "order_no": "1", "court": COURT, "valid_from": "2026-09-01", "expires_on": "2027-03-01"}
    desk.api.staff("ann", "officer")
    before = desk.api.content(), desk.api.rows("SELECT count(*) FROM work.approval")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"account_no": "P02-L-000001"}, "UNKNOWN_ACCOUNT"),
        ({"account_no": "P01-X-SUSPENSE"}, "UNKNOWN_ACCOUNT"),
        ({"account_no": 7}, "BODY_INVALID"),
        ({"amount_minor": 0}, "BODY_INVALID"),
        ({"amount_minor": 1.5}, "BODY_INVALID"),
        ({"amount_minor": "100"}, "BODY_INVALID"),
        ({"amount_minor": 10**16}, "BODY_INVALID"),
        ({"expires_on": "2026-08-31"}, "BODY_INVALID"),
        ({"expires_on": "2027-09-02"}, "BODY_INVALID"),
        ({"expires_on": "2027-02-30"}, "BODY_INVALID"),
        ({"valid_from": "2026-09-02"}, "BODY_INVALID"),
        ({"order_no": ""}, "BODY_INVALID"),
        ({"priority": 0}, "BODY_INVALID"),
        ({"colour": "red"}, "BODY_INVALID"),
    ]
    for more, code in cases:
        assert desk.proposed("LEGAL_FREEZE", good | more).json()["code"] == code, more
    assert refused(desk.proposed("LEGAL_FREEZE", good, platform_id="P02")) == (422, "UNKNOWN_ACCOUNT")
    assert refused(desk.proposed("LEGAL_RELEASE", {"legal_hold_id": 99, "order_no": "1"})) == (422, "UNKNOWN_LEGAL_HOLD")
    assert (desk.api.content(), desk.api.rows("SELECT count(*) FROM work.approval")) == before


def test_the_same_order_of_a_court_freezes_an_account_once(desk: Desk) -> None:
    desk.freeze(100, order_no="(2026) 1")
    good = {"account_no": ACCOUNT, "order_no": "(2026) 1", "court": COURT, "valid_from": "2026-09-01", "expires_on": "2027-03-01"}
    assert refused(desk.proposed("LEGAL_FREEZE", good)) == (409, "LEGAL_ORDER_KNOWN")


def test_nobody_else_lets_go_a_freeze_takes_its_number_or_deducts(desk: Desk) -> None:
    made = desk.freeze(400)["legal_hold_id"]
    hold_no = desk.api.rows("SELECT hold_no FROM ledger.hold_event WHERE hold_no LIKE 'LEGAL-%'")[0][0]
    before = desk.api.content()
    assert refused(desk.api.post(desk.api.order("TENDER", release_holds=[hold_no]))) == (422, "HOLD_NO_RESERVED")
    assert refused(desk.bid(f"LEGAL-{made}.9", 1)) == (422, "HOLD_NO_RESERVED")
    own = desk.api.order("WITHDRAW", ("WITHDRAW", ACCOUNT, "P01-X-WITHDRAWAL", 1), request_no=f"LEGAL-{made}.9")
    assert refused(desk.api.post(own)) == (422, "REQUEST_NO_RESERVED")
    taken = desk.api.post(desk.api.order("DEDUCT", ("DEDUCT", ACCOUNT, "P01-X-WITHDRAWAL", 1)))
    assert refused(taken) == (422, "MOVEMENT_BY_DESK_ONLY")
    assert desk.api.content() == before | {"ledger.clock": desk.api.content()["ledger.clock"]}


def test_the_registry_does_not_open_what_the_law_locks_and_its_own_lock_comes_back(desk: Desk) -> None:
    made = desk.freeze(None)["legal_hold_id"]
    today = {"valid_from": "2026-09-01"}
    assert desk.api.approved("ACCOUNT_LOCK", ACCOUNT, today, platform_id="P01")
    opened = desk.api.put_down("ACCOUNT_ACTIVATE", ACCOUNT, today, by=desk.api.staff("ann", "officer"), platform_id="P01")
    if opened.status_code == 201:
        opened = desk.api.decide(opened.json(), by=desk.api.staff("ben", "checker"))
    assert refused(opened) == (409, "LEGALLY_LOCKED")
    desk.release(made)
    assert desk.money() == (1_000, 0, 0, "LOCKED")
    assert desk.api.approved("ACCOUNT_ACTIVATE", ACCOUNT, today, platform_id="P01")
    assert desk.withdraw(1_000) == (201, None)


def test_a_death_locks_every_account_of_the_person_and_bids_go_back_by_decision_only(desk: Desk) -> None:
    desk.api.recharge("P02-L-000001", 50)
    assert desk.bid("H-1", 400).status_code == 201
    facts = {"customer_no": "P01-C000001", "certificate_no": "D-1", "issued_by": "Civil registry", "died_on": "2026-08-20"}
    locked = desk.approved("CUSTOMER_DEATH", facts)["locked_accounts"]
    assert locked == ["P01-B-000001", ACCOUNT, "P01-L-USD", "P02-B-000001", "P02-L-000001"]
    assert desk.money() == (1_000, 400, 600, "LOCKED")
    assert desk.withdraw(1) == (409, "ACCOUNT_LOCKED")
    assert refused(desk.api.post(desk.api.order("TENDER", release_holds=["H-1"]))) == (409, "CUSTOMER_DIED")
    assert desk.approved("DEATH_BID_RELEASE", {"account_no": ACCOUNT, "hold_no": "H-1"})["request_no"].startswith("LEGAL-")
    assert desk.money() == (1_000, 0, 1_000, "LOCKED")
    again = desk.proposed("DEATH_BID_RELEASE", {"account_no": ACCOUNT, "hold_no": "H-1"})
    assert refused(again) == (422, "UNKNOWN_HOLD")
    desk.release(desk.seen()["legal_holds"][0]["legal_hold_id"])
    assert desk.withdraw(1_000) == (201, None)


def test_a_freeze_and_a_death_keep_the_account_locked_until_both_have_ended(desk: Desk) -> None:
    frozen = desk.freeze(None)["legal_hold_id"]
    facts = {"customer_no": "P01-C000001", "certificate_no": "D-1", "issued_by": "Civil registry", "died_on": "2026-08-20"}
    desk.approved("CUSTOMER_DEATH", facts)
    desk.deduct(frozen, 300)
    desk.release(frozen)
    assert desk.money() == (700, 0, 700, "LOCKED")
    death = next(row["legal_hold_id"] for row in desk.seen()["legal_holds"] if row["kind"] == "DEATH")
    desk.release(death)
    assert desk.money() == (700, 0, 0, "OPEN")


def test_a_quiet_account_is_proposed_decided_on_and_woken_by_a_verified_customer(desk: Desk) -> None:
    desk.clock("2026-11-02T10:00:00+08:00")
    desk.api.recharge(OTHER, 1)
    settings = desk.api.client.app.state.service.settings
    object.__setattr__(settings, "dormancy_working_days", 20)
    ann = desk.api.staff("ann", "officer")
    found = desk.api.client.post(
        "/v1/dormancy-proposals", json={"platform_id": "P01", "limit": 500}, headers={**ann, "Idempotency-Key": "dormant"}
    )
    assert found.status_code == 201, found.text
    proposals = {row["account_no"]: row["approval_id"] for row in found.json()["proposals"]}
    assert ACCOUNT in proposals and OTHER not in proposals and "P01-F-INCOME" not in proposals
    approval = desk.api.client.get(f"/v1/approvals/{proposals[ACCOUNT]}", headers=ann).json()
    assert desk.api.decide(approval, by=desk.api.staff("ben", "checker")).status_code == 201
    assert desk.money() == (1_000, 0, 1_000, "LOCKED")
    assert desk.withdraw(1) == (409, "ACCOUNT_LOCKED")
    word = {"channel": "OTP", "evidence_sha256": EVIDENCE}
    foreign = {"Authorization": f"Bearer {add_key(desk.api.admin_url, 'P02')}", "Idempotency-Key": "wake-0"}
    answer = desk.api.client.post(f"/v1/accounts/{ACCOUNT}/waking", json=word, headers=foreign)
    assert refused(answer) == (404, "ACCOUNT_NOT_FOUND")
    assert desk.api.post(word, path=f"/v1/accounts/{ACCOUNT}/waking").json()["account_state"] == "OPEN"
    assert refused(desk.api.post(word, path=f"/v1/accounts/{ACCOUNT}/waking")) == (409, "ACCOUNT_NOT_DORMANT")
    assert desk.withdraw(1) == (201, None)


def test_an_account_that_its_customer_used_meanwhile_does_not_become_dormant(desk: Desk) -> None:
    desk.clock("2026-11-02T10:00:00+08:00")
    payload = {"account_no": ACCOUNT, "quiet_since": "2026-09-01"}
    asked = desk.proposed("DORMANCY", payload)
    assert asked.status_code == 201, asked.text
    assert desk.withdraw(1) == (201, None)
    assert refused(desk.api.decide(asked.json(), by=desk.api.staff("ben", "checker"))) == (422, "ACCOUNT_NOT_QUIET")
    assert refused(desk.proposed("DORMANCY", payload | {"account_no": "P01-F-INCOME"})) == (422, "ACCOUNT_NOT_QUIET")


def test_the_calendar_says_how_long_quiet_is() -> None:
    from datetime import date

    calendar = Calendar.of("CN")
    assert quiet_before(calendar, date(2026, 9, 11), 5) == date(2026, 9, 4)
    with pytest.raises(Exception, match="outside calendar"):
        quiet_before(calendar, date(2030, 1, 1), 5)


def test_every_change_is_audited_and_told_and_rows_stay(desk: Desk) -> None:
    made = desk.freeze(400)["legal_hold_id"]
    desk.release(made)
    trail = desk.api.rows("SELECT action, actor FROM audit.change WHERE subject_type = 'legal_hold' ORDER BY change_id")
    assert trail == [(f"LEGAL_HOLD_{event}", "ben") for event in ("PLACED", "FROZEN", "UNFROZEN", "RELEASED")]
    told = desk.api.rows(
        "SELECT payload ->> 'event', payload ->> 'account_no' FROM outbox.event WHERE topic = 'account.legal_hold_changed'"
    )
    assert told == [("PLACED", ACCOUNT), ("RELEASED", ACCOUNT)]
    with psycopg.connect(desk.api.admin_url) as connection:
        for statement in ("UPDATE work.legal_hold SET priority = 1", "DELETE FROM work.legal_event", "TRUNCATE work.legal_event"):
            with pytest.raises(psycopg.Error) as caught, connection.transaction():
                connection.execute(statement.encode())
            assert caught.value.sqlstate == "FW403"


def test_lists_are_for_the_desk_and_an_account_for_its_platform(desk: Desk) -> None:
    made = [desk.freeze(10)["legal_hold_id"] for _ in range(3)]
    ann = desk.api.staff("ann", "officer")
    page = desk.api.client.get("/v1/legal-holds", headers=ann, params={"limit": 2, "kind": "FREEZE"}).json()
    rest = desk.api.client.get("/v1/legal-holds", headers=ann, params={"cursor": page["next_cursor"]}).json()
    assert [row["legal_hold_id"] for row in page["legal_holds"] + rest["legal_holds"]] == sorted(made, reverse=True)
    for account, count in ((ACCOUNT, 3), (OTHER, 0)):
        found = desk.api.client.get("/v1/legal-holds", headers=ann, params={"account_no": account}).json()
        assert len(found["legal_holds"]) == count
    foreign = {"Authorization": f"Bearer {add_key(desk.api.admin_url, 'P02')}"}
    assert refused(desk.api.client.get(f"/v1/accounts/{ACCOUNT}/legal-holds", headers=foreign)) == (404, "ACCOUNT_NOT_FOUND")
    assert refused(desk.api.client.get("/v1/legal-holds", headers=foreign)) == (401, "NOT_AUTHENTICATED")
    assert refused(desk.api.client.get("/v1/legal-holds/999", headers=ann)) == (404, "LEGAL_HOLD_NOT_FOUND")
    assert refused(desk.api.client.get("/v1/legal-holds", headers=ann, params={"cursor": "x"})) == (422, "PARAMETER_INVALID")


def test_customers_at_once_take_nothing_that_is_frozen(desk: Desk) -> None:
    """Threads withdraw and recharge while freezes come and go: at the end all that must be frozen is there."""
    chance = random.Random(7)
    amounts = [chance.randint(1, 40) for _ in range(60)]

    def customer(number: int) -> int:
        if number % 4 == 0:
            desk.api.recharge(ACCOUNT, amounts[number])
            return amounts[number]
        return -amounts[number] if desk.withdraw(amounts[number])[0] == 201 else 0

    with ThreadPoolExecutor(6) as pool:
        changes = [pool.submit(customer, number) for number in range(30)]
        desk.freeze(700)
        changes += [pool.submit(customer, number) for number in range(30, 60)]
        desk.turn()
        desk.freeze(100)
        total = 1_000 + sum(change.result() for change in changes)
    desk.turn()
    balance, held, legally, state = desk.money()
    assert (balance, held) == (total, legally)
    assert legally == min(800, balance)
    assert state == ("OPEN" if balance >= 800 else "LOCKED")
    assert desk.is_consistent()
