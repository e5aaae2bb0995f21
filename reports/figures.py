"""The figure set: one report computed once as plain data, from which everything else is rendered (architecture section 9).

Every figure has one of three states: VALUE; UNDEFINED, a quotient whose denominator is zero; NOT_AVAILABLE, with the reason.
None is ever left out, and none is zero because it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from domain.calendars import Calendar
from domain.errors import BadInput
from domain.packs import Aggregate, Indicator, Metadata, Pack, Section, Source, Unit
from reports import evidence
from reports.distributions import overdue_by_bucket
from reports.evidence import Evidence
from reports.published import Publication

FIGURES = "figures.json"
FORMAT = "fundwatch.figure_set/2"
VALUE, UNDEFINED, NOT_AVAILABLE = "VALUE", "UNDEFINED", "NOT_AVAILABLE"
_PREFIX = {Section.REPORT: "", Section.ANNEX: "A", Section.OWN: "S"}
_ONCE = (Unit.DATE, Unit.FLAG, Unit.TEXT)

FigureSet = dict[str, Any]
Row = Mapping[str, Any]


def computed_rows(pack: Pack, source: Publication, rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """The pack's rows of lake table `indicator` by currency and code; BadInput when the run lacks what the pack defines."""
    mine = {(row["currency"], row["code"]): row for row in rows if row["pack_id"] == pack.pack_id}
    currencies = sorted({currency for currency, _ in mine})
    if not currencies:
        raise BadInput(f"run {source.run_id} has no figures of {pack.pack_id} for {source.platform_id} on {source.business_date}")
    missing = sorted({i.code for i in pack.computed for currency in currencies if (currency, i.code) not in mine})
    if missing:
        raise BadInput(
            f"run {source.run_id} lacks the figures {', '.join(missing)} of {pack.pack_id} version {pack.version}: it is older"
            f" than their definition; run {source.business_date} again, then build the report"
        )
    return mine


def figure_set(
    pack: Pack, source: Publication, period: str, computed: Mapping[tuple[str, str], Row], rows: Evidence
) -> FigureSet:
    """The figure set as plain data; `computed` as `computed_rows` gives it, `rows` the evidence that travels with it."""
    currencies = sorted({currency for currency, _ in computed})
    return {
        "format": FORMAT,
        "pack_id": pack.pack_id,
        "pack_version": pack.version,
        "pack_name": pack.name,
        "legal_ref": pack.legal_ref,
        "parameters": dict(pack.parameters),
        "platform_id": source.platform_id,
        "period": period,
        "as_of": source.business_date.isoformat(),
        "due_on": _due_on(pack, source),
        "known_as_of": source.known_as_of.astimezone(UTC).isoformat(),
        "zone": source.zone,
        "run_id": source.run_id,
        "published_version": source.version,
        "run_code_version": source.code_version,
        "ledger_no_to": source.ledger_no_to,
        **({"ledger_head": source.ledger_head} if source.ledger_head else {}),
        "filters": {"platform_id": source.platform_id, "business_date": source.business_date.isoformat()},
        "exclusions": [],
        "waived_files": [dict(file) for file in source.waived_files],
        "currencies": currencies,
        "evidence": {name: asdict(file) for name, file in sorted(rows.files.items())},
        "previous_month": source.previous.as_data() if source.previous else None,
        "overdue_by_bucket": overdue_by_bucket(rows.loans),
        "rules": [asdict(rule) for rule in pack.rules],
        "reasons": {code: dict(words) for code, words in pack.reasons.items()},
        "figures": list(_figures(pack, source, currencies, computed, rows)),
    }


def _figures(
    pack: Pack, source: Publication, currencies: list[str], computed: Mapping[tuple[str, str], Row], rows: Evidence
) -> Iterator[dict[str, Any]]:
    """Figures by section and currency in the order of the pack; what has no currency comes once, after those of its section."""
    for section in Section:
        numbered = [
            (f"{_PREFIX[section]}{number}", indicator)
            for number, indicator in enumerate((i for i in pack.indicators if i.section is section), 1)
        ]
        for currency in currencies:
            for number, indicator in numbered:
                if indicator.unit not in _ONCE:
                    yield _figure(pack, indicator, number, currency, computed.get((currency, indicator.code)), rows)
        for number, indicator in numbered:
            if indicator.unit in _ONCE:
                yield _once(pack, indicator, number, source)


def _figure(pack: Pack, indicator: Indicator, number: str, currency: str, row: Row | None, rows: Evidence) -> dict[str, Any]:
    figure = _head(pack, indicator, number, currency)
    if row is None:
        return figure | _not_available(pack, indicator)
    measures = [pack.measures[code] for code in (*indicator.numerator, *indicator.denominator)]
    value = row["value"]
    return figure | {
        "state": UNDEFINED if value is None else VALUE,
        "value": None if value is None else (f"{value:.6f}" if indicator.unit is Unit.RATIO else str(int(value))),
        "numerator": row["numerator"],
        "denominator": row["denominator"],
        "definition": f"{indicator.code}@{row['definition_version']}",
        "formula": indicator.formula,
        "counts": _counts(pack, indicator),
        "queries": {measure.code: f"select {measure.sql} from {measure.source.value}" for measure in measures},
        "evidence_rows": row["evidence_rows"],
        "evidence": [asdict(rows.files[name]) for name in sorted(_tables(measures))],
    }


def _head(pack: Pack, indicator: Indicator, number: str, currency: str | None) -> dict[str, Any]:
    return {
        "id": f"{pack.pack_id}.{indicator.code}" + ("" if currency in {"CNY", None} else f".{currency}"),
        "no": number,
        "section": indicator.section.value,
        "code": indicator.code,
        "name_zh": indicator.name_zh,
        "name_en": indicator.name_en,
        "meaning_zh": indicator.meaning_zh,
        "meaning_en": indicator.meaning_en,
        "unit": indicator.unit.value,
        "currency": currency,
        "definition": f"{indicator.code}@{indicator.version}",
        "legal_ref": indicator.legal_ref,
        "rounding": indicator.rounding.value,
        "counts": _counts(pack, indicator),
        "state": VALUE,
        "reason": None,
        "value": None,
        "numerator": None,
        "denominator": None,
        "formula": None,
        "queries": {},
        "evidence_rows": 0,
        "evidence": [],
    }


def _not_available(pack: Pack, indicator: Indicator) -> dict[str, Any]:
    code = str(indicator.not_available)
    return {"state": NOT_AVAILABLE, "reason": {"code": code, **pack.reasons[code]}}


def _once(pack: Pack, indicator: Indicator, number: str, source: Publication) -> dict[str, Any]:
    """A figure without a currency: words that are not available yet, or metadata of the report."""
    figure = _head(pack, indicator, number, None)
    if indicator.metadata is None:
        return figure | _not_available(pack, indicator)
    return figure | {"value": metadata(source)[indicator.metadata]}


def metadata(source: Publication) -> dict[Metadata, str]:
    """Values of the metadata figures. A bundle is never voided in place: a correction is a new version."""
    return {
        Metadata.AS_OF: source.business_date.isoformat(),
        Metadata.KNOWN_ON: source.known_as_of.astimezone(ZoneInfo(source.zone)).date().isoformat(),
        Metadata.VOIDED: "0",
    }


def _counts(pack: Pack, indicator: Indicator) -> str | None:
    """What a COUNT counts: persons where its measure is a number of distinct people, loans elsewhere."""
    if indicator.unit is not Unit.COUNT:
        return None
    people = any(pack.measures[code].aggregate is Aggregate.DISTINCT for code in indicator.numerator)
    return "PERSONS" if people else "LOANS"


def _tables(measures: Iterable[Any]) -> set[str]:
    """Evidence files that measures are made of; a claim measure that looks at its loan needs both."""
    used = set()
    for measure in measures:
        of_claims = measure.source in {Source.CLAIM, Source.LENDER}
        used.add(evidence.CLAIMS if of_claims else evidence.LOANS)
        if of_claims and "loan_" in measure.where:
            used.add(evidence.LOANS)
    return used


def _due_on(pack: Pack, source: Publication) -> str | None:
    """The last working day on which the report is in time; None where the calendar does not reach.

    By the version in force that the run kept; by the packaged calendar when it kept none, or another country's.
    """
    kept = source.calendar
    try:
        calendar = kept.calendar if kept and kept.calendar_id == pack.calendar else Calendar.of(pack.calendar)
        return calendar.add_working_days(source.business_date, pack.parameters["due_working_days"]).isoformat()
    except (BadInput, KeyError):
        return None
