"""Text messages through the bank's gateway: it knows the number of a recipient, we do not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from transactional.outside.messages import post
from transactional.outside.notices import notice, quiet_s
from transactional.outside.verdict import Dead, Delivery, Target, Verdict, Wait


class Sms:
    """One notice a call (schema ``sms.v1``), outside of the quiet hours by the bank's `now`."""

    def __init__(self, now: Callable[[], datetime], zone: ZoneInfo) -> None:
        self._now = now
        self._zone = zone

    def deliver(self, delivery: Delivery, target: Target) -> Verdict:
        """POST the notice to the gateway."""
        wait_s = quiet_s(self._now(), target, self._zone)
        if wait_s > 0:
            return Wait("quiet hours", wait_s)
        told = notice(delivery, str(target.settings.get("language", "zh")))
        if isinstance(told, str):
            return Dead(told)
        document = {
            "id": delivery.message_id,
            "recipient_ref": delivery.subject,
            "template": told.template,
            "language": told.language,
            "text": told.text,
        }
        return post(target, delivery, "sms.v1", document)
