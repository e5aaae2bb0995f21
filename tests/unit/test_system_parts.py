"""Set-up asks for what is missing of the operating system, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import ServiceMissing
from fundwatch.services import system


def test_programs_libraries_and_fonts_are_looked_for_each_in_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert system.is_there("sh") and not system.is_there("no-such-program")
    assert system.is_there("libc.so.6") and not system.is_there("libnothing-1.0.so.0")
    monkeypatch.setattr(system, "_FONT_FOLDERS", (str(tmp_path),))
    assert not system.is_there(system.FONT)
    (tmp_path / "wqy").mkdir()
    (tmp_path / "wqy" / system.FONT).touch()
    assert system.is_there(system.FONT)


def test_only_the_packages_of_missing_parts_are_named_to_who_may_not_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "is_there", lambda part: part != system.FONT)
    monkeypatch.setattr(system.os, "geteuid", lambda: 1000)
    with pytest.raises(ServiceMissing) as told:
        system.require(*system.FOR_REPORTS)
    assert str(told.value).endswith("run: sudo apt-get install -y --no-install-recommends fonts-wqy-microhei")
    monkeypatch.setattr(system, "is_there", lambda part: True)
    system.require(*system.FOR_REPORTS, *system.FOR_PAGES)


def test_every_part_has_a_package_and_reports_need_pango_and_a_font() -> None:
    packages = {system.PACKAGES[part] for part in (*system.FOR_REPORTS, *system.FOR_PAGES)}
    assert packages == {"libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-wqy-microhei", "chromium"}


def test_the_font_of_reports_is_installed() -> None:
    assert all(system.is_there(part) for part in system.FOR_REPORTS)
