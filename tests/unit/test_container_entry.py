"""What containers add to the code: secrets from a mounted folder, an address to listen on, health checks that say no."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from domain.errors import ServiceMissing
from fundwatch.services import home, process
from fundwatch.settings import load

DOCKER = Path(__file__).resolve().parents[2] / "docker"


def test_secrets_come_from_the_mounted_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = tmp_path / "run" / "secrets"
    mounted.mkdir(parents=True)
    (mounted / "pg_jobs").write_text("from outside/\n", encoding="utf-8")
    monkeypatch.setenv("FUNDWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUNDWATCH_DATABASE_URL", "postgresql://postgres:5432/fundwatch")
    monkeypatch.setenv("FUNDWATCH_SECRETS", str(mounted))
    settings = load()
    assert settings.secret("pg_jobs") == "from outside/"
    assert settings.database_url("jobs") == "postgresql://jobs:from%20outside%2F@postgres:5432/fundwatch"
    with pytest.raises(ServiceMissing, match="pg_reader is missing"):
        settings.secret("pg_reader")
    home.prepare(settings)
    assert not (settings.home / "secrets").exists()
    assert (mounted / "pg_jobs").read_text() == "from outside/\n", "what is there stays"
    assert {path.name for path in mounted.iterdir()} == set(home.SECRETS)


def test_a_secret_of_another_user_is_said_to_be_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("FUNDWATCH_SECRETS", str(tmp_path))
    settings = load()
    monkeypatch.setattr(Path, "read_text", refuse)  # fault injection: tests run as root, which may read everything
    with pytest.raises(ServiceMissing, match="may not be read by user"):
        settings.secret("pg_jobs")


@pytest.mark.parametrize("module", ["transactional.serve", "dashboard.serve", "fundwatch.watch.serve"])
def test_services_listen_on_loopback_unless_told(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--host HOST" in done.stdout


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that gives every request one status; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def http_health(port: int) -> int:
    """Exit code of the health check."""
    command = [sys.executable, "-I", str(DOCKER / "http_health.py"), str(port), "/livez"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (303, 1), (503, 1)])
def test_an_http_service_is_well_when_it_answers_200(status: int, exit_code: int) -> None:
    with answering(status) as port:
        assert http_health(port) == exit_code


def test_a_service_that_is_not_there_is_not_well() -> None:
    (port,) = process.free_ports(1)
    assert http_health(port) == 1
    hbase = subprocess.run([str(DOCKER / "hbase-health.sh"), str(port)], stderr=subprocess.DEVNULL, check=False)
    assert hbase.returncode != 0
    command = [sys.executable, "-m", "fundwatch.services.spark_foreground", "--check", "--port", str(port)]
    spark = subprocess.run(command, capture_output=True, text=True, check=False)
    assert spark.returncode == 4
    assert f"port {port} is not open yet" in spark.stderr


EXCEPTION = b"\0\0\0\x1c\x80\x01\0\x02\0\0\0\x0dgetTableNames\0\0\0\x01\x0c\0\x01" + bytes(4)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(8), EXCEPTION])
def test_a_server_that_does_not_list_tables_is_not_well(answer: bytes) -> None:
    """A fake server for fault injection: it says nothing, something else, or the exception of an HBase without its master."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        command = [str(DOCKER / "hbase-health.sh"), str(server.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "HBase does not list its tables" in done.stderr
