"""The files of a world through the real file control: every planted broken file is refused for its reason, no other is."""

from pathlib import Path

from ingest.control import History, judge
from ingest.landing import Registry, possible, scan
from ingest.read import inspect
from ingest.records import ACCEPTED
from simulator.file_format import Damage
from simulator.parameters import BANK, PAYMENT_COMPANY, WorldParameters
from simulator.world import make_world, write_world

REASONS = {
    Damage.MISSING: "MISSING",
    Damage.WRONG_HASH: "HASH",
    Damage.NO_TRAILER: "TRAILER",
    Damage.WRONG_CONTROL_TOTAL: "CONTROL_TOTAL",
    Damage.TRUNCATED: "TRUNCATED",
    Damage.SEQUENCE_GAP: "SEQUENCE",
}


def test_file_control_refuses_exactly_the_broken_files_each_for_its_reason(tmp_path: Path) -> None:
    parameters = WorldParameters(platforms=3, customers=120, history_months=4, days=16)
    world = make_world(parameters)
    write_world(world, tmp_path / "world")
    platforms = parameters.platform_ids
    registry = Registry(dict.fromkeys(platforms, parameters.opening_date), dict.fromkeys(platforms, (PAYMENT_COMPANY,)), BANK)
    landing = scan(tmp_path / "world" / "landing", parameters.dates, None)
    found = {file.path: inspect(file) for file in landing.files}
    verdicts = judge(possible(registry, parameters.dates), landing, found, History())
    refused = {
        (verdict.business_date, verdict.platform_id, verdict.file_kind): verdict.reason_code
        for verdict in verdicts
        if verdict.state != ACCEPTED
    }
    broken = {
        (feed.business_date, feed.platform_id, feed.kind.value): REASONS[feed.damage] for feed in world.feeds if feed.damage
    }
    assert refused == broken
    assert set(broken.values()) == set(REASONS.values())
    planted = [item for item in world.items if item.code == "B25"]
    assert planted and sum(verdict.rows_quarantined or 0 for verdict in verdicts) == len(planted)
    assert len(verdicts) == len(world.feeds)
