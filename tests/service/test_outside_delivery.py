"""The delivery loop: at least once, in order per subject, back-off, dead letters, replay, several workers, kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from transactional.outside import signing
from transactional.outside.stub import HttpStub
from transactional.outside.worker import Worker

SECRET = "outside_p01"
FAST = {"retry_base_s": 0.01, "retry_cap_s": 0.05, "timeout_s": 2}
PATIENCE_S = 20


@pytest.fixture
def stub() -> Iterator[HttpStub]:
    with HttpStub() as running:
        yield running


@pytest.fixture
def secret(database: Any) -> Iterator[str]:
    path = database.settings.secrets_dir / SECRET
    path.write_text("the key of P01\n", encoding="utf-8")
    yield "the key of P01"
    path.unlink()


@pytest.fixture
def worker(api: Any, database: Any, secret: str) -> Iterator[Callable[..., int]]:
    """Take turns until there is nothing to do, or `until` holds; returns how many turns did something."""
    with psycopg.connect(api.service_url, autocommit=True) as connection:
        one = Worker(database.settings)

        def work(until: Callable[[], bool] | None = None) -> int:
            done, deadline = 0, time.monotonic() + PATIENCE_S
            while (until is None or not until()) and time.monotonic() < deadline:
                if one.turn(connection):
                    done += 1
                elif until is None and not one.turn(connection):
                    # the first turn without work closes a window of the outbox, the second finds no other
                    return done
            assert until is None or until(), "not in time"
            return done

        yield work


def _target(api: Any, stub: HttpStub, topics: list[str], name: str = "p01-hook", adapter: str = "outreach", **more: Any) -> Any:
    settings = FAST | more.pop("settings", {})
    payload = {
        "adapter": adapter,
        "endpoint": more.pop("endpoint", stub.url),
        "secret_names": [SECRET],
        "topics": topics,
        "is_enabled": more.pop("is_enabled", True),
        "settings": settings,
    }
    return api.approved("OUTSIDE_TARGET", name, payload, platform_id=more.pop("platform_id", "P01"))


def _tell(api: Any, *events: tuple[str, int], platform: str = "P01", topic: str = "test.happened") -> None:
    with psycopg.connect(api.service_url) as connection:
        for subject, number in events:
            words = "SELECT outbox.append(%s, %s, %s, %s::jsonb)"
            connection.execute(words, (topic, platform, subject, json.dumps({"n": number})))


def _heard(stub: HttpStub) -> list[tuple[str, int]]:
    documents = [json.loads(one.body) for one in stub.heard]
    return [(document["subject"], document["data"]["n"]) for document in documents]


def _states(api: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = api.rows(
        "SELECT subject, (payload ->> 'n')::int, state FROM outside.delivery ORDER BY delivery_id"
    )
    return found


def test_a_platform_hears_its_own_orders_and_accounts_and_nobody_elses(
    api: Any, stub: HttpStub, worker: Any, secret: str
) -> None:
    api.recharge("P01-L-000001", 100)
    worker()
    _target(api, stub, ["order.posted", "account.*"])
    api.recharge("P01-L-000001", 500)
    api.recharge("P02-L-000001", 700)
    worker()
    documents = [json.loads(one.body) for one in stub.heard]
    assert [(one["type"], one["platform_id"]) for one in documents] == [("order.posted", "P01"), ("account.posted", "P01")]
    assert documents[0]["data"]["order_type"] == "RECHARGE"
    assert documents[1]["subject"] == "P01-L-000001" and documents[1]["data"]["effect_minor"] == 500
    assert all(signing.verify([secret], one.headers, one.body, time.time()) == json.loads(one.body)["id"] for one in stub.heard)


def test_a_failed_event_blocks_its_subject_and_no_other(api: Any, stub: HttpStub, worker: Any) -> None:
    _target(api, stub, ["test.*"])
    is_down = True
    stub.judge = lambda heard: "500" if is_down and json.loads(heard.body)["subject"] == "A" else None
    _tell(api, ("A", 1), ("B", 1), ("A", 2), ("B", 2), ("C", 1))
    worker(until=lambda: ("B", 2, "DELIVERED") in _states(api) and ("C", 1, "DELIVERED") in _states(api))
    assert ("A", 2) not in _heard(stub)
    is_down = False
    worker(until=lambda: all(state == "DELIVERED" for _, _, state in _states(api)))
    assert [number for subject, number in _heard(stub) if subject == "A"][-2:] == [1, 2]
    assert [number for subject, number in _heard(stub) if subject == "B"] == [1, 2]


def test_a_dead_letter_holds_its_subject_until_it_is_replayed_or_passed_over(api: Any, stub: HttpStub, worker: Any) -> None:
    _target(api, stub, ["test.*"], settings={"tries_max": 3})
    stub.faults.extend(("500", "500", "500"))
    _tell(api, ("A", 1), ("A", 2))
    worker(until=lambda: _states(api)[:1] == [("A", 1, "DEAD")])
    worker()
    assert _heard(stub) == [("A", 1)] * 3
    assert api.rows("SELECT tries, reason FROM outside.delivery WHERE state = 'DEAD'") == [(3, "HTTP 500")]
    people = {"officer": api.staff("ann", "officer"), "viewer": api.staff("vic", "viewer")}
    listed = api.client.get("/v1/deliveries", params={"state": "DEAD"}, headers=people["officer"]).json()["deliveries"]
    assert [(one["subject"], one["state"]) for one in listed] == [("A", "DEAD")]
    event = listed[0]["event_id"]
    body = {"target": "p01-hook", "first_event_id": event, "last_event_id": event}
    refused = api.client.post("/v1/deliveries/replay", json=body, headers={"Idempotency-Key": "r0", **people["viewer"]})
    assert refused.status_code == 403 and _states(api)[0][2] == "DEAD"
    done = api.client.post("/v1/deliveries/replay", json=body, headers={"Idempotency-Key": "r1", **people["officer"]})
    assert (done.status_code, done.json()) == (201, {"deliveries": 1})
    worker()
    assert _heard(stub)[3:] == [("A", 1), ("A", 2)]
    assert len({one.headers["webhook-id"] for one in stub.heard[:4]}) == 1
    assert api.rows("SELECT actor FROM audit.change WHERE action = 'DELIVERIES_REPLAYED'") == [("ann",)]


def test_a_dead_delivery_can_be_passed_over_and_a_living_one_not(api: Any, stub: HttpStub, worker: Any) -> None:
    _target(api, stub, ["test.*"])
    stub.faults.append("400")
    _tell(api, ("A", 1), ("A", 2))
    worker()
    officer = api.staff("ann", "officer")
    (dead,) = api.rows("SELECT delivery_id FROM outside.delivery WHERE state = 'DEAD'")[0]

    def skip(number: int, key: str) -> Any:
        path = f"/v1/deliveries/{number}/skip"
        return api.client.post(path, json={"reason": "they know"}, headers={"Idempotency-Key": key, **officer})

    assert skip(dead + 1, "s1").json()["code"] == "STATE_CONFLICT"
    assert skip(10**9, "s2").json()["code"] == "DELIVERY_NOT_FOUND"
    assert skip(dead, "s3").status_code == 201
    worker()
    assert _states(api) == [("A", 1, "SKIPPED"), ("A", 2, "DELIVERED")]
    shown = api.client.get(f"/v1/deliveries/{dead}", headers=officer).json()
    assert shown["payload"] == {"n": 1} and [one["outcome"] for one in shown["attempts"]] == ["DEAD"]


def test_a_range_and_a_subject_are_replayed_in_order(api: Any, stub: HttpStub, worker: Any) -> None:
    _target(api, stub, ["test.*"])
    _tell(api, *(("AB"[n % 2], n) for n in range(6)))
    worker()
    before = len(stub.heard)
    officer = api.staff("ann", "officer")
    body = {"target": "p01-hook", "first_event_id": 1, "last_event_id": 10**9, "subject": "A"}
    answer = api.client.post("/v1/deliveries/replay", json=body, headers={"Idempotency-Key": "r", **officer})
    assert answer.json() == {"deliveries": 3}
    worker()
    assert _heard(stub)[before:] == [("A", 0), ("A", 2), ("A", 4)]


def test_a_target_that_is_off_keeps_its_deliveries_and_a_new_version_sends_them(api: Any, stub: HttpStub, worker: Any) -> None:
    _target(api, stub, ["test.*"], is_enabled=False)
    _tell(api, ("A", 1))
    worker()
    assert stub.heard == [] and _states(api) == [("A", 1, "PENDING")]
    shown = api.client.get("/v1/outside/targets", headers=api.staff("ann", "officer")).json()["targets"]
    assert [(one["pending"], one["dead"], one["version"]) for one in shown] == [(1, 0, 1)]
    assert _target(api, stub, ["test.*"])["version"] == 2
    worker()
    assert _heard(stub) == [("A", 1)]


def test_an_event_of_an_older_transaction_that_commits_late_is_told_in_order(api: Any, stub: HttpStub, worker: Any) -> None:
    _target(api, stub, ["test.*"])
    worker()
    append = "SELECT outbox.append('test.happened', 'P01', %s, %s::jsonb)"
    with psycopg.connect(api.service_url) as late, psycopg.connect(api.service_url) as early:
        early.execute("SELECT pg_current_xact_id()")  # the older transaction writes last
        late.execute(append, ("A", '{"n": 1}'))
        late.commit()
        worker()
        early.execute(append, ("A", '{"n": 2}'))
        _tell(api, ("B", 1))
        worker()
        assert stub.heard == []
        early.commit()
    worker()
    assert [number for subject, number in _heard(stub) if subject == "A"] == [1, 2]
    assert len(stub.heard) == 3


SENSELESS: list[tuple[dict[str, Any], str]] = [
    ({"endpoint": "http://example.org/"}, "payload.endpoint"),
    ({"endpoint": "ftp://127.0.0.1/"}, "payload.endpoint"),
    ({"endpoint": "http://127.0.0.1@example.org/"}, "payload.endpoint"),
    ({"adapter": "fax"}, "payload.adapter"),
    ({"secret_names": []}, "payload.secret_names"),
    ({"secret_names": ["../pg_service"]}, "payload.secret_names"),
    ({"secret_names": ["pg_superuser"]}, "payload.secret_names"),
    ({"topics": "test"}, "payload.topics"),
    ({"topics": ["*"]}, "payload.topics"),
    ({"is_enabled": "yes"}, "payload.is_enabled"),
    ({"settings": {"timeout_s": 0}}, "payload.settings.timeout_s"),
    ({"settings": {"timeout_s": "x"}}, "payload.settings.timeout_s"),
    ({"settings": {"color": "red"}}, "payload.settings.color"),
    ({"password": "secret"}, "payload.password"),
]


def test_a_target_that_makes_no_sense_is_not_even_proposed(api: Any) -> None:
    payload = {
        "adapter": "outreach",
        "endpoint": "https://p01.example/",
        "secret_names": [SECRET],
        "topics": [],
        "is_enabled": True,
    }
    for change, field in SENSELESS:
        answer = api.put_down("OUTSIDE_TARGET", "p01-hook", payload | change, by=api.staff("ann", "officer"), platform_id="P01")
        assert (answer.status_code, answer.json().get("code"), answer.json().get("field")) == (422, "BODY_INVALID", field)
    assert api.rows("SELECT count(*) FROM work.approval") == [(0,)]


def test_a_target_never_becomes_another_platforms(api: Any, stub: HttpStub) -> None:
    _target(api, stub, ["test.*"])
    payload = {"adapter": "outreach", "endpoint": stub.url, "secret_names": [SECRET], "topics": [], "is_enabled": True}
    proposed = api.put_down("OUTSIDE_TARGET", "p01-hook", payload, by=api.staff("ann", "officer"), platform_id="P02")
    assert proposed.status_code == 201
    assert api.decide(proposed.json(), by=api.staff("ben", "checker")).json()["code"] == "STATE_CONFLICT"
    assert api.rows("SELECT version, platform_id FROM outside.target") == [(1, "P01")]


def test_the_same_notice_goes_out_once_a_day(api: Any, stub: HttpStub, worker: Any) -> None:
    _target(
        api, stub, ["risk.*"], name="sms", adapter="sms", platform_id=None, settings={"quiet_from": "00:00", "quiet_to": "00:00"}
    )
    with psycopg.connect(api.service_url) as connection:
        for account in ("P01-L-000001", "P01-L-000001", "P01-L-000002"):
            payload = json.dumps({"account_no": account})
            connection.execute("SELECT outbox.append('risk.insufficient_funds', 'P01', %s, %s::jsonb)", (account, payload))
    worker()
    assert [json.loads(one.body)["recipient_ref"] for one in stub.heard] == ["P01-L-000001", "P01-L-000002"]


def test_a_missing_secret_is_told_and_nothing_is_sent_unsigned(api: Any, stub: HttpStub, worker: Any, database: Any) -> None:
    _target(api, stub, ["test.*"])
    path: Path = database.settings.secrets_dir / SECRET
    key = path.read_text(encoding="utf-8")
    path.unlink()
    _tell(api, ("A", 1))
    worker(until=lambda: bool(api.rows("SELECT FROM outside.delivery WHERE tries > 0")))
    assert stub.heard == []
    assert api.rows("SELECT reason FROM outside.delivery") == [("a secret of target p01-hook is missing",)]
    path.write_text(key, encoding="utf-8")
    worker(until=lambda: _states(api) == [("A", 1, "DELIVERED")])


def test_several_workers_keep_the_order_of_each_subject(api: Any, stub: HttpStub, database: Any, secret: str) -> None:
    _target(api, stub, ["test.*"])
    chance = random.Random(7)
    stub.judge = lambda _: chance.choice(("500", None, None, None))
    _tell(api, *((f"S{n % 5}", n) for n in range(60)))
    stop = threading.Event()
    threads = [threading.Thread(target=Worker(database.settings).run, args=(stop,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        _wait(lambda: len(_states(api)) == 60 and {state for _, _, state in _states(api)} == {"DELIVERED"})
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    _in_order(_heard(stub), 60, 5)


def test_killed_workers_lose_nothing_and_keep_the_order(api: Any, stub: HttpStub, database: Any, secret: str) -> None:
    _target(api, stub, ["test.*"])
    _tell(api, *((f"S{n % 5}", n) for n in range(200)))
    code = """
import threading
from fundwatch.settings import load
from transactional.outside.worker import Worker
threading.Thread(target=Worker(load(), lease_s=1).run, args=(threading.Event(),)).start()
Worker(load(), lease_s=1).run(threading.Event())
"""
    chance = random.Random(11)
    deadline = time.monotonic() + 40
    kills = 0
    while {state for _, _, state in _states(api)} != {"DELIVERED"}:
        assert time.monotonic() < deadline, "not in time"
        child = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
        before, more = len(stub.heard), chance.randint(1, 40)
        try:
            _wait(lambda b=before, m=more: len(stub.heard) >= b + m or {s for _, _, s in _states(api)} == {"DELIVERED"})  # type: ignore[misc]
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        kills += 1
    assert kills >= 4
    _in_order(_heard(stub), 200, 5)
    assert len({one.headers["webhook-id"] for one in stub.heard}) == 200


def test_what_was_tried_cannot_be_rewritten(api: Any, stub: HttpStub, worker: Any) -> None:
    _target(api, stub, ["test.*"])
    _tell(api, ("A", 1))
    worker()
    for change in ("UPDATE outside.delivery_attempt SET reason = ''", "DELETE FROM outside.target", "DELETE FROM outside.notice"):
        with psycopg.connect(api.admin_url) as connection, pytest.raises(psycopg.Error, match="never changed"):
            connection.execute(change.encode())
    with psycopg.connect(api.service_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE outside.delivery SET state = 'DELIVERED'")


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    tick = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        tick.wait(0.02)


def _in_order(heard: list[tuple[str, int]], events: int, subjects: int) -> None:
    """Every event came, and the first time of each comes in its subject's order."""
    first = list(dict.fromkeys(heard))
    assert len(first) == events
    for subject in range(subjects):
        numbers = [number for name, number in first if name == f"S{subject}"]
        assert numbers == sorted(numbers)
