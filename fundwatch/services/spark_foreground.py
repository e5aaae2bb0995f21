"""The Spark Connect server as a container's own process: `python -m fundwatch.services.spark_foreground --port N`.

It listens on loopback, as `fundwatch up` does it: PySpark sends its token without TLS to ``sc://localhost:PORT`` only, so
clients share the server's network. `--check` asks a running server for its version instead (exit code 4: it does not answer).
"""

from __future__ import annotations

import argparse
import os
import sys

from domain.errors import FundwatchError, ServiceMissing
from fundwatch.output import log
from fundwatch.services import spark_connect
from fundwatch.settings import load


def main() -> None:
    """Become the server, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    settings = load()
    if arguments.check:
        why = spark_connect.answers(settings, arguments.port)
        if why is not None:
            raise ServiceMissing(f"Spark does not answer: {why}")
        return
    command, environment = spark_connect.program(settings, arguments.port)
    os.execve(command[0], command, os.environ | environment)


if __name__ == "__main__":
    try:
        main()
    except FundwatchError as error:
        log.print(f"{type(error).__name__}: {error}", soft_wrap=True)
        sys.exit(error.exit_code)
