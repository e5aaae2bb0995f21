"""A stub of what stands outside, for tests and the demo only: records what it hears and misbehaves when it is told to.

`HttpStub` is a platform, core banking, an SMS gateway or a drop point; `SmtpStub` a mail relay. Both listen on loopback.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

Fault = Literal["500", "503", "429", "400", "redirect", "reset", "hang", "garbage", "drip"]
BODY_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Heard:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


class HttpStub:
    """A server on loopback: `faults` are used up one a request, then it answers 200; `judge` names a fault per request instead.

    For example ``with HttpStub() as stub: stub.faults.append("500")``.
    """

    def __init__(self, port: int = 0, judge: Callable[[Heard], Fault | None] | None = None) -> None:
        self.heard: list[Heard] = []
        self.faults: deque[Fault] = deque()
        self.retry_after_s = 1
        self.judge = judge
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _http_handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HttpStub:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class SmtpStub:
    """A mail relay on loopback that keeps messages; `answers` are used up one a recipient (such as ``451 later``)."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.answers: deque[str] = deque()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _smtp_handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"smtp://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> SmtpStub:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _http_handler(stub: HttpStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("Content-Length", "0")), BODY_BYTES_MAX))
            heard = Heard(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body, time.monotonic())
            fault = stub.judge(heard) if stub.judge is not None else None
            if fault is None and stub.faults:
                fault = stub.faults.popleft()
            stub.heard.append(heard)
            self._misbehave(fault) if fault is not None else self._answer(200)

        do_PUT = do_POST

        def _misbehave(self, fault: Fault) -> None:
            if fault == "reset":
                # a lingering time of zero makes the close a reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif fault == "hang":
                stub.released.wait(60)
            elif fault == "garbage":
                self.wfile.write(b"not HTTP at all\r\n\r\n")
            elif fault == "drip":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stub.released.wait(0.05):
                    self.wfile.write(b".")
                    self.wfile.flush()
            elif fault == "redirect":
                self._answer(307, Location=f"{stub.url}/elsewhere")
            else:
                self._answer(int(fault), **({"Retry-After": str(stub.retry_after_s)} if fault in ("429", "503") else {}))

        def _answer(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):
                self.close_connection = True  # the caller went away, or we hung up on it

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: what was heard is kept."""

    return Handler


def _smtp_handler(stub: SmtpStub) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 stub")
            while line := self.rfile.readline(2000):
                word = line.strip().upper()[:4]
                if word == b"RCPT" and stub.answers:
                    self._say(stub.answers.popleft())
                elif word == b"DATA":
                    self._say("354 go on")
                    stub.messages.append(self._message())
                    self._say("250 kept")
                elif word == b"QUIT":
                    return self._say("221 bye")
                else:
                    self._say("250 ok")

        def _message(self) -> bytes:
            lines = []
            while (line := self.rfile.readline(2000)) not in (b".\r\n", b""):
                lines.append(line)
            return b"".join(lines)

        def _say(self, words: str) -> None:
            self.wfile.write(words.encode() + b"\r\n")

    return Handler
