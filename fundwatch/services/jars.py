"""Jars of Spark and HBase, fetched once with Maven, and the compiled Java of `hbase_schema` (`fundwatch setup`).

Each target is a folder that appears whole or not at all: it is filled beside its place, gets a stamp with the hash of what it
was made from, and is then moved there. A set-up that was interrupted is simply run again (Maven keeps what it has downloaded).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from domain.errors import Failed
from fundwatch.output import log
from fundwatch.services import system
from fundwatch.settings import PROJECT, Settings

JAVA_SOURCES = PROJECT / "hbase_schema" / "java"
POMS = {"spark": Path(__file__).parent / "spark-jars.xml", "hbase": JAVA_SOURCES / "pom.xml"}
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
STAMP = ".stamp"


def classes_dir(settings: Settings) -> Path:
    """Where the compiled Java lies."""
    return settings.cache / "classes"


def set_up(settings: Settings) -> dict[str, bool]:
    """Fetch and compile what is missing or out of date; returns for each target whether there was something to do.

    Raises ServiceMissing when Java or Maven is missing and cannot be installed, Failed naming the log file.
    """
    settings.jars_dir.mkdir(parents=True, exist_ok=True)
    with _only_one(settings.cache / "setup.lock"):
        done = {name: _make(settings.jars_dir / name, _hash([pom]), _fetch(settings, name, pom)) for name, pom in POMS.items()}
        sources = sorted(JAVA_SOURCES.glob("*.java"))
        done["classes"] = _make(classes_dir(settings), _hash([POMS["hbase"], *sources]), _compile(settings, sources))
    return done


def _hash(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _is_made(target: Path, stamp: str) -> bool:
    path = target / STAMP
    return path.exists() and path.read_text(encoding="utf-8") == stamp


def _make(target: Path, stamp: str, fill: Callable[[Path], None]) -> bool:
    if _is_made(target, stamp):
        return False
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    fill(partial)
    (partial / STAMP).write_text(stamp, encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    return True


def _fetch(settings: Settings, name: str, pom: Path) -> Callable[[Path], None]:
    def fill(partial: Path) -> None:
        system.require("java", "mvn")
        command = ["mvn", "-B", "-f", str(pom), COPY_DEPENDENCIES, f"-DoutputDirectory={partial}", "-DincludeScope=runtime"]
        _run(command, settings.cache / f"maven-{name}.log", f"jars of {name}")
        log.print(f"jars of {name}: {len(list(partial.glob('*.jar')))} in place")

    return fill


def _compile(settings: Settings, sources: Sequence[Path]) -> Callable[[Path], None]:
    def fill(partial: Path) -> None:
        system.require("javac")
        command = ["javac", "-cp", f"{settings.jars_dir / 'hbase'}/*", "-d", str(partial), *(str(source) for source in sources)]
        _run(command, settings.cache / "javac.log", "Java of hbase_schema")

    return fill


def _run(command: Sequence[str], log_file: Path, what: str) -> None:
    log.print(f"{what} …")
    with (
        log_file.open("w", encoding="utf-8") as output,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process,
        log.status(what) as status,
    ):
        downloaded = 0
        for line in process.stdout or ():
            output.write(line)
            if "Downloaded from" in line:
                downloaded += 1
                status.update(f"{what}: {downloaded} files downloaded")
                if downloaded % 100 == 0 and not log.is_terminal:
                    log.print(f"{what}: {downloaded} files downloaded")
    if process.returncode != 0:
        raise Failed(f"{what}: `{command[0]}` ended with {process.returncode}; see {log_file}")


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
