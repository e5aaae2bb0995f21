"""`fundwatch setup | up | down | status`: the parts we download, and the services on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fundwatch.output import console, emit

if TYPE_CHECKING:
    from fundwatch.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="one JSON object as the last line")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def setup(
        pages: Annotated[bool, typer.Option("--pages", help="also Chromium, for the tests of the pages")] = False,
        as_json: Json = False,
    ) -> None:
        """Fetch the jars of Spark and HBase, compile our Java, and what PDF reports need; what is there already is kept."""
        from fundwatch.services import jars, system
        from fundwatch.settings import load

        if pages:
            system.require(*system.FOR_PAGES)
        system.require(*system.FOR_REPORTS)
        made = jars.set_up(load())
        words = {name: "made" if new else "there" for name, new in made.items()}
        emit({**words, "skipped": not any(made.values())}, as_json, lambda _: _lines(words))

    @app.command()
    def up(
        only: Annotated[list[str] | None, typer.Option(help="start only this service; may be repeated")] = None,
        airflow: Annotated[bool, typer.Option("--airflow", help="also Airflow: the nights by themselves at their time")] = False,
        outside: Annotated[bool, typer.Option("--outside", help="also send webhooks, payments, notices")] = False,
        as_json: Json = False,
    ) -> None:
        """Start the local services: postgres, hbase, spark, api, web; with --airflow the scheduler and the watchdog too."""
        from fundwatch.services import local
        from fundwatch.settings import load

        done = local.up(load(), only or (), airflow, outside)
        skipped = "started" not in done.values()
        emit({"services": done, "skipped": skipped}, as_json, lambda _: _lines(done))

    @app.command()
    def down(as_json: Json = False) -> None:
        """Stop the services that `up` started."""
        from fundwatch.services import local
        from fundwatch.settings import load

        stopped = local.down(load())
        words = {name: "stopped" if was else "was not running" for name, was in stopped.items()}
        emit({"services": words, "skipped": not any(stopped.values())}, as_json, lambda _: _lines(words))

    @app.command()
    def status(as_json: Json = False) -> None:
        """Service, state, pid, address, memory, since; how far the ledger is sealed, and when it was verified."""
        from fundwatch.services import local
        from fundwatch.settings import load

        settings = load()
        services = local.as_json(local.status(settings))
        deliveries = (
            _deliveries(settings) if any(one["service"] == "outside" and one["state"] == "running" for one in services) else []
        )
        addresses = [str(one["address"]) for one in services if one["service"] == "api" and one["state"] == "running"]
        ledger = _ledger(addresses[0] if addresses else None)
        verifications = _verifications(settings)
        told = {"services": services, "ledger": ledger, "verifications": verifications, "deliveries": deliveries}
        emit({"home": str(settings.home), **told}, as_json, _table)


def _ledger(address: str | None) -> dict[str, Any] | None:
    """How far the seal reaches and how long movements wait for it, as the running service says; None when it does not answer."""
    import httpx2

    if address is None:
        return None
    try:
        answer = httpx2.get(f"http://{address}/readyz", timeout=5)
        return dict(answer.raise_for_status().json())
    except httpx2.HTTPError:
        return None


def _verifications(settings: Settings) -> dict[str, Any]:
    """The newest verification of all the ledger and since an anchor; nothing when there is none or no database to ask."""
    import psycopg

    from domain.errors import ServiceMissing
    from fundwatch.ledger_check import newest_verifications

    try:
        return dict(newest_verifications(settings))
    except (ServiceMissing, psycopg.Error):  # not migrated yet
        return {}


def _deliveries(settings: Settings) -> list[dict[str, Any]]:
    """What waits for each target and what is dead; nothing when the database does not answer: its line says so."""
    from domain.errors import ServiceMissing
    from transactional.outside.serve import look

    try:
        return look(settings)
    except ServiceMissing:
        return []


def _lines(words: Mapping[str, str]) -> None:
    for name, word in words.items():
        console.print(f"{name:<18}{word}")


def _table(result: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=str(result["home"]), title_justify="left")
    for column in ("service", "state", "pid", "address", "memory", "since (UTC)"):
        justify = "right" if column in {"pid", "memory"} else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column == "service")  # type: ignore[arg-type]
    for row in result["services"]:
        memory = "" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1_000_000:,.0f} MB"
        values = ("" if row[key] is None else str(row[key]) for key in ("pid", "address"))
        table.add_row(row["service"], row["state"], *values, memory, (row["since"] or "").removesuffix("+00:00"))
    console.print(table)
    if result["ledger"] is not None:
        seal = "ledger: sealed to number {ledger_no_to}, {unsealed} movements wait, none for more than {unsealed_window_s} s"
        console.print(seal.format(**result["ledger"]))
        live = "live reconciliation: {platforms} platforms tell, {waiting} lines wait, {breaks} are breaks, {lag_s} s behind"
        console.print(live.format(**result["ledger"]["live"]))
    for name, words in (("full", "verified in full"), ("since_anchor", "verified since an anchor")):
        if (last := result["verifications"].get(name)) is not None:
            verdict = "clean" if last["faults"] == 0 else f"{last['faults']} faults, the first in {last['first_fault']}"
            console.print(f"ledger: {words} {last['ended_at'][:16]}Z, {last['movements']} movements: {verdict}")
    for one in result["deliveries"]:
        console.print(
            f"to {one['target']}: {one['pending']} wait, the oldest for {one['oldest_age_s']} s; {one['dead']} are dead"
        )
