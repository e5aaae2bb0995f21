"""Webhooks to platforms: what concerns their orders, accounts, holds, loans and approvals (spec 10 row 0.24)."""

from __future__ import annotations

from transactional.outside.messages import post, without_identity
from transactional.outside.verdict import Delivery, Target, Verdict


class Outreach:
    """One signed event a call (schema ``webhook.v1``)."""

    def deliver(self, delivery: Delivery, target: Target) -> Verdict:
        """POST the event to the platform."""
        document = {
            "id": delivery.message_id,
            "type": delivery.topic,
            "sequence": delivery.event_id,
            "platform_id": delivery.platform_id,
            "subject": delivery.subject,
            "occurred_at": delivery.recorded_at.isoformat(),
            "data": without_identity(delivery.payload),
        }
        return post(target, delivery, "webhook.v1", document)
