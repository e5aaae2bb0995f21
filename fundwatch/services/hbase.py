"""A whole HBase with its Thrift server in one JVM, from Maven's jars (`hbase_schema/java/HBaseOne.java`).

Ready means: a table was created, a row written, read and the table dropped, through Thrift. Acknowledged rows outlive
`kill -9`: the write-ahead log is flushed to the operating system before a write is answered.
"""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from pathlib import Path
from string import Template

from fundwatch.services import home, jars, process
from fundwatch.settings import Settings

NAME = "hbase"
STOP_SIGNAL = signal.SIGTERM
PATIENCE_S = 180.0
TEMPLATES = Path(__file__).parent
JVM_OPTIONS = TEMPLATES / "hbase-jvm.options"


def external(settings: Settings) -> str | None:
    """Thrift address of a real cluster, when `FUNDWATCH_HBASE_THRIFT` names one."""
    return os.environ.get("FUNDWATCH_HBASE_THRIFT") or None


def up(settings: Settings) -> bool:
    """Start HBase if it is not running (True when it was started) and bring our tables up to date."""
    started = start(settings) if external(settings) is None else False
    from hbase_schema.apply import apply

    apply(settings)
    return started


def start(settings: Settings) -> bool:
    """Start HBase alone; True when it was not running."""
    return process.ensure(settings, NAME, lambda: _launch(settings), lambda: _answers(settings), PATIENCE_S)


def _launch(settings: Settings) -> process.Started:
    jars.set_up(settings)
    folder = settings.home / "hbase"
    thrift, zookeeper = home.port(settings, NAME), home.port(settings, "zookeeper")
    process.require_free(NAME, thrift, settings)
    process.require_free(NAME, zookeeper, settings, of="zookeeper")
    # After kill -9 the dead master's node would hold up the new one for 40 s; nothing in it is needed.
    shutil.rmtree(folder / "zk", ignore_errors=True)
    _configure(folder, thrift, zookeeper)
    classpath = f"{folder / 'conf'}:{jars.classes_dir(settings)}:{settings.jars_dir / 'hbase'}/*"
    arguments = ["-b", process.HOST, "-p", str(thrift), "--infoport", "-1", "-f"]
    command = ["java", f"@{JVM_OPTIONS}", "-cp", classpath, "HBaseOne", *arguments]
    return process.start(settings, NAME, command, thrift, {})


def _configure(folder: Path, thrift_port: int, zookeeper_port: int) -> None:
    conf = folder / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    text = Template((TEMPLATES / "hbase-site.xml").read_text(encoding="utf-8"))
    site = text.substitute(folder=folder, thrift_port=thrift_port, zookeeper_port=zookeeper_port)
    (conf / "hbase-site.xml").write_text(site, encoding="utf-8")
    shutil.copyfile(TEMPLATES / "hbase-log4j2.properties", conf / "log4j2.properties")


def _answers(settings: Settings) -> str | None:
    import happybase
    from thriftpy2.thrift import TException

    host, port = settings.service_address(NAME)
    if not process.port_is_open(port):
        return f"port {port} is not open yet"
    table_name = f"ready_{uuid.uuid4().hex[:12]}"
    try:
        connection = happybase.Connection(host, port, timeout=60_000, transport="framed", protocol="binary")
        try:
            connection.create_table(table_name, {"d": {}})
            table = connection.table(table_name)
            table.put(b"row", {b"d:p": b"written"})
            if table.row(b"row").get(b"d:p") != b"written":
                return "a row that was written is not there"
            connection.delete_table(table_name, disable=True)
        finally:
            connection.close()
    except (TException, OSError) as error:
        return " ".join(str(error).split())[:200]
    return None
