"""Files in, verdicts out: each file lands whole or not at all (spec 07 section 7.6)."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from domain.errors import BadInput
from ingest.statements.checks import Before, controlled
from ingest.statements.formats import Format
from ingest.statements.model import Statement
from ingest.statements.refusal import Refused
from ingest.statements.source import Content, Limits, contents
from ingest.statements.staged import Staged, as_json

ACCEPTED, REFUSED = "ACCEPTED", "REFUSED"
REFUSALS = "refused"


@dataclass(frozen=True)
class Verdict:
    """What became of one file: read with these figures, or refused with one sentence and its place."""

    file_name: str
    state: str
    sha256: str | None = None
    size_bytes: int | None = None
    format: str | None = None
    code: str | None = None
    reason: str | None = None
    line_no: int | None = None
    column_no: int | None = None
    statements: list[dict[str, Any]] = field(default_factory=list)
    entry_cnt: int = 0
    part_cnt: int = 0
    record_cnt: int = 0
    bad_row_cnt: int = 0
    folder: str | None = None

    @property
    def is_clean(self) -> bool:
        """Whether nothing of the file was refused, not even a row."""
        return self.state == ACCEPTED and not self.bad_row_cnt


@dataclass(frozen=True)
class Target:
    """Where files land: a folder (None: nowhere, only a verdict is wanted) and whether JSON Lines are written, too."""

    folder: Path | None
    is_json: bool = False
    is_parquet: bool = True


def land(
    paths: Iterable[Path], find: Callable[[Content], Format], target: Target, limits: Limits, before: Before | None = None
) -> Iterator[Verdict]:
    """Land files in the order given; a statement that follows another one must fit to it."""
    known = before or Before()
    with _alone(target.folder):
        if target.folder:
            remember(target.folder, known)
        yield from _land_all(paths, find, target, limits, known)


@contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """One landing at a time into a folder: else two could both follow the same last statement."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _land_all(
    paths: Iterable[Path], find: Callable[[Content], Format], target: Target, limits: Limits, known: Before
) -> Iterator[Verdict]:
    for path in paths:
        try:
            for content in contents(path, limits):
                if isinstance(content, Refused):
                    yield _unread(content, target)
                else:
                    yield _land(content, find, target, known)
        except Refused as refused:
            yield _unread(refused, target)


def _unread(refused: Refused, target: Target) -> Verdict:
    """The verdict of what could not even be opened; its content has no hash."""
    verdict = _refusal(refused, None)
    if target.folder:
        _note(target.folder, verdict)
    return verdict


def remember(folder: Path, known: Before) -> None:
    """Extend `known` by what landed in a folder before; raises BadInput when a table in it cannot be read."""
    for path in sorted(folder.glob("*/verdict.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            known.hashes[said["sha256"]] = said["file_name"]
            for row in said["statements"]:
                known.add(_statement(row))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} is no verdict of a file that landed ({error})") from None


def _statement(row: dict[str, Any]) -> Statement:
    days = {name: date.fromisoformat(row[name]) if row[name] else None for name in ("period_from", "period_to")}
    return Statement(**{**row, **days})


def _land(content: Content, find: Callable[[Content], Format], target: Target, known: Before) -> Verdict:
    try:
        if content.sha256 in known.hashes:
            raise Refused(
                "DUPLICATE", content.place, f"the content is that of {known.hashes[content.sha256]}, which landed before"
            )
        form = find(content)
        with _staging(target.folder, content) as folder:
            verdict, statements = _read(content, form, folder, known, _landed_entries(target.folder))
            if target.folder:
                verdict = _commit(content, target, folder, verdict)
    except Refused as refused:
        verdict = _refusal(refused, content)
        if target.folder:
            _note(target.folder, verdict)
        return verdict
    known.hashes[content.sha256] = content.file_name
    for statement in statements:
        known.add(statement)
    return verdict


def _landed_entries(folder: Path | None) -> list[Path]:
    return sorted(folder.glob("*/entries.parquet")) if folder else []


def _read(content: Content, form: Format, folder: Path, known: Before, landed: list[Path]) -> tuple[Verdict, list[Statement]]:
    with Staged(folder, content) as staged:
        for event in controlled(content, form.read(content), known):
            staged.add(event)
        counts = {name: staged.rows(name) for name in ("entries", "parts", "records")}
        staged.finish()
        staged.refuse_repeats(form.name, form.layout.unique if form.layout else [])
        if form.name == "ofx":
            staged.refuse_overlap(landed)
    return Verdict(
        content.file_name,
        ACCEPTED,
        content.sha256,
        content.size_bytes,
        form.name,
        statements=[_shown(statement) for statement in staged.statements],
        entry_cnt=counts["entries"],
        part_cnt=counts["parts"],
        record_cnt=counts["records"],
        bad_row_cnt=staged.bad_row_cnt,
    ), staged.statements


def _shown(statement: Statement) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in vars(statement).items()}


@contextmanager
def _staging(folder: Path | None, content: Content) -> Iterator[Path]:
    """A folder of its own on the same file system, gone afterwards unless it was renamed."""
    made = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _commit(content: Content, target: Target, folder: Path, verdict: Verdict) -> Verdict:
    """One rename: a reader of the target sees the whole file or nothing of it."""
    assert target.folder is not None
    if target.is_json:
        as_json(folder)
    if not target.is_parquet:
        for path in folder.glob("*.parquet"):
            path.unlink()
    shutil.rmtree(folder / "spill", ignore_errors=True)
    name = f"{_safe(content.file_name)}-{content.sha256[:12]}"
    named = Verdict(**{**vars(verdict), "folder": name})
    (folder / "verdict.json").write_text(json.dumps(vars(named), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    folder.chmod(0o755)
    try:
        folder.rename(target.folder / name)
    except OSError:
        raise Refused("DUPLICATE", content.place, f"{name} is there already") from None
    return named


def _note(folder: Path, verdict: Verdict) -> None:
    """A refusal is kept beside what landed, under the file's name and hash."""
    kept = folder / REFUSALS
    kept.mkdir(parents=True, exist_ok=True)
    path = kept / f"{_safe(verdict.file_name)}-{(verdict.sha256 or 'unread')[:12]}.json"
    path.write_text(json.dumps(vars(verdict), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _refusal(refused: Refused, content: Content | None) -> Verdict:
    return Verdict(
        content.file_name if content else refused.place.file_name,
        REFUSED,
        content.sha256 if content else None,
        content.size_bytes if content else None,
        code=refused.code,
        reason=str(refused),
        line_no=refused.place.line_no or None,
        column_no=refused.place.column_no or None,
    )


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-80:].lstrip(".") or "file"


def entries(folder: Path) -> pq.ParquetDataset:
    """All entries that landed in a folder, as one Arrow data set: what a reconciliation reads."""
    return pq.ParquetDataset([str(path) for path in _landed_entries(folder)])
