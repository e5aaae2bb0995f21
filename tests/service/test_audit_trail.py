"""The audit at the service: what changed, who looked, who took what away; an auditor changes nothing."""

from __future__ import annotations

import csv
import inspect
import io
import re
from typing import Any

import pytest

from transactional.permissions import PERMISSIONS, allows

# what a person does with their own account: everybody may, the auditor too
OWN = {("POST", "/v1/sessions"), ("DELETE", "/v1/sessions/current"), ("PUT", "/v1/password"), ("POST", "/v1/second-factor"),
       ("POST", "/v1/second-factor/confirm")}  # fmt: skip
# what reading itself writes down
READING = {"auth.session", "auth.access_log", "auth.login_attempt", "audit.block"}
# questions that need a body: reading in the form of a POST, the tables are compared all the same
QUESTIONS = ("check", "verify")
PATHS = {"approval_id": "1", "business_date": "2026-01-05", "login_name": "one"}
TABLES = """SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"""


@pytest.fixture
def bank(api: Any) -> Any:
    """The service after two administrators changed the roles of three people."""
    ada, bob = api.staff("ada", "admin"), api.staff("bob", "admin")
    for name in ("one", "two", "three"):
        api.staff(name, "viewer")
        asked = api.put_down("USER_ROLE", name, {"role": "officer"}, by=ada).json()
        assert api.decide(asked, by=bob).status_code == 201
    return api


def aud(bank: Any) -> dict[str, str]:
    headers: dict[str, str] = bank.staff("aud", "auditor")
    return headers


def read(bank: Any, path: str) -> Any:
    answer = bank.client.get(path, headers=aud(bank))
    assert answer.status_code == 200, answer.text
    return answer.json()


def file_of(bank: Any, path: str) -> tuple[list[list[str]], Any]:
    answer = bank.client.get(path, headers=aud(bank))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8"), answer.text
    return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))), answer


def contents(bank: Any) -> dict[str, str]:
    """A hash of every table but those that reading writes."""
    names = [name for (name,) in bank.rows(TABLES) if name not in READING]
    query = " UNION ALL ".join(
        f"SELECT '{name}', md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '')) FROM {name} t" for name in names
    )
    return dict(bank.rows(query))


def test_a_change_is_found_by_who_what_whom_and_when(bank: Any) -> None:
    changed = read(bank, "/v1/audit?action=PERSON_ROLE_CHANGED")["changes"]
    assert [one["subject"] for one in changed] == ["three", "two", "one"]
    assert (changed[0]["before"], changed[0]["after"], changed[0]["actor"]) == ({"role": "viewer"}, {"role": "officer"}, "ada")
    assert {one["subject"] for one in read(bank, "/v1/audit?subject_type=person&subject=two")["changes"]} == {"two"}
    assert {one["actor"] for one in read(bank, "/v1/audit?actor=bob")["changes"]} == {"bob"}
    assert read(bank, "/v1/audit?from=2099-01-01T00:00:00Z")["changes"] == []
    assert read(bank, "/v1/audit?to=2000-01-01T00:00:00Z")["changes"] == []
    assert read(bank, "/v1/audit?platform_id=P01")["changes"] == []


def test_pages_of_the_audit_meet_without_gap_or_overlap(bank: Any) -> None:
    aud(bank)
    whole = [one["change_id"] for one in read(bank, "/v1/audit?limit=500")["changes"]]
    found, cursor = [], ""
    while True:
        page = read(bank, f"/v1/audit?limit=4{cursor}")
        found += [one["change_id"] for one in page["changes"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == whole == sorted(whole, reverse=True)
    assert len(whole) == 9


def test_a_filter_of_another_shape_is_refused(bank: Any) -> None:
    queries = [
        "limit=0",
        "limit=501",
        "cursor=0",
        "cursor=x",
        "from=yesterday",
        "from=2026-01-01T00:00:00",
        "actor=",
        "actor=%00",
    ]
    for query in [*queries, f"subject={'x' * 201}"]:
        answer = bank.client.get(f"/v1/audit?{query}", headers=aud(bank))
        assert (answer.status_code, answer.json()["code"]) == (422, "PARAMETER_INVALID"), query


def test_the_file_holds_every_row_and_is_itself_in_the_export_log(bank: Any) -> None:
    aud(bank)
    rows, answer = file_of(bank, "/v1/audit.csv?action=PERSON_ROLE_CHANGED")
    assert [row[rows[0].index("subject")] for row in rows[1:]] == ["three", "two", "one"]
    assert answer.headers["x-row-count"] == "3"
    whole, _ = file_of(bank, "/v1/audit.csv")
    assert bank.rows("SELECT count(*) FROM audit.change") == [(len(whole) - 1,)]
    log = read(bank, "/v1/exports?login_name=aud")["exports"]
    assert [(one["subject"], one["row_count"]) for one in log] == [("audit", len(whole) - 1), ("audit", 3)]
    assert log[1]["filters"] == {"filters": {"action": "PERSON_ROLE_CHANGED"}}
    exports, _ = file_of(bank, "/v1/exports.csv")
    assert len(exports) - 1 == 2
    assert read(bank, "/v1/exports?login_name=ada")["exports"] == []


def test_a_file_longer_than_memory_and_batch_is_complete_and_runs_no_formula(bank: Any) -> None:
    long = "jsonb_build_object('x', repeat('y', 900))"
    bank.rows(f"""SELECT count(audit.record('=cmd()', 'NOTHING_DONE', 'test', n::text, NULL, NULL, {long}))
                  FROM generate_series(1, 6000) n""")
    rows, answer = file_of(bank, "/v1/audit.csv?action=NOTHING_DONE")
    assert (len(rows), answer.headers["x-row-count"], len(answer.content) > 5_000_000) == (6001, "6000", True)
    assert {row[rows[0].index("actor")] for row in rows[1:]} == {"'=cmd()"}


def test_each_look_is_written_down_before_it_is_shown(bank: Any) -> None:
    for path in ("/v1/audit?actor=ada", "/v1/exports", "/v1/access-review?since=2026-01-01T00:00:00Z"):
        read(bank, path)
    bank.client.get("/v1/users", headers=aud(bank))
    looks = bank.rows(
        "SELECT kind, subject, path, login_name FROM auth.access_log JOIN auth.person USING (person_id) ORDER BY access_id"
    )
    assert looks == [
        ("AUDIT_SEEN", "audit", "/v1/audit", "aud"),
        ("AUDIT_SEEN", "exports", "/v1/exports", "aud"),
        ("USERS_SEEN", "access review", "/v1/access-review", "aud"),
        ("REFUSED", "manage_users", "/v1/users", "aud"),
    ]


def test_only_auditor_and_administrator_read_the_audit(api: Any) -> None:
    for path in ("/v1/audit", "/v1/audit.csv", "/v1/exports", "/v1/exports.csv"):
        for role in ("viewer", "officer", "checker", "finance"):
            assert api.client.get(path, headers=api.staff(f"a.{role}", role)).json()["code"] == "NOT_PERMITTED", (path, role)
        assert api.client.get(path).json()["code"] == "NOT_AUTHENTICATED"
        assert api.client.get(path, headers=api.staff("ada", "admin")).status_code == 200


def writing_routes(app: Any) -> list[tuple[str, str, Any]]:
    """Method, address, handler of every route that may change something, one's own account aside."""
    found: list[tuple[str, str, Any]] = []

    def walk(routes: Any) -> None:
        for route in routes:
            nested = getattr(route, "effective_candidates", None)
            if nested:
                walk(nested())
                continue
            for method in sorted((getattr(route, "methods", None) or set()) - {"GET", "HEAD", "OPTIONS"}):
                if (method, route.path) not in OWN:
                    found.append(
                        (method, re.sub(r"{(\w+)(:\w+)?}", lambda name: PATHS.get(name[1], "1"), route.path), route.endpoint)
                    )

    walk(app.routes)
    return found


def test_the_auditor_changes_nothing_by_any_route(bank: Any) -> None:
    bank.put_down("USER_ROLE", "one", {"role": "viewer"}, by=bank.staff("ada", "admin"))
    headers, wrong = aud(bank), []
    before = contents(bank)
    routes = writing_routes(bank.client.app)
    declared = bank.client.app.openapi()["paths"]
    assert len(routes) + len(OWN) == sum(
        len(methods.keys() & {"post", "put", "patch", "delete"}) for methods in declared.values()
    )
    for number, (method, address, handler) in enumerate(routes):
        body = {"kind": "USER_ROLE", "subject": "one", "payload": {"role": "admin"}, "reason": "x", "approve": True, "note": "x"}
        sent = bank.client.request(method, address, json=body, headers={**headers, "Idempotency-Key": f"audit-{number}"})
        if sent.status_code not in (401, 403) and not address.endswith(QUESTIONS):
            # refused for its shape before anybody asked who it is: then what the handler asks for must not be the auditor's
            asks = [word for word in re.findall(r'"(\w+)"', inspect.getsource(handler)) if word in PERMISSIONS]
            if sent.status_code != 422 or any(allows("auditor", word) for word in asks):
                wrong.append((method, address, sent.status_code, sent.json().get("code")))
    assert wrong == []
    assert contents(bank) == before


def test_the_auditor_reads_what_there_is_to_read(bank: Any) -> None:
    for path in ("/v1/audit", "/v1/exports", "/v1/approvals", "/v1/days", "/v1/permissions", "/v1/calendars",
                 "/v1/access-review?since=2026-01-01T00:00:00Z"):  # fmt: skip
        read(bank, path)
