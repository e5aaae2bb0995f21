"""Payments: a withdrawal becomes one instruction, core banking's signed answers move it on, a failed one demands a backroll."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from transactional.outside import signing
from transactional.outside.messages import fault
from transactional.outside.stub import HttpStub
from transactional.outside.worker import Worker

SECRET = "outside_core"
KEY = "the key of core banking"
PATH = "/v1/outside/core-banking/status"


@pytest.fixture
def core(api: Any, database: Any) -> Iterator[HttpStub]:
    """Core banking as a stub, configured by two people."""
    path = database.settings.secrets_dir / SECRET
    path.write_text(KEY + "\n", encoding="utf-8")
    with HttpStub() as stub:
        payload = {
            "adapter": "core-banking",
            "endpoint": stub.url,
            "secret_names": [SECRET],
            "topics": ["payment.created"],
            "is_enabled": True,
        }
        api.approved("OUTSIDE_TARGET", "core", payload)
        yield stub
    path.unlink()


def _work(api: Any, database: Any) -> None:
    with psycopg.connect(api.service_url, autocommit=True) as connection:
        worker = Worker(database.settings)
        idle = 0
        while idle < 3:
            idle = 0 if worker.turn(connection) else idle + 1


def _withdrawn(api: Any, database: Any, amount: int = 300) -> str:
    api.recharge("P01-L-000001", 1000)
    answer = api.post(api.order("WITHDRAW", ("WITHDRAW", "P01-L-000001", "P01-X-WITHDRAWAL", amount)))
    assert answer.status_code == 201, answer.text
    _work(api, database)
    return str(api.rows("SELECT instruction_no FROM outside.payment_instruction ORDER BY movement_id DESC LIMIT 1")[0][0])


def _answer(api: Any, key: str, *, secret: Any = KEY, at: Any = None, **body: Any) -> Any:
    raw = json.dumps(body).encode()
    headers = signing.headers([secret], f"msg-{key}", int(time.time() if at is None else at), raw)
    # core banking has no API key of ours: its signature is what counts
    return api.client.post(PATH, content=raw, headers={"Idempotency-Key": key, "Authorization": "", **headers})


def _history(api: Any) -> list[str]:
    return [row[0] for row in api.rows("SELECT state FROM outside.payment_state ORDER BY instruction_no, seq")]


def _topics(api: Any) -> list[str]:
    return [row[0] for row in api.rows("SELECT topic FROM outbox.event WHERE topic LIKE 'withdrawal.%%' ORDER BY event_id")]


def test_a_withdrawal_is_instructed_once_and_paid(api: Any, database: Any, core: HttpStub) -> None:
    number = _withdrawn(api, database)
    _work(api, database)
    (heard,) = core.heard
    sent = json.loads(heard.body)
    assert (sent["instruction_no"], sent["amount_minor"], sent["account_no"]) == (number, 300, "P01-L-000001")
    assert signing.verify([KEY], heard.headers, heard.body, time.time())
    assert _history(api) == ["CREATED", "SENT"]
    assert _answer(api, "a1", instruction_no=number, state="ACCEPTED").json() == {"instruction_no": number, "state": "ACCEPTED"}
    assert fault("payment_status.v1", {"instruction_no": number, "state": "PAID", "bank_reference": "CB-1"}) is None
    paid = _answer(api, "a2", instruction_no=number, state="PAID", bank_reference="CB-1")
    assert (paid.status_code, paid.json()["state"]) == (201, "PAID")
    assert _history(api) == ["CREATED", "SENT", "ACCEPTED", "PAID"]
    assert _topics(api) == ["withdrawal.paid"]


def test_answers_may_come_again_and_late_but_never_contradict_the_end(api: Any, database: Any, core: HttpStub) -> None:
    number = _withdrawn(api, database)
    failed = {"instruction_no": number, "state": "FAILED", "reason": "account closed"}
    assert _answer(api, "a1", **failed).status_code == 201
    assert _answer(api, "a1", **failed).headers["Idempotency-Replayed"] == "true"
    assert _answer(api, "a2", **failed).status_code == 201
    assert _answer(api, "a3", instruction_no=number, state="ACCEPTED").json()["state"] == "FAILED"
    refused = _answer(api, "a4", instruction_no=number, state="PAID")
    assert (refused.status_code, refused.json()["code"]) == (409, "STATE_CONFLICT")
    assert _history(api) == ["CREATED", "SENT", "FAILED"]
    (payload,) = api.rows("SELECT payload FROM outbox.event WHERE topic = 'withdrawal.failed'")[0]
    assert payload["demands"] == "BACKROLL" and payload["amount_minor"] == 300
    assert api.rows("SELECT count(*) FROM ledger.trade_order WHERE order_type = 'BACKROLL'") == [(0,)]


def test_an_answer_that_overtakes_the_record_of_sending_stands(api: Any, database: Any, core: HttpStub) -> None:
    core.judge = lambda heard: (
        None if _answer(api, "early", instruction_no=json.loads(heard.body)["instruction_no"], state="PAID").is_success else "500"
    )
    _withdrawn(api, database)
    assert _history(api) == ["CREATED", "PAID"]


def test_an_answer_that_is_not_core_bankings_changes_nothing(api: Any, database: Any, core: HttpStub) -> None:
    number = _withdrawn(api, database)
    before = api.content(), _history(api)
    body = {"instruction_no": number, "state": "PAID"}
    assert _answer(api, "b1", secret="another key", **body).status_code == 401
    assert _answer(api, "b2", at=time.time() - 400, **body).status_code == 401
    assert api.post(body, path=PATH).status_code == 401
    assert _answer(api, "b3", instruction_no="PI-0", state="PAID").json()["code"] == "INSTRUCTION_NOT_FOUND"
    assert _answer(api, "b4", instruction_no=number, state="SENT").json()["code"] == "BODY_INVALID"
    assert _answer(api, "b5", **body, more=1).json()["code"] == "BODY_INVALID"
    assert (api.content(), _history(api)) == before


def test_a_dry_run_answers_and_leaves_the_state(api: Any, database: Any, core: HttpStub) -> None:
    number = _withdrawn(api, database)
    raw = json.dumps({"instruction_no": number, "state": "PAID"}).encode()
    headers = {"Idempotency-Key": "d", "Authorization": "", **signing.headers([KEY], "m", int(time.time()), raw)}
    answer = api.client.post(PATH + "?dry_run=true", content=raw, headers=headers)
    assert (answer.status_code, answer.json()["state"]) == (200, "PAID")
    assert _history(api) == ["CREATED", "SENT"]
