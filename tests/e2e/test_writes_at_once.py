"""Tables that are written at once share the list of complete dates: one write must not take it from another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fundwatch.settings import PROJECT
from tests.e2e.writes_at_once import AT_ONCE, ROUNDS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_frames_of_one_list_of_dates_are_computed_at_once_over_connect(night: Any) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("writes_at_once.py"))],
        env=night.environment | {"FUNDWATCH_SPARK_REMOTE": night.spark_remote, "PYTHONPATH": str(PROJECT)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.strip() == str(ROUNDS * AT_ONCE)
