"""The whole OpenAPI document against the running service: no 5xx, no status, type or body that it does not declare."""

from __future__ import annotations

import os
from typing import Any

import httpx2
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from transactional.keys import add_key

schemathesis.serializer.alias("application/x-ndjson", "text/plain")
EXAMPLES = int(os.environ.get("FUNDWATCH_SCHEMATHESIS_EXAMPLES", "2"))
ORDINARY = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
# fields by whose values a request reaches rows that are there
KNOWN: dict[str, list[Any]] = {
    "platform_id": ["P01", "P02"],
    "account_no": ["P01-L-000001", "P01-B-000002"],
    "account": ["P01-L-000001"],
    "debit_account": ["P01-X-CHANNEL-PC01", "P01-L-000001"],
    "credit_account": ["P01-L-000001", "P01-B-000001"],
    "borrower_account": ["P01-B-000003"],
    "customer_no": ["P01-C000001", "P01-C000003"],
    "buyer_customer_no": ["P01-C000002"],
    "party_ref": ["PARTY-1"],
    "loan_no": ["L-1"],
    "currency": ["CNY"],
    "calendar_id": ["CN_BANK"],
    "login_name": ["ann"],
    "month": ["2026-01"],
}


def _filled(value: Any, draw: Any) -> Any:
    """A drawn value with known fields pointing at rows that exist, most of the time."""
    if isinstance(value, dict):
        return {
            name: draw(st.sampled_from(KNOWN[name])) if name in KNOWN and draw(st.integers(0, 3)) else _filled(part, draw)
            for name, part in value.items()
        }
    return [_filled(part, draw) for part in value] if isinstance(value, list) else value


def _try(
    operation: Any, base_url: str, headers: dict[str, str], mode: GenerationMode, examples: int, faults: dict[str, str]
) -> None:
    checks = CHECKS.get_by_names(ORDINARY)

    @given(data=st.data())
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(data: Any) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if mode is GenerationMode.POSITIVE:
            case.body, case.path_parameters, case.query = (
                _filled(part, data.draw) for part in (case.body, case.path_parameters, case.query)
            )
        case.headers = {**(case.headers or {}), **headers}
        response = case.call(base_url=base_url, timeout=30)
        case.validate_response(response, checks=checks)

    try:
        one()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, operation.label  # nothing about it can be wrong
    except (AssertionError, BaseExceptionGroup) as error:
        faults[operation.label] = str(error)[:2_000]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("who", ["bank", "platform", "officer", "admin", "nobody"])
def test_no_request_that_the_document_describes_meets_an_undeclared_answer(wire: Any, who: str) -> None:
    load_all_checks()
    document = httpx2.get(f"{wire.url}/openapi.json", timeout=60).json()
    schema = schemathesis.openapi.from_dict(document)
    faults: dict[str, str] = {}
    for found in schema.get_all_operations():
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _try(found.ok(), wire.url, _headers(wire, who), mode, EXAMPLES if who == "bank" else max(1, EXAMPLES // 2), faults)
    assert not faults, "\n\n".join(f"{name}\n{what}" for name, what in faults.items())


def _headers(wire: Any, who: str) -> dict[str, str]:
    if who == "nobody":
        return {}
    if who == "bank":
        return {"Authorization": f"Bearer {wire.key}"}
    if who == "platform":
        return {"Authorization": f"Bearer {add_key(wire.database.url('migrator'), 'P01')}"}
    return {"Authorization": f"Bearer {_session(wire.database.url('migrator'), who)}"}


def _session(url: str, role: str) -> str:
    """Token of a signed-in person of a role, made on first use."""
    token = f"session-of-{role}"
    with psycopg.connect(url) as connection:
        made = connection.execute(
            """INSERT INTO auth.person (login_name, display_name, role) VALUES (%s, %s, %s)
               ON CONFLICT DO NOTHING RETURNING person_id""",
            [role, role, role],
        ).fetchone()
        if made is not None:
            connection.execute(
                "INSERT INTO auth.password (person_id, password_hash, must_change) VALUES (%s, '$argon2id$none', false)", made
            )
            connection.execute(
                """INSERT INTO auth.session (token_hash, person_id, address, expires_at)
                   VALUES (sha256(%s), %s, 'test', clock_timestamp() + interval '1 hour')""",
                [token.encode(), *made],
            )
    return token
