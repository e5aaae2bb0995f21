"""A retention plan and its certificate: JSON files under `manifests/`, the plan written before anything is deleted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fundwatch.retention.policy import Policy
from fundwatch.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PLAN = "retention.plan.json"
FORMAT = "fundwatch.retention/1"


@dataclass(frozen=True)
class Item:
    """One thing to delete: of which class, in words, how much of which unit, and the values that find it again."""

    of_class: str
    what: str
    count: int
    unit: str
    key: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """Where retention works: settings, both clocks, and a Spark session that starts when somebody needs it."""

    settings: Settings
    now: datetime
    service_now: datetime
    spark: Callable[[], SparkSession]

    def cut(self, policy: Policy) -> datetime:
        """The moment before which files and snapshots are old, by the machine's clock."""
        return self.now - timedelta(days=policy.days)

    def service_cut(self, policy: Policy) -> datetime:
        """The moment before which runs and versions are old, by the service's clock."""
        return self.service_now - timedelta(days=policy.days)

    def date_cut(self, policy: Policy) -> date:
        """The business date before which rows and files are old."""
        return self.service_cut(policy).astimezone(self.settings.zone).date()


class Deletion(Protocol):
    """How one class of things is found, deleted, and found to be gone; deleting again what is gone changes nothing."""

    def plan(self, site: Site, policy: Policy) -> list[Item]: ...

    def delete(self, site: Site, items: Sequence[Item]) -> None: ...

    def left(self, site: Site, items: Sequence[Item]) -> list[str]: ...


@dataclass(frozen=True)
class Plan:
    """What was decided at a moment: the policies that were in force and the items they gave."""

    made_at: datetime
    service_time: datetime
    policies: Sequence[Policy]
    items: Sequence[Item]

    def of(self, name: str) -> list[Item]:
        """The items of a class."""
        return [item for item in self.items if item.of_class == name]

    def totals(self) -> dict[str, dict[str, int]]:
        """Class → unit → how many."""
        found: dict[str, dict[str, int]] = {}
        for item in self.items:
            units = found.setdefault(item.of_class, {})
            units[item.unit] = units.get(item.unit, 0) + item.count
        return found

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "format": FORMAT,
            "made_at": self.made_at.isoformat(),
            "service_time": self.service_time.isoformat(),
            "policies": [asdict(policy) for policy in self.policies],
            "items": [asdict(item) for item in self.items],
            "totals": self.totals(),
        }


def read_plan(settings: Settings) -> Plan | None:
    """The plan that an earlier call did not finish, or None."""
    path = settings.manifests_dir / PLAN
    if not path.exists():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    return Plan(
        datetime.fromisoformat(told["made_at"]),
        datetime.fromisoformat(told["service_time"]),
        [Policy(**policy) for policy in told["policies"]],
        [Item(**item) for item in told["items"]],
    )


def write_plan(settings: Settings, plan: Plan) -> None:
    """Put the plan down, on disk before this returns."""
    _write(settings.manifests_dir / PLAN, plan.as_json())


def certify(settings: Settings, plan: Plan, code_version: str, finished_at: datetime) -> Path:
    """Write the certificate of a plan that was carried out and verified, then forget the plan; returns the certificate."""
    path = settings.manifests_dir / f"retention-{plan.made_at:%Y%m%dT%H%M%SZ}.json"
    _write(path, {**plan.as_json(), "finished_at": finished_at.isoformat(), "verified": True, "code_version": code_version})
    with suppress(FileNotFoundError):
        (settings.manifests_dir / PLAN).unlink()
    return path


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as output:
        output.write(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        output.flush()
        os.fsync(output.fileno())
    partial.replace(path)
