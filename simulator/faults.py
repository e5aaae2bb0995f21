"""Plants labelled faults into derived files: one fault, one expected item (issue 3 item 3, spec 07 section 7.4).

A fault leaves its file consistent: trailers, hashes and the same book's balances follow, except B20 (a balance alone) and B24 (a
file alone). The truth is never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from random import Random

from domain.vocabulary import FileKind, MovementType, OrderType
from simulator import (
    faults_of_cash,
    faults_of_general_ledger,
    faults_of_ledger,
    faults_of_orders,
    faults_of_returns,
    faults_of_settlement,
    faults_of_split,
    faults_together,
)
from simulator.answer_key import KeyItem
from simulator.bank_day import CUTOFF_WINDOW, closes_at, opens_at
from simulator.fault_places import DAY, Places, amount_of
from simulator.fault_rows import free_channel_rows, insert_after, remove, row_of
from simulator.file_format import Damage, Row
from simulator.files import FIRST_SEQ, Feeds, batch_no, settle_channel
from simulator.general_ledger import follow_statements
from simulator.parameters import CURRENCY, PAYMENT_COMPANY, WorldParameters
from simulator.state import PlatformState

CODES = (
    "B24", "B14", "B18", "B19", "B28", "B17", "B20", "B01", "B02", "B04", "B08", "B12", "B05", "B07", "B26", "B03", "B06", "B13",
    "B16", "B10", "B11", "B21", "B22", "B23", "B25", "B27", "B09", "B15",
)  # fmt: skip
"""In the order of planting: the ones that need most room first."""
BREAKABLE = (FileKind.POSTINGS, FileKind.BALANCES, FileKind.CHANNEL, FileKind.STATEMENT)
PHANTOM_FROM = 90_000
"""Numbers of requests that exist in one book only; the truth never counts so far in a day."""


@dataclass
class Planter:
    """Plants the faults of one platform and writes their key."""

    platform_id: str
    parameters: WorldParameters
    places: Places
    variant: int
    items: list[KeyItem] = field(default_factory=list)

    @property
    def rng(self) -> Random:
        """The stream of this platform's faults."""
        return self.places.rng

    def plant(self) -> list[KeyItem]:
        """Plant up to `faults_per_code` faults of every code, fewer when a small world has no room."""
        wanted = self.parameters.faults_per_code
        for day in self.places.break_dates(wanted):
            self._break_file(day)
        ways: dict[str, Callable[[int], bool]] = {
            "B14": self._plant_timing,
            "B20": self._plant_balance,
            "B01": self._plant_phantom,
            "B02": self._plant_lost_posting,
            "B04": self._plant_amount,
            "B08": self._plant_duplicate,
            "B12": self._plant_channel_only,
            "B05": partial(faults_of_ledger.plant_account, self),
            "B07": partial(faults_of_ledger.plant_type, self),
            "B26": partial(faults_of_ledger.plant_held, self),
            "B03": partial(faults_of_orders.plant_without_cash, self),
            "B06": self._plant_status,
            "B13": partial(faults_of_orders.plant_stuck, self),
            "B16": partial(faults_of_orders.plant_split, self),
            "B10": partial(faults_of_cash.plant_channel_twice, self),
            "B11": partial(faults_of_cash.plant_channel_lost, self),
            "B21": partial(faults_of_cash.plant_total, self),
            "B22": partial(faults_of_settlement.plant_entry, self),
            "B23": partial(faults_of_ledger.plant_position, self),
            "B25": partial(faults_of_ledger.plant_bad_row, self),
            "B27": partial(faults_of_cash.plant_unknown_entry, self),
            "B09": partial(faults_of_cash.plant_entry_twice, self),
            "B17": partial(faults_of_split.plant_rounding, self),
            "B18": partial(faults_of_returns.plant_unpaired, self),
            "B19": partial(faults_of_returns.plant_late, self),
            "B28": partial(faults_of_split.plant_ambiguous, self),
        }
        # one of each code before the second of any, so that a small world has some of all
        for number in range(wanted):
            for code in CODES[1:-1]:
                ways[code](number)
        for number in range(wanted):
            faults_together.plant(self, number)
        settle_channel(self.places.feeds, self.platform_id)
        # the payment company settles what its own lists say, right or wrong; only then can its settlement be wrong
        for number in range(wanted):
            faults_of_settlement.plant_fee(self, number)
            if number % 2:
                faults_of_settlement.plant_batch(self, number)
        # core banking and the bank's own books say what its statement says, right or wrong
        follow_statements(self.places.feeds)
        if wanted:
            faults_of_general_ledger.plant(self)
        return self.items

    @property
    def dates(self) -> set[tuple[date, str]]:
        """Dates on which faults open, with their codes."""
        return {(item.business_date, item.code) for item in self.items}

    def new_request_no(self, day: date) -> str:
        """Number of a request that exists in one book only."""
        return f"{self.platform_id}-{day:%Y%m%d}-{PHANTOM_FROM + len(self.items):05d}"

    def note(self, code: str, day: date, recon_id: str, match_key: str, what: str, cured_on: date | None = None) -> None:
        """Write the one item that a fault must raise into the key."""
        fault_id = f"{self.platform_id}-{code}-{sum(item.code == code for item in self.items) + 1:02d}"
        self.items.append(KeyItem(fault_id, code, self.platform_id, day, recon_id, match_key, cured_on, what))

    def _break_file(self, day: date) -> None:
        """B24: one file arrives broken or not at all."""
        damages = tuple(Damage)
        damage = damages[self.variant % len(damages)]
        feed = self.places.feeds[day, BREAKABLE[(self.variant + self.variant // len(damages)) % len(BREAKABLE)]]
        self.variant += 1
        feed.damage = damage
        self.note("B24", day, "R9", feed.match_key, f"{feed.kind} file: {damage}")

    def _plant_timing(self, number: int) -> bool:
        """B14: a recharge that the bank books just after the cut-off is listed by the platform or channel a date earlier."""
        for day in self.places.pair_nights():
            for row in self.places.rows(day + DAY, FileKind.CHANNEL):
                late = datetime.fromisoformat(str(row["txn_at"])) < opens_at(day + DAY) + CUTOFF_WINDOW
                request_no, account = str(row["request_no"]), str(row["account_no"])
                recharge = row["order_type"] == OrderType.RECHARGE
                if not (late and recharge and self.places.is_free(request_no, [account])):
                    continue
                moved = self._list_in_channel(day, row) if number % 2 else self._list_in_platform(day, request_no)
                if moved:
                    self.places.take(request_no, [account])
                    return True
        return False

    def _before_midnight(self, day: date, moment: str) -> str:
        at = datetime.fromisoformat(moment)
        midnight = closes_at(day) + timedelta(hours=1)
        return min(at, midnight - timedelta(seconds=1 + self.rng.randrange(60))).isoformat()

    def _list_in_channel(self, day: date, row: Row) -> bool:
        self.places.rows(day + DAY, FileKind.CHANNEL).remove(row)
        row["txn_at"] = self._before_midnight(day, str(row["txn_at"]))
        row["settlement_batch_no"] = batch_no(self.platform_id, day)
        self.places.rows(day, FileKind.CHANNEL).append(row)
        self.note("B14", day, "R4", str(row["request_no"]), "channel lists a recharge before the bank's cut-off", day + DAY)
        return True

    def _list_in_platform(self, day: date, request_no: str) -> bool:
        posting = row_of(self.places, day + DAY, FileKind.POSTINGS, request_no)
        if not self.places.shift(day, day, posting, amount_of(posting)):
            return False
        for kind, row, column in (
            (FileKind.POSTINGS, posting, "txn_at"),
            (FileKind.ORDERS, row_of(self.places, day + DAY, FileKind.ORDERS, request_no), "created_at"),
        ):
            self.places.rows(day + DAY, kind).remove(row)
            row[column] = self._before_midnight(day, str(row[column]))
            self.places.rows(day, kind).append(row)
        key = f"{request_no}#{posting['seq']}"
        self.note("B14", day, "R3", key, "platform lists a recharge before the bank's cut-off", day + DAY)
        return True

    def _plant_balance(self, number: int) -> bool:
        """B20: one closing balance is wrong on one date, without a posting."""
        for day in self.places.pair_nights():
            rows = list(self.places.rows(day, FileKind.BALANCES))
            self.rng.shuffle(rows)
            for row in rows:
                account = str(row["account_no"])
                if not self.places.is_free("", [account]):
                    continue
                delta = self.rng.randrange(1, 50_000)
                row["closing_minor"] = amount_of(row, "closing_minor") + delta
                self.places.used_accounts.add(account)
                self.note("B20", day, "R6", account, f"closing balance off by {delta}", day + DAY)
                return True
        return False

    def _plant_phantom(self, number: int) -> bool:
        """B01: the platform shows a request, in its orders and its ledger, that the bank never had."""
        models = (MovementType.RECHARGE, MovementType.CREDIT_ASSIGNMENT)
        preferred = models[number % len(models)]
        return self._copy_request((preferred,)) or self._copy_request(models)

    def _copy_request(self, models: tuple[MovementType, ...]) -> bool:
        for day in self.places.quiet_nights():
            for model in self.places.free_postings(day):
                if model["movement_type"] not in models:
                    continue
                amount = amount_of(model) // 2 + self.rng.randrange(1, 20_000)
                if not self.places.shift(day, self.parameters.end, model, amount):
                    continue
                request_no = self.new_request_no(day)
                order = row_of(self.places, day, FileKind.ORDERS, str(model["request_no"]))
                changes: Row = {"request_no": request_no, "amount_minor": amount}
                insert_after(self.places, day, FileKind.POSTINGS, model, {**model, **changes, "seq": FIRST_SEQ})
                insert_after(self.places, day, FileKind.ORDERS, order, {**order, **changes})
                self.places.take(request_no, self.places.accounts_of(model))
                what = f"platform's {model['movement_type']} is unknown to the bank"
                self.note("B01", day, "R3", f"{request_no}#{FIRST_SEQ}", what)
                return True
        return False

    def _plant_lost_posting(self, number: int) -> bool:
        """B02: one line of the platform's ledger is missing."""
        return self._change_posting("B02", "platform's ledger lacks the posting", lambda row: -amount_of(row), self._lose)

    def _lose(self, day: date, row: Row, delta_minor: int) -> None:
        remove(self.places, day, FileKind.POSTINGS, row)

    def _plant_duplicate(self, number: int) -> bool:
        """B08: one line of the platform's ledger stands there twice."""
        return self._change_posting("B08", "platform's ledger has the posting twice", amount_of, self._double)

    def _double(self, day: date, row: Row, delta_minor: int) -> None:
        insert_after(self.places, day, FileKind.POSTINGS, row, dict(row))

    def _plant_amount(self, number: int) -> bool:
        """B04: the amount differs, in the platform's ledger or in the channel's list."""
        if number % 2:
            return self._plant_channel_amount()
        return self._change_posting("B04", "platform's amount differs from the bank's", self._amount_error, self._alter)

    def _alter(self, day: date, row: Row, delta_minor: int) -> None:
        row["amount_minor"] = amount_of(row) + delta_minor

    def _amount_error(self, row: Row) -> int:
        # a cent could be rounding (B17)
        return self.rng.randrange(2, 9_000) if amount_of(row) < 200 else -self.rng.randrange(2, amount_of(row) // 2)

    def _change_posting(
        self, code: str, what: str, delta_of: Callable[[Row], int], change: Callable[[date, Row, int], None]
    ) -> bool:
        for day in self.places.quiet_nights():
            for row in self.places.free_postings(day):
                delta = delta_of(row)
                if not self.places.shift(day, self.parameters.end, row, delta):
                    continue
                key = f"{row['request_no']}#{row['seq']}"
                self.places.take(str(row["request_no"]), self.places.accounts_of(row))
                change(day, row, delta)
                self.note(code, day, "R3", key, f"{what} ({row['movement_type']})")
                return True
        return False

    def _plant_channel_amount(self) -> bool:
        place = next(free_channel_rows(self.places), None)
        if place is None:
            return False
        day, row = place
        row["amount_minor"] = amount_of(row) + self._amount_error(row)
        self.places.take(str(row["request_no"]), [str(row["account_no"])])
        self.note("B04", day, "R4", str(row["request_no"]), "channel's amount differs from the bank's")
        return True

    def _plant_channel_only(self, number: int) -> bool:
        """B12: the channel took a customer's money that the bank never credited."""
        place = next(free_channel_rows(self.places), None)
        if place is None:
            return False
        day, model = place
        request_no = self.new_request_no(day)
        row: Row = {
            **model,
            "channel_order_no": f"{PAYMENT_COMPANY}-{request_no}",
            "request_no": request_no,
            "amount_minor": amount_of(model) + self.rng.randrange(1, 10_000),
            "currency": CURRENCY,
        }
        insert_after(self.places, day, FileKind.CHANNEL, model, row)
        self.places.take(request_no, [str(model["account_no"])])
        self.note("B12", day, "R4", request_no, "channel's recharge is unknown to the bank")
        return True

    def _plant_status(self, number: int) -> bool:
        """B06: the platform, or the channel, calls failed what was executed."""
        return faults_of_cash.plant_channel_status(self) if number % 2 else faults_of_orders.plant_status(self)


def plant_faults(state: PlatformState, feeds: Feeds, parameters: WorldParameters, variant: int) -> list[KeyItem]:
    """Plant a platform's faults into its files; `variant` is the first way of breaking a file (counts on over platforms)."""
    rng = Random(f"{parameters.seed}/faults/{state.platform_id}")
    places = Places(rng, feeds, frozenset(state.book.sub_accounts()), parameters.nights)
    return Planter(state.platform_id, parameters, places, variant).plant()
