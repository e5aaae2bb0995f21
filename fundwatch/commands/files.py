"""`fundwatch files`: which files the next night waits for, and the files that go out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fundwatch.commands.night import AsJson, Platform, maybe_date, parsed_date


def register(app: typer.Typer) -> None:
    """Add the group `files`."""
    group = typer.Typer(no_args_is_help=True, help="Files that come and go.")
    group.command("wait")(wait)
    group.command("collect")(collect)
    group.command("expected")(expected)
    group.command("send")(send)
    group.command("list")(list_)
    group.command("acknowledge")(acknowledge)
    group.command("resend")(resend)
    app.add_typer(group, name="files")


def wait(
    to: Annotated[str, typer.Option("--to", help="last business date the night would do, YYYY-MM-DD")],
    collects: Annotated[bool, typer.Option("--collect", help="first take what lies in the drop folders")] = False,
    as_json: AsJson = False,
) -> None:
    """Say once whether the files of every date not yet published have come; who waits asks again. Exit code 0 either way."""
    from fundwatch.collecting import collect_if_any
    from fundwatch.output import emit
    from fundwatch.settings import load
    from fundwatch.waiting import probe

    settings = load()
    taken = collect_if_any(settings) if collects else None
    emit(probe(settings, parsed_date(to)) | ({"taken": taken} if taken else {}), as_json, _show)


def collect(as_json: AsJson = False) -> None:
    """Move dropped files into the landing folder; what cannot be taken goes to quarantine with its reason."""
    from fundwatch import collecting
    from fundwatch.output import emit
    from fundwatch.settings import load

    emit(collecting.collect(load()), as_json, _show_collected)


def expected(
    date: Annotated[str, typer.Option("--date", help="business date, YYYY-MM-DD")],
    as_json: AsJson = False,
) -> None:
    """Each expected file of a date: due, arrived, late, accepted, refused, missing or waived, with its deadline."""
    from fundwatch import expected_files
    from fundwatch.output import emit
    from fundwatch.settings import load

    emit(expected_files.expected(load(), parsed_date(date)), as_json, _show_expected)


def send(
    to: Annotated[str, typer.Option("--to", help="business date whose results are sent, YYYY-MM-DD")],
    platform: Platform = None,
    as_json: AsJson = False,
) -> None:
    """Send platforms and payment companies what the published run of a date found: results, breaks, confirmation, notice."""
    from fundwatch import outbound
    from fundwatch.output import emit
    from fundwatch.settings import load

    emit(outbound.send(load(), parsed_date(to), platform), as_json, _show_sent)


def list_(
    date: Annotated[str | None, typer.Option("--date", help="one business date, YYYY-MM-DD")] = None,
    receiver: Annotated[str | None, typer.Option("--receiver", help="one receiver")] = None,
    state: Annotated[str | None, typer.Option("--state", help="WRITTEN, ACKNOWLEDGED, REJECTED or RESENT")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 200,
    as_json: AsJson = False,
) -> None:
    """Files that were sent, with what became of each."""
    from domain.errors import WrongUse
    from fundwatch import outbound
    from fundwatch.output import emit
    from fundwatch.settings import load

    if state not in (None, "WRITTEN", "ACKNOWLEDGED", "REJECTED", "RESENT"):
        raise WrongUse(f"there is no state {state!r}: it is WRITTEN, ACKNOWLEDGED, REJECTED or RESENT")
    emit({"files": outbound.listed(load(), maybe_date(date), receiver, state, limit)}, as_json, _show_listed)


def acknowledge(
    file: Annotated[Path, typer.Argument(help="a receiver's acknowledgement")],
    as_json: AsJson = False,
) -> None:
    """Take a receiver's acknowledgement: which of our files it took, which it refused and why. All of it or nothing."""
    from fundwatch import outbound
    from fundwatch.output import emit
    from fundwatch.settings import load

    emit(outbound.acknowledge(load(), file), as_json, _show_plain)


def resend(
    file: Annotated[str, typer.Argument(help="name of a file as `files list` shows it")],
    receiver: Annotated[str, typer.Option("--receiver", help="to whom it was sent")],
    as_json: AsJson = False,
) -> None:
    """Write a file again under the same number and with the same bytes."""
    from fundwatch import outbound
    from fundwatch.output import emit
    from fundwatch.settings import load

    emit(outbound.resend(load(), file, receiver), as_json, _show_plain)


def _show_plain(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    console.print("  ".join(f"{key} {value}" for key, value in result.items()), soft_wrap=True, markup=False)


def _show_collected(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for entry in result["collected"]:
        place = f"{entry['business_date']}/{entry['sender_id']}/{entry['file_name']}"
        console.print(f"{entry['outcome']:<9} {place}  arrived {entry['arrived_at']}", soft_wrap=True, markup=False)
    for entry in result["refused"]:
        line = f"REFUSED   {entry['sender_id']}/{entry['name']}  {entry['reason_code']}: {entry['reason']}"
        console.print(line, soft_wrap=True, markup=False)
    for entry in result["waiting"]:
        console.print(f"WAITING   {entry['sender_id']}/{entry['name']}: {entry['why']}", soft_wrap=True, markup=False)
    console.print(f"{len(result['collected'])} collected, {len(result['refused'])} refused, {len(result['waiting'])} waiting")


def _show_expected(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for row in result["files"]:
        told = [f"{row['state']:<9} {row['sender_id']:<8} {row['file_name']:<28} due {row['due_at']}"]
        told += [f"came {row['arrived_at']}"] if row["arrived_at"] else []
        told += ["late"] if row["is_late"] and row["state"] in ("ACCEPTED", "REFUSED") else []
        told += [row["reason"]] if row["reason"] else []
        console.print("  ".join(told), soft_wrap=True, markup=False)
    console.print(", ".join(f"{number} {state.lower()}" for state, number in result["counts"].items() if number))


def _show_sent(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for entry in result["sent"]:
        line = f"{entry['receiver_id']:<8} {entry['file_name']:<44} {entry['rows']:>10,} rows  {entry['state']}"
        console.print(line, soft_wrap=True, markup=False)
    console.print(f"{result['written']} written, {result['unchanged']} sent before with the same content")


def _show_listed(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for row in result["files"]:
        told = [
            f"{row['business_date']} {row['receiver_id']:<8} {row['file_name']:<44} {row['row_count']:>10,} rows  {row['state']}"
        ]
        told += [f"replaced by {row['replaced_by_sequence_no']}"] if row["replaced_by_sequence_no"] else []
        told += [row["reason"]] if row["reason"] else []
        told += [] if row["is_there"] else ["NOT THERE: `fundwatch files send` puts it back"]
        console.print("  ".join(told), soft_wrap=True, markup=False)


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    console.print(f"{'ready' if result['ready'] else 'not ready'}: {result['reason']}", soft_wrap=True, markup=False)
    for line in [*result["missing"], *result["advisory_missing"]]:
        console.print(f"  {line}", soft_wrap=True, markup=False)
    unlisted = result["missing_count"] - len(result["missing"])
    if unlisted:
        console.print(f"  and {unlisted} more")
    passed = "has passed" if result["deadline_passed"] else "is to come"
    console.print(f"deadline {result['deadline']} {passed}")
