"""The supervisory feed in the night (spec 01 section 1.7): what a platform pushed is read and judged by its suite.

Files lie in `landing/D/PLATFORM/feed/`. Each is read once, into `feed/PLATFORM/` under its own hash; that folder can be thrown
away. A date is judged with everything the platform had pushed by then, on DuckDB: the suite is the same text on both engines, and
its faults are told, they stop no night.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from expectations.suites import load_suite
from fundwatch.settings import Settings
from ingest.statements import feed, formats
from ingest.statements.delimited import record_schema
from ingest.statements.land import ACCEPTED, Target, Verdict, land
from ingest.statements.source import Limits
from lake.steps import Run

if TYPE_CHECKING:
    import duckdb

FOLDER = "feed"
SUITE = "supervisory_feed"
DONE = "READ.json"


def judged(settings: Settings, run: Run) -> list[dict[str, Any]]:
    """Each platform and date of the run on which a file of the feed came.

    ``[{platform_id, business_date, files: [{file_name, state, code, reason, entity, records, bad_rows}], faults:
    {check: rows}}]``; empty when none came. Files that came after the run's `known_as_of` are not there yet.
    """
    found = []
    for platform_id, files in sorted(_files(settings, run).items()):
        for day in sorted({day for day, _ in files if day >= run.first_date}):
            known = [_read(settings, platform_id, path, of_day) for of_day, path in files if of_day <= day]
            verdicts = [
                _shown(one) for (of_day, _), (_, told) in zip(files, known, strict=False) if of_day == day for one in told
            ]
            faults = _faults([folder for folder, _ in known])
            found.append({"platform_id": platform_id, "business_date": day.isoformat(), "files": verdicts, "faults": faults})
    return found


def _files(settings: Settings, run: Run) -> dict[str, list[tuple[date, Path]]]:
    """Files of the feed by platform, up to the run's last date, in the order of dates and names."""
    found: dict[str, list[tuple[date, Path]]] = {}
    for folder in sorted(settings.landing_dir.glob(f"*/{run.platform_id or '*'}/{FOLDER}")):
        day = date.fromisoformat(folder.parent.parent.name)
        for path in sorted(folder.iterdir()) if day <= run.last_date else ():
            is_whole = path.is_file() and not path.is_symlink() and not path.name.startswith(".")
            came_at = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
            if is_whole and (run.known_as_of is None or came_at <= run.known_as_of):
                found.setdefault(folder.parent.name, []).append((day, path))
    return found


def _read(settings: Settings, platform_id: str, path: Path, day: date) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of what was read of a file, and what was said of it; a file that was read before is not read again."""
    with path.open("rb") as content:
        name = hashlib.file_digest(content, "sha256").hexdigest()[:32]
    place = settings.feed_dir / platform_id / name
    if not place.exists():
        staging = place.with_name(f".reading-{name}")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        verdicts = land([path], formats.chosen("feed", None, None), Target(staging), Limits(day))
        told = [_told(one, staging) for one in verdicts]
        (staging / DONE).write_text(json.dumps(told, ensure_ascii=False, sort_keys=True), encoding="utf-8")
        staging.rename(place)
    found: list[dict[str, Any]] = json.loads((place / DONE).read_text(encoding="utf-8"))
    return place, found


def _told(verdict: Verdict, folder: Path) -> dict[str, Any]:
    """A verdict, the entity it is about, and where its records lie: none when it was refused or had no good row."""
    told = {name: getattr(verdict, name) for name in ("file_name", "state", "code", "reason")}
    told |= {"records": verdict.record_cnt, "bad_rows": verdict.bad_row_cnt, "entity": None, "records_in": None}
    records = folder / str(verdict.folder) / "records.parquet"
    if verdict.state == ACCEPTED and records.exists():
        columns = pq.read_schema(records).names
        fits = [one.name for one in feed.entities().values() if record_schema(one.layout).names == columns]
        told |= {"entity": fits[0], "records_in": str(records.relative_to(folder))}
    return told


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name != "records_in"}


def _faults(places: Sequence[Path]) -> dict[str, int]:
    """Offending rows by the check that found them."""
    import duckdb

    with duckdb.connect() as engine:
        for entity in feed.entities().values():
            engine.register(f"no_{entity.name}", record_schema(entity.layout).empty_table())
            _view(engine, entity.name, places)
        names = {entity.name: f'"{entity.name}"' for entity in feed.entities().values()}
        counts = {
            check.name: int(engine.sql(f"select count(*) from ({check.sql.format(**names)}) r").fetchall()[0][0])
            for check in load_suite(SUITE)
        }
    return {name: rows for name, rows in counts.items() if rows}


def _view(engine: duckdb.DuckDBPyConnection, name: str, places: Sequence[Path]) -> None:
    """All records of an entity that were read, as one view; without any, an empty one of its columns."""
    paths = [
        str(place / one["records_in"])
        for place in places
        for one in json.loads((place / DONE).read_text(encoding="utf-8"))
        if one["entity"] == name
    ]
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    source = f"read_parquet([{listed}])" if paths else f'"no_{name}"'
    engine.execute(f'create view "{name}" as select * from {source}')
