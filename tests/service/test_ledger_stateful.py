"""A state machine against a model of plain arithmetic: every verdict, balance and as-of answer of the ledger is predicted.

Each history has accounts of its own in one ledger that goes on over all of them, on real PostgreSQL, through HTTP. A step is
one order, replay, refusal or question; orders of bulk calls and of bursts (concurrent clients) count one each.
"""

from __future__ import annotations

import copy
import os
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from transactional.verify import verify

STEPS_AT_LEAST, EXAMPLES, RULES_AN_EXAMPLE, BULK_MAX, CLIENTS = 20_000, 22, 30, 600, 6
CHANNEL, PAYOUT, START = "P01-X-CHANNEL-PC01", "P01-X-WITHDRAWAL", datetime(2026, 8, 1, 2, 0, tzinfo=UTC)
CONTENT = (
    "api.answer",
    "ledger.balance",
    "ledger.clock",
    "ledger.entry",
    "ledger.hold_event",
    "ledger.movement",
    "ledger.trade_order",
    "payments.recharge",
    "payments.recharge_backroll",
    "payments.recharge_outcome",
)
KINDS = ("recharge", "withdraw", "transfer", "hold", "void", "partial post", "reverse")
numbers, steps = count(1), Counter[str]()

Legs = list[tuple[str, str, str, int]]
Holds = list[tuple[str, str, int]]


@dataclass
class Recharge:
    """An announced recharge: `told` are the words that decided it."""

    account: str
    amount: int
    fee: int
    expires_at: datetime
    told: tuple[str, str] | None = None
    is_back: bool = False


class Model:
    """What the contract says a ledger does, for the accounts of one history: balances, holds, orders and when each was known."""

    def __init__(self, name: str) -> None:
        self.lenders = [f"{name}-L{n}" for n in range(3)]
        self.borrowers = [f"{name}-B{n}" for n in range(2)]
        self.income = f"{name}-INCOME"
        self.balance = dict.fromkeys([*self.lenders, *self.borrowers, self.income], 0)
        self.holds: dict[str, tuple[str, int]] = {}
        self.orders: dict[str, Legs] = {}
        self.reversed: set[str] = set()
        self.recharges: dict[str, Recharge] = {}
        # (account, effective, recorded, amount) of money, (account, recorded, amount) of holds
        self.moved: list[tuple[str, datetime, datetime, int]] = []
        self.held_since: list[tuple[str, datetime, int]] = []

    def copy(self) -> Model:
        """Another one in the same state; the rows in its lists never change."""
        other = copy.copy(self)
        other.balance, other.holds, other.orders = dict(self.balance), dict(self.holds), dict(self.orders)
        other.reversed, other.moved, other.held_since = set(self.reversed), list(self.moved), list(self.held_since)
        return other

    def held(self, account: str) -> int:
        """What is set aside on an account."""
        return sum(remains for owner, remains in self.holds.values() if owner == account)

    def as_of(self, account: str, effective: datetime, known: datetime) -> tuple[int, int]:
        """(balance, held) by what took effect by one time and was recorded by another."""
        money = sum(amount for owner, at, seen, amount in self.moved if owner == account and at <= effective and seen <= known)
        held = sum(amount for owner, seen, amount in self.held_since if owner == account and seen <= min(effective, known))
        return money, held

    def judge(self, body: dict[str, Any], now: datetime) -> str | None:
        """The code that refuses an order; None when it is posted, and then it is."""
        effective = datetime.fromisoformat(body.get("effective_at", now.isoformat()))
        if effective > now:
            return "EFFECTIVE_IN_FUTURE"
        reverses = body.get("reverses_request_no")
        if reverses in self.reversed:
            return "ALREADY_REVERSED"
        holds: Holds = [(each["hold_no"], each["account"], each["amount_minor"]) for each in body.get("place_holds", [])]
        ends = [(hold_no, None) for hold_no in body.get("release_holds", [])]
        ends += [(each["hold_no"], each["amount_minor"]) for each in body.get("capture_holds", [])]
        after = dict(self.holds)
        for hold_no, wanted in ends:
            account, remains = after[hold_no]
            if remains == 0 or (wanted or 0) > remains:
                return "HOLD_RELEASED" if remains == 0 else "HOLD_EXCEEDED"
            after[hold_no] = (account, remains - (remains if wanted is None else wanted))
        after |= {hold_no: (account, amount) for hold_no, account, amount in holds}
        legs: Legs = [
            (each["movement_type"], each["debit_account"], each["credit_account"], each["amount_minor"])
            for each in body["movements"]
        ]
        balance = dict(self.balance)
        lines = [(account, sign * leg[3]) for leg in legs for account, sign in ((leg[1], -1), (leg[2], 1)) if account in balance]
        for account, amount in lines:
            balance[account] += amount
        owners: Counter[str] = Counter()
        for account, remains in after.values():
            owners[account] += remains
        if any(money < owners[account] for account, money in balance.items()):
            return "INSUFFICIENT_FUNDS"
        self.moved += [(account, effective, now, amount) for account, amount in lines]
        for hold_no, (account, remains) in after.items():
            if change := remains - self.holds.get(hold_no, (account, 0))[1]:
                self.held_since.append((account, now, change))
        self.balance, self.holds = balance, after
        if reverses is not None:
            self.reversed.add(reverses)
        elif legs and not ends:
            self.orders[body["request_no"]] = legs
        return None

    def tell(self, number: str, outcome: str, amount: int, pay_no: str, now: datetime) -> str | None:
        """The code that refuses what the payment company tells of a recharge; None when it is taken, and then it is."""
        recharge = self.recharges[number]
        if outcome == "PAID" and amount != recharge.amount:
            return "AMOUNT_DIFFERS"
        if recharge.told == (outcome, pay_no):
            return None
        if recharge.told is not None or (outcome == "FAILED" and recharge.expires_at <= now):
            return "STATE_CONFLICT"
        recharge.told = (outcome, pay_no)
        if outcome == "PAID":
            self.post(recharge, now, 1)
        return None

    def take_back(self, number: str, now: datetime) -> str | None:
        """The code that refuses to take a recharge back; None when it is taken back."""
        recharge = self.recharges[number]
        if recharge.told is None or recharge.told[0] == "FAILED" or recharge.is_back:
            return "STATE_CONFLICT"
        after = self.balance[recharge.account] - recharge.amount + recharge.fee
        if after < self.held(recharge.account) or self.balance[self.income] < recharge.fee:
            return "INSUFFICIENT_FUNDS"
        recharge.is_back = True
        self.post(recharge, now, -1)
        return None

    def post(self, recharge: Recharge, now: datetime, sign: int) -> None:
        """Money of a recharge in (1) or back (-1), with its fee."""
        for account, amount in ((recharge.account, recharge.amount - recharge.fee), (self.income, recharge.fee)):
            self.balance[account] += sign * amount
            self.moved.append((account, now, now, sign * amount))

    def order(self, dice: random.Random, kind: str, now: datetime, known: Sequence[str] | None = None) -> dict[str, Any] | None:
        """Body of an order of a kind, good or bad as it happens; None when there is nothing to do it to.

        `known` are the orders that may be reversed: a call cannot reverse an order of its own.
        """
        lender, borrower, amount = dice.choice(self.lenders), dice.choice(self.borrowers), dice.randint(1, 90)
        body: dict[str, Any] = {"platform_id": "P01", "request_no": f"S-{next(numbers)}", "currency": "CNY", "movements": []}
        if kind == "recharge":
            body |= _moving("RECHARGE", ("RECHARGE", CHANNEL, dice.choice([lender, borrower]), amount * 3))
        elif kind == "withdraw":
            body |= _moving("WITHDRAW", ("WITHDRAW", dice.choice([lender, borrower]), PAYOUT, amount))
        elif kind == "transfer":
            body |= _moving(
                "DISBURSE", ("TENDER", lender, borrower, amount), ("COMMISSION", borrower, self.income, dice.randint(1, 3))
            )
        elif kind == "hold":
            hold = {"hold_no": f"H-{next(numbers)}", "account": lender, "amount_minor": amount}
            body |= {"order_type": "TENDER", "place_holds": [hold]}
        elif kind in ("void", "partial post"):
            if not self.holds:
                return None
            alive = [hold_no for hold_no, (_, remains) in self.holds.items() if remains]
            hold_no = dice.choice(alive if alive and dice.random() < 0.8 else list(self.holds))
            owner, remains = self.holds[hold_no]
            if kind == "void":
                body |= {"order_type": "DISBURSE", "release_holds": [hold_no]}
            else:
                part = dice.randint(1, max(1, remains + remains // 4 + 1))
                body |= _moving("DISBURSE", ("TENDER", owner, borrower, part))
                body |= {"capture_holds": [{"hold_no": hold_no, "amount_minor": part}]}
        else:
            candidates = list(self.orders) if known is None else known
            if not candidates:
                return None
            request_no = dice.choice(candidates)
            legs = self.orders[request_no]
            kinds = {"RECHARGE": "RECHARGE", "WITHDRAW": "WITHDRAW", "TENDER": "DISBURSE"}
            body |= _moving(kinds[legs[0][0]], *((leg[0], leg[2], leg[1], leg[3]) for leg in legs))
            body |= {"reverses_request_no": request_no}
        if dice.random() < 0.4:  # back-dated; once in a while ahead of time, which is refused
            minutes = dice.choice([-1, dice.randint(1, 3_000)])
            body |= {"effective_at": (now - timedelta(minutes=minutes)).isoformat()} if minutes > 0 or dice.random() < 0.1 else {}
        return body


def _moving(order_type: str, *legs: tuple[str, str, str, int]) -> dict[str, Any]:
    names = ("movement_type", "debit_account", "credit_account", "amount_minor")
    return {"order_type": order_type, "movements": [dict(zip(names, leg, strict=True)) for leg in legs]}


class LedgerMachine(RuleBasedStateMachine):
    """Rules draw a seed each: what they do follows from it, so a failing history is replayed and shortened by Hypothesis."""

    api: Any
    owner: psycopg.Connection
    now = START

    @initialize()
    def open_accounts(self) -> None:
        """Six accounts of this history's own, and money on one of them."""
        self.model, self.opened = Model(f"P01-S{next(numbers)}"), self.now
        self.answered: list[tuple[str, str, dict[str, Any], str]] = []
        self.remembered: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        roles = [(self.model.lenders, "INVESTOR"), (self.model.borrowers, "BORROWERS"), ([self.model.income], "PLATFORM_INCOME")]
        accounts = [
            {"account_no": account, "platform_id": "P01", "account_role": role, "currency": "CNY"}
            for some, role in roles
            for account in some
        ]
        assert self.api.client.post("/v1/registry", json={"sub_accounts": accounts}).status_code == 200
        self._single(_base() | _moving("RECHARGE", ("RECHARGE", CHANNEL, self.model.lenders[0], 500)))

    @rule(seed=st.integers(0, 2**32), orders=st.integers(5, 30))
    def post_some(self, seed: int, orders: int) -> None:
        """Orders one after the other; a refusal leaves every row as it was."""
        dice = random.Random(seed)
        for _ in range(orders):
            body = self.model.order(dice, dice.choice(KINDS), self.now)
            if body is not None:
                self._single(body)

    @rule(seed=st.integers(0, 2**32), size=st.integers(BULK_MAX // 3, BULK_MAX))
    def post_many(self, seed: int, size: int) -> None:
        """A bulk call of orders that all pass, or of such and a last one that does not: then none is posted."""
        dice = random.Random(seed)
        ahead, bodies, known = self.model.copy(), [], list(self.model.orders)
        for _ in range(size):
            body = ahead.order(dice, dice.choice(KINDS), self.now, known)
            if body is not None and ahead.judge(body, self.now) is None:
                bodies.append(body)
        code = None
        if dice.random() < 0.3 or not bodies:
            too_much = max(0, ahead.balance[ahead.lenders[0]] - ahead.held(ahead.lenders[0])) + 1
            bodies.append(_base() | _moving("WITHDRAW", ("WITHDRAW", ahead.lenders[0], PAYOUT, too_much)))
            code = "INSUFFICIENT_FUNDS"
        before = self._content() if code and next(numbers) % 4 == 0 else None
        key, body = f"bulk-{next(numbers)}", {"orders": bodies}
        answer = self.api.post(body, key=key, path="/v1/orders/bulk")
        steps["bulk order" if code is None else "bulk order taken back"] += len(bodies)
        if code is None:
            assert answer.status_code == 201, answer.text
            self.model = ahead
            self.answered.append((key, "/v1/orders/bulk", body, answer.text))
        else:
            found = answer.json()
            assert (found["code"], found["field"].partition(".")[0]) == (code, f"orders[{len(bodies) - 1}]"), answer.text
            assert before is None or self._content() == before

    @rule(seed=st.integers(0, 2**32))
    def replay(self, seed: int) -> None:
        """The same request again hears the first answer; the same key with another body, or the same number, is refused."""
        dice = random.Random(seed)
        key, path, body, text = dice.choice(self.answered)
        steps["replay"] += 1
        again = self.api.post(body, key=key, path=path)
        assert (again.status_code, again.text, again.headers["Idempotency-Replayed"]) == (201, text, "true")
        if path == "/v1/orders":
            steps["other body"] += 2
            other = self.api.post(body | {"request_no": f"S-{next(numbers)}"}, key=key)
            assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
            assert self.api.post(body).json()["code"] == "REQUEST_NO_TAKEN"

    @rule(seed=st.integers(0, 2**32), kind=st.sampled_from(("withdraw", "same key", "reverse", "void")))
    def burst(self, seed: int, kind: str) -> None:
        """Concurrent clients want the same thing: as many get it as there is of it."""
        dice = random.Random(seed)
        bodies, wanted = self._contended(dice, kind)
        if not bodies:
            return
        key = f"burst-{next(numbers)}" if kind == "same key" else None
        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = list(clients.map(lambda body: self.api.post(body, key=key), bodies))
        steps["burst"] += len(bodies)
        posted = [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 201]
        codes = {answer.json()["code"] for answer in answers if answer.status_code != 201}
        if kind == "same key":
            assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
            assert codes <= {"IN_FLIGHT"}
            posted = posted[:1]
        else:
            allowed = {"withdraw": "INSUFFICIENT_FUNDS", "reverse": "ALREADY_REVERSED", "void": "HOLD_RELEASED"}[kind]
            assert (len(posted), codes <= {allowed, "INSUFFICIENT_FUNDS"}) == (wanted, True), codes
        for body in posted:
            assert self.model.judge(body, self.now) is None

    def _contended(self, dice: random.Random, kind: str) -> tuple[list[dict[str, Any]], int]:
        """Bodies that want the same thing, and how many of them can have it."""
        model, amount = self.model, dice.randint(1, 40)
        if kind == "withdraw":
            lender = dice.choice(model.lenders)
            available = model.balance[lender] - model.held(lender)
            bodies = [_base() | _moving("WITHDRAW", ("WITHDRAW", lender, PAYOUT, amount)) for _ in range(CLIENTS)]
            return bodies, min(CLIENTS, available // amount)
        if kind == "same key":
            return [_base() | _moving("RECHARGE", ("RECHARGE", CHANNEL, model.lenders[0], amount))] * CLIENTS, 1
        body = model.order(dice, kind, self.now)
        if body is None:
            return [], 0
        body.pop("effective_at", None)
        possible = model.copy().judge(body, self.now) is None
        return [body | {"request_no": f"S-{next(numbers)}"} for _ in range(CLIENTS)], int(possible)

    @rule(seed=st.integers(0, 2**32), turns=st.integers(6, 16))
    def pay_in(self, seed: int, turns: int) -> None:
        """Recharges are announced, paid in time or late, failed, told again or otherwise, and taken back."""
        dice = random.Random(seed)
        for _ in range(turns):
            if len(self.model.recharges) < 3 or dice.random() < 0.3:
                self._announce(dice)
                continue
            recharge = self.model.recharges[number := dice.choice(list(self.model.recharges))]
            if dice.random() < 0.1:
                self._wait(2)
            takes_back, is_paid = dice.random() < 0.3, recharge.told is not None and recharge.told[0] == "PAID"
            if takes_back and is_paid and not recharge.is_back and dice.random() < 0.4:
                self._empty(recharge.account)
            before = self._content() if next(numbers) % 4 == 0 else None
            if takes_back:
                code = self.model.take_back(number, self.now)
                answer = self._ask(f"/{number}/backroll", {"reason": "charged back"})
                steps["recharge taken back" if code is None else f"taking back refused {code}"] += 1
            else:
                told = recharge.told if recharge.told and dice.random() < 0.5 else None
                outcome, pay_no = told or (dice.choice(["PAID", "PAID", "FAILED"]), f"PAY-{next(numbers)}")
                amount = recharge.amount + (dice.random() < 0.1)
                is_late, is_new = recharge.expires_at <= self.now, recharge.told is None
                code = self.model.tell(number, outcome, amount, pay_no, self.now)
                more = {"amount_minor": amount} if outcome == "PAID" else {"reason": "51: no money"}
                answer = self._ask(f"/{number}/outcome", {"outcome": outcome, "paycom_order_no": pay_no, **more})
                word = f"told refused {code}" if code else f"told {outcome}{' late' * is_late}" if is_new else "told again"
                steps[f"recharge {word}"] += 1
            assert answer.json().get("code") == code, (answer.text, recharge, self.now)
            assert code is None or before is None or self._content() == before

    def _empty(self, account: str) -> None:
        """Everything that can be withdrawn is: what was recharged cannot be taken back."""
        if available := self.model.balance[account] - self.model.held(account):
            self._single(_base() | _moving("WITHDRAW", ("WITHDRAW", account, PAYOUT, available)))

    def _announce(self, dice: random.Random) -> None:
        number, amount, fee = f"RC-{next(numbers)}", dice.randint(3, 200), dice.randint(0, 3)
        recharge = Recharge(dice.choice(self.model.lenders), amount, fee, self.now)
        expires_in_s = dice.choice([60, 24 * 3600])
        body = {"request_no": number, "account": recharge.account, "paycom_id": "PC01", "channel": "WEB", "amount_minor": amount}
        body |= {"fee_minor": fee, "fee_account": self.model.income} if fee else {}
        answer = self._ask("", body | {"expires_in_s": expires_in_s})
        assert answer.status_code == 201, answer.text
        recharge.expires_at += timedelta(seconds=expires_in_s)
        self.model.recharges[number] = recharge
        steps["recharge announced"] += 1

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        return self.api.post({"platform_id": "P01", **body}, path=f"/v1/recharges{path}")

    @rule(minutes=st.integers(1, 500))
    def time_passes(self, minutes: int) -> None:
        """The clock moves on."""
        self._wait(minutes)

    def _wait(self, minutes: int) -> None:
        type(self).now = self.now + timedelta(minutes=minutes)
        assert self.api.client.post("/v1/clock", json={"now": self.now.isoformat()}).status_code == 200

    @rule(seed=st.integers(0, 2**32))
    def ask_as_of(self, seed: int) -> None:
        """A balance by what took effect and was known at two times; it will be asked again at the end."""
        dice = random.Random(seed)
        account = dice.choice(list(self.model.balance))
        age = int((self.now - self.opened).total_seconds()) // 60
        # mostly inside this history, once in a while before its accounts were
        farthest = 2_000 if dice.random() < 0.3 else max(1, age)
        effective, known = (self.now - timedelta(minutes=dice.randint(1, farthest)) for _ in range(2))
        moments = {"effective_as_of": effective.isoformat(), "known_as_of": known.isoformat()}
        steps["as-of question"] += 1
        if min(effective, known) < self.opened:
            asked = self.api.client.get(f"/v1/accounts/{account}/balance", params=moments).json()
            if asked.get("code") == "HISTORY_NOT_KEPT":  # and there was nothing to say
                assert self.model.as_of(account, effective, known) == (0, 0)
                return
        answer = self.api.balance(account, **moments)
        assert (answer["balance_minor"], answer["held_minor"]) == self.model.as_of(account, effective, known)
        self.remembered.append((account, moments, answer))

    @invariant()
    def balances_are_the_models(self) -> None:
        """Balance and available of every account of the history."""
        if not hasattr(self, "model"):
            return
        found = self.rows(
            f"""SELECT account_no, credit_minor - debit_minor, held_minor FROM ledger.balance
                JOIN registry.account USING (account_id)
                WHERE account_no LIKE '{self.model.income.removesuffix("INCOME")}%' ORDER BY 1"""
        )
        assert found == sorted((account, money, self.model.held(account)) for account, money in self.model.balance.items())

    def teardown(self) -> None:
        """What was known then is known so still."""
        for account, moments, answer in getattr(self, "remembered", []):
            steps["asked again"] += 1
            assert self.api.balance(account, **moments) == answer

    def _single(self, body: dict[str, Any]) -> None:
        before_model = self.model.copy()
        code = self.model.judge(body, self.now)
        before = self._content() if code and next(numbers) % 4 == 0 else None
        key = f"one-{next(numbers)}"
        answer = self.api.post(body, key=key)
        steps["order" if code is None else f"refused {code}"] += 1
        if code is None:
            assert answer.status_code == 201, (answer.text, body)
            self.answered.append((key, "/v1/orders", body, answer.text))
        else:
            self.model = before_model
            assert answer.json().get("code") == code, (answer.text, body)
            assert before is None or self._content() == before

    def _content(self) -> Any:
        """A hash of every row of every table that an order may change."""
        one = "SELECT '{0}', count(*), sum(hashtextextended(t::text, 7)) FROM {0} t"
        return self.rows(" UNION ALL ".join(one.format(table) for table in CONTENT) + " ORDER BY 1")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query by the owner, over one kept connection."""
        return self.owner.execute(query.encode()).fetchall()


def _base() -> dict[str, Any]:
    return {"platform_id": "P01", "request_no": f"S-{next(numbers)}", "currency": "CNY", "movements": []}


def _run() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=RULES_AN_EXAMPLE,
            derandomize=True,
            database=None,
            deadline=None,
            # shortening a failure takes minutes: set FUNDWATCH_SHRINK=1 for it
            phases=[Phase.generate, *([Phase.shrink] if os.environ.get("FUNDWATCH_SHRINK") else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300)
def test_any_history_is_what_plain_arithmetic_says(api: Any) -> None:
    assert api.client.post("/v1/clock", json={"now": START.isoformat()}).status_code == 200
    LedgerMachine.api, LedgerMachine.now = api, START
    steps.clear()
    with psycopg.connect(api.admin_url, autocommit=True) as LedgerMachine.owner:
        _run()
    print(dict(steps))
    assert steps.total() >= STEPS_AT_LEAST, steps
    wanted = ("bulk order", "bulk order taken back", "replay", "other body", "burst", "as-of question", "asked again")
    wanted += tuple(f"refused {code}" for code in ("INSUFFICIENT_FUNDS", "HOLD_RELEASED", "HOLD_EXCEEDED", "ALREADY_REVERSED"))
    wanted += (
        "recharge announced",
        "recharge told PAID",
        "recharge told PAID late",
        "recharge told FAILED",
        "recharge told again",
    )
    wanted += ("recharge told refused STATE_CONFLICT", "recharge told refused AMOUNT_DIFFERS", "recharge taken back")
    wanted += ("taking back refused STATE_CONFLICT", "taking back refused INSUFFICIENT_FUNDS")
    assert not [each for each in wanted if not steps[each]], steps
    assert api.rows("SELECT sum(credit_minor - debit_minor) FROM ledger.balance") == [(0,)]
    api.rows("SELECT ledger.seal_pending(1000)")
    verdict = verify(api.admin_url)
    assert (verdict.faults, verdict.unsealed) == ((), 0)
