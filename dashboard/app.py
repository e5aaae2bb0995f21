"""The pages' application: one page, its two fragments, strict headers, and designed error states."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from dashboard import published, timeline
from dashboard.ages import AGE_BUCKETS, bucket_of
from dashboard.texts import LANGUAGES, texts
from domain.errors import ServiceMissing
from domain.ids import is_text_id
from domain.money import format_minor
from fundwatch.settings import Settings

HERE = Path(__file__).parent
TIMELINE_LIMIT = 200
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Language = Annotated[str, Query(alias="lang", pattern="^(en|zh)$")]
Platform = Annotated[str, Query(pattern=r"^[A-Za-z0-9._:-]{0,64}$")]
Currency = Annotated[str, Query(pattern=r"^[A-Z]{0,3}$")]


def money(amount_minor: int, currency: str) -> str:
    """An amount for people; items without a currency (files) have no amount.

    >>> money(123456, "CNY"), money(0, "")
    ('1,234.56', '')
    """
    return format_minor(amount_minor, currency) if currency else ""


def matrix(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Open items as a table: codes down, age buckets across, with row and column totals.

    Cells are ``(items, amount_minor)``. Amounts of different currencies are never added: one table a currency.
    """
    tables: dict[str, dict[str, dict[str, tuple[int, int]]]] = {}
    for row in rows:
        codes = tables.setdefault(row["currency"], {})
        for code in (row["code"], "*"):
            cells = codes.setdefault(code, {})
            for bucket in (bucket_of(row["age_working_days"]), "*"):
                items, amount = cells.get(bucket, (0, 0))
                cells[bucket] = (items + row["items"], amount + row["amount_minor"])
    return {
        currency: dict(sorted(codes.items(), key=lambda entry: (entry[0] == "*", entry[0]))) for currency, codes in tables.items()
    }


class Renderer:
    """Templates with the texts of a language and the few functions that all pages need."""

    def __init__(self) -> None:
        self._templates = Jinja2Templates(directory=HERE / "templates")
        self._templates.env.globals.update(money=money, age_buckets=list(AGE_BUCKETS), languages=LANGUAGES)

    def __call__(self, request: Request, template: str, language: str, status: int = 200, **values: Any) -> Response:
        """One page or fragment as an HTTP response."""
        return self._templates.TemplateResponse(request, template, {"t": texts(language), **values}, status_code=status)


def create_app(settings: Settings) -> FastAPI:
    """The web application for one installation; it reads published rows only, never the ledger's tables."""
    app = FastAPI(title="Fundwatch pages", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    render = Renderer()

    @app.middleware("http")
    async def secure(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(ServiceMissing)
    def service_missing(request: Request, _: ServiceMissing) -> Response:
        language = request.query_params.get("lang", "en")
        return render(request, "down.html", language if language in LANGUAGES else "en", 503)

    app.include_router(routes(settings, render))
    return app


def routes(settings: Settings, render: Renderer) -> APIRouter:
    """The page, its two fragments, and the sign of life."""
    router = APIRouter()

    @router.get("/livez")
    def livez() -> Response:
        return PlainTextResponse("ok")

    @router.get("/")
    def overview(request: Request, lang: Language = "en", platform: Platform = "") -> Response:
        """The trust line, the open items by code and age, and the balance equations."""
        chosen = platform or None
        line = published.trust(settings)
        if line is None:
            return render(request, "empty.html", lang)
        return render(
            request,
            "overview.html",
            lang,
            trust=line,
            platform=platform,
            tables=matrix(published.items_by_code_and_age(settings, chosen, line.as_of)),
            equations=published.equations(settings, chosen),
            zone=settings.zone,
        )

    @router.get("/open-items")
    def open_items(
        request: Request, code: str = "*", age: str = "*", currency: Currency = "", lang: Language = "en", platform: Platform = ""
    ) -> Response:
        """The rows behind one figure; unknown filters are refused, never widened."""
        if age not in (*AGE_BUCKETS, "*") or not (code == "*" or is_text_id(code)):
            return render(request, "message.html", lang, 422, message="bad_filter")
        low, high = AGE_BUCKETS.get(age, (0, None))
        rows = published.open_items(settings, platform or None, None if code == "*" else code, currency, low, high)
        return render(request, "open_items.html", lang, rows=rows, code=code, age=age, platform=platform)

    @router.get("/accounts/{account_no}/timeline")
    def account_timeline(request: Request, account_no: str, lang: Language = "en") -> Response:
        """One account's movements from the history store, newest first."""
        found = published.account(settings, account_no) if is_text_id(account_no) else None
        if found is None:
            return render(request, "message.html", lang, 404, message="not_found")
        try:
            run_bound = published.projected_run(settings)
            movements = timeline.of_account(settings, found["account_id"], run_bound, TIMELINE_LIMIT)
        except ServiceMissing:
            return render(request, "message.html", lang, 503, message="history_down")
        return render(request, "timeline.html", lang, account=found, movements=movements, zone=settings.zone)

    return router
