"""Spark sessions: classic in this process, or a client of a Connect server, with one configuration."""

from __future__ import annotations

import gc
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import ServiceMissing
from fundwatch.settings import PROJECT, Settings
from lake.postgres import jdbc_url

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_SUBMIT_ARGUMENTS = "PYSPARK_SUBMIT_ARGS"
# A night compiles some hundred generated classes a session: a full code cache stops the compiler first and the JVM later.
JAVA_OPTIONS = "-XX:+UseParallelGC -XX:ReservedCodeCacheSize=512m -Djava.net.preferIPv4Stack=true -Duser.timezone=UTC"


def spark_conf(settings: Settings) -> dict[str, str]:
    """Spark's configuration for this installation: engine, Iceberg catalog on PostgreSQL, jars.

    It holds the catalog's password, so it goes into a session or a 0600 file, never on a command line.
    """
    jars = sorted((settings.jars_dir / "spark").glob("*.jar"))
    if not jars:
        raise ServiceMissing(f"no jars in {settings.jars_dir / 'spark'}: run `fundwatch setup`")
    catalog = "spark.sql.catalog.lake"
    return {
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": JAVA_OPTIONS,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.default.parallelism": "4",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.adaptive.coalescePartitions.minPartitionSize": "4MB",
        "spark.local.dir": str(settings.home / "spark" / "tmp"),
        "spark.sql.warehouse.dir": (settings.home / "spark" / "warehouse").as_uri(),
        "spark.jars": ",".join(str(jar) for jar in jars),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.type": "jdbc",
        f"{catalog}.jdbc.schema-version": "V1",
        f"{catalog}.uri": f"{jdbc_url(settings, 'catalog')}?currentSchema=catalog",
        f"{catalog}.jdbc.user": "catalog",
        f"{catalog}.jdbc.password": settings.secret("pg_catalog"),
        f"{catalog}.warehouse": settings.lake_warehouse,
    }


def spark_session(settings: Settings, app: str) -> SparkSession:
    """A session for `app`: of the Connect server named by `FUNDWATCH_SPARK_REMOTE`, else classic in this process.

    A Connect server that is gone gives an error within seconds (recipe: default retries wait for minutes).
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    if settings.spark_remote:
        from pyspark.sql.connect.client.retries import DefaultPolicy

        os.environ.setdefault("SPARK_CONNECT_AUTHENTICATE_TOKEN", settings.secret("connect_token"))
        # through the common builder: it also switches pyspark.sql.functions to their Connect form
        session = SparkSession.builder.remote(settings.spark_remote).create()
        session._client.set_retry_policies([DefaultPolicy(max_retries=4, initial_backoff=200, max_backoff=1000)])
        return session
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in (str(PROJECT), os.environ.get("PYTHONPATH", "")) if part)
    (settings.home / "spark" / "tmp").mkdir(parents=True, exist_ok=True)
    with _secrets_off_the_command_line(settings, spark_conf(settings)) as conf:
        builder = SparkSession.builder.appName(app)
        for key, value in conf.items():
            builder = builder.config(key, value)
        session_classic = builder.getOrCreate()
    session_classic.sparkContext.setLogLevel("ERROR")
    return session_classic


@contextmanager
def collected_by_hand() -> Iterator[None]:
    """No garbage collection but those asked for (`gc.collect`), while clients of a Connect server work.

    A checkpoint's finaliser calls the server and needs the lock of the gRPC channel. Run by a collection that begins inside a
    thread which gRPC starts under that lock, it waits for itself, for ever (apache/spark pull request 53783).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _secrets_off_the_command_line(settings: Settings, conf: dict[str, str]) -> Iterator[dict[str, str]]:
    """What the builder may be given: PySpark starts its JVM with `--conf KEY=VALUE`, which every user of the machine can read.

    Passwords go through a 0600 properties file that is gone once the JVM has read it.
    """
    from pyspark import SparkContext

    if SparkContext._gateway is not None:
        # the JVM is there: nothing is put on a command line any more
        yield conf
        return
    secrets = {key: value for key, value in conf.items() if key.endswith(".password")}
    descriptor, name = tempfile.mkstemp(suffix=".properties", dir=settings.home / "spark" / "tmp")
    before = os.environ.get(_SUBMIT_ARGUMENTS)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("".join(f"{key} {value}\n" for key, value in secrets.items()))
        os.environ[_SUBMIT_ARGUMENTS] = f"--properties-file {shlex.quote(name)} {before or 'pyspark-shell'}"
        yield {key: value for key, value in conf.items() if key not in secrets}
    finally:
        os.environ.pop(_SUBMIT_ARGUMENTS)
        if before is not None:
            os.environ[_SUBMIT_ARGUMENTS] = before
        Path(name).unlink()
