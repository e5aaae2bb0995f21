"""A designed answer to everything that goes wrong, in both languages: a page, a fragment for htmx, or a line for a file."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, RedirectResponse
from starlette.exceptions import HTTPException

from dashboard.connections import AllInUse
from dashboard.paths import LOGIN, local_path
from dashboard.rendering import Renderer, language_of
from dashboard.security import BodyTooLarge, headers_of
from dashboard.session import MustChangePassword, NotAllowed, NotSignedIn, cookie_name
from dashboard.texts import texts
from domain.errors import ServiceMissing
from transactional.passwords import Busy

log = logging.getLogger(__name__)
_DESIGNED = frozenset({400, 401, 403, 404, 405, 413, 415, 422, 429, 500, 503})


class Refusals:
    """Makes the answers; `install` hangs them into an application."""

    def __init__(self, render: Renderer, page_origin: str) -> None:
        self._render = render
        self._page_origin = page_origin

    def install(self, app: FastAPI) -> None:
        """Handle everything that routes raise, crashes included."""
        app.add_exception_handler(NotSignedIn, self._not_signed_in)
        app.add_exception_handler(NotAllowed, self._not_allowed)
        app.add_exception_handler(MustChangePassword, self._must_change_password)
        app.add_exception_handler(HTTPException, self._http)
        app.add_exception_handler(RequestValidationError, lambda request, _: self.page(request, 422))
        app.add_exception_handler(BodyTooLarge, lambda request, _: self.page(request, 413))
        app.add_exception_handler(ServiceMissing, self._service_missing)
        app.add_exception_handler(Exception, self._crash)

    def page(self, request: Request, status: int, text: str | None = None) -> Response:
        """The answer of a status; `text` is the key of its sentence, where another than the status's own fits better."""
        language = language_of(request)
        key = text or (f"error_{status}" if status in _DESIGNED else "error_400")
        if _wants_file(request):
            return PlainTextResponse(f"{texts(language)[key]}\n", status)
        if _is_htmx(request):
            return self._render(request, "message.html", language, status, message=key)
        return self._render(request, "error.html", language, status, code=status, message=key)

    def _not_signed_in(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, NotSignedIn)
        text = "session_ended" if error.ended else "error_401"
        if _wants_file(request):
            response = self.page(request, 401, text)
        elif _is_htmx(request):
            response = self.page(request, 401, text)
            response.headers["HX-Redirect"] = login_url(request, _page_behind(request), error.ended)
        else:
            # what was posted is lost with the session: the way back leads to a page, never to half an action
            back = f"{request.url.path}?{request.url.query}".rstrip("?") if request.method == "GET" else _page_behind(request)
            response = RedirectResponse(login_url(request, back, error.ended), 303)
        if error.ended:
            response.delete_cookie(cookie_name(request), path="/", httponly=True, samesite="strict")
        return response

    def _not_allowed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, NotAllowed)
        return self.page(request, 403, error.reason)

    def _must_change_password(self, request: Request, _: Exception) -> Response:
        target = f"/account?{urlencode({'lang': language_of(request)})}"
        if _is_htmx(request):
            return Response(status_code=403, headers={"HX-Redirect": target})
        return self.page(request, 403) if _wants_file(request) else RedirectResponse(target, 303)

    def _http(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = self.page(request, error.status_code)
        response.headers.update(error.headers or {})
        return response

    def _service_missing(self, request: Request, error: Exception) -> Response:
        log.warning("%s %s: %s", request.method, request.url.path, error)
        response = self.page(request, 503, "busy" if isinstance(error, Busy | AllInUse) else "database_down")
        response.headers["Retry-After"] = "5"
        return response

    def _crash(self, request: Request, _: Exception) -> Response:
        response = self.page(request, 500)
        # made outside the guard, which therefore cannot add them
        response.headers.update(headers_of(self._page_origin) | {"Cache-Control": "no-store"})
        return response


def login_url(request: Request, back: str, ended: bool) -> str:
    """Address of the login page that leads back to `back` afterwards."""
    query: dict[str, Any] = {"lang": language_of(request), "next": local_path(back) or "/"}
    return f"{LOGIN}?{urlencode(query | ({'ended': 1} if ended else {}))}"


def _page_behind(request: Request) -> str:
    """The page that sent a fragment's or a form's request, as far as it is ours."""
    url = urlsplit(request.headers.get("hx-current-url") or request.headers.get("referer") or "/")
    return f"{url.path or '/'}?{url.query}".rstrip("?")


def _is_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def _wants_file(request: Request) -> bool:
    return request.url.path.endswith((".csv", ".json", ".xlsx", ".pdf"))
