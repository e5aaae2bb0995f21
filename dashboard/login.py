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
from dashboard.session import (
    Person,
    address_of,
    connections,
    cookie_name,
    door,
    is_secure,
    needs_second_factor,
    require,
    set_cookie,
    settings_of,
    signed_in,
    to,
)
from fundwatch.settings import Settings
from transactional import second_factor, sessions, users

VISIT = "fw_visit"
# who carries it gave the right password a moment ago; the one-time code is still to come
HALF = "fw_half"
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
        name, half = given.get("name", "").strip().lower(), request.cookies.get(cookie_name(request, HALF), "")
        by_code = "code" in given
        try:
            with door(request).lend() as connection:
                person = (
                    _by_code(request, connection, half, given["code"])
                    if by_code
                    else _by_password(request, connection, name, given)
                )
                token = _new_session(request, person, connection, settings)
        except users.CodeNeeded:
            with door(request).lend() as connection:
                half = second_factor.half_signed_in(settings, name, users.credentials(connection, name).password_hash or "")
            response = form(request, lang, back, ask_code=True)
            set_cookie(request, response, cookie_name(request, HALF), half)
            return response
        except users.TooManyAttempts as wait:
            response = form(
                request, lang, back, 429, message="too_many_attempts", wait_s=wait.wait_s, name=name, ask_code=by_code
            )
            response.headers["Retry-After"] = str(wait.wait_s)
            return response
        except HalfOver:
            return form(request, lang, back, 401, message="code_too_late")
        except users.NotAuthenticated:
            return form(request, lang, back, 401, message="wrong_code" if by_code else "wrong_login", name=name, ask_code=by_code)
        target = back if back not in ("", "/") else f"{start_of(person)}?{urlencode({'lang': lang})}"
        to_account = person.must_change_password or needs_second_factor(request, person)
        response = to(f"/account?{urlencode({'lang': lang})}" if to_account else target)
        set_cookie(request, response, cookie_name(request), token)
        response.delete_cookie(cookie_name(request, HALF), path="/", httponly=True, samesite="strict", secure=is_secure(request))
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


class HalfOver(Exception):
    """The password was right too long ago, or never here: begin again."""


def _by_password(request: Request, connection: users.Connection, name: str, given: Form) -> Person:
    return users.authenticate(connection, name, given.get("password", ""), address=address_of(request), one_time_too=True)


def _by_code(request: Request, connection: users.Connection, half: str, code: str) -> Person:
    """The person whose password was right a moment ago, by the one-time code."""
    name = second_factor.name_of_half(half)
    password_hash = users.credentials(connection, name).password_hash or ""
    if not second_factor.is_half_signed_in(settings_of(request), half, password_hash):
        raise HalfOver
    return users.authenticate_by_code(connection, name, code, address_of(request))


def _new_session(request: Request, person: Person, connection: users.Connection, settings: Settings) -> str:
    """Token of a new session; one the browser still carried ends."""
    before = request.cookies.get(cookie_name(request))
    if before:
        sessions.end(connection, before, "REPLACED")
    return sessions.begin(connection, person, address_of(request), settings.session_max_s)


def _visit_token(visit: str) -> str:
    return hmac.new(visit.encode(), b"fundwatch login", sha256).hexdigest()
