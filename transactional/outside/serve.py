"""The delivery process (`python -m transactional.outside.serve --port N`): workers, and `/livez /readyz /metrics` on loopback."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg

from domain.errors import ServiceMissing
from fundwatch.settings import Settings, load
from transactional.outside.worker import Worker, health

HOST = "127.0.0.1"
WORKERS = 4


def run(settings: Settings, port: int | None, workers: int = WORKERS) -> None:
    """Deliver until SIGTERM or SIGINT; a try that has begun is finished first."""
    stop = threading.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: stop.set())
    server = None if port is None else ThreadingHTTPServer((HOST, port), _handler(settings))
    if server is not None:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threads = [threading.Thread(target=Worker(settings).run, args=(stop,), name=f"worker-{n}") for n in range(workers)]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join()
    if server is not None:
        server.shutdown()


def metrics(targets: list[dict[str, Any]]) -> str:
    """The state of all targets as gauges of the Prometheus text format."""
    lines = []
    for gauge, name in (("pending", "pending"), ("dead", "dead"), ("oldest_undelivered_age_seconds", "oldest_age_s")):
        lines.append(f"# TYPE fundwatch_outside_{gauge} gauge")
        lines += [f'fundwatch_outside_{gauge}{{target="{one["target"]}"}} {one[name]}' for one in targets]
    return "\n".join(lines) + "\n"


def look(settings: Settings) -> list[dict[str, Any]]:
    """State of all targets; ServiceMissing when the database does not answer."""
    try:
        with psycopg.connect(settings.database_url("service"), connect_timeout=5) as connection:
            return health(connection)
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {str(error).strip()}") from None


def _handler(settings: Settings) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/livez":
                return self._answer(200, "text/plain", "ok\n")
            if self.path not in ("/readyz", "/metrics"):
                return self._answer(404, "text/plain", "there is nothing here\n")
            try:
                found = look(settings)
            except ServiceMissing:
                return self._answer(503, "text/plain", "the database does not answer\n")
            if self.path == "/metrics":
                return self._answer(200, "text/plain; version=0.0.4", metrics(found))
            return self._answer(200, "application/json", json.dumps({"targets": found}))

        def _answer(self, status: int, kind: str, body: str) -> None:
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the one who asks is the one who starts us."""

    return Handler


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    run(load(), parser.parse_args().port)


if __name__ == "__main__":
    main()
