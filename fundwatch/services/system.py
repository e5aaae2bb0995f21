"""Programs of the operating system we need; installed by apt when we are root, else the exact line to run is given."""

from __future__ import annotations

import os
import shutil
import subprocess

from domain.errors import Failed, ServiceMissing
from fundwatch.output import log

PACKAGES = {
    "java": "openjdk-17-jdk-headless",
    "javac": "openjdk-17-jdk-headless",
    "mvn": "maven",
    "chromium": "chromium fonts-wqy-microhei",  # a browser without Chinese glyphs shows boxes
}


def require(*programs: str) -> None:
    """Make sure that `programs` (keys of PACKAGES) are on the PATH.

    Raises ServiceMissing with the line to run when we are not root or there is no apt; Failed when apt fails.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    packages = sorted({PACKAGES[program] for program in missing})
    line = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ServiceMissing(f"{', '.join(missing)} not found; run: sudo {line}")
    log.print(f"{', '.join(missing)} not found: {line}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], line.split()):
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"`{' '.join(command)}` failed: {done.stdout.strip().splitlines()[-1:]}")
