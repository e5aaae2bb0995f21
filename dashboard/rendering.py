"""Templates with the texts of a language, the person who is asking, and the few functions that all pages need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from fastapi.templating import Jinja2Templates

from dashboard.navigation import entries_for
from dashboard.texts import LANGUAGES, texts
from domain.money import format_minor

HERE = Path(__file__).parent
Language = Annotated[str, Query(alias="lang", pattern="^(en|zh)$")]


def money(amount_minor: int, currency: str) -> str:
    """An amount for people; items without a currency (files) have no amount.

    >>> money(123456, "CNY"), money(0, "")
    ('1,234.56', '')
    """
    return format_minor(amount_minor, currency) if currency else ""


def language_of(request: Request) -> str:
    """The language a request asks for; English when it asks for none that we have."""
    asked = request.query_params.get("lang", "en")
    return asked if asked in LANGUAGES else "en"


class Renderer:
    """Renders templates; pages may add globals of their own to `environment`."""

    def __init__(self) -> None:
        self._templates = Jinja2Templates(directory=HERE / "templates")
        self.environment = self._templates.env
        self.environment.globals.update(money=money, languages=LANGUAGES)

    def __call__(self, request: Request, template: str, language: str, status: int = 200, **values: Any) -> Response:
        """One page or fragment as an HTTP response.

        Templates see besides `values`: `t` (texts), `person` (None before login), `csrf` (for forms of the session), `nav` (what
        the person's role may open), `other_language_url` (this page with all its filters in the other language).
        """
        words = texts(language)
        live = getattr(request.state, "session", None)
        shared = {
            "t": words,
            "person": live.person if live else None,
            "csrf": getattr(request.state, "csrf", ""),
            "nav": entries_for(live.person if live else None, request.url.path),
            "other_language_url": with_query(request, lang=words.other),
        }
        return self._templates.TemplateResponse(request, template, shared | values, status_code=status)


def with_query(request: Request, **changes: str) -> str:
    """The address of this page with some values of its query changed, all others kept."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in changes]
    return f"{request.url.path}?{urlencode([*changes.items(), *kept])}"
