"""The policy table: what is kept how long (`fundwatch/retention.toml`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from domain.errors import BadInput

TABLE = Path(__file__).parent.parent / "retention.toml"


@dataclass(frozen=True)
class Policy:
    """One class of things: what it is, from when its days count, how many they are, and the law's minimum."""

    name: str
    what: str
    basis: str
    days: int
    legal_days: int = 0


def policies(path: Path = TABLE) -> list[Policy]:
    """The policies in their order.

    BadInput: a line that is not a policy, a class named twice, or one kept for less than the law asks.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["policy"]
        found = [
            Policy(str(one["class"]), str(one["what"]), str(one["basis"]), _days(one["days"]), _days(one.get("legal_days", 0)))
            for one in entries
        ]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path.name} is not a table of policies: {error!r}") from None
    names = [policy.name for policy in found]
    for policy in found:
        if names.count(policy.name) > 1:
            raise BadInput(f"{path.name} names {policy.name} twice")
        if policy.days < policy.legal_days:
            raise BadInput(f"{policy.name} is kept for {policy.days} days, and {policy.legal_days} is the least that is allowed")
    return found


def _days(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a number of days")
    return value
