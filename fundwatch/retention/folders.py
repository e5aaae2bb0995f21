"""Files of the home that have been kept for their time: logs, refused files, files that were sent. Landing files stay."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from domain.errors import Failed
from fundwatch.retention.plan import Item, Site
from fundwatch.retention.policy import Policy
from fundwatch.services import airflow_home, local, process
from fundwatch.settings import Settings


class Logs:
    """Files under `log/` and the scheduler's logs that were not written since; never the log of a service that runs."""

    def plan(self, site: Site, policy: Policy) -> list[Item]:
        running = {Path(state.log) for name in local.SERVICES if (state := process.find(site.settings, name))}
        return [
            Item("logs", str(path.relative_to(site.settings.home)), 1, "files", {"written_at": _written_at(path).isoformat()})
            for folder in self._folders(site.settings)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink() and path not in running and _written_at(path) < site.cut(policy)
        ]

    def delete(self, site: Site, items: Sequence[Item]) -> None:
        for item in items:
            path = _inside(site.settings.home / item.what, self._folders(site.settings))
            # one that was written again after the plan is in use
            if path.exists() and _written_at(path).isoformat() == item.key["written_at"]:
                path.unlink()

    def left(self, site: Site, items: Sequence[Item]) -> list[str]:
        here = [(item, site.settings.home / item.what) for item in items]
        return [item.what for item, path in here if path.exists() and _written_at(path).isoformat() == item.key["written_at"]]

    @staticmethod
    def _folders(settings: Settings) -> list[Path]:
        return [settings.log_dir, airflow_home.folder(settings) / "logs"]


class Quarantine:
    """Refused files of business dates that are older than their time, each folder with its file and REASON.json."""

    def plan(self, site: Site, policy: Policy) -> list[Item]:
        root = site.settings.quarantine_dir
        return [
            Item("quarantine", str(place.relative_to(root)), 1, "files")
            for day in _days_before(root, site.date_cut(policy))
            for place in sorted(day.glob("*/*/*"))
            if place.is_dir() and not place.is_symlink()
        ]

    def delete(self, site: Site, items: Sequence[Item]) -> None:
        root = site.settings.quarantine_dir
        for item in items:
            place = _inside(root / item.what, [root])
            if place.exists():
                shutil.rmtree(place)
            for parent in list(place.parents)[:3]:
                if parent != root and parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()

    def left(self, site: Site, items: Sequence[Item]) -> list[str]:
        return [item.what for item in items if (site.settings.quarantine_dir / item.what).exists()]


class Outbound:
    """What was sent to a receiver about business dates that are older than their time, each date's folder whole."""

    def plan(self, site: Site, policy: Policy) -> list[Item]:
        root = site.settings.outbound_dir
        receivers = sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink()) if root.is_dir() else []
        found = [day for receiver in receivers for day in _days_before(receiver, site.date_cut(policy)) if not day.is_symlink()]
        return [
            Item("outbound", str(day.relative_to(root)), sum(path.is_file() for path in day.iterdir()), "files") for day in found
        ]

    def delete(self, site: Site, items: Sequence[Item]) -> None:
        root = site.settings.outbound_dir
        for item in items:
            place = _inside(root / item.what, [root])
            if place.exists():
                shutil.rmtree(place)

    def left(self, site: Site, items: Sequence[Item]) -> list[str]:
        return [item.what for item in items if (site.settings.outbound_dir / item.what).exists()]


def _days_before(root: Path, cut: date) -> Iterator[Path]:
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        try:
            day = date.fromisoformat(folder.name)
        except ValueError:
            continue
        if day < cut:
            yield folder


def _inside(path: Path, roots: Sequence[Path]) -> Path:
    """The path, when it lies in one of the folders whatever links it goes through: a plan is a file that people can change."""
    real = path.resolve()
    if not any(real.is_relative_to(root.resolve()) and real != root.resolve() for root in roots):
        raise Failed(f"the plan names {path}, which is not in {', '.join(str(root) for root in roots)}: nothing of it is deleted")
    return path


def _written_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
