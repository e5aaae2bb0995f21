"""The daily reconciliation report of a platform and date: one document, as JSON and as signed PDF (spec 07 section 7.9).

The document is made by the database (`work.recon_report`), and its hash is what two people sign; here it is read and drawn.
Files: `reconciliation.json` (the very text that was hashed) and `reconciliation.{zh,en}.pdf` with that text attached.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from domain.errors import BadInput
from domain.money import format_minor
from fundwatch.settings import Settings
from lake.postgres import connection
from reports import pdf_signature
from reports.pdf import drawn
from reports.signing import Signer
from reports.texts import LANGUAGES, words

if TYPE_CHECKING:
    from jinja2 import Template

DOCUMENT = "reconciliation.json"
BUCKETS = ("0", "1", "2-3", "4-7", "8-30", ">30")


@dataclass(frozen=True)
class Reconciliation:
    """The document's exact text with its hash, its content, and who signed it (None: nobody yet)."""

    text: str
    sha256: str
    content: dict[str, Any]
    sign_off: dict[str, Any] | None


def read(settings: Settings, platform_id: str, day: date) -> Reconciliation:
    """The report of a published date as it stands now; BadInput when nothing of that platform and date is published."""
    with connection(settings) as database:
        known = database.execute("SELECT FROM run.newest WHERE platform_id = %s AND business_date = %s", [platform_id, day])
        if known.fetchone() is None:
            raise BadInput(f"nothing of {platform_id} on {day} is published")
        row = database.execute("SELECT work.recon_report(%s, %s)::text", [platform_id, day]).fetchone()
        assert row is not None
        content: dict[str, Any] = json.loads(row[0])
        signed = database.cursor(row_factory=dict_row).execute(
            """SELECT maker, checker, signed_at, encode(report_sha256, 'hex') AS report_sha256 FROM work.recon_sign_off
               WHERE platform_id = %s AND business_date = %s AND run_id = %s""",
            [platform_id, day, content["run_id"]],
        )
        return Reconciliation(row[0], sha256(row[0].encode()).hexdigest(), content, signed.fetchone())


def page(report: Reconciliation, language: str) -> str:
    """The report as HTML, complete in itself."""
    return _template().render(
        language=language,
        text=words(language)["reconciliation"],
        page_word=words(language)["page"],
        report=report.content,
        sha256=report.sha256,
        sign_off=report.sign_off,
        buckets=BUCKETS,
        breaks=_by_age(report.content["breaks"]),
        equations=_by_equation(report.content["equations"]),
        receipts=_receipts_by_age(report.content.get("unidentified_receipts")),
        special_account=report.content.get("special_account"),
        money=format_minor,
    )


def build(report: Reconciliation, signer: Signer, folder: Path) -> list[Path]:
    """Write the document and its PDFs into a folder, each whole or not at all; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    at = datetime.combine(date.fromisoformat(report.content["business_date"]), datetime.min.time(), UTC)
    files = {DOCUMENT: report.text.encode()}
    for language in LANGUAGES:
        content = drawn(page(report, language), report.text.encode(), DOCUMENT, at, language)
        reason = str(words(language)["reconciliation"]["title"])
        files[f"reconciliation.{language}.pdf"] = pdf_signature.sign(signer, content, reason)
    for name, content in files.items():
        _put(folder / name, content)
    return [folder / name for name in files]


def _put(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
        part.write(content)
        part.flush()
        os.fsync(part.fileno())
    Path(part.name).replace(path)


def _by_age(breaks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a code and currency: items, amount, net effect and overdue items, with the items of each age."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for part in breaks:
        line = lines.setdefault(
            (part["code"], part["currency"]),
            {
                "code": part["code"],
                "currency": part["currency"],
                "items": 0,
                "amount_minor": 0,
                "net": 0,
                "overdue": 0,
                "ages": {},
            },
        )
        line["items"] += part["items"]
        line["amount_minor"] += int(part["amount_minor"])
        line["net"] += int(part["net_effect_minor"])
        line["overdue"] += part["overdue"]
        line["ages"][part["age_bucket"]] = part["items"]
    return list(lines.values())


def _receipts_by_age(parts: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """One line a place and currency: receipts and their amount in all and of each age; None for a document without them."""
    if parts is None:
        return None
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for part in parts:
        key = (part["place"], part["currency"])
        line = lines.setdefault(key, {"place": key[0], "currency": key[1], "receipts": 0, "amount_minor": 0, "ages": {}})
        line["receipts"] += part["receipts"]
        line["amount_minor"] += int(part["amount_minor"])
        line["ages"][part["age_bucket"]] = (part["receipts"], int(part["amount_minor"]))
    return list(lines.values())


def _by_equation(terms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Equations with their terms and what is left."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for term in terms:
        key = (term["equation"], term["currency"])
        equation = found.setdefault(key, {"equation": key[0], "currency": key[1], "terms": [], "residual": 0})
        if term["is_residual"]:
            equation["residual"] = term["amount_minor"]
        else:
            equation["terms"].append(term)
    return list(found.values())


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("reports")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("reconciliation.html")
