"""`/account`: who one is, and one's own password."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response

from dashboard.forms import Form, posted
from dashboard.rendering import Language, Renderer
from dashboard.session import Person, address_of, cookie_name, door, require, set_cookie, to
from fundwatch.settings import Settings
from transactional import sessions, users
from transactional.passwords import LENGTH_MIN

Someone = Annotated[Person, Depends(require("own_account"))]
Posted = Annotated[Form, Depends(posted)]


def routes(settings: Settings, render: Renderer) -> APIRouter:
    """The page and the change of a password."""
    router = APIRouter()

    @router.get("/account")
    def account_page(request: Request, person: Someone, lang: Language = "en", done: str = "") -> Response:
        """Who one is, and the form for a new password."""
        return render(request, "own_account.html", lang, done=bool(done), length_min=LENGTH_MIN)

    @router.post("/account")
    def change_password(request: Request, person: Someone, given: Posted, lang: Language = "en") -> Response:
        """Change one's own password; every session ends and this browser gets a new one."""

        def again(status: int, message: str, **values: object) -> Response:
            return render(request, "own_account.html", lang, status, message=message, length_min=LENGTH_MIN, **values)

        if given.get("new") != given.get("repeated"):
            return again(422, "passwords_differ")
        try:
            with door(request).lend() as connection:
                users.change_own_password(
                    connection, person, given.get("old", ""), given.get("new", ""), address=address_of(request)
                )
                token = sessions.begin(connection, person, address_of(request), settings.session_max_s)
        except users.TooManyAttempts as wait:
            return again(429, "too_many_attempts", wait_s=wait.wait_s)
        except users.NotAuthenticated:
            return again(422, "wrong_old_password")
        except users.PersonRefused as refused:
            return again(422, refused.reason)
        response = to(f"/account?{urlencode({'lang': lang, 'done': 1})}")
        set_cookie(request, response, cookie_name(request), token)
        return response

    return router
