"""One Spark Connect server for all clients of a night, from the jars inside the pip package of pyspark.

Its configuration holds the catalog's password, so it lies in a 0600 file and never on a command line. Clients reach it at
``sc://localhost:PORT`` with the token of `secrets/connect_token`; by address the client would want TLS.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

from domain.errors import ServiceMissing
from fundwatch.services import home, jars, process, system
from fundwatch.settings import PROJECT, Settings

NAME = "spark"
STOP_SIGNAL = signal.SIGTERM
PATIENCE_S = 120.0
CALL_S = 20.0
MAIN_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"


def external(settings: Settings) -> str | None:
    """Address of a bank's own Connect server, when `FUNDWATCH_SPARK_REMOTE` names one."""
    remote = settings.spark_remote
    return remote.removeprefix("sc://") if remote else None


def remote_url(settings: Settings) -> str:
    """What `FUNDWATCH_SPARK_REMOTE` has to be for clients of the local server."""
    return f"sc://localhost:{settings.service_address(NAME)[1]}"


def up(settings: Settings) -> bool:
    """Start the server if it is not running; True when it was started."""
    if external(settings) is not None:
        return False
    return process.ensure(settings, NAME, lambda: _launch(settings), lambda: _answers(settings), PATIENCE_S)


def _launch(settings: Settings) -> process.Started:
    jars.set_up(settings)
    system.require("java")
    port = home.port(settings, NAME)
    process.require_free(NAME, port, settings)
    command, environment = program(settings, port)
    return process.start(settings, NAME, command, port, environment)


def program(settings: Settings, port: int) -> tuple[list[str], dict[str, str]]:
    """Write the server's configuration; its command line and what it needs in the environment."""
    folder = settings.home / "spark"
    for name in ("conf", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    home.write_private(folder / "conf" / "spark-defaults.conf", _configuration(settings, port))
    spark_home = _spark_home()
    environment = {
        "SPARK_HOME": str(spark_home),
        "SPARK_CONF_DIR": str(folder / "conf"),
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": settings.secret("connect_token"),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(part for part in (str(PROJECT), os.environ.get("PYTHONPATH", "")) if part),
        "FUNDWATCH_HOME": str(settings.home),
        "FUNDWATCH_CACHE": str(settings.cache),
    }
    return [str(spark_home / "bin" / "spark-submit"), "--class", MAIN_CLASS, "spark-internal"], environment


def _configuration(settings: Settings, port: int) -> str:
    from lake.session import spark_conf

    entries = spark_conf(settings) | {
        "spark.app.name": "fundwatch",
        "spark.connect.grpc.binding.address": process.HOST,
        "spark.connect.grpc.binding.port": str(port),
    }
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))


def _spark_home() -> Path:
    found = importlib.util.find_spec("pyspark")
    if found is None or not found.submodule_search_locations:
        raise ServiceMissing("pyspark is missing: run `make env`")
    folder = Path(found.submodule_search_locations[0])
    if not list((folder / "jars").glob("spark-connect_*.jar")):
        raise ServiceMissing(f"no Connect server in {folder / 'jars'}: it needs the full pyspark package")
    return folder


def _answers(settings: Settings) -> str | None:
    return answers(settings, settings.service_address(NAME)[1])


def answers(settings: Settings, port: int) -> str | None:
    """Ask for Spark's version with our token: the engine must answer, not only the port. None, or why not."""
    if not process.port_is_open(port):
        return f"port {port} is not open yet"
    import grpc  # type: ignore[import-untyped]
    from pyspark.sql.connect.proto import AnalyzePlanRequest, SparkConnectServiceStub, UserContext

    request = AnalyzePlanRequest(
        session_id="00000000-0000-4000-8000-000000000000",
        user_context=UserContext(user_id="fundwatch"),
        spark_version=AnalyzePlanRequest.SparkVersion(),
    )
    token = [("authorization", f"Bearer {settings.secret('connect_token')}")]
    try:
        with grpc.insecure_channel(f"{process.HOST}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            answer = SparkConnectServiceStub(channel).AnalyzePlan(request, metadata=token, timeout=CALL_S)
    except grpc.RpcError as error:
        return " ".join(str(error).split())[:200]
    return None if answer.spark_version.version else "it does not tell its version"
