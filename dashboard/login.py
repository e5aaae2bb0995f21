"""Signing in and out."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from dashboard.forms import Form, posted
from dashboard.navigation import start_of
from dashboard.paths import LOGIN, local_path
from dashboard.rendering import Language, Renderer
from dashboard.session import Person, address_of, connections, cookie_name, door, is_secure, require, set_cookie, signed_in, to
from fundwatch.settings import Settings
from transactional import sessions, users

VISIT = "fw_visit"
Someone = Annotated[Person, Depends(require("own_account"))]
Posted = Annotated[Form, Depends(posted)]


def routes(settings: Settings, render: Renderer) -> APIRouter:
    """`/login` and `/logout`."""
    router = APIRouter()

    def form(request: Request, lang: str, back: str, status: int = 200, **values: object) -> Response:
        """The login form; its token belongs to a cookie of the visit, so that no other site can sign a browser in."""
        visit = request.cookies.get(cookie_name(request, VISIT)) or secrets.token_urlsafe(16)
        response = render(request, "login.html", lang, status, next=back, visit_csrf=_visit_token(visit), **values)
        set_cookie(request, response, cookie_name(request, VISIT), visit)
        return response

    @router.get(LOGIN)
    def login_page(
        request: Request,
        lang: Language = "en",
        back: Annotated[str, Query(alias="next", max_length=4000)] = "",
        ended: str = "",
        out: str = "",
    ) -> Response:
        """The form; who is signed in already is led on."""
        live = signed_in(request)
        if live is not None:
            return to(local_path(back) or start_of(live.person))
        notice = "session_ended" if ended else "signed_out" if out else None
        return form(request, lang, local_path(back) or "", notice=notice)

    @router.post(LOGIN)
    def login(request: Request, given: Posted, lang: Language = "en") -> Response:
        """Check name and password and begin a session with a new token; what was wrong is never said."""
        back = local_path(given.get("next")) or ""
        visit = request.cookies.get(cookie_name(request, VISIT), "")
        if not visit or not hmac.compare_digest(_visit_token(visit).encode(), given.get("csrf", "").encode()):
            return form(request, lang, back, 403, message="error_csrf")
        name = given.get("name", "").strip().lower()
        try:
            with door(request).lend() as connection:
                person = users.authenticate(
                    connection, name, given.get("password", ""), address=address_of(request), one_time_too=True
                )
                token = _new_session(request, person, connection, settings)
        except users.TooManyAttempts as wait:
            response = form(request, lang, back, 429, message="too_many_attempts", wait_s=wait.wait_s, name=name)
            response.headers["Retry-After"] = str(wait.wait_s)
            return response
        except users.NotAuthenticated:
            return form(request, lang, back, 401, message="wrong_login", name=name)
        target = back if back not in ("", "/") else f"{start_of(person)}?{urlencode({'lang': lang})}"
        response = to(f"/account?{urlencode({'lang': lang})}" if person.must_change_password else target)
        set_cookie(request, response, cookie_name(request), token)
        return response

    @router.post("/logout")
    def logout(request: Request, person: Someone, lang: Language = "en") -> Response:
        """End the session on the server and in the browser."""
        with connections(request).lend() as connection:
            sessions.end(connection, request.cookies[cookie_name(request)], "LOGOUT")
        response = to(f"{LOGIN}?{urlencode({'lang': lang, 'out': 1})}")
        response.delete_cookie(cookie_name(request), path="/", httponly=True, samesite="strict", secure=is_secure(request))
        return response

    return router


def _new_session(request: Request, person: Person, connection: users.Connection, settings: Settings) -> str:
    """Token of a new session; one the browser still carried ends."""
    before = request.cookies.get(cookie_name(request))
    if before:
        sessions.end(connection, before, "REPLACED")
    return sessions.begin(connection, person, address_of(request), settings.session_max_s)


def _visit_token(visit: str) -> str:
    return hmac.new(visit.encode(), b"fundwatch login", sha256).hexdigest()
