"""`fundwatch outside run | list | show | dead | replay | skip | release`: deliveries to platforms, core banking and gateways."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fundwatch.output import console, emit

Json = Annotated[bool, typer.Option("--json", help="one JSON object as the last line")]
_LIST = """SELECT delivery_id, target, event_id, topic, subject, state, tries, reason, made_at::text, settled_at::text
FROM outside.delivery WHERE (%(state)s::text IS NULL OR state = %(state)s) AND (%(target)s::text IS NULL OR target = %(target)s)
ORDER BY delivery_id DESC LIMIT %(limit)s"""
_SHOW = """SELECT to_jsonb(d) - 'lease' - 'payload' || jsonb_build_object('attempts', (
  SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.attempt_id), '[]')
  FROM outside.delivery_attempt a WHERE a.delivery_id = d.delivery_id)) AS delivery
FROM outside.delivery d WHERE d.delivery_id = %(id)s"""


def register(app: typer.Typer) -> None:
    """Add the group `outside`."""
    group = typer.Typer(no_args_is_help=True, help="Deliveries to the outside: what went, what waits, what is dead.")
    for name, command in (
        ("run", run),
        ("list", list_),
        ("show", show),
        ("dead", dead),
        ("replay", replay),
        ("skip", skip),
        ("release", release),
    ):
        group.command(name)(command)
    app.add_typer(group, name="outside")


def run(
    port: Annotated[int | None, typer.Option(help="answer /livez /readyz /metrics on this port of loopback")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64)] = 4,
) -> None:
    """Deliver until stopped, in the foreground; any number of these may run."""
    from fundwatch.settings import load
    from transactional.outside import serve

    serve.run(load(), port, workers)


def list_(
    state: Annotated[str | None, typer.Option(help="PENDING, DELIVERED, DEAD or SKIPPED")] = None,
    target: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """Targets with what waits, and the newest deliveries."""
    from domain.errors import WrongUse
    from fundwatch.settings import load
    from transactional.outside import serve

    if state not in (None, "PENDING", "DELIVERED", "DEAD", "SKIPPED"):
        raise WrongUse(f"there is no state {state!r}")
    deliveries = _rows(_LIST, state=state, target=target, limit=limit)
    emit({"targets": serve.look(load()), "deliveries": deliveries}, as_json, _tables)


def dead(target: Annotated[str | None, typer.Option()] = None, as_json: Json = False) -> None:
    """The newest 1,000 dead deliveries; exit code 10 when there is one."""
    from domain.errors import CheckFailed

    found = _rows(_LIST, state="DEAD", target=target, limit=1000)
    emit({"deliveries": found}, as_json, lambda result: _tables({"targets": [], **result}))
    if found:
        raise CheckFailed("a delivery is dead: mend its cause and `fundwatch outside replay`, or `skip` it")


def show(delivery_id: int, as_json: Json = False) -> None:
    """One delivery with every try; what it says is left out."""
    from domain.errors import BadInput

    found = _rows(_SHOW, id=delivery_id)
    if not found:
        raise BadInput(f"there is no delivery {delivery_id}")
    emit(found[0]["delivery"], as_json, lambda result: console.print_json(data=result))


def replay(
    target: str,
    first: Annotated[int, typer.Option("--from", min=1, help="first event")],
    last: Annotated[int | None, typer.Option("--to", min=1, help="last event; left out: that one event")] = None,
    subject: Annotated[str | None, typer.Option(help="only deliveries of this subject")] = None,
    as_json: Json = False,
) -> None:
    """Send again, in order, what is settled of a range of events."""
    found = _rows(
        "SELECT outside.replay(%(target)s, %(first)s, %(last)s, %(subject)s, 'console') AS deliveries",
        **{"target": target, "first": first, "last": last or first, "subject": subject},
    )
    done = found[0]["deliveries"]
    emit({"deliveries": done, "skipped": done == 0}, as_json, lambda _: console.print(f"{done} deliveries are sent again"))


def skip(delivery_id: int, reason: Annotated[str, typer.Option(help="why it is passed over")], as_json: Json = False) -> None:
    """Pass over a dead delivery, so that its subject goes on."""
    _rows("SELECT outside.skip(%(id)s, %(reason)s, 'console')", id=delivery_id, reason=reason)
    emit({"delivery_id": delivery_id, "state": "SKIPPED"}, as_json, lambda _: console.print(f"{delivery_id} is passed over"))


def release(
    folder: Annotated[str, typer.Argument(help="PACK/PLATFORM/YYYY-MM/vN under reports/")], as_json: Json = False
) -> None:
    """Hand a signed bundle over to the regulator's drop points that listen to `report.released`."""
    import hashlib
    import json

    from domain.errors import BadInput
    from fundwatch.settings import load

    path = load().reports_dir / folder / "manifest.json"
    if not path.is_file() or not path.with_name("manifest.json.sig").is_file():
        raise BadInput(f"{folder} is no signed bundle")
    parts = folder.strip("/").split("/")
    payload = {"folder": "/".join(parts), "manifest_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    platform = _rows("SELECT platform_id FROM registry.platform WHERE platform_id = ANY(%(parts)s)", parts=parts)
    _rows(
        "SELECT outbox.append('report.released', %(platform)s, %(subject)s, %(payload)s::jsonb)",
        **{
            "platform": platform[0]["platform_id"] if platform else None,
            "subject": "/".join(parts[:2]),
            "payload": json.dumps(payload),
        },
    )
    emit(payload, as_json, lambda _: console.print(f"{folder} is released"))


def _rows(query: str, **values: Any) -> list[dict[str, Any]]:
    """Rows of a query in one transaction of role service; a refusal raised in SQL is BadInput."""
    import psycopg
    from psycopg.rows import dict_row

    from domain.errors import BadInput, ServiceMissing
    from fundwatch.settings import load

    try:
        with psycopg.connect(load().database_url("service"), connect_timeout=10, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), values).fetchall()
    except psycopg.Error as error:
        if error.sqlstate == "FW422":
            raise BadInput(f"{error.diag.message_primary}: {error.diag.message_detail}") from None
        if isinstance(error, psycopg.OperationalError):
            raise ServiceMissing(f"PostgreSQL does not answer: {str(error).strip()}") from None
        raise


def _tables(result: dict[str, Any]) -> None:
    from rich.table import Table

    for title, columns in (
        ("targets", ("target", "adapter", "is_enabled", "pending", "dead", "oldest_age_s")),
        ("deliveries", ("delivery_id", "target", "event_id", "topic", "subject", "state", "tries", "reason")),
    ):
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in result[title]:
            table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
        console.print(table)
