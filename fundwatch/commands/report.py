"""`fundwatch report build | verify | explain`: signed reports for supervisors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

_JSON = typer.Option(False, "--json", help="One JSON object as the last line.")


def register(app: typer.Typer) -> None:
    """Add the group `report`."""
    group = typer.Typer(no_args_is_help=True, help=__doc__)
    group.command("build")(build)
    group.command("verify")(verify)
    group.command("explain")(explain)
    app.add_typer(group, name="report")


def build(
    pack: str = typer.Option("CN_2017", help="Rule pack."),
    platform: str = typer.Option(..., help="Platform, for example P01."),
    period: str = typer.Option(..., help="Month, YYYY-MM; figures are as of its last date."),
    as_json: bool = _JSON,
) -> None:
    """Build, render and sign the report of a published month; exit code 10 when its figures contradict each other."""
    from domain.errors import CheckFailed
    from domain.packs import Pack
    from fundwatch.output import console, emit
    from fundwatch.settings import load
    from reports.bundle import build as build_bundle
    from reports.bundle import failed_rules
    from reports.published import publication, rows_of

    settings, rules = load(), Pack.of(pack)
    source = publication(settings, platform, period, rules.pack_id)
    folder, is_new = build_bundle(rules, source, period, rows_of(settings, source), settings.reports_dir)
    failed = failed_rules(folder)
    result: dict[str, Any] = {"folder": str(folder), "run_id": source.run_id, "skipped": not is_new, "failed_rules": failed}
    emit(result, as_json, lambda _: console.print(f"{folder}" + ("" if is_new else " (unchanged)"), soft_wrap=True))
    if failed:
        raise CheckFailed(f"{folder} should not be sent: {'; '.join(failed)}")


def verify(
    folder: Path = typer.Argument(..., help="A bundle's folder."),
    certificate: Path | None = typer.Option(None, help="Certificate (PEM) to trust; default: this installation's."),
    as_json: bool = _JSON,
) -> None:
    """Prove a bundle offline: signature, hashes, and every figure from its rows; exit code 10 names what does not agree."""
    from fundwatch.output import console, emit
    from fundwatch.settings import load
    from reports.signing import trusted_certificate
    from reports.verify import verify as verify_bundle

    def shown(result: dict[str, Any]) -> None:
        rules = result["rules"]
        console.print(
            f"{result['figures']} figures and {result['files']} files agree; {rules['PASSED']} rules hold,"
            f" {rules['NOT_CHECKED']} could not be checked, {rules['FAILED']} need an explanation",
            soft_wrap=True,
        )
        console.print(f"signed by the holder of the certificate with sha256 {result['certificate_sha256']}", soft_wrap=True)

    emit(verify_bundle(folder, trusted_certificate(load(), certificate)), as_json, shown)


def explain(
    folder: Path = typer.Argument(..., help="A bundle's folder."),
    code: str = typer.Argument(..., help="Code of a figure, for example OVD_AMT."),
    as_json: bool = _JSON,
) -> None:
    """Say how a figure came about: formula, law, numerator and denominator, queries and rows."""
    from fundwatch.output import console, emit
    from reports.explain import explain as explain_figure
    from reports.explain import text

    emit(explain_figure(folder, code), as_json, lambda result: console.print(text(result), soft_wrap=True, markup=False))
