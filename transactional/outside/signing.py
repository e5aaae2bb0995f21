"""Signatures of messages in the style of Standard Webhooks: HMAC-SHA256 over ``id.timestamp.body``, base64, one a valid key.

A receiver checks with `verify` (or the same few lines in its own language; docs/contracts.md has them): keep the raw body, try
every signature against every key it holds, refuse timestamps more than five minutes off, remember the ids it has worked on.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

TOLERANCE_S = 300
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


def signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """``v1,BASE64`` of one key.

    >>> signature("key", "evt_1_0", 1700000000, b"{}")
    'v1,mvkx/sHEzBo16eU5BISkeSlowkCoiZ7KWgC1MD4Fggw='
    """
    content = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret.encode(), content, hashlib.sha256).digest()).decode()


def headers(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers; with two keys in force the message carries a signature of each, so that a receiver may change over."""
    return {
        ID: message_id,
        TIMESTAMP: str(timestamp_s),
        SIGNATURE: " ".join(signature(secret, message_id, timestamp_s, body) for secret in secrets),
    }


def verify(secrets: Sequence[str], given: Mapping[str, str], body: bytes, now_s: float) -> str | None:
    """The message's id when one of its signatures is that of one of our keys and its time is near; else None."""
    message_id, timestamp = given.get(ID, ""), given.get(TIMESTAMP, "")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return None
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        return None
    sent = [one.encode() for one in given.get(SIGNATURE, "").split(" ")[:4]]
    right = [signature(secret, message_id, int(timestamp), body).encode() for secret in secrets]
    return message_id if any(hmac.compare_digest(one, ours) for one in sent for ours in right) else None
