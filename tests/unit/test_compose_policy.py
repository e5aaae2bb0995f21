"""The compose file without an engine: valid by its schema, and each service as closed as it can be."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from fundwatch.cli import app
from fundwatch.services import airflow_home, home
from fundwatch.settings import ROLES, Settings

PROJECT = Path(__file__).resolve().parents[2]
DOCKER = PROJECT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
each_service = pytest.mark.parametrize("name", SERVICES)
SOURCES = ("fundwatch", "lake", "transactional", "dashboard", "hbase_schema", "dags", "reports", "models", "spark_jobs")


def one_shot(service: dict[str, Any]) -> bool:
    """Whether a service ends by itself."""
    return service["restart"] == "no"


def image_of(service: dict[str, Any]) -> str | None:
    """Which of our Dockerfiles a service's image is built from; None for images of others."""
    found = re.match(r"fundwatch-(\w+):", service["image"])
    return found[1] if found else None


def dockerfile_of(service: dict[str, Any]) -> str:
    """The text of a service's Dockerfile and of the one it is built on."""
    image = image_of(service)
    names = ("airflow", "jobs") if image == "airflow" else (image,)
    return "\n".join((DOCKER / f"{name}.Dockerfile").read_text(encoding="utf-8") for name in names)


@cache
def known_settings() -> set[str]:
    """Environment variables that our code reads, and the settings of a home, each of which may come from the environment."""
    texts = (path.read_text(encoding="utf-8") for folder in SOURCES for path in (PROJECT / folder).rglob("*.py"))
    named = {name for text in texts for name in re.findall(r"\bFUNDWATCH_[A-Z_]+\b", text)}
    return named | {f"FUNDWATCH_{field.upper()}" for field in Settings.__dataclass_fields__}


def test_the_compose_file_is_valid_by_its_schema_without_a_network() -> None:
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    program = str(Path(sys.executable).parent / "check-jsonschema")
    command = [program, "--builtin-schema", "vendor.compose-spec", str(DOCKER / "compose.yaml")]
    done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_service
def test_a_service_can_do_as_little_as_possible(name: str) -> None:
    service = SERVICES[name]
    uid, _, gid = service["user"].partition(":")
    assert int(uid) > 0 and int(gid) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "devices", "userns_mode", "env_file", "build"} & set(service)
    assert service.get("network_mode", "none").partition(":")[0] in {"none", "service"}
    assert all(not str(volume).startswith((".", "/", "~")) for volume in service.get("volumes", [])), "named volumes only"


@each_service
def test_a_service_is_bounded(name: str) -> None:
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@each_service
def test_a_service_that_stays_says_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    if one_shot(service):
        assert "healthcheck" not in service
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
        assert {"interval", "timeout", "retries"} <= set(service["healthcheck"])


@each_service
def test_an_image_has_an_exact_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"fundwatch-\w+:\$\{FUNDWATCH_VERSION:-\d+\.\d+\.\d+\}|[a-z]+:\d+\.\d+-[a-z]+", image)


@each_service
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    service = SERVICES[name]
    ports = service.get("ports", [])
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    # an internal network publishes nothing, and what publishes nothing needs no way out
    assert bool(ports) == ("edge" in service.get("networks", []))
    assert all(COMPOSE["networks"][network].get("internal") for network in COMPOSE["networks"] if network != "edge")


@each_service
def test_no_secret_stands_in_the_environment(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        assert not re.search(r"://[^/@\s]*:[^/@\s]+@", str(value)), variable
        if re.search(r"PASSWORD|SECRET|TOKEN|KEY|CONN", variable):
            assert re.match(r"/|cat /run/secrets/", value), f"{variable} names a file"


@each_service
def test_every_setting_is_one_that_the_code_reads(name: str) -> None:
    given = set(SERVICES[name].get("environment", {}))
    if image_of(SERVICES[name]) is not None:
        assert {variable for variable in given if variable.startswith("FUNDWATCH_")} <= known_settings()
        assert all(variable.startswith(("FUNDWATCH_", "AIRFLOW__")) for variable in given)


@each_service
def test_what_a_service_waits_for_can_happen(name: str) -> None:
    for waited, how in SERVICES[name].get("depends_on", {}).items():
        assert one_shot(SERVICES[waited]) == (how["condition"] == "service_completed_successfully")
    mode, _, other = SERVICES[name].get("network_mode", "").partition(":")
    assert mode != "service" or other in SERVICES[name]["depends_on"] or "night-net" in SERVICES["spark-connect"]["depends_on"]


@each_service
def test_what_a_service_mounts_exists(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert all((DOCKER / COMPOSE["configs"][config["source"]]["file"]).is_file() for config in service.get("configs", []))
    for volume in service.get("volumes", []):
        source, target, *_ = volume.split(":")
        assert source in COMPOSE["volumes"]
        if image_of(service) is not None:
            # a volume takes its owner from the image's folder; without one it would be root's
            text = dockerfile_of(service)
            folder = target.removeprefix("/var/lib/fundwatch/")
            assert re.search(
                rf"install -d .*{re.escape(target)}|for part in .*\b{re.escape(folder)}\b", text.replace("\\\n", " ")
            )


def test_there_are_no_idle_names() -> None:
    used = {part for service in SERVICES.values() for part in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    mounted = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])
    networks = {network for service in SERVICES.values() for network in service.get("networks", [])}
    assert networks == set(COMPOSE["networks"])


def test_every_secret_of_an_installation_is_made_for_the_containers_too() -> None:
    made = (DOCKER / "make-secrets.sh").read_text(encoding="utf-8")
    airflow = {"pg_airflow", "airflow_jwt", "airflow_api", "airflow_fernet", airflow_home.PASSWORDS}
    for name in {*home.SECRETS, *airflow, *COMPOSE["secrets"]}:
        assert re.search(rf"\b{re.escape(name)}\b", made), name
        assert name in COMPOSE["secrets"], name


def test_the_database_gets_the_roles_of_the_settings() -> None:
    text = (DOCKER / "postgres" / "init.sh").read_text(encoding="utf-8")
    made = re.search(r"for role in ([\w ]+); do", text)
    assert made and set(made[1].split()) == {*ROLES, "airflow"}
    granted = re.search(r"GRANT CONNECT, TEMPORARY ON DATABASE fundwatch TO ([\w, ]+);", text)
    assert granted and set(granted[1].split(", ")) == set(ROLES)
    assert {f"pg_{role}" for role in (*ROLES, "airflow")} <= set(SERVICES["postgres"]["secrets"])


@each_service
def test_a_service_gets_the_passwords_of_no_more_roles_than_it_needs(name: str) -> None:
    allowed = {
        "postgres": {*ROLES, "airflow", "superuser"},
        "migrate": {"migrator"},
        "api": {"service"},
        "web": {"reader", "web"},
        "watchdog": {"jobs"},
        "operator": set(ROLES),
    }
    passwords = {secret.removeprefix("pg_") for secret in SERVICES[name].get("secrets", []) if secret.startswith("pg_")}
    assert passwords <= allowed.get(name, {"jobs", "verifier", "reader", "catalog"})


def commands(service: dict[str, Any]) -> list[list[str]]:
    """Every program a service runs, health check included; a loop of a shell gives the commands inside."""
    found = [service["command"]] if "command" in service else []
    if "healthcheck" in service:
        found.append(service["healthcheck"]["test"][1:])
    return [inner for command in found for inner in _inside(command)]


def _inside(command: list[str]) -> list[list[str]]:
    if command[0] != "bash":
        return [command]
    return [words.replace('"$$platform"', "P01").split() for words in re.findall(r"\bfundwatch [^;]+", command[-1])]


@each_service
def test_every_command_exists(name: str) -> None:
    service = SERVICES[name]
    for command in commands(service) if image_of(service) is not None else []:
        program, *arguments = command
        if program == "fundwatch":
            parse(arguments)
        elif program == "python" and arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]) is not None
        elif program == "airflow":
            assert (PROJECT / ".venv-airflow" / "bin" / "airflow").exists()
        elif program not in {"sleep", "getent"}:
            path = arguments[1] if program == "python" else program
            copied = re.findall(r"^COPY docker/(.*) \S+/bin/$", dockerfile_of(service), re.MULTILINE)
            assert any(path.rpartition("/")[2] in line.replace("docker/", "").split() for line in copied), path


def parse(arguments: list[str]) -> None:
    """Let the command line parse a command without running it; a click error is what it does not know."""
    command: Any = typer.main.get_command(app)
    context: Any = None
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    context = command.make_context(command.name, list(arguments))
    assert context.params
