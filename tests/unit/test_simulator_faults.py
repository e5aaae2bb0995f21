"""Planted faults: an independent comparison of the files with the truth finds exactly the answer key."""

import csv
import gzip
import io
import zlib
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.vocabulary import FileKind, LoanStatus, OrderType
from simulator.bank_day import closes_at, next_working_day
from simulator.file_format import SUM_COLUMN, Damage, Feed, render
from simulator.parameters import WorldParameters
from simulator.state import PlatformState
from simulator.world import World, make_world, write_world

DAY = timedelta(days=1)
CODES = {f"B{number:02d}" for number in range(1, 29)}
CURED = ("B14", "B20", "B21", "B26")
Line = tuple[int, str, str]  # amount, kind, accounts or status
few = settings(max_examples=8, deadline=None)
seeds = st.integers(0, 10_000)
Found = set[tuple[str, str, date, str]]


def small(seed: int, days: int = 12) -> World:
    return make_world(WorldParameters(seed=seed, platforms=2, customers=120, history_months=4, days=days, faults_per_code=2))


def files_of(world: World, state: PlatformState, kind: FileKind) -> dict[date, Feed]:
    return {feed.business_date: feed for feed in world.feeds if feed.platform_id == state.platform_id and feed.kind is kind}


def key_of(world: World) -> Found:
    return {(item.code, item.platform_id, item.business_date, item.match_key) for item in world.items}


def compare_keyed(
    listed: dict[date, list[tuple[str, Line]]], truth: dict[str, tuple[date, Line]], names: tuple[str, ...]
) -> set[tuple[str, date, str]]:
    """Codes by strong key; `names` = not in the truth, not listed, twice, other accounts or status, other kind, other amount."""
    only, lost, twice, other_text, other_kind, other_amount = names
    seen = defaultdict(list)
    for day, rows in listed.items():
        for key, line in rows:
            seen[key].append((day, line))
    found = set()
    for key, places in seen.items():
        day, line = places[0]
        if key not in truth:
            found.add((only, day, key))
        elif len(places) > 1:
            found.add((twice, day, key))
        elif day != truth[key][0]:
            assert day + DAY == truth[key][0]
            found.add(("B14", day, key))
        else:
            codes = (other_amount, other_kind, other_text)
            found |= {(code, day, key) for code, one, true in zip(codes, line, truth[key][1], strict=True) if one != true}
    return found | {(lost, truth[key][0], key) for key in truth.keys() - seen.keys()}


def found_in(world: World, state: PlatformState) -> Found:
    """A comparison of its own: files against book B, nothing of the planting code."""
    movements, recharges = {}, {}
    for order in state.book.orders:
        for seq, movement in enumerate(order.movements, start=1):
            if state.book.is_sub_account(movement.debit) or state.book.is_sub_account(movement.credit):
                line = (movement.amount_minor, str(movement.movement_type), f"{movement.debit}>{movement.credit}")
                movements[f"{order.request_no}#{seq}"] = (order.business_date, line)
        if order.order_type in ("RECHARGE", "WITHDRAW"):
            recharges[order.request_no] = (order.business_date, (order.amount_minor, str(order.order_type), "SUCCESS"))
    postings = {
        day: [
            (
                f"{row['request_no']}#{row['seq']}",
                (int(row["amount_minor"] or 0), row["movement_type"], f"{row['debit_account_no']}>{row['credit_account_no']}"),
            )
            for row in feed.rows
        ]
        for day, feed in files_of(world, state, FileKind.POSTINGS).items()
    }
    channel = {
        day: [
            (str(row["request_no"]), (int(row["amount_minor"] or 0), row["order_type"], row["channel_status"]))
            for row in feed.rows
            if row["channel_status"] != "REFUSED"
        ]
        for day, feed in files_of(world, state, FileKind.CHANNEL).items()
    }
    found = compare_keyed(postings, movements, ("B01", "B02", "B08", "B05", "B07", "B04"))
    found = second_looks(found, postings, movements)
    found |= compare_keyed(channel, recharges, ("B12", "B11", "B10", "B06", "B07", "B04"))
    found |= {("B20", day, account) for day, account in unexplained_balances(world, state)}
    found |= orders_wrong(world, state, {key.rpartition("#")[0] for _, _, key in found if "#" in key})
    found |= statement_wrong(world, state) | rows_wrong(world, state) | returns_wrong(world, state)
    found |= general_ledger_wrong(world, state)
    found |= settlements_wrong(world, state)
    broken = {
        ("B24", feed.business_date, feed.match_key)
        for feed in world.feeds
        if feed.platform_id == state.platform_id and feed.damage
    }
    return {(code, state.platform_id, day, key) for code, day, key in found | broken}


def second_looks(
    found: set[tuple[str, date, str]], listed: dict[date, list[tuple[str, Line]]], truth: dict[str, tuple[date, Line]]
) -> set[tuple[str, date, str]]:
    """Amounts that are a cent of a split off (B17), and keys of one side that fit several of the other (B28)."""
    said = {(day, key): line for day, rows in listed.items() for key, line in rows}
    parts = Counter(key.split("#")[0] for key, (_, line) in truth.items() if line[1] == "INTEREST")
    alike: dict[tuple[Any, ...], set[tuple[str, date, str]]] = defaultdict(set)
    for code, day, key in found:
        if code in ("B01", "B02"):
            amount, _, accounts = truth[key][1] if code == "B02" else said[day, key]
            alike[day, amount, accounts].add((code, day, key))
    several = [items for items in alike.values() if {code for code, *_ in items} == {"B01", "B02"} and len(items) > 2]
    for items in several:
        found = found - items | {("B28", day, key) for _, day, key in items}
    cents = {
        (code, day, key)
        for code, day, key in found
        if code == "B04" and parts[key.split("#")[0]] > 1 and abs(said[day, key][0] - truth[key][1][0]) == 1
    }
    return found - cents | {("B17", day, key) for _, day, key in cents}


def returns_wrong(world: World, state: PlatformState) -> set[tuple[str, date, str]]:
    """Withdrawals that failed by the channel's list and book B did not give back, or not to the cent, or without a failure."""
    back = {order.request_no.removesuffix("#B"): order for order in state.book.orders if order.order_type is OrderType.BACKROLL}
    failed = {
        str(row["request_no"]): (day, row["amount_minor"])
        for day, feed in files_of(world, state, FileKind.CHANNEL).items()
        for row in feed.rows
        if row["channel_status"] == "REFUSED"
    }
    last = world.parameters.end
    found = {("B19", day, key) for key, (day, _) in failed.items() if key not in back and next_working_day(day) <= last}
    for key, order in back.items():
        if key not in failed:
            found.add(("B18", order.business_date, key))
        elif failed[key][1] != order.amount_minor:
            found.add(("B18", failed[key][0], key))
    return found


def settlements_wrong(world: World, state: PlatformState) -> set[tuple[str, date, str]]:
    """Batches that are not the sum of the channel's orders of their date, and fees that are not 25 in 100,000 and 10 an order."""
    listed = files_of(world, state, FileKind.CHANNEL)
    found = set()
    for day, feed in files_of(world, state, FileKind.SETTLEMENT).items():
        for row in feed.rows:
            number = str(row["settlement_batch_no"])
            of_day = date.fromisoformat(f"{number[-8:-4]}-{number[-4:-2]}-{number[-2:]}")
            orders = [
                one["amount_minor"]
                for one in listed[of_day].rows
                if one["settlement_batch_no"] == number and one["channel_status"] == "SUCCESS"
            ]
            count, gross, fee, net = (
                int(row[f"{name}"] or 0) for name in ("order_count", "gross_minor", "fee_minor", "net_minor")
            )
            assert net + fee == gross
            if (count, gross) != (len(orders), sum(map(int, orders))):
                found.add(("B22", of_day, number))
            if fee != int((Decimal(gross) * 25 / 100_000).quantize(Decimal(1), ROUND_HALF_UP)) + 10 * count:
                found.add(("B15", day, number))
    return found


def orders_wrong(world: World, state: PlatformState, differing: set[str]) -> set[tuple[str, date, str]]:
    """What the platform's order list says otherwise than book B, but for requests on which its ledger differs already."""
    truth = {order.request_no: order for order in state.book.orders}
    found = set()
    for day, feed in files_of(world, state, FileKind.ORDERS).items():
        for row in feed.rows:
            key, status = str(row["request_no"]), row["order_status"]
            if key in differing:
                continue
            if key not in truth:
                found.add(("B13" if status == "PROCESSING" else "B03", day, key))
            elif status != "SUCCESS":
                found.add(("B06", day, key))
            elif row["amount_minor"] != truth[key].amount_minor:
                found.add(("B16", day, key))
    return found


def statement_wrong(world: World, state: PlatformState) -> set[tuple[str, date, str]]:
    """Entries that book B lacks or has with another amount, and closings that are not what the entries add up to."""
    cash: Counter[tuple[date, str]] = Counter()
    for order in state.book.orders:
        for movement in order.movements:
            for account, sign in ((movement.debit, 1), (movement.credit, -1)):
                if account.endswith("-X-SPECIAL"):
                    cash[order.business_date, order.request_no] += sign * movement.amount_minor
    found, balance, booked = set(), 0, Counter(cash)
    for day, feed in sorted(files_of(world, state, FileKind.STATEMENT).items()):
        for row in feed.rows:
            amount = int(row["amount_minor"] or 0)
            if row["line_type"] == "ENTRY":
                balance += amount
                if row["bank_ref"] is None:
                    found.add(("B27", day, f"@entry-{day}-{row['entry_no']}"))
                else:
                    cash[day, str(row["bank_ref"])] -= amount
            elif amount != balance:
                found.add(("B21", day, "B-1"))
    return found | {("B09" if left == -booked[day, ref] else "B22", day, ref) for (day, ref), left in cash.items() if left != 0}


def general_ledger_wrong(world: World, state: PlatformState) -> set[tuple[str, date, str]]:
    """Sums of sub-accounts that are not the truth's; every other line of the bank's ledger is that of truth and statement."""
    found, sub_accounts = set(), list(state.book.sub_accounts())
    before, statements = dict.fromkeys(state.book.roles, 0), files_of(world, state, FileKind.STATEMENT)
    for day, feed in sorted(files_of(world, state, FileKind.GENERAL_LEDGER).items()):
        amounts = [{name: int(row[name] or 0) for name in row if name.endswith("_minor")} for row in feed.rows]
        lines = {str(row["account_kind"]): line for row, line in zip(feed.rows, amounts, strict=True)}
        closes = state.closes[day].balance
        for line in lines.values():
            assert line["opening_minor"] + line["credit_minor"] - line["debit_minor"] == line["closing_minor"]
        if lines["SUB_ACCOUNTS"]["closing_minor"] != sum(closes[account] for account in sub_accounts):
            found.add(("B21", day, "GL-1"))
        else:
            assert lines["SUB_ACCOUNTS"]["opening_minor"] == sum(before[account] for account in sub_accounts)
        for kind in ("OWN_FUNDS", "SUSPENSE"):
            assert lines[kind]["closing_minor"] == closes[f"{state.platform_id}-X-{kind.replace('_', '')}"]
        closing = statements[day].rows[-1]["amount_minor"]
        assert lines["SPECIAL_ACCOUNT"]["closing_minor"] == lines["SPECIAL_ACCOUNT"]["core_balance_minor"] == closing
        before = closes
    return found


def rows_wrong(world: World, state: PlatformState) -> set[tuple[str, date, str]]:
    """Statuses that are none, and amounts set aside that are not book B's."""
    found = set()
    for day, feed in files_of(world, state, FileKind.STATUS).items():
        if any(row["loan_status"] not in set(LoanStatus) for row in feed.rows):
            found.add(("B25", day, f"{state.platform_id}/{state.platform_id}.status:rows"))
    for day, feed in files_of(world, state, FileKind.BALANCES).items():
        for row in feed.rows:
            if row["held_minor"] != state.closes[day].held[str(row["account_no"])]:
                found.add(("B26", day, f"{row['account_no']}:held"))
    return found | claims_wrong(world, state)


def claims_wrong(world: World, state: PlatformState) -> set[tuple[str, date, str]]:
    """Claims whose reported principal is not their first one less the principal that book B paid on them later."""
    paid: Counter[tuple[str, date]] = Counter()
    for order in state.book.orders:
        for movement in order.movements:
            if movement.component == "P" and movement.claim_no:
                paid[movement.claim_no, order.business_date] += movement.amount_minor
    first: dict[str, tuple[date, int]] = {}
    found = set()
    for day, feed in sorted(files_of(world, state, FileKind.CLAIMS).items()):
        for row in feed.rows:
            claim, said = str(row["claim_no"]), int(row["principal_minor"] or 0)
            began, principal = first.setdefault(claim, (day, said))
            left = principal - sum(amount for (of, on), amount in paid.items() if of == claim and began < on <= day)
            if row["closed_on"] is None and said != left:
                found.add(("B23", day, claim))
    return found


def unexplained_balances(world: World, state: PlatformState) -> set[tuple[date, str]]:
    """Dates and accounts whose closing is not the sum of all postings so far of the same book."""
    balance: Counter[str] = Counter()
    wrong = set()
    balances = files_of(world, state, FileKind.BALANCES)
    for day, feed in sorted(files_of(world, state, FileKind.POSTINGS).items()):
        for row in feed.rows:
            balance[str(row["debit_account_no"])] -= int(row["amount_minor"] or 0)
            balance[str(row["credit_account_no"])] += int(row["amount_minor"] or 0)
        for row in balances[day].rows:
            assert int(row["closing_minor"] or 0) >= int(row["held_minor"] or 0) >= 0
            if row["closing_minor"] != balance[str(row["account_no"])]:
                wrong.add((day, str(row["account_no"])))
    return wrong


@few
@given(seeds)
def test_every_fault_shows_exactly_once_and_nothing_else_shows(seed: int) -> None:
    world = small(seed)
    found = set().union(*(found_in(world, state) for state in world.states))
    assert found == key_of(world)
    assert len(key_of(world)) == len(world.items)


def test_the_default_world_has_three_faults_and_more_of_every_code_on_every_platform() -> None:
    world = make_world(WorldParameters())
    counts = Counter((item.platform_id, item.code) for item in world.items)
    assert set(counts) == {(platform, code) for platform in ("P01", "P02", "P03") for code in CODES}
    assert min(counts.values()) == 3
    together = Counter((item.platform_id, item.business_date) for item in world.items if "with others" in item.what)
    assert len(together) >= 6 and min(together.values()) >= 4  # on one date, order and account
    assert {feed.damage for feed in world.feeds if feed.damage} == set(Damage)
    assert set().union(*(found_in(world, state) for state in world.states)) == key_of(world)
    orders = sum(len(state.book.orders) for state in world.states)
    assert 90 * 90 <= orders <= 90 * 160


def test_a_small_world_still_has_every_code() -> None:
    assert {item.code for item in small(7, days=9).items} == CODES


@few
@given(seeds)
def test_broken_files_stand_alone(seed: int) -> None:
    world = small(seed)
    for state in world.states:
        items = [item for item in world.items if item.platform_id == state.platform_id]
        broken = {item.business_date for item in items if item.code == "B24"}
        assert world.parameters.opening_date not in {item.business_date for item in items}
        for item in items:
            if item.code in CURED:
                assert item.cured_on == item.business_date + DAY
                assert not broken & {item.business_date + step * DAY for step in (-1, 0, 1)}
                assert item.cured_on not in broken
            elif item.code != "B24":
                assert item.cured_on is None
                assert item.business_date not in broken
        assert len(broken) == sum(item.code == "B24" for item in items)


@few
@given(seeds)
def test_timing_items_are_dated_before_midnight_and_other_one_sided_records_far_from_the_cutoff(seed: int) -> None:
    world = small(seed)
    for state in world.states:
        times = {}
        for kind, column in ((FileKind.POSTINGS, "txn_at"), (FileKind.CHANNEL, "txn_at")):
            for day, feed in files_of(world, state, kind).items():
                for row in feed.rows:
                    key = f"{row['request_no']}#{row['seq']}" if kind is FileKind.POSTINGS else str(row["request_no"])
                    times[day, key] = datetime.fromisoformat(str(row[column]))
        for item in (item for item in world.items if item.platform_id == state.platform_id):
            at = times.get((item.business_date, item.match_key))
            if item.code == "B14":
                assert at is not None and at.date() == item.business_date
                (booked,) = (order.at for order in state.book.orders if order.request_no == item.match_key.split("#")[0])
                assert timedelta() <= booked - closes_at(item.business_date) < timedelta(hours=2)
            elif item.code in ("B01", "B12"):
                assert at is not None
                assert timedelta(hours=2) < closes_at(item.business_date) - at < timedelta(hours=22)


def lines_of(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(gzip.decompress(content).decode())))


@few
@given(seeds)
def test_trailers_and_manifests_agree_with_the_rows_of_every_sound_file(seed: int) -> None:
    for feed in small(seed).feeds:
        if feed.damage:
            continue
        rendered = render(feed)
        assert rendered.content is not None
        header, columns, *rows, trailer = lines_of(rendered.content)
        assert header[:6] == ["#FUNDWATCH", "1", feed.sender, feed.platform_id, feed.kind.value, f"{feed.business_date}"]
        summed = SUM_COLUMN[feed.kind]
        total = sum(int(row[columns.index(summed)]) for row in rows) if summed else 0
        assert trailer == ["#TRAILER", str(len(rows)), str(total)]
        digest = sha256(rendered.content).hexdigest()
        sequence_no = int(header[6])
        assert rendered.manifest_line == (
            feed.platform_id, feed.kind.value, feed.file_name, digest, len(rows), total, sequence_no,
        )  # fmt: skip


def broken(damage: Damage) -> tuple[Feed, bytes | None, tuple[object, ...]]:
    feed = Feed(date(2026, 8, 2), "P01", "P01", FileKind.BALANCES, 2)
    feed.rows = [
        {"account_no": f"P01-L-{number:06d}", "currency": "CNY", "closing_minor": number, "held_minor": 0} for number in range(50)
    ]
    feed.damage = damage
    rendered = render(feed)
    return feed, rendered.content, rendered.manifest_line


def test_each_way_of_breaking_a_file_breaks_that_and_nothing_else() -> None:
    _, missing, _ = broken(Damage.MISSING)
    assert missing is None
    for damage in (Damage.WRONG_HASH, Damage.NO_TRAILER, Damage.WRONG_CONTROL_TOTAL, Damage.TRUNCATED, Damage.SEQUENCE_GAP):
        feed, content, line = broken(damage)
        assert content is not None
        assert (line[3] == sha256(content).hexdigest()) == (damage is not Damage.WRONG_HASH)
        assert (line[6] == feed.sequence_no) == (damage is not Damage.SEQUENCE_GAP)
        if damage is Damage.TRUNCATED:
            try:
                gzip.decompress(content)
            except (EOFError, zlib.error):
                continue
            raise AssertionError("a truncated file must not unpack")
        lines = lines_of(content)
        assert (lines[-1][0] == "#TRAILER") == (damage is not Damage.NO_TRAILER)
        assert (line[5] == feed.control_sum) == (damage is not Damage.WRONG_CONTROL_TOTAL)
        assert int(lines[0][6]) == line[6]
        assert len(lines) == 50 + (2 if damage is Damage.NO_TRAILER else 3)


def test_files_on_disk_have_arrival_times_before_the_night_and_manifests_come_last(tmp_path: Path) -> None:
    world = small(7, days=6)
    write_world(world, tmp_path / "world")
    landing = tmp_path / "world" / "landing"
    with (landing / "arrivals.csv").open(newline="") as lines:
        arrivals = {row["path"]: datetime.fromisoformat(row["arrived_at"]) for row in csv.DictReader(lines)}
    on_disk = {str(path.relative_to(landing)) for path in landing.rglob("*") if path.is_file()} - {"arrivals.csv"}
    assert on_disk == set(arrivals)
    for path, at in arrivals.items():
        day, sender, _ = path.split("/")
        after_close = at - closes_at(date.fromisoformat(day))
        assert timedelta(minutes=90) <= after_close <= timedelta(minutes=135)
        assert at <= arrivals[f"{day}/{sender}/manifest.csv"]
