"""What we send, by the versioned JSON schemas of this package, signed and in one form."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from transactional.outside import signing
from transactional.outside.calls import send
from transactional.outside.verdict import Dead, Delivery, Target, Verdict

SCHEMAS = Path(__file__).parent / "schemas"
# what identifies a person or a card stays in the bank, also as a hash
_KEPT_BACK = ("_hash", "id_no", "card_no", "phone", "name_masked", "phone_masked")


def fault(schema: str, document: Mapping[str, Any]) -> str | None:
    """Why a document is not what its schema (a file of this package, such as ``webhook.v1``) says; None when it is."""
    error = next(_validator(schema).iter_errors(document), None)
    return None if error is None else f"{schema}: {'.'.join(map(str, error.path))}: {error.message}"[:300]


def post(target: Target, delivery: Delivery, schema: str, document: Mapping[str, Any]) -> Verdict:
    """POST a signed document to the target's endpoint; Dead when it is not what the schema says."""
    why = fault(schema, document)
    if why is not None:
        return Dead(why)
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    headers = signing.headers(target.secrets, delivery.message_id, int(time.time()), body)
    kind = {"Content-Type": "application/json", "Fundwatch-Schema": schema}
    return send(target, "POST", target.endpoint, {**headers, **kind}, body)[0]


def without_identity(payload: Any) -> Any:
    """A payload without the fields that identify a person or a card, at every depth.

    >>> without_identity({"loan_no": "L1", "id_hash": "ab", "parties": [{"phone_masked": "138****"}]})
    {'loan_no': 'L1', 'parties': [{}]}
    """
    if isinstance(payload, Mapping):
        return {key: without_identity(value) for key, value in payload.items() if not key.endswith(_KEPT_BACK)}
    return [without_identity(value) for value in payload] if isinstance(payload, list) else payload


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text(encoding="utf-8")))
