"""What an adapter says of one try, and what it is given to send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True)
class Delivered:
    """The receiver has it, for good."""

    note: str = ""


@dataclass(frozen=True)
class Retry:
    """It may work later; `after_s` is the least wait the receiver asked for, None when it said nothing."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True)
class Wait:
    """Not now, and nobody's fault (quiet hours): counts as no try."""

    reason: str
    after_s: float


@dataclass(frozen=True)
class Dead:
    """Trying again would change nothing."""

    reason: str


Verdict = Delivered | Retry | Wait | Dead


@dataclass(frozen=True)
class Delivery:
    """One event for one target. `message_id` is the same at every try and replay: receivers know repeats by it."""

    delivery_id: int
    event_id: int
    part: int
    topic: str
    platform_id: str | None
    subject: str
    payload: Mapping[str, Any]
    recorded_at: datetime

    @property
    def message_id(self) -> str:
        """What goes out as ``webhook-id``: ``evt_EVENT_PART``."""
        return f"evt_{self.event_id}_{self.part}"


@dataclass(frozen=True)
class Target:
    """Where deliveries go: one version of the configuration with its secrets read, the newest secret first."""

    name: str
    adapter: str
    endpoint: str
    secrets: Sequence[str]
    settings: Mapping[str, Any]

    @property
    def timeout_s(self) -> float:
        """Longest time a try may take in all."""
        return float(self.settings.get("timeout_s", 10))

    @property
    def private_addresses_allowed(self) -> bool:
        """Whether the endpoint may lie in a private network; loopback always may, it is named as such."""
        return bool(self.settings.get("private_addresses_allowed", False))


class Adapter(Protocol):
    """How one kind of receiver is spoken to; raises nothing on purpose."""

    def deliver(self, delivery: Delivery, target: Target) -> Verdict:
        """Make one try."""
        ...
