"""E-mail through the bank's relay: addressed to a recipient's reference under a domain that the relay resolves."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from transactional.outside.calls import NotAllowed, allowed_address
from transactional.outside.messages import fault
from transactional.outside.notices import Notice, notice, quiet_s
from transactional.outside.verdict import Dead, Delivered, Delivery, Retry, Target, Verdict, Wait

_REFERENCE = re.compile(r"[A-Za-z0-9._#:-]{1,64}")


class Mail:
    """One notice a message (schema ``email.v1``); ``Message-ID`` is the event's, so that a relay knows repeats."""

    def __init__(self, now: Callable[[], datetime], zone: ZoneInfo) -> None:
        self._now = now
        self._zone = zone

    def deliver(self, delivery: Delivery, target: Target) -> Verdict:
        """Hand the message to the relay: 4xx answers are Retry, 5xx are Dead."""
        wait_s = quiet_s(self._now(), target, self._zone)
        if wait_s > 0:
            return Wait("quiet hours", wait_s)
        told = notice(delivery, str(target.settings.get("language", "zh")))
        if isinstance(told, str):
            return Dead(told)
        if _REFERENCE.fullmatch(delivery.subject) is None:
            return Dead("the subject cannot be a recipient's reference")
        domain = str(target.settings.get("mail_domain", "customers.invalid"))
        document = {
            "id": delivery.message_id,
            "from": str(target.settings.get("mail_from", f"notices@{domain}")),
            "to": f"{re.sub('[#:]', '-', delivery.subject)}@{domain}",
            "subject": told.title,
            "text": told.text,
        }
        why = fault("email.v1", document)
        return Dead(why) if why is not None else _hand_over(_message(document, told, domain), target)


def _message(document: dict[str, str], told: Notice, domain: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = document["from"], document["to"], document["subject"]
    message["Message-ID"] = f"<{document['id']}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["Content-Language"] = told.language
    message.set_content(document["text"])
    return message


def _hand_over(message: EmailMessage, target: Target) -> Verdict:
    parts = urlsplit(target.endpoint)
    host, port = parts.hostname or "", parts.port or (465 if parts.scheme == "smtps" else 25)
    try:
        allowed_address(host, port, target.private_addresses_allowed)
        relay = (
            smtplib.SMTP_SSL(host, port, timeout=target.timeout_s, context=ssl.create_default_context())
            if parts.scheme == "smtps"
            else smtplib.SMTP(host, port, timeout=target.timeout_s)
        )
        with relay:
            relay.send_message(message)
    except NotAllowed as error:
        return Dead(str(error))
    except smtplib.SMTPRecipientsRefused as error:
        return _judged(*next(iter(error.recipients.values())))
    except smtplib.SMTPResponseException as error:
        return _judged(error.smtp_code, error.smtp_error)
    except (OSError, smtplib.SMTPException) as error:
        return Retry(f"{type(error).__name__}: {error}"[:200])
    return Delivered("SMTP 250")


def _judged(code: int, words: bytes | str) -> Verdict:
    told = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    reason = f"SMTP {code} {told}"[:200]
    return Dead(reason) if 500 <= code < 600 else Retry(reason)
