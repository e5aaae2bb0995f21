"""What every answer carries and every request must satisfy before any page sees it.

Three plain ASGI layers: headers on all answers (errors included), only our own host names, and for requests that change something
a body of bounded size that comes from our own pages (`Sec-Fetch-Site`, `Origin`). The session's token is checked by `require`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX = 64 * 1024
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # with no-referrer browsers would send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
SECURE_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}
Refuse = Callable[[Request, int], Response]


def headers_of(page_origin: str) -> dict[str, str]:
    """The headers of every answer; over HTTPS browsers are told to stay there."""
    return HEADERS | (SECURE_HEADERS if page_origin.startswith("https://") else {})


class Guard:
    """The three layers in one: wraps an application; `refuse` makes the page of a refusal."""

    def __init__(self, app: ASGIApp, page_origin: str, refuse: Refuse) -> None:
        self.app = app
        self.origin = page_origin
        self.headers = headers_of(page_origin)
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request (400 foreign host, 403 foreign origin, 413 large body) or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(scope["path"], MutableHeaders(scope=message))
            await send(message)

        status = self._fault(scope["method"], Headers(scope=scope))
        if status is not None:
            await self.refuse(Request(scope), status)(scope, receive, send_with_headers)
            return
        await self.app(scope, _capped(receive), send_with_headers)

    def _fault(self, method: str, headers: Headers) -> int | None:
        """Status of the refusal, or None."""
        host = headers.get("host", "")
        if self.origin:
            ours = urlsplit(self.origin).netloc
            if host != ours and not _is_loopback(host):
                return 400
        elif not _is_loopback(host):
            return 400  # a foreign name that was made to point here (DNS rebinding)
        if method in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site")
        if site not in (None, "same-origin") or origin != (self.origin or f"http://{host}"):
            return 403
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 12:
            return 400
        return 413 if int(length) > BODY_BYTES_MAX else None

    def _dress(self, path: str, headers: MutableHeaders) -> None:
        for name, value in self.headers.items():
            headers.setdefault(name, value)
        # vendored files are asked for again each time and answered 304; pages are never kept
        headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")


class BodyTooLarge(Exception):
    """A body without a length turned out larger than `BODY_BYTES_MAX`."""


def _capped(receive: Receive) -> Callable[[], Awaitable[Message]]:
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES_MAX:
                raise BodyTooLarge
        return message

    return counted


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name in LOOPBACK_NAMES
