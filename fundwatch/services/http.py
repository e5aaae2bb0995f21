"""The two HTTP services: the transactional API and the pages, each one Python process."""

from __future__ import annotations

import http.client
import importlib.util
import os
import sys
from dataclasses import dataclass

from fundwatch.services import home, process
from fundwatch.settings import PROJECT, Settings

PATIENCE_S = 60.0
CALL_S = 10.0


@dataclass(frozen=True)
class HttpService:
    """A module run as ``python -m MODULE --port N``, ready when `path` answers with `status` or less."""

    name: str
    module: str
    path: str
    status: int

    def exists(self) -> bool:
        """Whether the module is part of this installation."""
        package = self.module.partition(".")[0]
        return importlib.util.find_spec(package) is not None and importlib.util.find_spec(self.module) is not None

    def up(self, settings: Settings) -> bool:
        """Start it if it is not running; True when it was started."""
        return process.ensure(settings, self.name, lambda: self._launch(settings), lambda: self._answers(settings), PATIENCE_S)

    def _launch(self, settings: Settings) -> process.Started:
        port = home.port(settings, self.name)
        environment = {
            "FUNDWATCH_HOME": str(settings.home),
            "FUNDWATCH_CACHE": str(settings.cache),
            "PYTHONPATH": os.pathsep.join(part for part in (str(PROJECT), os.environ.get("PYTHONPATH", "")) if part),
        }
        command = [sys.executable, "-m", self.module, "--port", str(port)]
        return process.start(settings, self.name, command, port, environment)

    def _answers(self, settings: Settings) -> str | None:
        host, port = settings.service_address(self.name)
        connection = http.client.HTTPConnection(host, port, timeout=CALL_S)
        try:
            connection.request("GET", self.path)
            answer = connection.getresponse()
            body = answer.read(200).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return f"GET {self.path}: {error}"
        finally:
            connection.close()
        return None if answer.status <= self.status else f"GET {self.path} answers {answer.status} {body}"
