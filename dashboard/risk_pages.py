"""The risk pages: overview, the rows behind a figure, one loan, one account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from dashboard import charts, figure_rows, loans, published, reasons, summaries, tiles, timeline, trust
from dashboard.ages import bucket_of
from dashboard.figures import DENOMINATORS, FIGURES, definitions, figure_id
from dashboard.filters import BANDS, BUCKET_NAMES, Filters, asked
from dashboard.formats import FORMATS
from dashboard.published import Database, Source, Sources
from dashboard.rendering import Renderer
from dashboard.session import Person, note, require
from domain.errors import BadInput, ServiceMissing
from domain.ids import is_text_id
from fundwatch.settings import Settings

Asked = Annotated[Filters, Depends(asked)]
Reader = Annotated[Person, Depends(require("see_figures"))]
RowReader = Annotated[Person, Depends(require("see_rows"))]
TimelineReader = Annotated[Person, Depends(require("see_timeline"))]


@dataclass(frozen=True)
class View:
    """What every risk page stands on: the trust bar, what is read, the currencies and the chosen one."""

    trust: trust.Trust
    sources: Sources
    currencies: list[str]
    currency: str


class RiskPages:
    """The pages of one installation; each method that ends in `_page` answers one route."""

    def __init__(self, settings: Settings, render: Renderer) -> None:
        self.settings = settings
        self.render = render
        render.environment.globals.update(FORMATS, figure_id=figure_id, definitions=definitions, denominators=DENOMINATORS)

    @contextmanager
    def reading(self, request: Request) -> Iterator[Database]:
        """One snapshot of the database for one page."""
        with published.reading(request.app.state.readers) as database:
            yield database

    def view(self, database: Database, filters: Filters) -> View | None:
        """What a page stands on; None when nothing is published. 404 for a platform that is not, 422 for a foreign currency."""
        line = trust.trust(database, self.settings)
        if line is None:
            return None
        if filters.platform and filters.platform not in {state.platform_id for state in line.platforms}:
            raise HTTPException(404)
        found = published.sources(database, filters.platform)
        known = published.currencies(database, found)
        if filters.currency not in ("", "-", *known):
            raise HTTPException(422)
        chosen = filters.currency or (known[0] if known else "CNY")
        return View(line, found, known, chosen)

    def overview_page(self, request: Request, filters: Filters) -> Response:
        """Trust bar, headline tiles, open items by age and code, overdue by bucket, score bands, equations."""
        with self.reading(request) as database:
            view = self.view(database, filters)
            if view is None:
                return self.render(request, "empty.html", filters.lang)
            if not view.sources.now:
                return self.render(request, "incomplete.html", filters.lang, view=view, filters=filters, zone=self.settings.zone)
            values = self._overview(database, view, filters)
        return self.render(request, "overview.html", filters.lang, view=view, filters=filters, zone=self.settings.zone, **values)

    def _overview(self, database: Database, view: View, filters: Filters) -> dict[str, Any]:
        found, currency = view.sources, view.currency
        buckets = summaries.loans_by_bucket(database, found, currency)
        bands = summaries.loans_by_band(database, found, currency)
        missing = trust.missing_files(database, self.settings, filters.platform, view.trust.as_of)
        return {
            "tiles": tiles.tiles(database, found, currency, self.settings.limits),
            "matrix": summaries.matrix(summaries.items_by_code_and_age(database, found, currency)),
            "files": summaries.matrix([item | {"items": 1} for item in missing]),
            "buckets": buckets,
            "bands": bands,
            "charts": charts.charts(buckets, bands, filters.lang, currency),
            "equations": summaries.equations(database, found, currency),
            "without_loans": summaries.without_loans(database, found),
        }

    def rows_page(self, request: Request, code: str, filters: Filters) -> Response:
        """The rows that a figure is made of, with their count and sum."""
        figure = FIGURES.get(code)
        if figure is None:
            raise HTTPException(404)
        with self.reading(request) as database:
            view = self.view(database, filters)
            if view is None:
                return self.render(request, "empty.html", filters.lang)
            if figure.per_platform and not filters.platform and len(view.sources.now) > 1:
                raise HTTPException(422)
            if code == "open_items" and filters.currency == "-":
                shown = missing_rows(database, self.settings, view, filters)
            else:
                try:
                    shown = figure_rows.rows(database, figure, view.sources, filters, view.currency)
                except BadInput:
                    raise HTTPException(422) from None
            missing = summaries.without_loans(database, view.sources) if figure.kind == "loan" else []
        return self.render(
            request,
            "rows.html",
            filters.lang,
            view=view,
            filters=filters,
            figure=figure,
            rows=shown,
            missing=missing,
            bucket_names=BUCKET_NAMES,
            band_names=BANDS,
        )

    def loan_page(self, request: Request, platform_id: str, loan_no: str, filters: Filters, before: date | None) -> Response:
        """One loan: its facts on the newest complete date, its days from the history store, score and open items."""
        with self.reading(request) as database:
            source = _source(database, platform_id)
            found = loans.loan(database, source, loan_no)
            if found is None and platform_id not in summaries.without_loans(database, Sources((source,))):
                raise HTTPException(404)
            run_bound = published.projected_run(database)
        note(request, "LOAN_SEEN", f"{platform_id}/{loan_no}")
        try:
            days, older = timeline.of_loan(self.settings, platform_id, loan_no, run_bound, before)
        except ServiceMissing:
            days, older = None, None
        if found is None and not days:
            raise HTTPException(404)
        currency = found.facts["currency"] if found else days[0]["currency"] if days else ""
        return self.render(
            request,
            "loan.html",
            filters.lang,
            filters=filters,
            source=source,
            loan=found,
            loan_no=loan_no,
            currency=currency,
            days=days,
            older=older,
            zone=self.settings.zone,
            reasons=reasons.reasons(self.settings, found.score, filters.lang) if found else [],
        )

    def account_page(self, request: Request, account_no: str, filters: Filters) -> Response:
        """One account: who it belongs to, its open items, and its movements from the history store, newest first."""
        with self.reading(request) as database:
            found = published.account(database, account_no)
            if found is None:
                raise HTTPException(404)
            source = next(iter(published.sources(database, found["platform_id"]).now), None)
            items = loans.items_of_account(database, source, account_no) if source else []
            run_bound = published.projected_run(database)
        note(request, "ACCOUNT_SEEN", account_no)
        try:
            movements, older = timeline.of_account(self.settings, found["account_id"], run_bound, filters.after)
        except ServiceMissing:
            movements, older = None, ""
        except BadInput:
            raise HTTPException(422) from None
        return self.render(
            request,
            "account_timeline.html",
            filters.lang,
            filters=filters,
            account=found,
            source=source,
            items=items,
            movements=movements,
            older=older,
            zone=self.settings.zone,
        )


def missing_rows(database: Database, settings: Settings, view: View, filters: Filters) -> figure_rows.Rows:
    """Missing files as rows of open items: they have no amount and no account, and are few."""
    found = [
        item | {"lender_dpd": None, "borrower_dpd": None}
        for item in trust.missing_files(database, settings, filters.platform, view.trust.as_of)
        if filters.code in ("", item["code"]) and filters.age in ("", bucket_of(item["age_working_days"]))
    ]
    return figure_rows.Rows(found, len(found), 0, "age", "")


def _source(database: Database, platform_id: str) -> Source:
    """The newest complete date of a platform; 404 when there is none."""
    source = next(iter(published.sources(database, platform_id).now), None)
    if source is None:
        raise HTTPException(404)
    return source


def routes(settings: Settings, render: Renderer) -> APIRouter:
    """The risk pages and their exports."""
    from dashboard import exports

    router = APIRouter()
    pages = RiskPages(settings, render)

    @router.get("/")
    def overview(request: Request, person: Reader, filters: Asked) -> Response:
        return pages.overview_page(request, filters)

    @router.get("/rows/{figure}")
    def rows(request: Request, figure: str, person: RowReader, filters: Asked) -> Response:
        return pages.rows_page(request, figure, filters)

    @router.get("/loans/{platform_id}/{loan_no}")
    def loan(
        request: Request, platform_id: str, loan_no: str, person: TimelineReader, filters: Asked, before: date | None = None
    ) -> Response:
        return pages.loan_page(request, _known(platform_id), _known(loan_no), filters, before)

    @router.get("/accounts/{account_no}")
    def account(
        request: Request,
        account_no: str,
        person: TimelineReader,
        filters: Asked,
        after: Annotated[str, Query(pattern="^[0-9a-f]{0,200}$")] = "",
    ) -> Response:
        return pages.account_page(request, _known(account_no), filters)

    router.include_router(exports.routes(pages))
    return router


def _known(text_id: str) -> str:
    """An identifier of an address; 404 for what can be none of ours."""
    if not is_text_id(text_id):
        raise HTTPException(404)
    return text_id
