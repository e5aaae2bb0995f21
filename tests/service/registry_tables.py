"""What the tests of the registry share: adding a version, and proof that a refusal left everything as it was."""

from __future__ import annotations

import hashlib
from typing import Any

HASH = hashlib.sha256(b"evidence").hexdigest()
OTHER_HASH = hashlib.sha256(b"other").hexdigest()
VERSIONED = [
    "platform_status",
    "customer_version",
    "account_status",
    "bound_card",
    "project",
    "project_status",
    "white_list",
    "related_party",
    "complaint",
]


def put(api: Any, path: str, body: dict[str, Any], **more: Any) -> Any:
    """Add a version; asserts that it was taken."""
    answer = api.post({**body, **more}, path=f"/v1/{path}")
    assert answer.status_code == 201, answer.text
    return answer.json()


def content(api: Any) -> dict[str, Any]:
    """A hash of every version table, audit and outbox: a refusal leaves them all as they were."""
    tables = [f"registry.{name}" for name in VERSIONED] + ["audit.change", "outbox.event", "ledger.balance"]
    hashes = " UNION ALL ".join(
        f"SELECT '{table}', md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '')) FROM {table} t" for table in tables
    )
    return dict(api.rows(hashes))


def refused(api: Any, path: str, body: dict[str, Any], code: str) -> Any:
    """Ask; asserts the code and that nothing changed."""
    before = content(api)
    answer = api.post(body, path=f"/v1/{path}")
    assert answer.json().get("code") == code, answer.text
    assert content(api) == before
    return answer.json()


def listed(api: Any, path: str, **asked: Any) -> list[dict[str, Any]]:
    answer = api.client.get(f"/v1/{path}", params=asked)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["rows"]
    return found
