"""What of the operating system we need; installed by apt when we are root, else the exact line to run is given.

Programs are looked for on the PATH, libraries by loading them, fonts by their files; only what is missing is asked for.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from domain.errors import Failed, ServiceMissing
from fundwatch.output import log

PACKAGES = {
    "java": "openjdk-17-jdk-headless",
    "javac": "openjdk-17-jdk-headless",
    "mvn": "maven",
    "chromium": "chromium",
    "libpango-1.0.so.0": "libpango-1.0-0",
    "libpangoft2-1.0.so.0": "libpangoft2-1.0-0",
    "libharfbuzz-subset.so.0": "libharfbuzz-subset0",  # cuts the font into the PDF; another tool would give other bytes
    "wqy-microhei.ttc": "fonts-wqy-microhei",
}
FONT = "wqy-microhei.ttc"  # without Chinese glyphs a browser shows boxes and a PDF wrong characters
FOR_REPORTS = ("libpango-1.0.so.0", "libpangoft2-1.0.so.0", "libharfbuzz-subset.so.0", FONT)
FOR_PAGES = ("chromium", FONT)
_FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")


def require(*parts: str) -> None:
    """Make sure that `parts` (keys of PACKAGES: programs, libraries, fonts) are there.

    Raises ServiceMissing with the line to run when we are not root or there is no apt; Failed when apt fails.
    """
    missing = [part for part in parts if not is_there(part)]
    if not missing:
        return
    packages = sorted({PACKAGES[part] for part in missing})
    line = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ServiceMissing(f"{', '.join(missing)} not found; run: sudo {line}")
    log.print(f"{', '.join(missing)} not found: {line}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], line.split()):
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"`{' '.join(command)}` failed: {done.stdout.strip().splitlines()[-1:]}")


def is_there(part: str) -> bool:
    """Whether a program is on the PATH, a library can be loaded, a font's file lies in a folder of fonts."""
    if part.endswith((".ttc", ".ttf", ".otf")):
        return any(any(Path(folder).expanduser().rglob(part)) for folder in _FONT_FOLDERS)
    if ".so" not in part:
        return shutil.which(part) is not None
    try:
        ctypes.CDLL(part)
    except OSError:
        return False
    return True
