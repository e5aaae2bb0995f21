"""Proposals and decisions at the service: four eyes, one decision on the version seen, effect and decision in one transaction."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import errors

from transactional.verify import verify

KIND = """
CREATE TABLE public.effect (subject text, checker text);
CREATE FUNCTION public.check_it(asked work.approval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF asked.payload ->> 'limit' IS NULL THEN PERFORM work.refuse('BODY_INVALID', 'payload.limit', NULL); END IF;
END $$;
CREATE FUNCTION public.do_it(asked work.approval, checker text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.effect VALUES (asked.subject, checker);
  IF asked.payload ->> 'limit' = 'impossible' THEN PERFORM work.refuse('INSUFFICIENT_FUNDS', 'account', asked.subject); END IF;
  RETURN jsonb_build_object('limit', asked.payload ->> 'limit');
END $$;
INSERT INTO work.kind VALUES ('RAISE_LIMIT', '{officer,checker}', '{checker}', 'public.check_it', 'public.do_it', 72);
"""


@pytest.fixture
def desk(api: Any) -> Any:
    """The service with a kind of its own for these tests."""
    with psycopg.connect(api.admin_url) as connection:
        connection.execute(KIND.encode())
    return api


def proposed(desk: Any, limit: str = "high") -> dict[str, Any]:
    answer = desk.put_down("RAISE_LIMIT", "P01", {"limit": limit}, by=desk.staff("ann", "officer"), platform_id="P01")
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def effects(desk: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = desk.rows("SELECT subject, checker FROM public.effect")
    return found


def test_an_approved_proposal_takes_effect_once_and_says_what_came_of_it(desk: Any) -> None:
    asked = proposed(desk)
    assert (asked["state"], asked["maker"], effects(desk)) == ("PENDING", "ann", [])
    decided = desk.decide(asked, by=desk.staff("ben", "checker"))
    assert decided.status_code == 201
    assert (decided.json()["state"], decided.json()["result"]) == ("APPROVED", {"limit": "high"})
    assert effects(desk) == [("P01", "ben")]
    assert desk.decide(asked, by=desk.staff("cid", "checker")).json()["code"] == "APPROVAL_DECIDED"
    assert effects(desk) == [("P01", "ben")]


def test_a_rejected_proposal_has_no_effect_and_needs_a_note(desk: Any) -> None:
    asked = proposed(desk)
    silent = desk.decide(asked, by=desk.staff("ben", "checker"), approve=False, note=" ")
    assert (silent.status_code, silent.json()["field"]) == (422, "note")
    assert desk.decide(asked, by=desk.staff("ben", "checker"), approve=False).json()["state"] == "REJECTED"
    assert effects(desk) == []
    assert proposed(desk)["approval_id"] > asked["approval_id"]


def test_nobody_decides_on_their_own_proposal(desk: Any) -> None:
    ben = desk.staff("ben", "checker")
    asked = desk.put_down("RAISE_LIMIT", "P01", {"limit": "high"}, by=ben).json()
    refused = desk.decide(asked, by=ben)
    assert (refused.status_code, refused.json()["code"]) == (409, "OWN_APPROVAL")
    assert effects(desk) == []


@pytest.mark.parametrize("role", ["viewer", "officer", "auditor", "admin"])
def test_only_the_roles_of_the_kind_decide(desk: Any, role: str) -> None:
    asked = proposed(desk)
    refused = desk.decide(asked, by=desk.staff(f"other.{role}", role))
    assert (refused.status_code, refused.json()["code"]) == (403, "NOT_PERMITTED")
    assert effects(desk) == []


def test_another_version_than_the_one_seen_is_not_decided_on(desk: Any) -> None:
    asked = proposed(desk) | {"payload_hash": "0" * 64}
    assert desk.decide(asked, by=desk.staff("ben", "checker")).json()["code"] == "APPROVAL_DIFFERS"
    assert effects(desk) == []


def test_one_subject_has_one_open_proposal_of_a_kind(desk: Any) -> None:
    proposed(desk)
    second = desk.put_down("RAISE_LIMIT", "P01", {"limit": "low"}, by=desk.staff("ann", "officer"), platform_id="P01")
    assert second.json()["code"] == "APPROVAL_PENDING"


def test_an_effect_that_is_refused_leaves_neither_effect_nor_decision(desk: Any) -> None:
    asked = proposed(desk, "impossible")
    assert desk.decide(asked, by=desk.staff("ben", "checker")).json()["code"] == "INSUFFICIENT_FUNDS"
    assert effects(desk) == []
    path = f"/v1/approvals/{asked['approval_id']}"
    assert desk.client.get(path, headers=desk.staff("ben", "checker")).json()["state"] == "PENDING"


def test_what_could_never_be_carried_out_is_refused_when_it_is_proposed(desk: Any) -> None:
    refused = desk.put_down("RAISE_LIMIT", "P01", {}, by=desk.staff("ann", "officer"))
    assert (refused.status_code, refused.json()["field"]) == (422, "payload.limit")
    assert desk.rows("SELECT count(*) FROM work.approval") == [(0,)]
    unknown = desk.put_down("NO_SUCH_KIND", "P01", {}, by=desk.staff("ann", "officer"))
    assert unknown.json()["code"] == "UNKNOWN_APPROVAL_KIND"


def test_a_proposal_expires_by_the_services_clock(desk: Any) -> None:
    asked = proposed(desk)
    desk.rows("UPDATE ledger.clock SET now_at = now_at + interval '73 hours' RETURNING 1")
    assert desk.decide(asked, by=desk.staff("ben", "checker")).json()["code"] == "APPROVAL_EXPIRED"


def test_a_repeated_decision_hears_the_first_answer_and_has_one_effect(desk: Any) -> None:
    asked = proposed(desk)
    body = {"approve": True, "payload_hash": asked["payload_hash"], "note": "fine"}
    headers = desk.staff("ben", "checker") | {"Idempotency-Key": "once"}
    path = f"/v1/approvals/{asked['approval_id']}/decision"
    first, again = (desk.client.post(path, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, first.text) == (again.status_code, again.text)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = desk.client.post(path, json=body | {"note": "other"}, headers=headers)
    assert (other.status_code, other.json()["fields"]) == (409, ["note"])
    elsewhere = desk.client.post("/v1/approvals/77/decision", json=body, headers=headers)
    assert elsewhere.json()["fields"] == ["path"]
    assert effects(desk) == [("P01", "ben")]


def test_many_deciders_at_once_are_one_decision(desk: Any) -> None:
    asked = proposed(desk)
    people = [desk.staff(f"checker-{n}", "checker") for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda who: desk.decide(asked, by=who), people))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert len(effects(desk)) == 1


def test_a_dry_run_says_what_would_happen_and_leaves_no_row(desk: Any) -> None:
    asked = proposed(desk)
    tables = ("public.effect", "work.decision", "audit.change", "api.answer", "outbox.event")
    before = [desk.rows(f"SELECT * FROM {table} t ORDER BY t::text") for table in tables]
    body = {"approve": True, "payload_hash": asked["payload_hash"], "note": "fine"}
    headers = desk.staff("ben", "checker") | {"Idempotency-Key": "once"}
    path = f"/v1/approvals/{asked['approval_id']}/decision"
    dry = desk.client.post(f"{path}?dry_run=true", json=body, headers=headers)
    assert (dry.status_code, dry.headers["Fundwatch-Dry-Run"], dry.json()["state"]) == (200, "true", "APPROVED")
    assert [desk.rows(f"SELECT * FROM {table} t ORDER BY t::text") for table in tables] == before
    real = desk.client.post(path, json=body, headers=headers)
    assert real.status_code == 201
    assert {**real.json(), "decided_at": None} == {**dry.json(), "decided_at": None}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nobody"}])
def test_without_a_session_nothing_is_proposed(desk: Any, headers: dict[str, str]) -> None:
    answer = desk.put_down("RAISE_LIMIT", "P01", {"limit": "high"}, by={"Authorization": "", **headers})
    assert (answer.status_code, answer.json()["code"]) == (401, "NOT_AUTHENTICATED")


def test_an_api_key_is_no_person(desk: Any) -> None:
    answer = desk.put_down("RAISE_LIMIT", "P01", {"limit": "high"}, by={})
    assert answer.status_code == 401


def test_a_disabled_person_decides_nothing(desk: Any) -> None:
    asked = proposed(desk)
    ben = desk.staff("ben", "checker")
    desk.rows("SELECT auth.set_disabled(person_id, true, NULL) FROM auth.person WHERE login_name = 'ben'")
    assert desk.decide(asked, by=ben).status_code == 401
    assert effects(desk) == []


def test_every_step_is_audited_and_a_changed_audit_row_is_found(desk: Any) -> None:
    asked = proposed(desk)
    desk.decide(asked, by=desk.staff("ben", "checker"))
    trail = desk.rows("SELECT actor, action, subject FROM audit.change ORDER BY change_id")
    number = str(asked["approval_id"])
    assert trail[-2:] == [("ann", "APPROVAL_PROPOSED", number), ("ben", "APPROVAL_APPROVED", number)]
    desk.rows("SELECT audit.seal_pending(1000)")
    assert verify(desk.admin_url).faults == ()
    columns = {"actor": "'eve'", "action": "'NOTHING_DONE'", "subject": "'9'", "recorded_at": "recorded_at + interval '1 s'"}
    columns |= {"at": "at - interval '1 day'", "after": "'{}'", "before": "'{}'", "platform_id": "'P02'", "subject_type": "'x'"}
    with psycopg.connect(desk.admin_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE audit.change DISABLE TRIGGER append_only")
        connection.execute("CREATE TABLE public.kept AS SELECT * FROM audit.change WHERE change_id = 1")
        for column, value in columns.items():
            connection.execute(f"UPDATE audit.change SET {column} = {value} WHERE change_id = 1".encode())
            assert "the chain of changes holds" in {fault.check for fault in verify(desk.admin_url).faults}, column
            connection.execute(
                f"UPDATE audit.change c SET {column} = k.{column} FROM public.kept k WHERE c.change_id = 1".encode()
            )
            assert verify(desk.admin_url).faults == ()


@pytest.mark.parametrize("table", ["audit.change", "work.approval", "work.decision"])
def test_what_was_written_is_never_changed_or_deleted(desk: Any, table: str) -> None:
    desk.decide(proposed(desk), by=desk.staff("ben", "checker"))
    with psycopg.connect(desk.admin_url) as connection:
        for words in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            with pytest.raises(psycopg.Error) as refused, connection.transaction():
                connection.execute(words.encode())
            assert refused.value.sqlstate == "FW403"
    with psycopg.connect(desk.service_url) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(f"DELETE FROM {table}".encode())


def test_the_list_is_filtered_and_paged(desk: Any) -> None:
    ids = []
    for name in ("one", "two", "three"):
        ids.append(desk.put_down("RAISE_LIMIT", name, {"limit": "x"}, by=desk.staff("ann", "officer")).json()["approval_id"])
    who = desk.staff("ben", "checker")
    first = desk.client.get("/v1/approvals?limit=2&state=PENDING", headers=who).json()
    rest = desk.client.get(f"/v1/approvals?limit=2&cursor={first['next_cursor']}", headers=who).json()
    assert [one["approval_id"] for one in first["approvals"] + rest["approvals"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert desk.client.get("/v1/approvals?state=APPROVED", headers=who).json()["approvals"] == []
    assert desk.client.get(f"/v1/approvals/{2**63}", headers=who).json()["code"] == "APPROVAL_NOT_FOUND"
    assert first["approvals"][0]["payload"] == {"limit": "x"}


def test_all_proposals_of_a_filter_come_as_one_file_that_stands_in_the_access_log(desk: Any) -> None:
    for number in range(3):
        desk.put_down("RAISE_LIMIT", f"=P{number}", {"limit": "x"}, by=desk.staff("ann", "officer"))
    desk.decide(proposed(desk), by=desk.staff("ben", "checker"))
    asked = {"params": {"state": "PENDING", "limit": 1}, "headers": {**desk.staff("ben", "checker"), "Accept": "text/csv"}}
    file = desk.client.get("/v1/approvals", **asked)
    assert (file.status_code, file.headers["x-row-count"]) == (200, "3"), file.text
    rows = list(csv.DictReader(io.StringIO(file.text.removeprefix("\ufeff"))))
    assert [(row["subject"], json.loads(row["payload"])) for row in rows] == [(f"'=P{n}", {"limit": "x"}) for n in (2, 1, 0)]
    logged = desk.rows("SELECT subject, row_count, detail ->> 'filters' FROM auth.access_log WHERE kind = 'EXPORT'")
    assert logged == [("approvals", 3, '{"state": "PENDING"}')]
    auditor_or_admin = {**desk.staff("adm", "admin"), "Accept": "text/csv"}
    assert desk.client.get("/v1/approvals", headers=auditor_or_admin).json()["code"] == "NOT_PERMITTED"


def test_a_payload_with_a_character_that_no_text_can_hold_is_a_bad_body(api: Any) -> None:
    for payload in ({"a": "\x00"}, {"\x00": 1}, {"a": [{"b": "x\x00"}]}):
        answer = api.put_down("CALENDAR_CHANGE", "CN_BANK", payload, by=api.staff("ann", "officer"))
        assert (answer.status_code, answer.json()["code"]) == (422, "BODY_INVALID"), answer.text
