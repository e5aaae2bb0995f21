"""Makes a whole world and writes it to disk (contracts section 9)."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from domain.errors import WrongUse
from simulator.answer_key import KeyItem
from simulator.bank_day import NIGHT_START, night_of
from simulator.faults import plant_faults
from simulator.file_format import MANIFEST_COLUMNS, Feed, csv_bytes, render
from simulator.files import Correspondence, settle_channel
from simulator.life import Life
from simulator.opening import open_platform
from simulator.parameters import BUREAU, WorldParameters
from simulator.people import registry, settle_people
from simulator.state import PlatformState

PD_COLUMNS = ("platform_id", "customer_no", "subject_hash", "loan_no", "true_pd")
LAST_ARRIVAL_MINUTES = 45
"""Files arrive between 00:30 and 01:15, a quarter of an hour before the night starts."""


@dataclass(frozen=True)
class World:
    """A world in memory: parameters, registry, platforms with their truth, files with faults, answer key."""

    parameters: WorldParameters
    registry: dict[str, list[dict[str, Any]]]
    states: list[PlatformState]
    feeds: list[Feed]
    items: list[KeyItem]


def make_world(parameters: WorldParameters) -> World:
    """Live a world through and plant its faults; the same parameters give the same world."""
    communities = settle_people(parameters)
    states: list[PlatformState] = []
    feeds: list[Feed] = []
    items: list[KeyItem] = []
    for community in communities:
        state = open_platform(community, parameters)
        letters = Correspondence(state, parameters)
        letters.derive(parameters.opening_date)
        life = Life(state, parameters.opening_date)
        for day in parameters.nights:
            life.live(day)
            letters.derive(day)
        settle_channel(letters.feeds, state.platform_id)
        planted = sum(item.code == "B24" for item in items)
        items.extend(plant_faults(state, letters.feeds, parameters, planted))
        states.append(state)
        feeds.extend(letters.feeds.values())
    return World(parameters, registry(communities, parameters), states, feeds, items)


def stored_counts(parameters: WorldParameters, out: Path) -> dict[str, Any] | None:
    """Counts of the world that lies in a folder when it has these parameters; None when there is nothing.

    WrongUse when the folder holds something else, which is never overwritten.
    """
    if not out.exists() or not any(out.iterdir()):
        return None
    path = out / "world.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if content.get("parameters") != _parameters(parameters):
        raise WrongUse(f"{out} is not empty and holds no world of these parameters: choose a new folder")
    counts: dict[str, Any] = content["counts"]
    return counts


def write_world(world: World, out: Path) -> dict[str, Any]:
    """Write a world into a new or empty folder, all of it or nothing; returns counts. WrongUse when it holds something."""
    if out.exists() and any(out.iterdir()):
        raise WrongUse(f"{out} is not empty: choose a new folder for the world")
    part = out.with_name(f".{out.name}.part")
    if part.exists():
        # left by a process that was killed: the name is ours alone
        shutil.rmtree(part)
    part.mkdir(parents=True)
    _json(
        part / "answer_key.json",
        {"seed": world.parameters.seed, "items": [item.as_json() for item in world.items]},
    )
    orders, movements = _write_orders(world, part)
    _write_truth(world, part)
    dates = [day.isoformat() for day in world.parameters.dates]
    counts = {
        "first_night": dates[1],
        "last_night": dates[-1],
        "platforms": len(world.states),
        "parties": len(world.registry["parties"]),
        "loans": sum(len(state.loans) for state in world.states),
        "orders": orders,
        "movements": movements,
        "files": _write_landing(world, part),
        "faults": len(world.items),
    }
    parameters = _parameters(world.parameters)
    _json(part / "world.json", {"parameters": parameters, "dates": dates, "counts": counts, "registry": world.registry})
    part.replace(out)
    return counts


def _parameters(parameters: WorldParameters) -> dict[str, Any]:
    return asdict(parameters) | {"end": parameters.end.isoformat()}


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_orders(world: World, out: Path) -> tuple[int, int]:
    by_day = defaultdict(list)
    for state in world.states:
        for number, order in enumerate(state.book.orders):
            by_day[order.business_date].append((order.at, order.platform_id, number, order))
    folder = out / "orders"
    folder.mkdir()
    for day in world.parameters.dates:
        # one clock for all platforms: their orders merge in time, each platform's own in its order
        lines = [_compact(order.body()) for *_, order in sorted(by_day[day], key=lambda entry: entry[:3])]
        (folder / f"{day}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    orders = [order for state in world.states for order in state.book.orders]
    return len(orders), sum(len(order.movements) for order in orders)


def _compact(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _write_truth(world: World, out: Path) -> None:
    folder = out / "truth"
    folder.mkdir()
    for day in world.parameters.dates:
        closing: dict[str, int] = {}
        held: dict[str, int] = {}
        for state in world.states:
            closing |= state.closes[day].balance
            held |= {account: amount for account, amount in state.closes[day].held.items() if amount}
        (folder / f"{day}.json").write_text(_compact({"closing_minor": closing, "held_minor": held}) + "\n", encoding="utf-8")
    (folder / "pd.csv").write_bytes(csv_bytes([PD_COLUMNS, *pd_rows(world)]))


def pd_rows(world: World) -> list[tuple[str, ...]]:
    """The true PD of every loan that was paid out: what a score is held against and never sees."""
    return [
        (state.platform_id, loan.borrower.customer_no, loan.borrower.party.id_hash, loan.loan_no, f"{loan.true_pd:.9f}")
        for state in world.states
        for loan in state.loans
        if loan.disbursed_on
    ]


def _write_landing(world: World, out: Path) -> int:
    streams = {"": Random(f"{world.parameters.seed}/arrivals"), BUREAU: Random(f"{world.parameters.seed}/arrivals/{BUREAU}")}
    by_folder: dict[tuple[date, str], list[Feed]] = defaultdict(list)
    for feed in world.feeds:
        by_folder[feed.business_date, feed.sender].append(feed)
    arrivals: list[tuple[str, str]] = []
    for (day, sender), feeds in sorted(by_folder.items(), key=lambda entry: entry[0]):
        folder = out / "landing" / day.isoformat() / sender
        folder.mkdir(parents=True)
        lines = []
        rng = streams.get(sender, streams[""])
        minutes = sorted(rng.randrange(LAST_ARRIVAL_MINUTES * 60) for _ in range(len(feeds) + 1))
        names = []
        for feed in feeds:
            rendered = render(feed)
            lines.append(rendered.manifest_line)
            if rendered.content is not None:
                (folder / feed.file_name).write_bytes(rendered.content)
                names.append(feed.file_name)
        (folder / "manifest.csv").write_bytes(csv_bytes([MANIFEST_COLUMNS, *lines]))
        arrivals.extend(_arrivals(day, sender, names, minutes))
    (out / "landing" / "arrivals.csv").write_bytes(csv_bytes([("path", "arrived_at"), *arrivals]))
    return sum(1 for path, _ in arrivals if not path.endswith("manifest.csv"))


def _arrivals(day: date, sender: str, names: Iterable[str], seconds: list[int]) -> list[tuple[str, str]]:
    """Arrival times of a sender's files, the manifest last, as UTC."""
    first = night_of(day) - timedelta(hours=NIGHT_START.hour, minutes=NIGHT_START.minute) + timedelta(minutes=30)
    moments = [(first + timedelta(seconds=second)).astimezone(UTC) for second in seconds]
    paths = [f"{day}/{sender}/{name}" for name in names]
    pairs = [*zip(paths, moments, strict=False), (f"{day}/{sender}/manifest.csv", moments[-1])]
    return [(path, moment.strftime("%Y-%m-%dT%H:%M:%SZ")) for path, moment in pairs]
