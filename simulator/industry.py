"""What the industry bureau knows of a borrower: applications, contracts, repayments at other lenders (spec 06 section 6.3).

Risky people apply more often, to several lenders at once, are rejected more often and pay worse: a noisy picture of the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from math import exp
from random import Random

from domain.vocabulary import Decision, RecordType, RepayStatus, SpecialKind
from simulator.bank_day import months_after
from simulator.file_format import Row
from simulator.knowledge import days_until_next, first_day, known_after, seen_risk
from simulator.parameters import CURRENCY, YUAN, WorldParameters
from simulator.people import Party
from simulator.risk import logistic, risk_of

KNOWN_PERCENT = 88
MEMBERS = 40
APPLICATIONS_A_MONTH, APPLICATIONS_SLOPE = 0.17, 0.7
TERMS = (3, 6, 6, 12)
WRITTEN_OFF_AFTER = 180
WORST_STATUS = 7

Known = tuple[datetime, Row]


@dataclass
class IndustryLife:
    """One borrower's life at other lenders; `known` collects the records with the moment from which each is known."""

    rng: Random
    party: Party
    risk: float
    last: date
    known: list[Known] = field(default_factory=list)
    numbers: int = 0

    def live(self, first: date) -> None:
        """Apply, borrow and repay from a first day to the last."""
        rate = APPLICATIONS_A_MONTH * exp(APPLICATIONS_SLOPE * self.risk)
        day = first + timedelta(days=days_until_next(self.rng, rate))
        while day <= self.last:
            self._apply(day)
            # some ask several lenders at once
            while self.rng.random() < logistic(-2.2 + 1.0 * self.risk):
                self._apply(day + timedelta(days=self.rng.randrange(3)))
            day += timedelta(days=days_until_next(self.rng, rate))

    def _number(self, letter: str) -> str:
        self.numbers += 1
        return f"{letter}-{self.party.id_hash[:12]}-{self.numbers:05d}"

    def _know(
        self, at: datetime, occurred_on: date, record_type: RecordType, record_no: str, member: str, **more: str | int
    ) -> None:
        row: Row = {
            "record_no": record_no,
            "subject_hash": self.party.id_hash,
            "member_no": member,
            "record_type": record_type.value,
            "contract_no": None,
            "occurred_on": occurred_on.isoformat(),
            "amount_minor": 0,
            "currency": CURRENCY,
            "decision": None,
            "status_code": None,
            "dpd": None,
            "kind": None,
            "knowable_at": at.isoformat(),
        }
        self.known.append((at, {**row, **more}))

    def _apply(self, day: date) -> None:
        """An application, first pending, later decided under the same number; an approved one mostly becomes a contract."""
        rng = self.rng
        member, record_no = f"M{rng.randrange(1, MEMBERS + 1):03d}", self._number("A")
        amount = rng.randrange(10, 200) * 100 * YUAN
        asked, decided_on = known_after(rng, day, 1, 2), day + timedelta(days=rng.randrange(2, 10))
        rejected = rng.random() < logistic(-0.9 + 1.4 * self.risk)
        decision = Decision.REJECTED if rejected else rng.choice((Decision.APPROVED,) * 9 + (Decision.CANCELLED,))
        kind = RecordType.APPLICATION
        self._know(asked, day, kind, record_no, member, amount_minor=amount, decision=Decision.PENDING.value)
        known = known_after(rng, decided_on, 1, 2)
        self._know(known, day, kind, record_no, member, amount_minor=amount, decision=decision.value)
        if decision is Decision.APPROVED and rng.randrange(4):
            self._borrow(decided_on + timedelta(days=rng.randrange(1, 4)), member, amount)

    def _borrow(self, day: date, member: str, amount_minor: int) -> None:
        contract_no, term = self._number("C"), self.rng.choice(TERMS)
        known = known_after(self.rng, day, 1, 5)
        more: dict[str, str | int] = {"contract_no": contract_no}
        self._know(known, day, RecordType.CONTRACT, self._number("K"), member, amount_minor=amount_minor, **more)
        dpd, month, due = 0, 0, amount_minor // term
        while (month < term or dpd) and (reported_on := months_after(day, month + 1)) <= self.last:
            month += 1
            dpd = self._next_dpd(dpd)
            if dpd > WRITTEN_OFF_AFTER:
                happened = reported_on + timedelta(days=self.rng.randrange(1, 10))
                known = known_after(self.rng, happened, 5, 45)
                kind = SpecialKind.WRITE_OFF.value
                self._know(known, happened, RecordType.SPECIAL, self._number("S"), member, amount_minor=due, kind=kind, **more)
                return
            is_over = month >= term and dpd == 0
            status = RepayStatus.SETTLED.value if is_over else _status(dpd)
            known = known_after(self.rng, reported_on, 3, 20)
            facts: dict[str, str | int] = {"status_code": status, "dpd": dpd, "amount_minor": due}
            self._know(known, reported_on, RecordType.REPAY, self._number("R"), member, **facts, **more)

    def _next_dpd(self, dpd: int) -> int:
        """Days past due a month later: who is late catches up or falls another month behind."""
        if dpd:
            return 0 if self.rng.random() < logistic(0.4 - 0.8 * self.risk) else dpd + 30
        return self.rng.randrange(1, 30) if self.rng.random() < logistic(-3.2 + 1.5 * self.risk) else 0


def _status(dpd: int) -> str:
    return str(min(WORST_STATUS, 1 + dpd // 30)) if dpd else RepayStatus.NORMAL.value


def industry_records(parameters: WorldParameters, party: Party) -> list[Known]:
    """All that the bureau will know of a borrower by the end of the world; nothing for some: they never borrowed elsewhere."""
    rng = Random(f"{parameters.seed}/bureau/industry/{party.party_ref}")
    if rng.randrange(100) >= KNOWN_PERCENT:
        return []
    life = IndustryLife(rng, party, seen_risk(rng, risk_of(parameters.seed, party.party_ref)), parameters.end)
    life.live(first_day(parameters))
    return life.known
