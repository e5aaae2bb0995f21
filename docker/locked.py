"""Cut a hash-locked requirements file down to what an image needs: `python docker/locked.py LOCK ROOTS > SUBSET`.

LOCK is one of `requirements/*.txt` as uv writes it: every package with its hashes, and in `# via` comments who asked for it.
ROOTS names packages, one a line. The subset holds the roots and all that they ask for, each with its hashes, so that an image
is installed from the very lock the tests ran with, without the tests' own tools. Standard library only: it runs before anything
is installed. Exit code 3: a root is not in the lock.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")
VIA = re.compile(r"^    #(?:   | via )\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*$")


@dataclass(frozen=True)
class Locked:
    """One package of a lock: its lines as they stand there, and the names of those who asked for it."""

    lines: tuple[str, ...]
    wanted_by: frozenset[str]


def parsed(lock: str) -> dict[str, Locked]:
    """Packages of a lock by their normalised name."""
    found: dict[str, tuple[list[str], set[str]]] = {}
    name = ""
    for line in lock.splitlines():
        package = PACKAGE.match(line)
        if package:
            name = normalised(package[1])
            found.setdefault(name, ([], set()))  # one version for old, one for new Pythons: both, with their markers
        if not name:
            continue  # the file's own heading
        found[name][0].append(line)
        via = VIA.match(line)
        if via:
            found[name][1].add(normalised(via[1]))
    return {name: Locked(tuple(lines), frozenset(wanted_by)) for name, (lines, wanted_by) in found.items()}


def roots_of(text: str) -> list[str]:
    """Names in a file of roots; comments and empty lines do not count."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [normalised(line) for line in lines if line]


def closure(packages: dict[str, Locked], roots: list[str]) -> set[str]:
    """The roots and all that they ask for, directly or not; KeyError names a root that is not in the lock."""
    missing = sorted(set(roots) - set(packages))
    if missing:
        raise KeyError(", ".join(missing))
    wants: dict[str, set[str]] = {name: set() for name in packages}
    for name, package in packages.items():
        for wanted_by in package.wanted_by & set(packages):
            wants[wanted_by].add(name)
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(wants[name])
    return found


def normalised(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name.partition("[")[0].strip()).lower()


def main(lock: str, roots: str) -> int:
    """Write the subset to stdout."""
    packages = parsed(Path(lock).read_text(encoding="utf-8"))
    try:
        wanted = closure(packages, roots_of(Path(roots).read_text(encoding="utf-8")))
    except KeyError as error:
        sys.stderr.write(f"not in {lock}: {error.args[0]}\n")
        return 3
    for name in sorted(wanted):
        sys.stdout.write("\n".join(packages[name].lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
