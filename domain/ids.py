"""Identifiers: what text ids may look like, and the 8-byte ids that HBase keys need."""

from __future__ import annotations

import re
from hashlib import sha256

TEXT_ID = re.compile(r"[A-Za-z0-9._:#-]{1,64}")


def is_text_id(text: str) -> bool:
    """Whether `text` may serve as an identifier: 1–64 characters of letters, digits and ``._:#-``.

    >>> is_text_id("P01-L-000123"), is_text_id("no spaces")
    (True, False)
    """
    return TEXT_ID.fullmatch(text) is not None


def entity_id(*parts: str) -> int:
    """A stable positive 63-bit number for a text identity, for keys of fixed width.

    The first 8 bytes of sha256 over the parts joined by ``|``, top bit cleared.

    >>> entity_id("P01", "L-1") == entity_id("P01", "L-1") != entity_id("P01", "L-2")
    True
    """
    digest = sha256("|".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") & 0x7FFF_FFFF_FFFF_FFFF


def item_id(recon_id: str, platform_id: str, currency: str, match_key: str, opened_on: str) -> str:
    """Identity of an open item over runs: 32 hex digits (contracts section 8).

    >>> len(item_id("R3", "P01", "CNY", "REQ-1#1", "2026-08-31"))
    32
    """
    text = "|".join((recon_id, platform_id, currency, match_key, opened_on))
    return sha256(text.encode()).hexdigest()[:32]
