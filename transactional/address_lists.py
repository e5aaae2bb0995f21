"""White lists of network addresses, enforced on platforms' API keys (spec 10 row 1.28c).

A platform whose list has an entry, in force or run out, is let in from listed networks only: a list that runs out does not
open the door.
"""

from __future__ import annotations

import ipaddress
import time
from datetime import date
from typing import Any

from transactional.keys import EVERY_PLATFORM, REFRESH_S
from transactional.problems import Problem

_LISTS = "SELECT platform_id, value, holds_from, holds_to FROM registry.current_white_list WHERE kind = 'IP'"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressLists:
    """The lists, read again every few seconds."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._entries: dict[str, list[tuple[Network, date, date]]] = {}
        self._read_at = float("-inf")

    async def check(self, scope: str, address: str | None, zone: Any) -> None:
        """Problem ADDRESS_NOT_LISTED when the key's platform has a list and `address` is on no entry that holds today."""
        if scope == EVERY_PLATFORM:
            return
        if time.monotonic() - self._read_at > REFRESH_S:
            await self._read()
        entries = self._entries.get(scope)
        if entries is None:
            return
        now = await self._pool.fetchval("SELECT ledger.clock_now()")
        today = now.astimezone(zone).date()
        if not any(first <= today <= last and covers_address(network, address) for network, first, last in entries):
            raise Problem("ADDRESS_NOT_LISTED", f"{address or 'an unknown address'} is not on the list of {scope}")

    async def _read(self) -> None:
        entries: dict[str, list[tuple[Network, date, date]]] = {}
        for row in await self._pool.fetch(_LISTS):
            entry = (ipaddress.ip_network(row["value"]), row["holds_from"], row["holds_to"] or date.max)
            entries.setdefault(row["platform_id"], []).append(entry)
        self._entries, self._read_at = entries, time.monotonic()


def covers_address(network: Network, address: str | None) -> bool:
    """Whether a network has the address; False for a text that is none.

    >>> ten = ipaddress.ip_network("10.0.0.0/8")
    >>> covers_address(ten, "10.1.2.3"), covers_address(ten, "testclient")
    (True, False)
    """
    try:
        return ipaddress.ip_address(address or "") in network
    except ValueError:
        return False
