"""The review of who may do what: read by those who watch, signed by two on exactly what was read."""

from __future__ import annotations

import csv
import io
from typing import Any

import psycopg
import pytest

from transactional import users

SINCE = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def bank(api: Any) -> Any:
    """The service with administrators ada and bob and a person of three other roles."""
    for name, role in (("ada", "admin"), ("bob", "admin"), ("cid", "checker"), ("aud", "auditor")):
        api.staff(name, role)
    users.create(api.admin_url, "fin", "finance", "seven grey herons at the weir")
    return api


def review(bank: Any, who: str = "ada", role: str = "admin") -> dict[str, Any]:
    answer = bank.client.get("/v1/access-review", params={"since": SINCE}, headers=bank.staff(who, role))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def signed(bank: Any, seen: dict[str, Any], who: str = "ada", role: str = "admin", **query: str) -> Any:
    body = {"since": SINCE, "review_hash": seen["review_hash"], "note": "looked at everybody"}
    headers = bank.staff(who, role) | {"Idempotency-Key": f"sign-{next(bank.numbers)}"}
    return bank.client.post("/v1/access-review/sign-off", params=query, json=body, headers=headers)


def test_the_review_shows_each_person_with_what_they_may_do_and_when_they_last_did(bank: Any) -> None:
    persons = {one["login_name"]: one for one in review(bank)["persons"]}
    assert list(persons) == ["ada", "aud", "bob", "cid", "fin"]
    assert "decide USER_CREATE" in persons["ada"]["permissions"] and "decide USER_CREATE" not in persons["cid"]["permissions"]
    assert not [name for name in persons["aud"]["permissions"] if name.startswith(("propose", "decide", "manage", "close"))]
    assert (persons["ada"]["created_by"], persons["ada"]["last_login_at"]) == ("console", None)
    assert persons["ada"]["last_use_at"] > persons["ada"]["created_at"]
    assert [one["kind"] for one in persons["fin"]["changes"]] == ["CREATED", "PASSWORD_SET"]


def test_the_file_is_the_review_and_is_logged(bank: Any) -> None:
    answer = bank.client.get("/v1/access-review.csv", params={"since": SINCE}, headers=bank.staff("aud", "auditor"))
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["login_name"] for row in rows] == ["ada", "aud", "bob", "cid", "fin"]
    assert bank.rows("SELECT subject, row_count FROM auth.access_log WHERE kind = 'EXPORT'") == [("access_review", 5)]


def test_two_people_sign_what_was_read(bank: Any) -> None:
    asked = signed(bank, review(bank))
    assert (asked.status_code, asked.json()["kind"], asked.json()["state"]) == (201, "ACCESS_REVIEW", "PENDING")
    assert bank.decide(asked.json(), by=bank.staff("ada", "admin")).json()["code"] == "OWN_APPROVAL"
    done = bank.decide(asked.json(), by=bank.staff("cid", "checker"))
    assert done.json()["result"]["persons"] == 5
    (sign,) = review(bank)["signed"]
    assert (sign["maker"], sign["checker"], sign["review_hash"]) == ("ada", "cid", asked.json()["payload"]["review_hash"])
    assert bank.rows("SELECT jsonb_array_length(review) FROM auth.access_review_signed") == [(5,)]
    assert bank.rows("SELECT actor FROM audit.change WHERE action = 'ACCESS_REVIEW_SIGNED'") == [("cid",)]
    with psycopg.connect(bank.admin_url) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute("DELETE FROM auth.access_review_signed")
    assert refused.value.sqlstate == "FW403"


def test_a_login_meanwhile_does_not_matter_but_a_change_does(bank: Any) -> None:
    seen = review(bank)
    asked = signed(bank, seen)
    bank.client.get("/v1/sessions/current", headers=bank.staff("cid", "checker"))
    assert review(bank)["review_hash"] == seen["review_hash"]
    bank.rows("SELECT auth.set_role(person_id, 'checker', NULL) FROM auth.person WHERE login_name = 'fin'")
    late = bank.decide(asked.json(), by=bank.staff("cid", "checker"))
    assert (late.status_code, late.json()["code"]) == (409, "ACCESS_REVIEW_STALE")
    assert bank.rows("SELECT count(*) FROM auth.access_review_signed") == [(0,)]


def test_a_review_that_nobody_read_is_not_signed(bank: Any) -> None:
    assert signed(bank, {"review_hash": "0" * 64}).json()["code"] == "ACCESS_REVIEW_STALE"
    assert bank.rows("SELECT count(*) FROM work.approval") == [(0,)]


def test_a_rehearsed_sign_off_leaves_nothing(bank: Any) -> None:
    seen = review(bank)
    dry = signed(bank, seen, dry_run="true")
    assert (dry.status_code, dry.headers["Fundwatch-Dry-Run"], dry.json()["state"]) == (200, "true", "PENDING")
    assert bank.rows("SELECT count(*) FROM work.approval") == [(0,)]
    assert signed(bank, seen).status_code == 201


@pytest.mark.parametrize(("who", "role"), [("fred", "finance"), ("aud", "auditor"), ("cid", "checker"), ("vic", "viewer")])
def test_only_an_administrator_proposes_the_sign_off(bank: Any, who: str, role: str) -> None:
    assert signed(bank, review(bank), who, role).status_code == 403
    may_read = bank.client.get("/v1/access-review", params={"since": SINCE}, headers=bank.staff(who, role)).status_code
    assert may_read == (200 if role in ("auditor", "checker") else 403)


@pytest.mark.parametrize("since", ["", "yesterday", "2026-01-01T00:00:00"])
def test_a_review_without_a_moment_is_refused(bank: Any, since: str) -> None:
    answer = bank.client.get("/v1/access-review", params={"since": since}, headers=bank.staff("ada", "admin"))
    assert (answer.status_code, answer.json()["code"]) == (422, "PARAMETER_INVALID")
