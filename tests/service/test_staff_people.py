"""People under four eyes: made, changed and disabled by two administrators; what each role may do stands in one frozen table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from transactional import people
from transactional.permissions import PERMISSIONS, ROLES

GOLDEN = Path(__file__).parent.parent / "golden" / "permission_matrix.txt"
NEW = {"display_name": "Lin Mei", "role": "finance"}
OWN = "seven grey herons at the weir"


@pytest.fixture
def bank(api: Any) -> Any:
    """The service with administrators ada and bob, and officer wei."""
    for name, role in (("ada", "admin"), ("bob", "admin"), ("wei", "officer")):
        api.staff(name, role)
    return api


def ada(bank: Any) -> dict[str, str]:
    headers: dict[str, str] = bank.staff("ada", "admin")
    return headers


def bob(bank: Any) -> dict[str, str]:
    headers: dict[str, str] = bank.staff("bob", "admin")
    return headers


def changed(bank: Any, kind: str, subject: str, payload: dict[str, Any]) -> Any:
    """Ada proposes and Bob approves; the answer of the decision."""
    asked = bank.put_down(kind, subject, payload, by=ada(bank))
    assert asked.status_code == 201, asked.text
    return bank.decide(asked.json(), by=bob(bank))


def persons(bank: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = bank.rows("SELECT login_name, role, is_disabled FROM auth.person ORDER BY login_name")
    return found


def test_a_person_is_made_by_two_and_chooses_their_own_password(bank: Any) -> None:
    before = persons(bank)
    asked = bank.put_down("USER_CREATE", "lin", NEW, by=ada(bank)).json()
    assert persons(bank) == before
    made = bank.decide(asked, by=bob(bank))
    assert made.json()["result"] == {"login_name": "lin", "role": "finance", "is_disabled": False}
    given = bank.client.post("/v1/users/lin/one-time-password", headers=bob(bank))
    assert (given.status_code, given.headers["cache-control"]) == (201, "no-store")
    body = {"login_name": "lin", "password": given.json()["one_time_password"]}
    session = bank.client.post("/v1/sessions", json=body, headers={"Authorization": ""}).json()
    assert session["must_change_password"] is True
    lin = {"Authorization": f"Bearer {session['token']}"}
    assert bank.client.put("/v1/password", json={"old": body["password"], "new": OWN}, headers=lin).status_code == 204
    again = bank.client.post("/v1/users/lin/one-time-password", headers=bob(bank))
    assert (again.status_code, again.json()["code"]) == (409, "PASSWORD_IS_OWN")
    assert bank.client.post("/v1/users/nobody/one-time-password", headers=bob(bank)).json()["code"] == "USER_NOT_FOUND"
    trail = bank.rows(
        "SELECT action, actor, after ->> 'role' FROM audit.change WHERE subject_type = 'person' AND subject = 'lin'"
    )
    assert trail[0] == ("PERSON_CREATED", "ada", "finance")


def test_another_role_and_disabling_end_the_sessions_at_once(bank: Any) -> None:
    wei = bank.staff("wei", "officer")
    assert bank.client.get("/v1/sessions/current", headers=wei).status_code == 200
    assert changed(bank, "USER_ROLE", "wei", {"role": "checker"}).json()["result"]["role"] == "checker"
    assert bank.client.get("/v1/sessions/current", headers=wei).status_code == 401
    lee = bank.staff("lee", "viewer")
    assert changed(bank, "USER_DISABLE", "lee", {"is_disabled": True}).json()["result"]["is_disabled"] is True
    assert bank.client.get("/v1/sessions/current", headers=lee).status_code == 401
    assert changed(bank, "USER_DISABLE", "lee", {"is_disabled": False}).json()["result"]["is_disabled"] is False
    ended = bank.rows(
        "SELECT login_name, end_reason FROM auth.session JOIN auth.person USING (person_id) WHERE ended_at IS NOT NULL ORDER BY 1"
    )
    assert ended == [("lee", "DISABLED"), ("wei", "ROLE_CHANGED")]
    audited = bank.rows("SELECT before ->> 'role', after ->> 'role' FROM audit.change WHERE action = 'PERSON_ROLE_CHANGED'")
    assert audited == [("officer", "checker")]


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("USER_CREATE", "wei", NEW, "NAME_TAKEN"),
    ("USER_CREATE", "Lin", NEW, "BODY_INVALID"),
    ("USER_CREATE", "l", NEW, "BODY_INVALID"),
    ("USER_CREATE", "lin", NEW | {"role": "king"}, "BODY_INVALID"),
    ("USER_CREATE", "lin", NEW | {"display_name": ""}, "BODY_INVALID"),
    ("USER_CREATE", "lin", NEW | {"display_name": "a\nb"}, "BODY_INVALID"),
    ("USER_CREATE", "lin", {"role": "viewer"}, "BODY_INVALID"),
    ("USER_CREATE", "lin", NEW | {"password": "x"}, "BODY_INVALID"),
    ("USER_CREATE", "lin", NEW | {"role": None}, "BODY_INVALID"),
    ("USER_ROLE", "nobody", {"role": "viewer"}, "UNKNOWN_PERSON"),
    ("USER_ROLE", "ada", {"role": "viewer"}, "OWN_PERSON"),
    ("USER_ROLE", "wei", {"role": "king"}, "BODY_INVALID"),
    ("USER_ROLE", "wei", {}, "BODY_INVALID"),
    ("USER_DISABLE", "wei", {"is_disabled": "yes"}, "BODY_INVALID"),
    ("USER_DISABLE", "ada", {"is_disabled": True}, "OWN_PERSON"),
    ("USER_DISABLE", "nobody", {"is_disabled": True}, "UNKNOWN_PERSON"),
]


def test_what_could_never_be_is_refused_when_it_is_proposed(bank: Any) -> None:
    before = persons(bank)
    for kind, subject, payload, code in REFUSED:
        assert bank.put_down(kind, subject, payload, by=ada(bank)).json().get("code") == code, (kind, subject, payload)
    assert bank.rows("SELECT count(*) FROM work.approval") == [(0,)]
    assert persons(bank) == before


def test_nobody_decides_on_themselves_and_nobody_alone(bank: Any) -> None:
    before = persons(bank)
    asked = bank.put_down("USER_ROLE", "bob", {"role": "checker"}, by=ada(bank)).json()
    assert bank.decide(asked, by=bob(bank)).json()["code"] == "OWN_PERSON"
    assert bank.decide(asked, by=ada(bank)).json()["code"] == "OWN_APPROVAL"
    for name, role in (("cid", "checker"), ("aud", "auditor"), ("fin", "finance")):
        assert bank.decide(asked, by=bank.staff(name, role)).json()["code"] == "NOT_PERMITTED"
    assert [row for row in persons(bank) if row in before] == before


def test_an_administrator_who_is_one_no_more_brings_nothing_about(bank: Any) -> None:
    asked = bank.put_down("USER_ROLE", "wei", {"role": "admin"}, by=ada(bank)).json()
    bank.rows("SELECT auth.set_role(person_id, 'viewer', NULL) FROM auth.person WHERE login_name = 'ada'")
    assert bank.decide(asked, by=bob(bank)).json()["code"] == "NOT_PERMITTED"
    assert ("wei", "officer", False) in persons(bank)


def test_only_administrators_propose_people_or_hand_out_passwords(bank: Any) -> None:
    for role in set(ROLES) - {"admin"}:
        other = bank.staff(f"an.{role}", role)
        assert bank.put_down("USER_CREATE", "lin", NEW, by=other).json()["code"] == "NOT_PERMITTED", role
        assert bank.client.post("/v1/users/wei/one-time-password", headers=other).json()["code"] == "NOT_PERMITTED", role
        assert bank.client.get("/v1/users", headers=other).json()["code"] == "NOT_PERMITTED", role


def test_the_list_of_people_shows_state_and_no_hash(bank: Any) -> None:
    answer = bank.client.get("/v1/users", headers=ada(bank))
    found = {one["login_name"]: one for one in answer.json()["users"]}
    assert sorted(found) == ["ada", "bob", "wei"]
    assert (found["wei"]["role"], found["wei"]["is_disabled"], found["wei"]["created_by"]) == ("officer", False, "console")
    assert "argon2" not in answer.text
    assert bank.rows("SELECT kind FROM auth.access_log") == [("USERS_SEEN",)]


def test_what_each_role_may_do_is_what_was_decided(bank: Any) -> None:
    answer = bank.client.get("/v1/permissions", headers=bank.staff("vic", "viewer")).json()
    assert answer["roles"] == list(ROLES)
    assert people.table(answer["permissions"]) == GOLDEN.read_text(encoding="utf-8")
    assert people.exported(bank.admin_url) == answer["permissions"]


def test_auditor_and_viewer_propose_decide_and_manage_nothing(bank: Any) -> None:
    kinds = bank.rows("SELECT kind FROM work.kind WHERE maker_roles && '{auditor,viewer}' OR checker_roles && '{auditor,viewer}'")
    assert kinds == []
    writing = [name for name in PERMISSIONS if name.startswith(("propose_", "decide_", "manage_", "close_"))]
    assert [name for name in writing if {"auditor", "viewer"} & PERMISSIONS[name]] == []
