"""Bodies of the legal holds' own endpoints; court orders themselves are proposals (`/v1/approvals`, kinds of migration 0019)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from transactional.bodies import TextId


class Waking(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How the customer of a dormant account was verified, and the hash of the evidence."""

    channel: Literal["OTP", "BANK_PASSWORD", "COUNTER"]
    evidence_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class DormancyProposals(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Look for quiet accounts of a platform, after an account number, and propose them."""

    platform_id: TextId
    after_account_no: TextId | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
