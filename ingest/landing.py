"""The landing folder of a run: which files came, from whom, for which date, and what their manifests promise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ingest.kinds import BANK, BUREAU, KINDS, PAYMENT_COMPANY, PLATFORM
from ingest.manifest import FILE_NAME, Manifest, read_manifest
from ingest.records import UNKNOWN_KIND, Arrived, Expected

_SUFFIX = ".csv.gz"


@dataclass(frozen=True)
class Registry:
    """Who may send: platforms with their onboarding date, the payment companies of each, the bank, and the bureau."""

    onboarded_on: dict[str, date]
    payment_companies: dict[str, tuple[str, ...]]
    bank_id: str
    bureau_id: str = "BUREAU"

    def senders(self, platform_id: str) -> Iterable[tuple[str, str]]:
        """(sender, role of the sender) of everybody who sends files about a platform."""
        yield platform_id, PLATFORM
        for paycom_id in self.payment_companies.get(platform_id, ()):
            yield paycom_id, PAYMENT_COMPANY
        yield self.bank_id, BANK
        yield self.bureau_id, BUREAU


def dates_between(first: date, last: date) -> list[date]:
    """Every business date of a run, both ends included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def possible(registry: Registry, dates: Iterable[date]) -> dict[Expected, bool]:
    """Every file that may come for the platforms on the dates, and whether it must (False: only when a manifest names it).

    A file that only informs need not come here: `ingest.control.judge` expects it once its sender has sent one.
    """
    return {
        Expected(day, sender, platform_id, str(kind.kind)): kind.is_daily and not kind.is_advisory
        for day in dates
        for platform_id, onboarded_on in registry.onboarded_on.items()
        if onboarded_on <= day
        for sender, role in registry.senders(platform_id)
        for kind in KINDS.values()
        if kind.sender == role
    }


@dataclass(frozen=True)
class Landing:
    """What lies in the landing folder for the dates of a run, as far as it had arrived by its `known_as_of`."""

    files: list[Arrived]
    manifests: dict[tuple[date, str], Manifest]


def scan(folder: Path, dates: Iterable[date], known_as_of: datetime | None) -> Landing:
    """List the files and read the manifests of the dates; hidden files (still being written) are not there yet."""
    files: list[Arrived] = []
    manifests: dict[tuple[date, str], Manifest] = {}
    for day in dates:
        day_folder = folder / day.isoformat()
        for sender in sorted(day_folder.iterdir()) if day_folder.is_dir() else ():
            for path in sorted(sender.iterdir()) if sender.is_dir() else ():
                if path.name.startswith(".") or path.is_symlink() or not path.is_file():
                    continue
                arrived = _arrived(day, sender.name, path)
                if known_as_of is not None and arrived.received_at > known_as_of:
                    continue
                if path.name == FILE_NAME:
                    manifests[day, sender.name] = read_manifest(path)
                else:
                    files.append(arrived)
    return Landing(files, manifests)


def _arrived(day: date, sender_id: str, path: Path) -> Arrived:
    state = path.stat()
    received_at = datetime.fromtimestamp(state.st_mtime_ns // 1000 / 1_000_000, UTC)
    platform_id, _, kind = path.name.removesuffix(_SUFFIX).partition(".")
    is_proper = path.name.endswith(_SUFFIX) and kind in KINDS
    guess = kind.partition(".")[0] in KINDS
    return Arrived(
        business_date=day,
        sender_id=sender_id,
        platform_id=platform_id if guess else sender_id,
        kind=kind.partition(".")[0] if guess else UNKNOWN_KIND,
        is_proper=is_proper,
        file_name=path.name,
        path=path,
        size_bytes=state.st_size,
        received_at=received_at,
    )
