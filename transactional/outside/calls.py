"""One HTTP call to the outside, with a limit on everything: total time, answer size, where it may go; no redirects."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from transactional.outside.verdict import Dead, Delivered, Retry, Target, Verdict

ANSWER_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 1024 * 1024
RETRY_AFTER_MAX_S = 86_400.0
_AGAIN = frozenset({408, 409, 425, 429})


class NotAllowed(Exception):
    """The endpoint's address is one this target may not speak to."""


@dataclass(frozen=True)
class Answer:
    """What came back: status, the beginning of the body, and the seconds of a ``Retry-After``."""

    status: int
    body: bytes
    retry_after_s: float | None


def send(target: Target, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[Verdict, Answer | None]:
    """Make the call and judge it: 2xx is Delivered, 408 409 425 429 and 5xx and a broken line are Retry, all else is Dead."""
    if len(body) > BODY_BYTES_MAX:
        return Dead(f"the message has {len(body)} bytes, more than {BODY_BYTES_MAX}"), None
    try:
        answer = _call(target, method, url, headers, body)
    except NotAllowed as error:
        return Dead(str(error)), None
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Retry(f"{type(error).__name__}: {error}"[:200]), None
    if 200 <= answer.status < 300:
        return Delivered(f"HTTP {answer.status}"), answer
    if answer.status in _AGAIN or answer.status >= 500:
        return Retry(f"HTTP {answer.status}", answer.retry_after_s), answer
    return Dead(f"HTTP {answer.status}"), answer


def allowed_address(host: str, port: int, private_allowed: bool) -> str:
    """The first address of a host, when all its addresses may be spoken to; NotAllowed otherwise, OSError when it has none.

    The call then goes to this very address, so that a name cannot change its mind in between.
    """
    found = [str(row[4][0]) for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if host in ("127.0.0.1", "localhost") and parsed.is_loopback:
            continue
        private = parsed.is_private and not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)
        if not parsed.is_global and not (private and private_allowed):
            raise NotAllowed(f"{host} has the address {address}, which this target may not speak to")
    return found[0]


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header (seconds or a date), at most a day; None when it says nothing.

    >>> retry_after_s("120"), retry_after_s("soon"), retry_after_s(None)
    (120.0, None, None)
    """
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return min(float(value.strip()[:9]), RETRY_AFTER_MAX_S)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(wait.total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def _call(target: Target, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    deadline = time.monotonic() + target.timeout_s
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme != "https" and host not in ("127.0.0.1", "localhost"):
        raise NotAllowed(f"{parts.scheme} is for loopback alone")
    address = allowed_address(host, port, target.private_addresses_allowed)
    connection = http.client.HTTPConnection(host, port, timeout=target.timeout_s)
    line = socket.create_connection((address, port), timeout=target.timeout_s)
    try:
        connection.sock = (
            ssl.create_default_context().wrap_socket(line, server_hostname=host) if parts.scheme == "https" else line
        )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body=body, headers={**headers, "Connection": "close", "User-Agent": "fundwatch"})
        # the socket is kept apart: `getresponse` takes it out of the connection when the answer closes it
        wire = connection.sock
        _patience(wire, deadline)
        answer = connection.getresponse()
        content = b""
        while len(content) < ANSWER_BYTES_MAX:
            _patience(wire, deadline)
            piece = answer.read1(ANSWER_BYTES_MAX - len(content))
            if not piece:
                break
            content += piece
        return Answer(answer.status, content, retry_after_s(answer.getheader("Retry-After")))
    finally:
        connection.close()
        line.close()


def _patience(line: socket.socket, deadline: float) -> None:
    """Let the next read last no longer than what is left; TimeoutError when nothing is."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the receiver took too long")
    if line.fileno() != -1:  # already closed when the whole answer is buffered
        line.settimeout(left)
