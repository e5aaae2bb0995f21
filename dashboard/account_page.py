"""`/account`: who one is, one's own password and second factor."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response

from dashboard.forms import Form, posted
from dashboard.rendering import Language, Renderer
from dashboard.session import (
    Person,
    address_of,
    connections,
    cookie_name,
    door,
    needs_second_factor,
    require,
    set_cookie,
    settings_of,
    to,
)
from fundwatch.settings import Settings
from transactional import second_factor, sessions, users
from transactional.passwords import LENGTH_MIN

Someone = Annotated[Person, Depends(require("own_account"))]
Posted = Annotated[Form, Depends(posted)]


def routes(settings: Settings, render: Renderer) -> APIRouter:
    """The page, the change of a password, and the two steps of a second factor."""
    router = APIRouter()

    @router.get("/account")
    def account_page(request: Request, person: Someone, lang: Language = "en", done: str = "") -> Response:
        """Who one is, and the forms."""
        return _page(render, request, person, lang, 200, done=bool(done))

    @router.post("/account")
    def change_password(request: Request, person: Someone, given: Posted, lang: Language = "en") -> Response:
        """Change one's own password; every session ends and this browser gets a new one."""
        if given.get("new") != given.get("repeated"):
            return _page(render, request, person, lang, 422, message="passwords_differ")
        try:
            with door(request).lend() as connection:
                users.change_own_password(
                    connection, person, given.get("old", ""), given.get("new", ""), address=address_of(request)
                )
                token = sessions.begin(connection, person, address_of(request), settings.session_max_s)
        except users.TooManyAttempts as wait:
            return _page(render, request, person, lang, 429, message="too_many_attempts", wait_s=wait.wait_s)
        except users.NotAuthenticated:
            return _page(render, request, person, lang, 422, message="wrong_old_password")
        except users.PersonRefused as refused:
            return _page(render, request, person, lang, 422, message=refused.reason)
        response = to(f"/account?{urlencode({'lang': lang, 'done': 1})}")
        set_cookie(request, response, cookie_name(request), token)
        return response

    @router.post("/account/second-factor")
    def begin_second_factor(request: Request, person: Someone, given: Posted, lang: Language = "en") -> Response:
        """Make a secret, which this answer shows and nobody sees again; it counts after its first code."""
        try:
            with door(request).lend() as connection:
                users.prove_password(connection, person.name, given.get("password", ""), address_of(request))
                made = second_factor.begin(connection, settings_of(request), person.user_id, person.name)
        except users.TooManyAttempts as wait:
            return _page(render, request, person, lang, 429, factor_message="too_many_attempts", wait_s=wait.wait_s)
        except users.NotAuthenticated:
            return _page(render, request, person, lang, 422, factor_message="wrong_old_password")
        except second_factor.FactorRefused as refused:
            return _page(render, request, person, lang, 409, factor_message=refused.code.lower())
        return _page(render, request, person, lang, 201, enrolment=made)

    @router.post("/account/second-factor/confirm")
    def confirm_second_factor(request: Request, person: Someone, given: Posted, lang: Language = "en") -> Response:
        """Put the secret in force with its first code; this answer shows the recovery codes, and nobody sees them again."""
        session_hash = sessions.token_hash(request.cookies[cookie_name(request)])
        try:
            with connections(request).lend() as connection:
                codes = second_factor.confirm(
                    connection, settings_of(request), person.user_id, given.get("code", ""), session_hash
                )
        except second_factor.CodeWrong:
            return _page(render, request, person, lang, 422, factor_message="wrong_code", confirming=True)
        except second_factor.FactorRefused as refused:
            return _page(render, request, person, lang, 409, factor_message=refused.code.lower())
        return _page(render, request, person, lang, 201, recovery_codes=codes)

    return router


def _page(render: Renderer, request: Request, person: Person, lang: str, status: int, **values: object) -> Response:
    """The page with what is so now; `message` speaks of the password, `factor_message` of the second factor."""
    with connections(request).lend() as connection:
        factor = second_factor.in_force(connection, person.user_id)
    shared = {
        "length_min": LENGTH_MIN,
        "factor": factor,
        "factor_needed": needs_second_factor(request, person) and factor is None,
        "zone": settings_of(request).zone,
    }
    return render(request, "own_account.html", lang, status, **shared, **values)
