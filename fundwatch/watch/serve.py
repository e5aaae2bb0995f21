"""The watchdog's own process: looks every minute, answers `/healthz` and `/metrics`, keeps what changed (`python -m …`)."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fundwatch.settings import Settings, load
from fundwatch.watch.judgement import FINE, Judgement, metrics, unknown
from fundwatch.watch.look import look

HOST = "127.0.0.1"
EVERY_S = 60.0
JOURNAL = "watchdog.jsonl"
# a look that hangs makes the last word old: older than this many looks it counts no more
LOOKS_MAX = 5


class Watch:
    """The last judgement, and the journal of those that said something new."""

    def __init__(self, journal: Path, every_s: float = EVERY_S) -> None:
        self.journal = journal
        self.every_s = every_s
        self._last = unknown("the watchdog has not looked yet")
        self._told = _last_line(journal)

    def take(self, judgement: Judgement) -> None:
        """Remember a judgement; write it down when it says something new."""
        self._last = judgement
        if not judgement.changed_from(self._told):
            return
        self._told = judgement.as_json()
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        with self.journal.open("ab") as output:
            # a process killed while writing may have left half a line
            start = b"" if _ends_well(self.journal) else b"\n"
            output.write(start + json.dumps(self._told, sort_keys=True).encode() + b"\n")

    def word(self) -> Judgement:
        """The judgement that holds now."""
        age = datetime.now(UTC) - self._last.looked_at
        if age > timedelta(seconds=LOOKS_MAX * self.every_s):
            return unknown(f"the watchdog looked {age.total_seconds():.0f} s ago last")
        return self._last


def serve(settings: Settings, port: int, every_s: float = EVERY_S, host: str = HOST) -> None:
    """Look and answer until SIGTERM or SIGINT."""
    watch, stop = Watch(settings.log_dir / JOURNAL, every_s), threading.Event()
    server = ThreadingHTTPServer((host, port), _handler(watch))
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while not stop.is_set():
        watch.take(_looked(settings))
        stop.wait(every_s)
    server.shutdown()


def _looked(settings: Settings) -> Judgement:
    """A look that survives its own faults: a watchdog that ends says nothing any more."""
    try:
        return look(settings)
    except Exception as error:
        return unknown(f"{type(error).__name__}: {error}")


def _handler(watch: Watch) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """``/livez`` it runs · ``/healthz`` 200 published, 503 late or unknown · ``/metrics`` for Prometheus."""

        def do_GET(self) -> None:
            pages: dict[str, Callable[[], tuple[int, str, str]]] = {
                "/livez": lambda: (200, "application/json", '{"alive": true}\n'),
                "/healthz": lambda: _health(watch.word()),
                "/metrics": lambda: (200, "text/plain; version=0.0.4", metrics(watch.word())),
            }
            page = pages.get(self.path.partition("?")[0])
            status, kind, text = page() if page else (404, "application/json", '{"error": "there is no such page"}\n')
            body = text.encode()
            self.send_response(status)
            for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: one line a minute would hide what matters."""

    return Handler


def _health(judgement: Judgement) -> tuple[int, str, str]:
    text = json.dumps(judgement.as_json(), sort_keys=True, default=str) + "\n"
    return 200 if judgement.state == FINE else 503, "application/json", text


def _last_line(journal: Path) -> dict[str, Any]:
    lines = journal.read_text(encoding="utf-8", errors="replace").splitlines() if journal.exists() else []
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _ends_well(journal: Path) -> bool:
    content = journal.read_bytes()[-1:]
    return content in (b"", b"\n")


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--every-s", type=float, default=EVERY_S, help="seconds between two looks")
    parser.add_argument("--host", default=HOST, help="address to listen on; another one only inside a container")
    arguments = parser.parse_args()
    serve(load(), arguments.port, arguments.every_s, arguments.host)


if __name__ == "__main__":
    main()
