"""Loads a world as its platforms would: registry and orders over HTTP, files into the landing folder (contracts section 9).

Safe to kill and run again: every request carries a key derived from its content, files are put in place atomically.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from csv import DictReader
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2

from domain.errors import BadInput, Failed, ServiceMissing
from simulator.bank_day import NIGHT_START, ZONE, night_of, opens_at

BATCH_ORDERS = 1_000
BATCH_MOVEMENTS = 4_000
"""A batch stays below both, so that one request stays small however many lenders a loan has."""
REGISTRY_ROWS = 5_000
TRIES = 8
FIRST_WAIT_SECONDS = 0.25
TIMEOUT_SECONDS = 60.0
Order = dict[str, Any]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class StoredWorld:
    """A world on disk, as `fundwatch simulate` wrote it."""

    folder: Path
    dates: list[date]
    registry: dict[str, list[dict[str, Any]]]

    @staticmethod
    def read(folder: Path) -> StoredWorld:
        """Read `world.json`; BadInput when the folder holds no world."""
        path = folder / "world.json"
        if not path.exists():
            raise BadInput(f"{folder} holds no world: make one with `fundwatch simulate --out {folder}`")
        content = json.loads(path.read_text(encoding="utf-8"))
        return StoredWorld(folder, [date.fromisoformat(day) for day in content["dates"]], content["registry"])

    def orders(self, day: date) -> list[Order]:
        """Order bodies of a business date, in time order."""
        with (self.folder / "orders" / f"{day}.jsonl").open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def answer_items(self) -> list[dict[str, Any]]:
        """Items of the answer key."""
        items: list[dict[str, Any]] = json.loads((self.folder / "answer_key.json").read_text(encoding="utf-8"))["items"]
        return items


class ServiceClient:
    """Speaks to the transactional service; waits a bounded while when it is busy or not reachable."""

    def __init__(self, base_url: str, api_key: str, transport: httpx2.BaseTransport | None = None) -> None:
        self._client = httpx2.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
        )

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str) -> dict[str, Any]:
        """GET a JSON object."""
        return self._send("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST a body under an Idempotency-Key that is the hash of its content."""
        return self._send("POST", path, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())

    def _send(self, method: str, path: str, content: bytes | None) -> dict[str, Any]:
        headers = {}
        if content is not None:
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"load-{sha256(content).hexdigest()[:48]}"}
        reason = ""
        for attempt in range(TRIES):
            try:
                response = self._client.request(method, path, content=content, headers=headers)
            except httpx2.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    answer: dict[str, Any] = response.json()
                    return answer
                if response.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                    raise Failed(f"{method} {path} was refused ({response.status_code}): {response.text[:1000]}")
                reason = f"503 {response.text[:200]}"
            time.sleep(FIRST_WAIT_SECONDS * 2**attempt)
        raise ServiceMissing(f"{method} {path}: no answer after {TRIES} tries ({reason})")


def load_world(world: StoredWorld, client: ServiceClient, landing: Path, to: date | None, say: Progress) -> dict[str, Any]:
    """Load a world up to the night of business date `to` (default: all of it); returns counts.

    Orders of the next date from before the night starts (23:00 to 01:30) are loaded too: the clock has passed them.
    """
    last = to or world.dates[-1]
    if last not in world.dates:
        raise BadInput(f"the world has dates {world.dates[0]} to {world.dates[-1]}, not {last}")
    dates = [day for day in world.dates if day <= last]
    advance_clock(client, opens_at(world.dates[0]))
    post_registry(client, world.registry)
    say("registry posted")
    orders = movements = 0
    for day in [*dates, *(day for day in world.dates if day == _next(last))]:
        early, rest = split_at_night(world.orders(day), day)
        for batch in batches(early) if day > last else [*batches(early), *batches(rest)]:
            answer = client.post("/v1/orders/bulk", {"orders": batch})
            orders += int(answer["orders"])
            movements += int(answer["movements"])
        say(f"{day}: {orders} orders, {movements} movements so far")
    files = copy_files(world.folder / "landing", landing, dates)
    clock = advance_clock(client, night_of(last))
    return {"to": last.isoformat(), "orders": orders, "movements": movements, "files": files, "clock": clock}


def _next(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)


def advance_clock(client: ServiceClient, moment: datetime) -> str:
    """Set the simulated clock to a moment unless it is already past it; returns what it shows."""
    now = str(client.get("/v1/clock")["now"])
    if datetime.fromisoformat(now) >= moment:
        return now
    return str(client.post("/v1/clock", {"now": moment.isoformat()})["now"])


def post_registry(client: ServiceClient, registry: dict[str, list[dict[str, Any]]]) -> None:
    """Post the registry list by list, in the order in which rows refer to each other."""
    for name in ("platforms", "payment_companies", "parties", "customers", "sub_accounts"):
        rows = registry[name]
        for start in range(0, len(rows), REGISTRY_ROWS):
            client.post("/v1/registry", {name: rows[start : start + REGISTRY_ROWS]})


def split_at_night(orders: list[Order], day: date) -> tuple[list[Order], list[Order]]:
    """Orders of a business date before and after the start of the night that works on the date before it (01:30).

    Always split there, so that batches, and with them their keys, are the same whether dates are loaded singly or together.
    """
    start = datetime.combine(day, NIGHT_START, ZONE)
    early = [order for order in orders if datetime.fromisoformat(order["simulated_at"]) < start]
    return early, orders[len(early) :]


def batches(orders: list[Order]) -> Iterator[list[Order]]:
    """Orders cut into requests of bounded size, in order."""
    batch: list[Order] = []
    movements = 0
    for order in orders:
        if batch and (len(batch) == BATCH_ORDERS or movements + len(order["movements"]) > BATCH_MOVEMENTS):
            yield batch
            batch, movements = [], 0
        batch.append(order)
        movements += len(order["movements"])
    if batch:
        yield batch


def copy_files(source: Path, landing: Path, dates: list[date]) -> int:
    """Copy the files of some dates in the order of their arrival, each with its arrival time, atomically; returns how many."""
    wanted = {day.isoformat() for day in dates}
    with (source / "arrivals.csv").open(encoding="utf-8", newline="") as lines:
        arrivals = [row for row in DictReader(lines) if row["path"].split("/")[0] in wanted]
    for row in sorted(arrivals, key=lambda row: (row["path"].endswith("manifest.csv"), row["arrived_at"])):
        target = landing / row["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(source / row["path"], part)
        arrived = datetime.fromisoformat(row["arrived_at"]).timestamp()
        os.utime(part, (arrived, arrived))
        part.replace(target)
    return len(arrivals)
