"""The container files without an engine: linted, of one piece with the repository, and with no way to run as root."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fundwatch.services import system

PROJECT = Path(__file__).resolve().parents[2]
DOCKER = PROJECT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
SCRIPTS = sorted([*DOCKER.glob("*.sh"), *DOCKER.glob("*/*.sh")])
each_image = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile in order, continued lines joined, comments left out."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = (line.strip().split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(word, rest) for word, rest in parts]


def values(dockerfile: Path, wanted: str) -> list[str]:
    """What follows one instruction, in order."""
    return [rest for word, rest in instructions(dockerfile) if word == wanted]


def sent_to_engine(path: str) -> bool:
    """Whether `.dockerignore` lets a path through: the last line that matches it or a folder above it decides."""
    above = [path, *(str(parent) for parent in Path(path).parents)][:-1]
    lines = [line for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    sent = True
    for line in lines:
        pattern = line.removeprefix("!").removesuffix("/").removeprefix("**/")
        tried = [part.rpartition("/")[2] for part in above] if "**/" in line else above
        if any(fnmatch.fnmatchcase(part, pattern) and part.count("/") == pattern.count("/") for part in tried):
            sent = line.startswith("!")
    return sent


def test_there_is_an_image_for_each_kind_of_process() -> None:
    assert [path.name.partition(".")[0] for path in DOCKERFILES] == ["airflow", "app", "hbase", "jobs"]


@each_image
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    command = [str(Path(sys.executable).parent / "hadolint"), "--no-color", "--config", str(PROJECT / ".hadolint.yaml")]
    done = subprocess.run([*command, str(dockerfile)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_hadolint_fails_on_a_warning(tmp_path: Path) -> None:
    bad = tmp_path / "bad.Dockerfile"
    bad.write_text("FROM debian:12.13-slim\nRUN cd /tmp\n", encoding="utf-8")
    command = [str(Path(sys.executable).parent / "hadolint"), "--no-color", "--config", str(PROJECT / ".hadolint.yaml")]
    done = subprocess.run([*command, str(bad)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DL3003" in done.stdout


@each_image
def test_every_ignored_finding_is_explained(dockerfile: Path) -> None:
    ignored = set(re.findall(r"hadolint ignore=(\w+)", dockerfile.read_text(encoding="utf-8")))
    explained = set(re.findall(r"^# - (DL\d+)", (PROJECT / ".hadolint.yaml").read_text(encoding="utf-8"), re.MULTILINE))
    assert ignored <= explained


@each_image
def test_an_image_is_built_in_stages_on_exactly_named_bases(dockerfile: Path) -> None:
    defaults = dict(value.split("=", 1) for value in values(dockerfile, "ARG") if "=" in value)
    stages = values(dockerfile, "FROM")
    assert len(stages) > 1
    for stage in stages:
        name = re.fullmatch(r"\$\{(\w+)\}( AS \w+)?", stage)
        assert name, f"{stage}: a base image comes through one ARG"
        assert re.fullmatch(r"[a-z-]+:\d+\.\d+(\.\d+)?(-[a-z-]+)?", defaults[name[1]]), defaults[name[1]]


@each_image
def test_an_image_does_not_run_as_root_and_can_be_asked_whether_it_is_well(dockerfile: Path) -> None:
    found = dict(instructions(dockerfile))  # the last of each: what the image runs with
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", found["USER"])
    assert "CMD [" in found["HEALTHCHECK"]
    for word in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(found[word]), list), f"{word} in exec form: signals reach the process"
    assert json.loads(found["ENTRYPOINT"])[0] == "/usr/bin/tini"


@each_image
def test_no_secret_and_no_address_is_built_in(dockerfile: Path) -> None:
    for argument in values(dockerfile, "ARG"):
        assert not re.search(r"PASSWORD|SECRET|TOKEN|KEY|INDEX|PROXY", argument.upper())
    text = dockerfile.read_text(encoding="utf-8")
    assert "://" not in text
    commands = re.split(r" && |\n", text.replace("\\\n", " "))
    installs = [command for command in commands if re.search(r"\bpip\b.* (install|wheel) ", command)]
    assert installs or dockerfile.name == "hbase.Dockerfile"
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)


def test_the_jobs_image_has_what_reports_and_spark_need_of_the_system() -> None:
    last_stage = (DOCKER / "jobs.Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    needed = {system.PACKAGES[part] for part in system.FOR_REPORTS} | {system.PACKAGES["java"].replace("-jdk-", "-jre-")}
    assert needed <= set(last_stage.split())


@each_image
def test_every_copied_path_exists_and_reaches_the_engine(dockerfile: Path) -> None:
    for value in values(dockerfile, "COPY"):
        if value.startswith("--from="):
            continue
        *sources, _ = value.split()
        for source in sources:
            assert (PROJECT / source).exists(), source
            assert source == "." or sent_to_engine(source), f"{source} is left out by .dockerignore"


def test_the_engine_is_sent_sources_and_nothing_else() -> None:
    for path in (
        "fundwatch/cli.py",
        "transactional/migrations/0001_schemas_and_roles.up.sql",
        "pyproject.toml",
        "docker/locked.py",
    ):
        assert sent_to_engine(path), path
    for path in (".fundwatch/secrets/pg_jobs", "docker/secrets/pg_jobs", ".git/config", "tests/conftest.py", ".venv/pyvenv.cfg"):
        assert not sent_to_engine(path), path
    packages = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert all(sent_to_engine(f"{package}/__init__.py") for package in packages["wheel"]["packages"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_stop_at_the_first_error(script: Path) -> None:
    assert script.stat().st_mode & 0o111, "executable"
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_secrets_are_made_once_and_hidden_from_others(tmp_path: Path) -> None:
    script = tmp_path / "docker" / "make-secrets.sh"
    script.parent.mkdir()
    for name in ("make-secrets.sh", "report-signing.cnf"):
        (script.parent / name).write_bytes((DOCKER / name).read_bytes())
    subprocess.run(["bash", str(script)], check=True, stdout=subprocess.DEVNULL)
    folder = script.parent / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(set(before.values())) == len(before), "no two are the same"
    assert not any(content.endswith(b"\n") for name, content in before.items() if not name.endswith(".pem"))
    assert before["airflow_database_url"].endswith(b":" + before["pg_airflow"] + b"@postgres:5432/airflow")
    (folder / "pg_web").unlink()
    subprocess.run(["bash", str(script)], check=True, stdout=subprocess.DEVNULL)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.keys() == before.keys()
    assert {name for name in before if after[name] != before[name]} == {"pg_web"}
