"""Loading a world: batches, idempotent keys, patience with a busy service, arrival times. A transport plays the service."""

import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import httpx2
import pytest

from domain.errors import BadInput, Failed, ServiceMissing
from simulator import load as loading
from simulator.load import ServiceClient, StoredWorld, batches, load_world, split_at_night
from simulator.parameters import WorldParameters
from simulator.world import make_world, write_world


class PlayedService:
    """Answers like the transactional service: monotone clock, replay of known keys, refusals on demand."""

    def __init__(self) -> None:
        self.now = datetime(2020, 1, 1, tzinfo=UTC)
        self.seen: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.order_times: list[datetime] = []
        self.busy = 0
        self.dies_at_bulk: int | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        if self.busy:
            self.busy -= 1
            return httpx2.Response(503, text="starting")
        path, content = request.url.path, request.read()
        self.requests[path] += 1
        if path == "/v1/clock":
            return self._clock(request.method, content)
        if path == "/v1/orders/bulk" and self.requests[path] == self.dies_at_bulk:
            return httpx2.Response(500, text="killed")
        key = request.headers["Idempotency-Key"]
        body = json.loads(content)
        new = key not in self.seen
        assert self.seen.setdefault(key, content) == content
        if path == "/v1/registry":
            return httpx2.Response(201, json={})
        for order in body["orders"] if new else []:
            at = datetime.fromisoformat(order["simulated_at"])
            assert at >= self.now
            self.now = at
            self.order_times.append(at)
        return httpx2.Response(201, json={"orders": len(body["orders"]), "movements": 0})

    def _clock(self, method: str, content: bytes) -> httpx2.Response:
        if method == "POST":
            moment = datetime.fromisoformat(json.loads(content)["now"])
            assert moment >= self.now
            self.now = moment
        return httpx2.Response(200, json={"now": self.now.isoformat()})

    def client(self) -> ServiceClient:
        return ServiceClient("http://service", "secret", httpx2.MockTransport(self))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> StoredWorld:
    folder = tmp_path_factory.mktemp("world") / "w"
    parameters = WorldParameters(platforms=2, customers=60, history_months=4, days=4, faults_per_code=1)
    write_world(make_world(parameters), folder)
    return StoredWorld.read(folder)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(loading.time, "sleep", waits.append)
    return waits


def quiet(_: str) -> None:
    return None


def load(world: StoredWorld, service: PlayedService, landing: Path, to: date | None = None) -> dict[str, object]:
    with service.client() as client:
        return load_world(world, client, landing, to, quiet)


def test_everything_is_posted_in_time_order_and_the_clock_ends_at_the_night(world: StoredWorld, tmp_path: Path) -> None:
    service = PlayedService()
    result = load(world, service, tmp_path)
    orders = [order for day in world.dates for order in world.orders(day)]
    assert result["orders"] == len(orders) == len(service.order_times)
    assert service.now.isoformat() == "2026-09-01T01:30:00+08:00"


def test_files_get_their_arrival_time_and_no_partial_file_stays(world: StoredWorld, tmp_path: Path) -> None:
    result = load(world, PlayedService(), tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == result["files"]
    assert not [path for path in files if path.name.endswith(".part")]
    lines = (world.folder / "landing" / "arrivals.csv").read_text().splitlines()[1:]
    for line in lines:
        path, arrived_at = line.split(",")
        assert (tmp_path / path).stat().st_mtime == datetime.fromisoformat(arrived_at).timestamp()
        assert (tmp_path / path).read_bytes() == (world.folder / "landing" / path).read_bytes()


def test_dates_loaded_one_by_one_send_the_same_requests_as_all_at_once(world: StoredWorld, tmp_path: Path) -> None:
    together, singly = PlayedService(), PlayedService()
    load(world, together, tmp_path / "together")
    for day in world.dates:
        load(world, singly, tmp_path / "singly", day)
        assert singly.now.isoformat() == f"{date.fromordinal(day.toordinal() + 1)}T01:30:00+08:00"
        assert {path.name for path in (tmp_path / "singly").iterdir()} == {
            other.isoformat() for other in world.dates if other <= day
        }
    assert singly.seen == together.seen
    assert singly.order_times == together.order_times


def test_a_killed_load_is_run_again_without_posting_anything_twice(world: StoredWorld, tmp_path: Path) -> None:
    service = PlayedService()
    service.dies_at_bulk = 3
    with pytest.raises(Failed, match="500"):
        load(world, service, tmp_path)
    posted = len(service.order_times)
    service.dies_at_bulk = None
    load(world, service, tmp_path)
    assert 0 < posted < len(service.order_times) == sum(len(world.orders(day)) for day in world.dates)


def test_a_busy_service_is_waited_for_with_growing_pauses(world: StoredWorld, tmp_path: Path, no_waiting: list[float]) -> None:
    service = PlayedService()
    service.busy = 3
    load(world, service, tmp_path)
    assert no_waiting == [0.25, 0.5, 1.0]


def test_a_service_that_never_answers_is_given_up_after_a_bounded_number_of_tries(no_waiting: list[float]) -> None:
    service = PlayedService()
    service.busy = 10**6
    with service.client() as client, pytest.raises(ServiceMissing, match="503"):
        client.get("/v1/clock")
    assert len(no_waiting) == loading.TRIES
    assert sum(no_waiting) < 120


def test_batches_keep_order_and_stay_within_both_bounds() -> None:
    orders = [{"movements": [{}] * (number % 9)} for number in range(5_000)]
    cut = list(batches(orders))
    assert [order for batch in cut for order in batch] == orders
    assert all(len(batch) <= 1_000 for batch in cut)
    assert all(sum(len(order["movements"]) for order in batch) <= 4_000 for batch in cut)
    assert len(cut) < 12


def test_orders_are_split_where_the_night_of_the_date_before_starts() -> None:
    day = date(2026, 8, 3)
    times = ["2026-08-02T23:00:00+08:00", "2026-08-03T01:29:59+08:00", "2026-08-03T01:30:00+08:00"]
    early, rest = split_at_night([{"simulated_at": time} for time in times], day)
    assert [order["simulated_at"] for order in early] == times[:2]
    assert [order["simulated_at"] for order in rest] == times[2:]


def test_a_folder_without_a_world_and_a_date_outside_it_are_refused(world: StoredWorld, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no world"):
        StoredWorld.read(tmp_path)
    with pytest.raises(BadInput, match="2027-01-01"):
        load(world, PlayedService(), tmp_path, date(2027, 1, 1))
