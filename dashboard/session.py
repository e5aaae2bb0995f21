"""Who is asking: the person of a request's session, and what a route requires of them.

    from dashboard.session import require

    @router.get("/loans")
    def loans(request: Request, person: Annotated[Person, Depends(require("see_rows"))], ...) -> Response: ...

A route without `require` that is not in `dashboard.app.OPEN_TO_ALL` is refused when the application is made.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse

from dashboard.connections import Connections
from dashboard.forms import Form, posted
from fundwatch.settings import Settings
from transactional import access_log, sessions
from transactional.permissions import PERMISSIONS, allows
from transactional.users import Person

__all__ = ["MustChangePassword", "NotAllowed", "NotSignedIn", "Person", "note", "require", "signed_in"]

COOKIE = "fw_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"


class NotSignedIn(Exception):
    """Nobody is signed in; `ended` when the browser still carries a session that is over."""

    def __init__(self, ended: bool) -> None:
        super().__init__("nobody is signed in")
        self.ended = ended


class NotAllowed(Exception):
    """The person's role lacks the permission; `reason` is the text key of the sentence that says so."""

    def __init__(self, reason: str = "error_403") -> None:
        super().__init__(reason)
        self.reason = reason


class MustChangePassword(Exception):
    """The person signed in with a one-time password and has not chosen their own yet."""


class MustSetSecondFactor(MustChangePassword):
    """The person's role signs in with a second factor (setting `second_factor_roles`), and none is set up yet."""


def require(permission: str) -> Callable[..., Person]:
    """FastAPI dependency: the signed-in person, who has `permission` (a key of `transactional.permissions.PERMISSIONS`).

    Without a session: a redirect to ``/login?next=…``; with a role that lacks the permission: the 403 page and a line in the
    access log. For methods that change something it also checks the session's CSRF token.
    """
    if permission not in PERMISSIONS:
        raise KeyError(permission)

    def guard(request: Request, form: Annotated[Form, Depends(posted)]) -> Person:
        live = signed_in(request)
        if live is None:
            raise NotSignedIn(ended=cookie_name(request) in request.cookies)
        if request.method not in SAFE_METHODS and not _token_is_right(request, form):
            note(request, "REFUSED", "csrf")
            raise NotAllowed("error_csrf")
        if permission != "own_account":
            if live.person.must_change_password:
                raise MustChangePassword
            if needs_second_factor(request, live.person):
                raise MustSetSecondFactor
        if not allows(live.person.role, permission):
            note(request, "REFUSED", permission)
            raise NotAllowed
        return live.person

    guard.permission = permission  # type: ignore[attr-defined]
    return guard


def needs_second_factor(request: Request, person: Person) -> bool:
    """Whether the person's role demands a second factor that is not there yet."""
    return person.role in settings_of(request).second_factor_roles and not person.has_second_factor


def signed_in(request: Request) -> sessions.Live | None:
    """The live session of a request, looked up once; None without one. ServiceMissing when the database does not answer."""
    if not hasattr(request.state, "session"):
        token = request.cookies.get(cookie_name(request))
        request.state.session = None
        if token:
            with connections(request).lend() as connection:
                request.state.session = sessions.find(connection, token, settings_of(request).session_idle_s)
            request.state.csrf = csrf_token(token)
    live: sessions.Live | None = request.state.session
    return live


def note(request: Request, kind: str, subject: str, rows: int | None = None, detail: dict[str, Any] | None = None) -> None:
    """Write a line of the access log for the signed-in person, before anything is shown or sent.

    `kind` is a key of `transactional.access_log.KINDS` (ACCOUNT_SEEN, LOAN_SEEN, PERSON_SEEN, EXPORT, REFUSED), `subject` what
    was seen (an account, loan or customer number, the name of an exported table), `rows` the number of rows of an export.
    """
    live = signed_in(request)
    with connections(request).lend() as connection:
        access_log.write(
            connection,
            access_log.Access(
                kind=kind,
                subject=subject,
                person_id=live.person.user_id if live else None,
                session_id=live.session_id if live else None,
                path=str(request.url.path),
                address=address_of(request),
                rows=rows,
                detail=detail,
            ),
        )


def csrf_token(session_token: str) -> str:
    """The token that forms of a session carry: derived from the session's own secret, so nothing more is stored."""
    return hmac.new(session_token.encode(), b"fundwatch csrf", sha256).hexdigest()


def cookie_name(request: Request, name: str = COOKIE) -> str:
    """Name of a cookie; where the connection is encrypted with ``__Host-``, which keeps other hosts from setting it."""
    return f"__Host-{name}" if is_secure(request) else name


def is_secure(request: Request) -> bool:
    """Whether the page is served over HTTPS (by the bank's proxy: `page_origin`)."""
    return settings_of(request).page_origin.startswith("https://")


def address_of(request: Request) -> str:
    """Network address of the browser, as the server sees it."""
    return request.client.host if request.client else "unknown"


def connections(request: Request) -> Connections:
    """The application's connections of role web."""
    lent: Connections = request.app.state.connections
    return lent


def door(request: Request) -> Connections:
    """The few connections of logins, none waited for: many at once never hold up those who are signed in."""
    lent: Connections = request.app.state.door
    return lent


def set_cookie(request: Request, response: Response, name: str, value: str) -> None:
    """Set a cookie out of reach of scripts and other sites, until the browser closes."""
    response.set_cookie(name, value, path="/", httponly=True, samesite="strict", secure=is_secure(request))


def to(path: str) -> Response:
    """A redirect to a page of ours, which is then asked for with GET."""
    return RedirectResponse(path, 303)


def settings_of(request: Request) -> Settings:
    """The installation's settings."""
    settings: Settings = request.app.state.settings
    return settings


def _token_is_right(request: Request, form: Form) -> bool:
    given = request.headers.get(CSRF_HEADER) or form.get(CSRF_FIELD, "")
    return hmac.compare_digest(given.encode(), str(getattr(request.state, "csrf", "")).encode()) and given != ""
