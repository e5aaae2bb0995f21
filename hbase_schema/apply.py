"""Create the declared tables and compare those that exist, by the Java program `Ddl` (Thrift can neither split nor encode)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from domain.errors import BadInput, ServiceMissing
from fundwatch.settings import Settings
from hbase_schema.tables import ddl

_TIMEOUT_SECONDS = 180


def apply(settings: Settings) -> None:
    """Create every table that is missing under `settings.hbase_table_prefix`; BadInput when one exists and differs."""
    faults = _ddl(settings, "apply")
    if faults:
        raise BadInput("HBase tables differ from their declaration: " + "; ".join(faults))


def check(settings: Settings) -> list[str]:
    """One sentence for every way in which the tables are not as declared; empty when all is well."""
    return _ddl(settings, "check")


def conf_dir(settings: Settings) -> Path:
    """Folder of hbase-site.xml: `FUNDWATCH_HBASE_CONF` of a real cluster, else that of the local service."""
    given = os.environ.get("FUNDWATCH_HBASE_CONF")
    folder = Path(given) if given else settings.home / "hbase" / "conf"
    if not (folder / "hbase-site.xml").exists():
        raise ServiceMissing(f"no hbase-site.xml in {folder}: run `fundwatch up` or set FUNDWATCH_HBASE_CONF")
    return folder


def _ddl(settings: Settings, mode: str) -> list[str]:
    settings.hbase_address()
    java = shutil.which("java")
    if java is None:
        raise ServiceMissing("java is not installed: install a Java 17 runtime")
    classes = settings.cache / "classes"
    if not (classes / "Ddl.class").exists():
        raise ServiceMissing(f"no Ddl.class in {classes}: run `fundwatch setup`")
    path = os.pathsep.join((str(conf_dir(settings)), str(classes), str(settings.jars_dir / "hbase" / "*")))
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "tables.json"
        document.write_text(json.dumps(ddl(settings.hbase_table_prefix)), encoding="utf-8")
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true"]
        command = [java, *options, "-cp", path, "Ddl", mode, str(document)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise ServiceMissing(f"HBase did not answer within {_TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        reason = next((line for line in reversed(done.stderr.splitlines()) if "xception" in line), done.stderr[-300:])
        raise ServiceMissing(f"HBase table program failed: {reason.strip()}")
    return [line.removeprefix("FAULT ") for line in done.stdout.splitlines() if line.startswith("FAULT ")]
