"""Making and changing people: at the page, at the console, and what the database lets role web do by itself."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import WrongUse
from transactional import users

NEW = "the old lamp in the hall"
EVENTS = """SELECT kind, before, after, actor.login_name FROM auth.person_event e JOIN auth.person p USING (person_id)
    LEFT JOIN auth.person actor ON actor.person_id = e.actor_id WHERE p.login_name = %s ORDER BY event_id"""


def right(name: str) -> str:
    return f"correct horse battery {name}"


def made(page: str) -> str:
    """The one-time password that a page shows."""
    found = re.search(r'<code id="one-time-password">([^<]+)</code>', page)
    assert found is not None, page
    return found.group(1)


def test_a_new_person_must_choose_a_password_before_anything_else(pages: Any) -> None:
    admin = pages.visitor("admin")
    fields = {"name": "wei.chen", "display_name": "Chen <b>Wei</b>", "role": "officer"}
    answer = admin.post("/users?lang=en", fields)
    assert answer.status_code == 201
    assert "Chen &lt;b&gt;Wei" in answer.text
    once = made(answer.text)
    assert admin.post("/users?lang=en", fields).status_code == 422  # sent again: nobody is made twice, no password shown

    browser = pages.visitor()
    assert browser.sign_in("wei.chen", once, next="/operations").headers["location"] == "/account?lang=en"
    assert browser.get("/operations").headers["location"] == "/account?lang=en"
    assert browser.get("/operations", **{"HX-Request": "true"}).headers["HX-Redirect"] == "/account?lang=en"
    assert browser.post("/operations/controls", {"kind": "HOLD", "reason": "x"}).headers["location"] == "/account?lang=en"
    assert browser.get("/export/open_items.csv").status_code == 403
    assert pages.rows("SELECT count(*) FROM ops.control") == [(0,)]
    with pytest.raises(users.NotAuthenticated, match="one-time"):  # who made it knows it: it is good for nothing else
        users.authenticate(pages.database.url("web"), "wei.chen", once)

    changed = browser.post("/account", {"old": once, "new": NEW, "repeated": NEW})
    assert changed.headers["location"] == "/account?lang=en&done=1"
    assert browser.get("/operations").status_code == 200
    assert users.authenticate(pages.database.url("web"), "wei.chen", NEW).role == "officer"
    assert pages.rows(EVENTS, "wei.chen") == [
        ("CREATED", None, {"role": "officer", "display_name": "Chen <b>Wei</b>"}, "admin"),
        ("PASSWORD_SET", None, {"must_change": True}, "admin"),
        ("PASSWORD_SET", None, {"must_change": False}, "wei.chen"),
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "X", "role": "viewer"}, "2 to 32 characters"),
        ({"name": "wei chen", "role": "viewer"}, "2 to 32 characters"),
        ({"name": "wei\n", "role": "viewer"}, None),
        ({"name": "a" * 33, "role": "viewer"}, "2 to 32 characters"),
        ({"name": "wei", "role": "king"}, "no such role"),
        ({"name": "wei", "role": "viewer", "display_name": "x" * 65}, "too long"),
        ({"name": "wei", "role": "viewer", "display_name": "a\tb"}, "cannot be printed"),
        ({"name": "viewer", "role": "viewer"}, "already a person"),
        ({}, "2 to 32 characters"),
    ],
)
def test_people_that_cannot_be_are_refused(pages: Any, fields: dict[str, str], sentence: str | None) -> None:
    answer = pages.visitor("admin").post("/users?lang=en", fields)
    if sentence is None:  # blanks around a name are dropped
        assert answer.status_code == 201
        return
    assert answer.status_code == 422
    assert sentence in answer.text and "Nothing was changed" in answer.text
    assert pages.rows("SELECT count(*) FROM auth.person") == [(6,)]


def test_an_administrator_changes_others_and_it_is_written_down(pages: Any) -> None:
    admin, viewer = pages.visitor("admin"), pages.visitor("viewer")
    answer = admin.post("/users/viewer/role?lang=zh", {"role": "auditor"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/users?lang=zh&changed=viewer")
    assert "viewer 已更改" in admin.get(answer.headers["location"]).text
    assert viewer.get("/account").status_code == 303
    assert admin.post("/users/viewer/role?lang=en", {"role": "auditor"}).headers["location"].endswith("&same=1")
    for disabled in ("yes", "no"):
        assert admin.post("/users/viewer/state", {"disabled": disabled}).status_code == 303
    assert admin.post("/users/viewer/state", {"disabled": "maybe"}).status_code == 422
    assert pages.rows(EVENTS, "viewer")[2:] == [
        ("ROLE_CHANGED", {"role": "viewer"}, {"role": "auditor"}, "admin"),
        ("DISABLED", {"is_disabled": False}, {"is_disabled": True}, "admin"),
        ("ENABLED", {"is_disabled": True}, {"is_disabled": False}, "admin"),
    ]


def test_nobody_changes_themselves_and_an_administrator_always_remains(pages: Any) -> None:
    url = pages.database.url("migrator")
    admin = pages.visitor("admin")
    for path, fields in (("role", {"role": "viewer"}), ("state", {"disabled": "yes"})):
        answer = admin.post(f"/users/admin/{path}?lang=en", fields)
        assert answer.status_code == 422
        assert "Nobody changes their own role" in answer.text
    with pytest.raises(users.PersonRefused, match="last enabled administrator"):
        users.set_disabled(url, "admin", True)
    with pytest.raises(users.PersonRefused, match="last enabled administrator"):
        users.set_role(url, "admin", "viewer")
    second = users.create(url, "admin2", "admin", right("admin2"))
    assert users.set_role(url, "admin", "viewer", second.user_id)
    assert admin.get("/users").status_code == 303
    assert pages.rows("SELECT role, is_disabled FROM auth.person WHERE login_name = 'admin'") == [("viewer", False)]


def test_two_administrators_who_disable_each_other_at_once_leave_one(pages: Any) -> None:
    url = pages.database.url("web")
    first = users.authenticate(url, "admin", right("admin"))
    second = users.create(pages.database.url("migrator"), "admin2", "admin", right("admin2"))

    def disable(pair: tuple[str, int]) -> str:
        try:
            users.set_disabled(url, pair[0], True, pair[1])
        except users.PersonRefused as refused:
            return refused.reason
        return "done"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(disable, [("admin2", first.user_id), ("admin", second.user_id)]))
    assert sorted(outcomes) == ["done", "not_admin"]


def test_a_new_password_needs_the_old_one_and_ends_every_other_session(pages: Any) -> None:
    here, there = pages.visitor("officer"), pages.visitor("officer")
    token = here.token
    cases = [
        ({"old": right("officer"), "new": NEW, "repeated": NEW + "!"}, "differ"),
        ({"old": "wrong" * 4, "new": NEW, "repeated": NEW}, "present password is wrong"),
        ({"old": right("officer"), "new": right("officer"), "repeated": right("officer")}, "is the old one"),
        ({"old": right("officer"), "new": "short", "repeated": "short"}, "too short"),
        ({"old": right("officer"), "new": "password1234", "repeated": "password1234"}, "many people choose"),
        ({"old": right("officer"), "new": "officer.26!!", "repeated": "officer.26!!"}, "little more than your name"),
        ({}, "is the old one"),
    ]
    for fields, sentence in cases:
        answer = here.post("/account?lang=en", fields)
        assert answer.status_code == 422, fields
        assert sentence in answer.text, fields
    assert there.get("/account").status_code == 200
    assert here.post("/account?lang=en", {"old": right("officer"), "new": NEW, "repeated": NEW}).status_code == 303
    assert here.token not in (None, token)
    assert (here.get("/account").status_code, there.get("/account").status_code) == (200, 303)
    assert pages.visitor().sign_in("officer").status_code == 401
    assert pages.visitor().sign_in("officer", NEW).status_code == 303


def test_guessing_the_old_password_has_to_wait_like_a_login(pages: Any) -> None:
    browser = pages.visitor("officer")
    fields = {"old": "wrong" * 4, "new": NEW, "repeated": NEW}
    assert [browser.post("/account", fields).status_code for _ in range(5)] == [422] * 5
    assert browser.post("/account", fields).status_code == 429
    assert browser.get("/account").status_code == 200


def test_role_web_changes_people_only_through_an_administrator(pages: Any, database: Any) -> None:
    viewer = pages.rows("SELECT person_id FROM auth.person WHERE login_name = 'viewer'")[0][0]
    url = database.url("web")
    for actor in (None, viewer, 999_999):
        for change in (
            lambda actor=actor: users.create(url, "mallory", "admin", right("mallory"), actor=actor),
            lambda actor=actor: users.set_role(url, "officer", "admin", actor),
            lambda actor=actor: users.set_disabled(url, "checker", True, actor),
            lambda actor=actor: users.set_password(url, "checker", right("mallory"), actor),
        ):
            with pytest.raises(users.PersonRefused, match="administrator"):
                change()
    assert pages.rows("SELECT count(*) FROM auth.person_event") == [(12,)]


def test_what_is_written_is_never_changed_or_deleted(pages: Any, database: Any) -> None:
    browser = pages.visitor("viewer")
    assert browser.get("/users").status_code == 403
    forbidden = [
        f"{verb} auth.{table}{tail}"
        for table in ("person", "password", "person_event", "access_log", "login_attempt")
        for verb, tail in (("DELETE FROM", ""), ("TRUNCATE", ""), ("UPDATE", " SET " + {
            "person": "role = 'admin'", "password": "must_change = false", "person_event": "kind = 'ENABLED'",
            "access_log": "subject = ''", "login_attempt": "outcome = 'FAILED'"}[table]))
    ] + [
        "DELETE FROM auth.session", "UPDATE auth.session SET expires_at = 'infinity'", "UPDATE auth.session SET person_id = 1",
        "INSERT INTO auth.person (login_name, display_name, role) VALUES ('mallory', 'm', 'admin')",
        "INSERT INTO auth.person_event (person_id, kind) VALUES (1, 'CREATED')",
        "INSERT INTO auth.login_attempt (name_key, address, outcome) VALUES (sha256('x'), 'x', 'SUCCEEDED')",
        "INSERT INTO auth.access_log (at, address, kind, subject, path) VALUES ('2020-01-01', 'x', 'REFUSED', 'x', 'x')",
        "INSERT INTO ops.control_decision (control_id, decision, checker, decided_at) VALUES (1, 'APPROVED', 'x', now())",
        "SELECT * FROM ledger.movement", "SELECT * FROM api.key", "SELECT * FROM mart.open_item", "SELECT * FROM registry.party",
        "CREATE TABLE auth.x (a int)", "SET ROLE migrator",
    ]  # fmt: skip
    for statement in forbidden:
        with psycopg.connect(database.url("web")) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    for role in ("reader", "service", "jobs"):
        with psycopg.connect(database.url(role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM auth.password")
    for table in ("person_event", "access_log"):  # not even their owner
        for statement in (f"UPDATE auth.{table} SET at = at", f"DELETE FROM auth.{table}", f"TRUNCATE auth.{table}"):
            with psycopg.connect(database.url("migrator")) as connection, pytest.raises(psycopg.Error, match="never changed"):
                connection.execute(statement.encode())
    users.set_role(database.url("migrator"), "viewer", "officer")
    with psycopg.connect(database.url("web")) as connection, pytest.raises(psycopg.Error, match="never changed"):
        connection.execute("UPDATE auth.session SET ended_at = NULL, end_reason = NULL")


def test_authenticate_wants_a_connection_that_keeps_failed_attempts(database: Any, pages: Any) -> None:
    with psycopg.connect(database.url("web")) as connection, pytest.raises(WrongUse, match="autocommit"):
        users.authenticate(connection, "viewer", right("viewer"))
    with pytest.raises(users.NotAuthenticated) as wrong:
        users.authenticate(database.url("web"), "viewer", "wrong" * 4)
    assert wrong.value.exit_code == 3
    assert pages.rows("SELECT outcome, address FROM auth.login_attempt") == [("FAILED", "console")]


def command(*arguments: str, stdin: str = "") -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON result and messages of `fundwatch user …` as the console runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "fundwatch.cli", "user", *arguments, "--json"],
        input=stdin, env=os.environ, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_the_console_makes_people_and_never_prints_a_password(database: Any) -> None:
    url = database.url("web")
    secret = Path(os.environ["FUNDWATCH_HOME"]) / "secrets" / "page_wei.chen"
    try:
        code, result, _ = command("add", "wei.chen", "--role", "officer", "--display", "Chen Wei")
        assert (code, result) == (0, {"name": "wei.chen", "role": "officer", "password_file": str(secret)})
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        first = secret.read_text().strip()
        assert users.authenticate(url, "wei.chen", first).display_name == "Chen Wei"
        # a refusal leaves the file that is in force as it was
        code, _, why = command("add", "wei.chen", "--role", "officer")
        assert (code, secret.read_text().strip()) == (3, first)
        assert "already a person" in why and first not in why
        assert command("add", "wei.chen", "--role", "viewer", "--if-missing")[:2] == (0, {"name": "wei.chen", "skipped": True})
        code, result, _ = command("password", "wei.chen")
        assert users.authenticate(url, "wei.chen", secret.read_text().strip()).name == "wei.chen"
        with pytest.raises(users.NotAuthenticated):
            users.authenticate(url, "wei.chen", first)
    finally:
        secret.unlink(missing_ok=True)
    assert list(secret.parent.glob("page_*")) == []


def test_the_console_reads_passwords_from_standard_input_and_changes_people(database: Any, pages: Any) -> None:
    url = database.url("web")
    assert command("add", "li", "--role", "viewer", "--password-stdin", "--one-time", stdin=f"{NEW}\n")[0] == 0
    with pytest.raises(users.NotAuthenticated, match="one-time"):
        users.authenticate(url, "li", NEW)
    assert command("add", "bo", "--role", "viewer", "--password-stdin", stdin="password1234\n")[0] == 3
    assert command("role", "li", "--role", "checker")[1]["skipped"] is False
    assert command("role", "li", "--role", "checker")[1]["skipped"] is True
    assert command("disable", "li")[1] == {"name": "li", "is_disabled": True, "skipped": False}
    assert command("enable", "nobody")[0] == 3
    assert command("disable", "li", "--as", "admin")[0] == 2  # no terminal to ask for the administrator's password
    people = {person["name"]: person for person in command("list")[1]["people"]}
    assert (people["li"]["role"], people["li"]["is_disabled"], people["li"]["must_change_password"]) == ("checker", True, True)
    assert [event[0] for event in pages.rows(EVENTS, "li")] == ["CREATED", "PASSWORD_SET", "ROLE_CHANGED", "DISABLED"]
    assert {event[3] for event in pages.rows(EVENTS, "li")} == {None}  # the console


def at_a_terminal(typed: str, *arguments: str) -> int:
    """Exit code of `fundwatch user …` run at a terminal where somebody types a line."""
    ours, theirs = pty.openpty()
    try:
        running = subprocess.Popen(
            [sys.executable, "-m", "fundwatch.cli", "user", *arguments],
            stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert running.stderr is not None
        said = b""
        while b"password of" not in said and (piece := running.stderr.read1(1000)):
            said += piece
        os.write(ours, f"{typed}\n".encode())
        rest = running.communicate(timeout=60)[1]
        assert typed.encode() not in said + rest
        return running.returncode
    finally:
        os.close(ours)
        os.close(theirs)


def test_an_administrator_at_the_console_proves_it_and_is_written_down(pages: Any) -> None:
    assert at_a_terminal(right("admin"), "disable", "viewer", "--as", "admin") == 0
    assert at_a_terminal("not the password", "enable", "viewer", "--as", "admin") == 3
    assert at_a_terminal(right("officer"), "enable", "viewer", "--as", "officer") == 3
    assert pages.rows(EVENTS, "viewer")[2:] == [("DISABLED", {"is_disabled": False}, {"is_disabled": True}, "admin")]
