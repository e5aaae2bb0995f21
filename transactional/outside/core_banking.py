"""Payment instructions to core banking: payouts of withdrawals and refunds of receipts (spec 10 row 1.4).

Core banking pays an `instruction_no` at most once, however often it hears it, and answers by
`POST /v1/outside/core-banking/status`.
"""

from __future__ import annotations

from transactional.outside.messages import post
from transactional.outside.verdict import Dead, Delivery, Target, Verdict

TOPIC = "payment.created"


class CoreBanking:
    """One signed instruction a call (schema ``payment_instruction.v1``)."""

    def deliver(self, delivery: Delivery, target: Target) -> Verdict:
        """POST the instruction; any other topic is Dead: core banking understands nothing else."""
        if delivery.topic != TOPIC:
            return Dead(f"core banking is sent {TOPIC} alone, not {delivery.topic}")
        return post(
            target, delivery, "payment_instruction.v1", {**delivery.payload, "recorded_at": delivery.recorded_at.isoformat()}
        )
