"""Signing in at the service: one token, the same counts and events as the pages, and nothing secret left behind."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import psycopg
import pytest

from transactional import users
from transactional.passwords import UNUSABLE

PASSWORD = "seven grey herons at the weir"
OTHER = "a quite different sentence"
SECRETS = (
    "auth.session",
    "auth.login_attempt",
    "auth.access_log",
    "auth.person_event",
    "audit.change",
    "api.answer",
    "outbox.event",
)


@pytest.fixture
def bank(api: Any) -> Any:
    """The service with officer wei, who has a password."""
    users.create(api.admin_url, "wei", "officer", PASSWORD)
    return api


def sign_in(bank: Any, name: str = "wei", password: str = PASSWORD, **more: Any) -> Any:
    body = {"login_name": name, "password": password, **more}
    return bank.client.post("/v1/sessions", json=body, headers={"Authorization": ""})


def token(bank: Any, **more: Any) -> dict[str, str]:
    answer = sign_in(bank, **more)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def outcomes(bank: Any) -> list[str]:
    return [row[0] for row in bank.rows("SELECT outcome FROM auth.login_attempt ORDER BY attempt_id")]


def test_a_login_gives_a_token_that_is_stored_as_its_hash_only(bank: Any) -> None:
    answer = sign_in(bank, name=" WEI ")
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    body = answer.json()
    assert (body["login_name"], body["role"], body["must_change_password"]) == ("wei", "officer", False)
    assert bank.rows("SELECT token_hash FROM auth.session") == [(sha256(body["token"].encode()).digest(),)]
    me = bank.client.get("/v1/sessions/current", headers={"Authorization": f"Bearer {body['token']}"})
    assert (me.status_code, me.json()["login_name"], me.json()["role"]) == (200, "wei", "officer")


def test_signing_out_ends_the_session_on_the_server(bank: Any) -> None:
    wei = token(bank)
    assert bank.client.delete("/v1/sessions/current", headers=wei).status_code == 204
    assert bank.client.get("/v1/sessions/current", headers=wei).json()["code"] == "NOT_AUTHENTICATED"
    assert bank.client.delete("/v1/sessions/current", headers=wei).status_code == 401
    assert bank.rows("SELECT end_reason FROM auth.session") == [("LOGOUT",)]


def test_wrong_name_wrong_password_and_disabled_person_are_answered_alike(bank: Any) -> None:
    users.create(bank.admin_url, "gone", "officer", PASSWORD)
    users.set_disabled(bank.admin_url, "gone", True)
    answers = [sign_in(bank, password=OTHER), sign_in(bank, name="nobody"), sign_in(bank, name="gone")]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert answers[0].json()["code"] == "WRONG_LOGIN"
    assert bank.rows("SELECT count(*) FROM auth.session") == [(0,)]
    assert outcomes(bank) == ["FAILED"] * 3


def test_many_wrong_passwords_make_the_next_one_wait_here_and_at_the_pages(bank: Any) -> None:
    for _ in range(5):
        assert sign_in(bank, password=OTHER).status_code == 401
    late = sign_in(bank)
    assert (late.status_code, late.json()["code"]) == (429, "TOO_MANY_ATTEMPTS")
    assert int(late.headers["retry-after"]) == late.json()["wait_s"] >= 1
    with pytest.raises(users.TooManyAttempts):
        users.authenticate(bank.admin_url, "wei", PASSWORD)
    assert bank.rows("SELECT count(*) FROM auth.session") == [(0,)]


def test_many_wrong_passwords_at_once_count_as_many(bank: Any) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: sign_in(bank, password=OTHER).status_code, range(12)))
    assert answers.count(401) <= 5
    assert set(answers) <= {401, 429, 503}


@pytest.mark.parametrize(
    "body",
    [{}, {"login_name": "wei"}, {"login_name": "wei", "password": ""}, {"login_name": "wei", "password": "x" * 257},
     {"login_name": "w" * 65, "password": "x"}, {"login_name": "wei", "password": "x", "more": 1},
     {"login_name": 1, "password": "x"},
     {"login_name": "wei", "password": "x", "code": "1"}],
)  # fmt: skip
def test_a_body_of_another_shape_is_refused_and_counts_for_nobody(bank: Any, body: dict[str, Any]) -> None:
    answer = bank.client.post("/v1/sessions", json=body, headers={"Authorization": ""})
    assert (answer.status_code, answer.json()["code"]) == (422, "BODY_INVALID")
    assert outcomes(bank) == []


def test_no_password_and_no_token_is_left_in_tables_or_logs(bank: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = sign_in(bank)
    words = [PASSWORD, OTHER, answer.json()["token"]]
    wei = {"Authorization": f"Bearer {answer.json()['token']}"}
    sign_in(bank, password=OTHER)
    sign_in(bank, name=PASSWORD)
    assert bank.client.put("/v1/password", json={"old": PASSWORD, "new": OTHER}, headers=wei).status_code == 204
    text = "\n".join(str(row) for table in SECRETS for row in bank.rows(f"SELECT t::text FROM {table} t")) + caplog.text
    assert [word for word in words if word in text] == []


def test_a_new_password_of_ones_own_ends_every_session(bank: Any) -> None:
    here, there = token(bank), token(bank)
    changed = bank.client.put("/v1/password", json={"old": PASSWORD, "new": OTHER}, headers=here)
    assert changed.status_code == 204
    for headers in (here, there):
        assert bank.client.get("/v1/sessions/current", headers=headers).status_code == 401
    assert sign_in(bank).status_code == 401
    assert sign_in(bank, password=OTHER).status_code == 201
    assert bank.rows("SELECT action, actor, subject FROM audit.change ORDER BY change_id DESC LIMIT 1") == [
        ("PERSON_PASSWORD_SET", "wei", "wei")
    ]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [(OTHER, OTHER + "!", "WRONG_LOGIN"), (PASSWORD, "short", "WEAK_PASSWORD"), (PASSWORD, PASSWORD, "WEAK_PASSWORD"),
     (PASSWORD, "password1234", "WEAK_PASSWORD")],
)  # fmt: skip
def test_a_refused_change_of_password_leaves_password_and_sessions(bank: Any, old: str, new: str, code: str) -> None:
    wei = token(bank)
    before = bank.rows("SELECT * FROM auth.password")
    assert bank.client.put("/v1/password", json={"old": old, "new": new}, headers=wei).json()["code"] == code
    assert bank.rows("SELECT * FROM auth.password") == before
    assert bank.client.get("/v1/sessions/current", headers=wei).status_code == 200


def test_a_one_time_password_is_good_for_nothing_but_choosing_ones_own(bank: Any) -> None:
    users.create(bank.admin_url, "new", "officer", PASSWORD, must_change_password=True)
    answer = sign_in(bank, name="new")
    assert answer.json()["must_change_password"] is True
    new = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert bank.client.get("/v1/approvals", headers=new).json()["code"] == "PASSWORD_MUST_CHANGE"
    assert bank.client.put("/v1/password", json={"old": PASSWORD, "new": OTHER}, headers=new).status_code == 204
    own = token(bank, name="new", password=OTHER)
    assert bank.client.get("/v1/approvals", headers=own).status_code == 200


def test_a_session_ends_after_its_time_and_when_nobody_uses_it(bank: Any) -> None:
    idle, old = token(bank), token(bank)
    for headers, change in (
        (idle, "last_seen_at = clock_timestamp() - interval '15 minutes'"),
        (old, "expires_at = clock_timestamp()"),
    ):
        hashed = sha256(headers["Authorization"].removeprefix("Bearer ").encode()).hexdigest()
        bank.rows(f"UPDATE auth.session SET {change} WHERE token_hash = decode('{hashed}', 'hex') RETURNING 1")
        assert bank.client.get("/v1/sessions/current", headers=headers).status_code == 401


def test_a_person_disabled_between_password_and_session_gets_none(bank: Any) -> None:
    bank.rows("SELECT auth.set_disabled(person_id, true, NULL) FROM auth.person WHERE login_name = 'wei'")
    with psycopg.connect(bank.service_url) as connection:
        made = connection.execute(
            "SELECT auth.begin_session(%s, (SELECT person_id FROM auth.person WHERE login_name = 'wei'), 'test', 60)", [b"x" * 32]
        ).fetchone()
    assert made == (None,)
    assert bank.rows("SELECT count(*) FROM auth.session") == [(0,)]


def test_a_person_without_a_password_cannot_sign_in(bank: Any) -> None:
    bank.rows(f"SELECT auth.create_person('bare', 'Bare', 'officer', '{UNUSABLE}', true, NULL)")
    assert sign_in(bank, name="bare", password=UNUSABLE).status_code == 401
    assert sign_in(bank, name="bare", password="none given").status_code == 401
