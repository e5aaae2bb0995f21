"""Every table as a CSV file, in full: PostgreSQL writes the lines, we pass them on as they come.

The header `X-Row-Count` says how many lines follow the header line; it is counted in the same snapshot as the rows are read, and
a stream that breaks off ends without its last chunk, which a browser reports as a failed download. Text that a spreadsheet would
take for a formula (it begins with = + - @, tab or return) gets a leading apostrophe; numbers are plain. With ``bom=1`` the file
begins with a byte order mark, so that spreadsheets read it as UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse

from dashboard import figure_rows, loans, published, summaries, tiles, timeline, trust
from dashboard.csv_text import BOM, column, csv_text, format_plain, in_blocks
from dashboard.figures import FIGURES, figure_id
from dashboard.filters import Filters, asked
from dashboard.published import Database
from dashboard.session import Person, note, require

if TYPE_CHECKING:
    from dashboard.risk_pages import RiskPages, View

Exporter = Annotated[Person, Depends(require("export"))]
Asked = Annotated[Filters, Depends(asked)]
Mark = Annotated[str, Query(pattern="^1?$")]
SUMMARIES = {
    "headlines": (
        *("figure", "figure_ids", "value", "unit", "numerator_minor", "denominator_minor", "limit", "state"),
        *("week_change", "month_change", "as_of"),
    ),
    "open_items_by_age": ("code", "age_working_days", "currency", "items", "amount"),
    "overdue_by_bucket": ("bucket", "currency", "count", "amount", "overdue"),
    "score_bands": ("band", "currency", "people", "count", "amount"),
    "balance_equations": ("business_date", "platform_id", "equation", "currency", "residual"),
    "missing_files": ("business_date", "platform_id", "match_key", "age_working_days", "explanation", "explanation_zh"),
}
_MOVEMENT = ("effective_at", "business_date", "movement_type", "counter_account_no", "loan_no", "currency", "amount", "ledger_no")
_LOAN_DAY = (
    *("business_date", "platform_id", "loan_no", "currency", "plan_type", "disbursed_on", "disbursed", "outstanding_principal"),
    *("outstanding_interest", "overdue_principal", "overdue_interest", "compensated", "lender_dpd", "borrower_dpd"),
    *("lender_bucket", "borrower_bucket"),
)

_LOAN_COLUMNS = {
    "business_date": "date",
    "platform_id": "text",
    "loan_no": "text",
    "borrower_ref": "text",
    "currency": "text",
    "amount": "amount_minor",
    "plan_type": "text",
    "disbursed_on": "date",
    "disbursed": "disbursed_minor",
    "outstanding_principal": "outstanding_principal_minor",
    "outstanding_interest": "outstanding_interest_minor",
    "overdue_principal": "overdue_principal_minor",
    "overdue_interest": "overdue_interest_minor",
    "compensated": "compensated_minor",
    "lender_dpd": "number",
    "borrower_dpd": "number",
    "lender_bucket": "text",
    "borrower_bucket": "text",
    "finding": "text",
}
_ITEM_COLUMNS = {
    "business_date": "date",
    "platform_id": "text",
    "code": "text",
    "severity": "text",
    "match_key": "text",
    "account_no": "text",
    "currency": "text",
    "amount": "amount_minor",
    "opened_on": "date",
    "age_working_days": "number",
    "lender_dpd": "number",
    "borrower_dpd": "number",
    "explanation": "text",
    "suggested_action": "text",
    "explanation_zh": "text",
    "suggested_action_zh": "text",
    "rule_version": "text",
}
_EQUATION_COLUMNS = {
    "business_date": "date",
    "platform_id": "text",
    "equation": "text",
    "currency": "text",
    "residual": "residual_minor",
    "amount": "amount_minor",
}
_COLUMNS = {"loan": _LOAN_COLUMNS, "item": _ITEM_COLUMNS, "equation": _EQUATION_COLUMNS}


def routes(pages: RiskPages) -> APIRouter:
    """Exports of figures' rows, of the overview's tables and of timelines."""
    router = APIRouter()

    @router.get("/export/loans/{platform_id}/{loan_no}.csv")
    def loan_days(request: Request, platform_id: str, loan_no: str, person: Exporter, bom: Mark = "") -> Response:
        with pages.reading(request) as database:
            source = next(iter(published.sources(database, platform_id).now), None)
            found = loans.loan(database, source, loan_no) if source else None
            if found is None:
                raise HTTPException(404)
            bound = published.projected_run(database)
        rows = list(timeline.all_of_loan(pages.settings, platform_id, loan_no, bound))
        lines = (_plain(row) for row in rows)
        return _file(request, f"loan_{platform_id}_{loan_no}", csv_text(_LOAN_DAY, lines), len(rows), bom)

    @router.get("/export/accounts/{account_no}.csv")
    def movements(request: Request, account_no: str, person: Exporter, bom: Mark = "") -> Response:
        with pages.reading(request) as database:
            account = published.account(database, account_no)
            if account is None:
                raise HTTPException(404)
            bound = published.projected_run(database)
        rows = list(timeline.all_of_account(pages.settings, account["account_id"], bound))
        lines = (_movement(row, account["currency"]) for row in rows)
        return _file(request, f"account_{account_no}", csv_text(_MOVEMENT, lines), len(rows), bom)

    @router.get("/export/{table}.csv")
    def table(request: Request, table: str, person: Exporter, filters: Asked, bom: Mark = "") -> Response:
        if table in SUMMARIES:
            return _summary(request, pages, table, filters, bom)
        if table not in FIGURES:
            raise HTTPException(404)
        return _figure(request, pages, table, filters, bom)

    return router


def _figure(request: Request, pages: RiskPages, code: str, filters: Filters, bom: str) -> Response:
    """The rows of a figure under the filters; the database stays open until the last line is sent."""
    figure = FIGURES[code]
    with ExitStack() as stack:
        database = stack.enter_context(pages.reading(request))
        view = pages.view(database, filters)
        if view is None or (figure.per_platform and not filters.platform and len(view.sources.now) > 1):
            raise HTTPException(404 if view is None else 422)
        relation, values = figure_rows.narrowed(figure, view.sources, filters, view.currency)
        counted = database.execute(f"SELECT count(*) AS count FROM ({relation}) r", values).fetchone()
        assert counted is not None
        database.execute("SET LOCAL statement_timeout = '15min'")
        kept = stack.pop_all()
    columns = ", ".join(column(name, kind, view.currency) for name, kind in _COLUMNS[figure.kind].items())
    order = f"{next(iter(figure.sorts.values()))}, platform_id, key"
    copy = f"COPY (SELECT {columns} FROM ({relation}) r ORDER BY {order}) TO STDOUT (FORMAT csv, HEADER true)"

    def lines() -> Iterator[bytes]:
        with kept, database.cursor().copy(copy, values) as source:
            yield from in_blocks(bytes(line) for line in source)

    try:
        return _file(request, code, lines(), counted["count"], bom)
    except BaseException:
        kept.close()
        raise


def _summary(request: Request, pages: RiskPages, table: str, filters: Filters, bom: str) -> Response:
    with pages.reading(request) as database:
        view = pages.view(database, filters)
        if view is None:
            raise HTTPException(404)
        rows = list(_summary_rows(database, pages, view, table, filters))
    return _file(request, table, csv_text(SUMMARIES[table], rows), len(rows), bom)


def _summary_rows(database: Database, pages: RiskPages, view: View, table: str, filters: Filters) -> Iterable[Mapping[str, Any]]:
    found, currency = view.sources, view.currency
    if table == "headlines":
        return (_headline(tile, currency) for tile in tiles.tiles(database, found, currency, pages.settings.limits))
    if table == "open_items_by_age":
        cells = summaries.matrix(summaries.items_by_code_and_age(database, found, currency))
        return (
            dict(zip(SUMMARIES[table], (code, age, currency, items, format_plain(amount, currency)), strict=True))
            for code, ages in cells.items()
            for age, (items, amount) in ages.items()
        )
    if table == "balance_equations":
        return (_plain(row) for row in summaries.equations(database, found, currency))
    if table == "missing_files":
        missing = trust.missing_files(database, pages.settings, filters.platform, view.trust.as_of)
        return ({name: row[name] for name in SUMMARIES[table]} for row in missing)
    read = summaries.loans_by_bucket if table == "overdue_by_bucket" else summaries.loans_by_band
    return (_plain(row | {"currency": currency}) for row in read(database, found, currency))


def _headline(tile: tiles.Tile, currency: str) -> dict[str, Any]:
    money = tile.unit == tiles.MONEY
    value = format_plain(int(tile.value), currency) if money and tile.value is not None else tile.value
    return {
        "figure": tile.code,
        "figure_ids": " ".join(figure_id(code, currency) for code in tile.indicators),
        "value": value,
        "unit": currency if money else tile.unit,
        "numerator_minor": tile.numerator,
        "denominator_minor": tile.denominator,
        "limit": tile.limit,
        "state": tile.state,
        "week_change": format_plain(int(tile.week), currency) if money and tile.week is not None else tile.week,
        "month_change": format_plain(int(tile.month), currency) if money and tile.month is not None else tile.month,
        "as_of": " ".join(day.isoformat() for day in tile.dates),
    }


def _movement(row: timeline.AccountMovement, currency: str) -> dict[str, Any]:
    return {
        "effective_at": row.effective_at,
        "business_date": row.business_date,
        "movement_type": row.movement_type,
        "counter_account_no": row.counterparty,
        "loan_no": row.loan_no,
        "currency": currency,
        "amount": format_plain(row.amount_minor, currency),
        "ledger_no": row.ledger_no,
    }


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its amounts in major units of its currency, named without `_minor`."""
    currency = row["currency"]
    return {
        name.removesuffix("_minor"): format_plain(value, currency) if name.endswith("_minor") else value
        for name, value in row.items()
        if name != "loan_id"
    }


def _file(request: Request, name: str, lines: Iterator[bytes], count: int, bom: str) -> Response:
    """The answer: written to the access log first, then streamed."""
    note(request, "EXPORT", name, count, {"query": str(request.url.query)[:300]})

    def body() -> Iterator[bytes]:
        if bom:
            yield BOM
        yield from lines

    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"', "X-Row-Count": str(count)}
    return StreamingResponse(body(), media_type="text/csv; charset=utf-8", headers=headers)
