"""Sending what a published run found to platforms and payment companies, and keeping what became of it (contracts section 3)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from domain.errors import BadInput, Failed
from fundwatch.outbound_rows import Scope, Source, query_of, scratch_database
from fundwatch.settings import Settings
from ingest.acknowledgement import Answer, read_acknowledgement
from ingest.outbound import Body, Sent, folder_of, sha256_of, write_body, write_file, write_manifest
from lake.postgres import connection

if TYPE_CHECKING:
    import pyarrow as pa

Database = psycopg.Connection[Any]
_ONE_SENDER = 0x46574E_53454E44  # "FWNSEND": one process sends at a time
OF_ANY_STATE, OF_COMPLETE = ("confirmation", "notice"), ("results", "breaks")

# files are told about whatever became of the date; results and breaks come from complete versions only
_RUNS = """
select n.platform_id, n.run_id as newest_run_id, w.run_id as complete_run_id
  from run.newest n left join mart.winner w using (platform_id, business_date)
 where n.business_date = %(day)s and (%(platform_id)s::text is null or n.platform_id = %(platform_id)s)
 order by n.platform_id"""
_COMPANIES = "select paycom_id from night.payment_company where platform_id = %s order by paycom_id"
_NEWEST = """
select outbound_id, run_id, sequence_no, file_name, sha256, body_sha256, replaces_sequence_no from files.outbound
 where receiver_id = %s and platform_id = %s and kind = %s and business_date = %s order by sequence_no desc limit 1"""
_OF_DATE = """
select platform_id, kind, sequence_no, replaces_sequence_no, row_count, control_sum, sha256
  from files.outbound where receiver_id = %s and business_date = %s"""
_LISTED = """
select outbound_id, receiver_id, platform_id, kind, business_date, run_id, sequence_no, replaces_sequence_no,
       replaced_by_sequence_no, file_name, sha256, row_count, control_sum, state, reason,
       written_at, state_at
  from files.outbound_state
 where (%(day)s::date is null or business_date = %(day)s) and (%(receiver_id)s::text is null or receiver_id = %(receiver_id)s)
   and (%(state)s::text is null or state = %(state)s) and (%(file_name)s::text is null or file_name = %(file_name)s)
 order by business_date desc, receiver_id, kind, sequence_no limit %(limit)s"""


class SentAlready(BadInput):
    """The same content was sent before under another number: it is confirmed once (error 100008 of the check files)."""


@dataclass(frozen=True)
class _Due:
    """One file to be sent: for whom, about what, from which run."""

    scope: Scope
    kind: str


def send(
    settings: Settings, to: date, platform_id: str | None = None, source: Source | None = None, actor: str = "files"
) -> dict[str, Any]:
    """Send every receiver its files of business date `to`; what was sent before with the same content is not sent again.

    ``{"business_date", "sent": [{receiver_id, platform_id, kind, file_name, sequence_no, state, …}], "written", "unchanged"}``.
    Killed and run again it goes on with the same numbers and bytes. BadInput: the date is not published. Failed: a published
    run tells something else than it told before, or another process is sending.
    """
    told: list[dict[str, Any]] = []
    with _sending(settings) as database, tempfile.TemporaryDirectory(prefix="fundwatch-outbound-") as folder:
        due = _due(database, to, platform_id)
        for receiver_id in sorted({file.scope.receiver_id for file in due}):
            mine = [file for file in due if file.scope.receiver_id == receiver_id]
            for file in mine:
                told.append(_send_one(database, settings, file, source or _Lake(settings), Path(folder), actor))
            _manifest(database, settings, receiver_id, to)
    written = sum(entry["state"] == "WRITTEN" for entry in told)
    return {
        "business_date": to.isoformat(),
        "sent": told,
        "written": written,
        "unchanged": len(told) - written,
        "skipped": written == 0 and all(entry["state"] == "SENT_ALREADY" for entry in told),
    }


def resend(
    settings: Settings, file_name: str, receiver_id: str, source: Source | None = None, actor: str = "files"
) -> dict[str, Any]:
    """Write a file again under the number it has, with the bytes it had, from the run that it was made of.

    BadInput: there is no such file, or its receiver acknowledged it. Failed: the run's rows give other bytes than then.
    """
    with _sending(settings) as database, tempfile.TemporaryDirectory(prefix="fundwatch-outbound-") as folder:
        row = _named(database, receiver_id, file_name)
        if row["state"] == "ACKNOWLEDGED":
            raise BadInput(
                f"{receiver_id} acknowledged {file_name} on {row['state_at']:%Y-%m-%d}: there is nothing to send again"
            )
        due = _Due(_scope(database, receiver_id, row["platform_id"], row["business_date"], row["run_id"]), row["kind"])
        with database.transaction():
            _restore(settings, due, row, _body(database, due, source or _Lake(settings), Path(folder)))
            _note(database, row["outbound_id"], "RESENT", actor, None)
        _manifest(database, settings, receiver_id, row["business_date"])
    return {"receiver_id": receiver_id, "file_name": file_name, "sequence_no": row["sequence_no"], "state": "RESENT"}


def acknowledge(settings: Settings, path: Path) -> dict[str, Any]:
    """Take a receiver's acknowledgement: all of its lines or none.

    The same acknowledgement again changes nothing. BadInput names the line that is wrong: another hash, a file that was not
    sent to this receiver, a verdict against one given before.
    """
    said = read_acknowledgement(path)
    with connection(settings) as database, _refusals():
        changed = [_answered(database, path.name, said.receiver_id, answer) for answer in said.answers]
    return {"receiver_id": said.receiver_id, "answers": len(changed), "changed": sum(changed), "skipped": not any(changed)}


def listed(
    settings: Settings, day: date | None = None, receiver_id: str | None = None, state: str | None = None, limit: int = 200
) -> list[dict[str, Any]]:
    """Files sent with their states, newest dates first; `is_there` says whether the file lies where it was put."""
    with connection(settings) as database:
        values = {"day": day, "receiver_id": receiver_id, "state": state, "limit": limit, "file_name": None}
        rows = database.cursor(row_factory=dict_row).execute(_LISTED, values).fetchall()
    for row in rows:
        row["control_sum"] = int(row["control_sum"])
        row["is_there"] = _path(settings, row).is_file()
    return rows


class _Lake:
    """Published rows from the lake, without Spark."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, table: str, run_id: int, business_date: date) -> pa.RecordBatchReader:
        from lake import reader

        return reader.stream(self.settings, table, run_id, business_date)


@contextmanager
def _sending(settings: Settings) -> Iterator[Database]:
    """The one process that sends, on a connection in which each file is a transaction of its own."""
    with connection(settings, autocommit=True) as database, _refusals():
        row = database.execute("select pg_try_advisory_lock(%s)", [_ONE_SENDER]).fetchone()
        if row is None or not row[0]:
            raise Failed("another process is sending files: wait for it and try again")
        yield database


@contextmanager
def _refusals() -> Iterator[None]:
    """Refusals of the database as errors that people read; others stay what they are."""
    try:
        yield
    except psycopg.Error as error:
        code = error.diag.message_primary or ""
        if not (error.sqlstate or "").startswith("FW"):
            raise
        what = error.diag.message_detail or ""
        if code == "SENT_ALREADY":
            raise SentAlready(f"the same content was sent before: {what}") from None
        if code in ("OTHER_CONTENT_OF_RUN", "SEQUENCE_TAKEN"):
            raise Failed(f"{code}: {what}") from None
        raise BadInput(f"{code}: {what}") from None


def _due(database: Database, day: date, platform_id: str | None) -> list[_Due]:
    """Every file of a date: results and breaks where a version is complete, confirmation and notice always."""
    runs = database.execute(_RUNS, {"day": day, "platform_id": platform_id}).fetchall()
    if not runs:
        raise BadInput(f"{day}{f' of {platform_id}' if platform_id else ''} is not published: there is nothing to send")
    due: list[_Due] = []
    for platform, newest, complete in runs:
        for receiver in [platform, *_companies(database, platform)]:
            for kind in (*OF_COMPLETE, *OF_ANY_STATE):
                run_id = complete if kind in OF_COMPLETE else newest
                if run_id is not None:
                    due.append(_Due(_scope(database, receiver, platform, day, run_id), kind))
    return due


def _companies(database: Database, platform_id: str) -> list[str]:
    return [row[0] for row in database.execute(_COMPANIES, [platform_id])]


def _scope(database: Database, receiver_id: str, platform_id: str, day: date, run_id: int) -> Scope:
    role = "PLATFORM" if receiver_id == platform_id else "PAYMENT_COMPANY"
    return Scope(receiver_id, role, platform_id, day, run_id, len(_companies(database, platform_id)) == 1)


def _body(database: Database, due: _Due, source: Source, folder: Path) -> Body:
    def runs_of(dates: Sequence[date]) -> dict[date, int]:
        query = "select business_date, run_id from mart.winner where platform_id = %s and business_date = any(%s)"
        return dict(database.execute(query, [due.scope.platform_id, dates]).fetchall())

    with scratch_database(folder) as scratch:
        return write_body(scratch, due.kind, query_of(scratch, due.kind, due.scope, source, runs_of), folder)


def _send_one(database: Database, settings: Settings, due: _Due, source: Source, folder: Path, actor: str) -> dict[str, Any]:
    scope, body = due.scope, _body(database, due, source, folder)
    told = {"receiver_id": scope.receiver_id, "platform_id": scope.platform_id, "kind": due.kind, "rows": body.row_count}
    with database.transaction():
        taken = database.execute("select files.take_number(%s, %s)", [scope.receiver_id, due.kind]).fetchone()
        assert taken is not None
        key = [scope.receiver_id, scope.platform_id, due.kind, scope.business_date]
        before = database.cursor(row_factory=dict_row).execute(_NEWEST, key).fetchone()
        if before is not None and before["body_sha256"] == body.sha256:
            _restore(settings, due, before, body)
            return {**told, "file_name": before["file_name"], "sequence_no": before["sequence_no"], "state": "SENT_ALREADY"}
        if before is not None and before["run_id"] >= scope.run_id:
            place = f"{scope.receiver_id} of {scope.business_date}"
            raise Failed(f"run {scope.run_id} tells other {due.kind} to {place} than it, or a later one, told before")
        sent = _sent(settings, due, taken[0], before["sequence_no"] if before else None, body)
        sha256 = write_file(settings.outbound_dir, sent, body)
        figures = [taken[0], sent.file_name, sha256, body.sha256, body.row_count, body.control_sum, actor]
        values = [*key[:3], scope.business_date, scope.run_id, *figures]
        database.execute("select files.put_down(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", values)
    return {**told, "file_name": sent.file_name, "sequence_no": sent.sequence_no, "state": "WRITTEN"}


def _sent(settings: Settings, due: _Due, number: int, replaces: int | None, body: Body) -> Sent:
    scope = due.scope
    places = (scope.receiver_id, scope.platform_id, due.kind, scope.business_date)
    return Sent(settings.bank_id, *places, number, replaces, body.row_count, body.control_sum)


def _restore(settings: Settings, due: _Due, row: Mapping[str, Any], body: Body) -> None:
    """See to it that a file on record lies there with the bytes on record, whatever happened to it meanwhile."""
    sent = _sent(settings, due, row["sequence_no"], row["replaces_sequence_no"], body)
    place = folder_of(settings.outbound_dir, sent.receiver_id, sent.business_date) / sent.file_name
    if sha256_of(place) == row["sha256"]:
        return
    if write_file(settings.outbound_dir, sent, body) != row["sha256"]:
        place.unlink()
        raise Failed(f"run {row['run_id']} no longer gives the bytes of {sent.file_name}: sha256 {row['sha256']} is on record")


def _manifest(database: Database, settings: Settings, receiver_id: str, day: date) -> None:
    rows = database.cursor(row_factory=dict_row).execute(_OF_DATE, [receiver_id, day]).fetchall()
    whose = {"sender_id": settings.bank_id, "receiver_id": receiver_id, "business_date": day}
    files = [Sent(**{**whose, **row, "control_sum": int(row["control_sum"])}) for row in rows]
    write_manifest(settings.outbound_dir, receiver_id, day, files)


def _named(database: Database, receiver_id: str, file_name: str) -> dict[str, Any]:
    values = {"day": None, "receiver_id": receiver_id, "state": None, "file_name": file_name, "limit": 2}
    row = database.cursor(row_factory=dict_row).execute(_LISTED, values).fetchone()
    if row is None:
        raise BadInput(f"no file {file_name} was sent to {receiver_id}")
    return row


def _answered(database: Database, name: str, receiver_id: str, answer: Answer) -> bool:
    place = f"{name}: line {answer.line_no}"
    try:
        row = _named(database, receiver_id, answer.file_name)
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None
    if row["sha256"] != answer.sha256:
        raise BadInput(f"{place}: {answer.file_name} was sent with sha256 {row['sha256']}, not {answer.sha256}")
    is_same = row["state"] == answer.verdict and row["reason"] == answer.reason
    if not is_same and row["state"] in ("ACKNOWLEDGED", "REJECTED"):
        was = f"{row['state']} since {row['state_at']:%Y-%m-%d}"
        raise BadInput(f"{place}: {answer.file_name} is {was}; it cannot be {answer.verdict} now")
    return _note(database, row["outbound_id"], answer.verdict, receiver_id, answer.reason)


def _note(database: Database, outbound_id: int, state: str, actor: str, reason: str | None) -> bool:
    row = database.execute("select files.note_outbound(%s, %s, %s, %s)", [outbound_id, state, actor, reason]).fetchone()
    assert row is not None
    return bool(row[0])


def _path(settings: Settings, row: Mapping[str, Any]) -> Path:
    return folder_of(settings.outbound_dir, row["receiver_id"], row["business_date"]) / str(row["file_name"])
