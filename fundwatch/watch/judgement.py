"""What the watchdog says of what it saw: pure functions of the clock, the dates published and the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from fundwatch.settings import Settings

FINE, LATE, UNKNOWN = "fine", "late", "unknown"


@dataclass(frozen=True)
class Late:
    """A platform whose night did not publish in time: its first date that is due and not published, and how many are."""

    platform_id: str
    since: date
    dates: int


@dataclass(frozen=True)
class Incomplete:
    """A platform whose date that is due was published without all its files."""

    platform_id: str
    business_date: date
    reason: str


@dataclass(frozen=True)
class Seen:
    """What was seen at `now` (the service's clock): newest published date by platform, what lacks, the hold, the last run."""

    now: datetime
    due: date
    published_to: Mapping[str, date]
    late: Sequence[Late] = ()
    incomplete: Sequence[Incomplete] = ()
    held: str | None = None
    last_run: Mapping[str, Any] | None = None
    files_missing: int | None = None


@dataclass(frozen=True)
class Judgement:
    """The watchdog's word: `state` is fine, late, or unknown when it cannot know; `reason` one sentence for people."""

    state: str
    reason: str
    seen: Seen | None = None
    dead_services: Sequence[str] = ()
    scheduler_beat_age_s: float | None = None
    looked_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def as_json(self) -> dict[str, Any]:
        """As plain values, what was seen beside the judgement; dates and times as ISO texts."""
        told = asdict(self)
        seen: dict[str, Any] = told.pop("seen") or {}
        return {key: plain(value) for key, value in {**told, **seen}.items()}

    def changed_from(self, before: Mapping[str, Any]) -> bool:
        """Whether an earlier judgement (as JSON) said something else that somebody must hear of; ages and counts do not."""
        now = self.as_json()
        return any(now.get(key) != before.get(key) for key in ("state", "due", "late", "incomplete", "held", "dead_services"))


def due_date(settings: Settings, now: datetime) -> date:
    """The last business date whose night must have published by `now`: yesterday's once `night_deadline` bank time has passed."""
    local = now.astimezone(settings.zone)
    return local.date() - timedelta(days=1 if local.time() >= settings.night_deadline else 2)


def closed_date(settings: Settings, now: datetime) -> date:
    """The last business date that is closed at `now`."""
    local = now.astimezone(settings.zone)
    return local.date() - timedelta(days=0 if local.time() >= settings.cutoff else 1)


def judge(seen: Seen, dead_services: Sequence[str] = (), scheduler_beat_age_s: float | None = None) -> Judgement:
    """Late when a platform has an unpublished date that is due; everything else is told beside."""
    state = LATE if seen.late else FINE
    return Judgement(state, _sentence(seen), seen, dead_services, scheduler_beat_age_s)


def unknown(why: str, dead_services: Sequence[str] = ()) -> Judgement:
    """The word when PostgreSQL cannot be asked: nobody knows whether the night published."""
    return Judgement(UNKNOWN, f"cannot know whether the night published: {why}", dead_services=dead_services)


def _sentence(seen: Seen) -> str:
    words = []
    if seen.late:
        names = ", ".join(f"{one.platform_id} (since {one.since})" for one in seen.late)
        words.append(f"{seen.due} is due and not published for {names}")
    elif seen.published_to:
        words.append(f"every platform is published up to {seen.due}")
    else:
        words.append("no platform is registered yet")
    if seen.held:
        words.append(f"the night is {seen.held}")
    if seen.incomplete:
        words.append("incomplete: " + ", ".join(one.platform_id for one in seen.incomplete))
    return "; ".join(words)


def metrics(judgement: Judgement) -> str:
    """The judgement as Prometheus text: gauges, those of a state that is unknown left out."""
    lines = _gauge("night_unknown", "1 when PostgreSQL cannot be asked", [("", int(judgement.state == UNKNOWN))])
    seen = judgement.seen
    if seen is not None:
        lines += _gauge("night_late", "1 when a date that is due is not published", [("", int(judgement.state == LATE))])
        lines += _gauge("night_held", "1 while operators hold the night", [("", int(seen.held is not None))])
        lines += _gauge(
            "due_business_date_seconds", "business date that is due, as Unix time of its midnight UTC", [("", _epoch(seen.due))]
        )
        published = [(f'{{platform="{name}"}}', _epoch(day)) for name, day in sorted(seen.published_to.items())]
        lines += _gauge(
            "published_business_date_seconds", "newest published business date, as Unix time of its midnight UTC", published
        )
        lines += _gauge("platforms_incomplete", "platforms whose due date lacks files", [("", len(seen.incomplete))])
        if seen.files_missing is not None:
            lines += _gauge("files_missing", "files that the next night still waits for", [("", seen.files_missing)])
    lines += _gauge("services_dead", "services that ended by themselves", [("", len(judgement.dead_services))])
    if judgement.scheduler_beat_age_s is not None:
        lines += _gauge(
            "scheduler_heartbeat_age_seconds", "age of the scheduler's heartbeat", [("", judgement.scheduler_beat_age_s)]
        )
    lines += _gauge(
        "watchdog_looked_seconds", "when the watchdog looked last, Unix time", [("", judgement.looked_at.timestamp())]
    )
    return "\n".join(lines) + "\n"


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def _gauge(name: str, what: str, values: Sequence[tuple[str, float]]) -> list[str]:
    full = f"fundwatch_{name}"
    return [f"# HELP {full} {what}", f"# TYPE {full} gauge", *(f"{full}{labels} {value}" for labels, value in values)]


def _epoch(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())
