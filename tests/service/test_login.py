"""Signing in and out: what a session is, how it begins and ends, and that nothing tells a wrong name from a wrong password."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from domain.errors import WrongUse
from fundwatch.settings import load
from transactional import passwords, users

ATTEMPTS = "SELECT outcome FROM auth.login_attempt ORDER BY attempt_id"
RIGHT, WRONG = "correct horse battery viewer", "not the right password"


def text_of(database: Any, *tables: str) -> str:
    """Every row of tables as text, as their owner sees them."""
    with psycopg.connect(database.url("migrator")) as connection:
        return "\n".join(str(row) for table in tables for row in connection.execute(f"SELECT t::text FROM {table} t".encode()))


def without_tokens(page: str) -> str:
    """A login page without what is random in it."""
    before, _, rest = page.partition('name="csrf" value="')
    return before + rest.partition('"')[2]


def test_who_is_not_signed_in_is_led_to_the_login_and_from_there_back(pages: Any) -> None:
    browser = pages.visitor()
    away = browser.get("/operations?lang=zh&done=approved")
    assert (away.status_code, away.headers["location"]) == (
        303,
        "/login?lang=zh&next=%2Foperations%3Flang%3Dzh%26done%3Dapproved",
    )
    form = browser.get(away.headers["location"])
    assert 'value="/operations?lang=zh&amp;done=approved"' in form.text
    assert "会话已结束" not in form.text
    back = browser.sign_in("officer", next="/operations?lang=zh&done=approved")
    assert (back.status_code, back.headers["location"]) == (303, "/operations?lang=zh&done=approved")
    assert browser.get(back.headers["location"]).status_code == 200


@pytest.mark.parametrize(
    ("role", "start"), [("viewer", "/"), ("officer", "/"), ("checker", "/"), ("auditor", "/"), ("admin", "/operations")]
)
def test_each_role_begins_at_a_page_it_may_open(pages: Any, role: str, start: str) -> None:
    browser = pages.visitor()
    answer = browser.sign_in(role)
    assert answer.headers["location"].partition("?")[0] == start
    assert browser.get(answer.headers["location"]).status_code == 200
    assert browser.get("/login").headers["location"] == start


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(pages: Any) -> None:
    cookies = pages.visitor().sign_in("viewer").headers.get_list("set-cookie")
    (session,) = [cookie for cookie in cookies if cookie.startswith("fw_session=")]
    attributes = {part.strip().lower() for part in session.split(";")[1:]}
    assert attributes == {"httponly", "samesite=strict", "path=/"}


def test_behind_a_tls_proxy_cookies_are_secure_and_bound_to_the_host(pages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard.app import create_app

    monkeypatch.setenv("FUNDWATCH_PAGE_ORIGIN", "https://fundwatch.bank.example/")
    pages.app = create_app(load())
    browser = pages.visitor()
    browser.client.base_url = "https://fundwatch.bank.example"
    answer = browser.sign_in("viewer")
    assert answer.status_code == 403  # the form says that it comes from loopback
    form = browser.get("/login")
    assert "max-age=31536000" in form.headers["strict-transport-security"]
    token = form.text.partition('name="csrf" value="')[2].partition('"')[0]
    fields = {"csrf": token, "name": "viewer", "password": RIGHT}
    answer = browser.post("/login", fields, Origin="https://fundwatch.bank.example")
    assert answer.status_code == 303
    (session,) = [cookie for cookie in answer.headers.get_list("set-cookie") if "fw_session" in cookie]
    assert session.startswith("__Host-fw_session=") and "Secure" in session
    assert browser.get("/login").status_code == 303


def test_signing_out_ends_the_session_on_the_server(pages: Any) -> None:
    browser = pages.visitor("viewer")
    token = browser.token
    answer = browser.post("/logout?lang=zh")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?lang=zh&out=1")
    assert browser.token is None
    assert "您已退出" in browser.get(answer.headers["location"]).text
    browser.client.cookies.set("fw_session", token, domain="127.0.0.1")
    assert "ended=1" in browser.get("/").headers["location"]
    assert pages.rows("SELECT end_reason FROM auth.session") == [("LOGOUT",)]


def test_a_token_that_was_there_before_login_is_never_the_one_after(pages: Any) -> None:
    from dashboard.login import VISIT, _visit_token

    planted = "a token that somebody planted"
    browser = pages.visitor()
    browser.client.cookies.set("fw_session", planted, domain="127.0.0.1")
    assert browser.sign_in("viewer").status_code == 303
    first = browser.token
    assert first not in (None, planted)
    # signing in over a live session gives a new token too, and the old one is worth nothing
    fields = {"csrf": _visit_token(browser.client.cookies.get(VISIT)), "name": "viewer", "password": RIGHT}
    assert browser.post("/login", fields).status_code == 303
    assert browser.token not in (None, first)
    assert browser.get("/account").status_code == 200
    for token in (planted, first):
        other = pages.visitor()
        other.client.cookies.set("fw_session", token, domain="127.0.0.1")
        assert other.get("/account").status_code == 303
    assert pages.rows("SELECT end_reason FROM auth.session ORDER BY session_id") == [("REPLACED",), (None,)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE auth.session SET last_seen_at = last_seen_at - interval '30 minutes'", "IDLE"),
        ("UPDATE auth.session SET expires_at = clock_timestamp()", "EXPIRED"),
    ],
)
def test_a_session_ends_after_half_an_hour_unused_and_after_ten_hours(pages: Any, change: str, reason: str) -> None:
    browser = pages.visitor("officer")
    assert pages.rows("SELECT expires_at - created_at BETWEEN '9:59:59' AND '10:00:01' FROM auth.session") == [(True,)]
    pages.rows("UPDATE auth.session SET last_seen_at = last_seen_at - interval '29 minutes'")
    assert browser.get("/account").status_code == 200
    assert pages.rows("SELECT clock_timestamp() - last_seen_at < '1 minute' FROM auth.session") == [(True,)]  # it lives on
    pages.rows(change)
    away = browser.get("/operations?lang=en")
    assert away.headers["location"] == "/login?lang=en&next=%2Foperations%3Flang%3Den&ended=1"
    assert browser.token is None
    assert "Your session has ended" in browser.get(away.headers["location"]).text
    assert pages.rows("SELECT end_reason FROM auth.session") == [(reason,)]


def test_an_ended_session_tells_htmx_where_to_go_and_a_file_says_so_in_one_line(pages: Any) -> None:
    browser = pages.visitor("auditor")
    token = browser.token
    pages.rows("UPDATE auth.session SET expires_at = clock_timestamp()")
    headers = {"HX-Request": "true", "HX-Current-URL": "http://127.0.0.1/?lang=zh&platform=P01"}
    fragment = browser.get("/rows/open_items?lang=zh", **headers)
    assert fragment.status_code == 401
    assert fragment.headers["HX-Redirect"] == "/login?lang=zh&next=%2F%3Flang%3Dzh%26platform%3DP01&ended=1"
    assert "<html" not in fragment.text and "会话已结束" in fragment.text
    browser.client.cookies.set("fw_session", token, domain="127.0.0.1")
    file = browser.get("/audit.csv?lang=en")
    assert (file.status_code, file.headers["content-type"]) == (401, "text/plain; charset=utf-8")
    assert file.text == "Your session has ended. Sign in again; nothing was half done.\n"
    assert "content-disposition" not in file.headers


def test_a_form_sent_after_the_session_ended_changes_nothing(pages: Any) -> None:
    browser = pages.visitor("officer")
    pages.rows("UPDATE auth.session SET expires_at = clock_timestamp()")
    answer = browser.post("/operations/controls", {"kind": "HOLD", "reason": "x"}, Referer="http://127.0.0.1/operations?lang=en")
    assert answer.headers["location"] == "/login?lang=en&next=%2Foperations%3Flang%3Den&ended=1"
    assert pages.rows("SELECT count(*) FROM ops.control") == [(0,)]


def test_disabling_a_person_or_another_role_ends_every_session_at_once(pages: Any) -> None:
    url = pages.database.url("migrator")
    one, other, officer = pages.visitor("viewer"), pages.visitor("viewer"), pages.visitor("officer")
    users.set_disabled(url, "viewer", True)
    assert [browser.get("/account").status_code for browser in (one, other, officer)] == [303, 303, 200]
    assert pages.visitor().sign_in("viewer").status_code == 401
    users.set_disabled(url, "viewer", False)
    assert one.get("/account").status_code == 303
    assert pages.visitor().sign_in("viewer").status_code == 303
    users.set_role(url, "officer", "viewer")
    assert officer.get("/account").status_code == 303
    assert pages.rows("SELECT end_reason, count(*) FROM auth.session WHERE ended_at IS NOT NULL GROUP BY 1 ORDER BY 1") == [
        ("DISABLED", 2),
        ("ROLE_CHANGED", 1),
    ]


def test_unknown_names_wrong_passwords_and_disabled_persons_get_the_same_answer(
    pages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.set_disabled(pages.database.url("migrator"), "auditor", True)
    checked: list[bool] = []
    real = passwords.Passwords.is_right

    def watched(self: passwords.Passwords, password_hash: str | None, password: str) -> bool:
        checked.append(password_hash is not None)
        return real(self, password_hash, password)

    monkeypatch.setattr(passwords.Passwords, "is_right", watched)
    browser = pages.visitor()
    cases = (("nobody", "correct horse battery nobody"), ("viewer", WRONG), ("auditor", None))
    answers = [browser.sign_in(name, password) for name, password in cases]
    assert {answer.status_code for answer in answers} == {401}
    bodies = {
        without_tokens(answer.text).replace(f'value="{name}"', "") for answer, (name, _) in zip(answers, cases, strict=True)
    }
    assert len(bodies) == 1
    assert checked == [False, True, True]  # a hash is worked on every time


def test_names_are_matched_without_regard_to_case_and_blanks_around(pages: Any) -> None:
    browser = pages.visitor()
    assert browser.sign_in("  Viewer ", RIGHT).status_code == 303


def test_after_five_failures_each_further_one_doubles_the_wait(pages: Any) -> None:
    browser = pages.visitor()
    for name in ("viewer", "nobody"):
        assert [browser.sign_in(name, WRONG).status_code for _ in range(5)] == [401] * 5
        locked = browser.sign_in(name)  # even the right password is not looked at
        assert (locked.status_code, locked.headers["retry-after"]) == (429, "1")
        assert "Try again in 1 s" in locked.text
    assert pages.visitor().sign_in("officer").status_code == 303  # others are not touched
    pages.rows("UPDATE auth.login_attempt SET at = at - interval '2 seconds'")
    assert browser.sign_in("viewer", WRONG).status_code == 401
    assert browser.sign_in("viewer").headers["retry-after"] == "2"
    pages.rows("UPDATE auth.login_attempt SET at = at - interval '3 seconds'")
    assert browser.sign_in("viewer").status_code == 303
    assert pages.visitor().sign_in("viewer", WRONG).status_code == 401  # counting begins anew after a success
    assert pages.visitor().sign_in("viewer").status_code == 303


def test_the_wait_has_an_end(pages: Any) -> None:
    with psycopg.connect(pages.database.url("web"), autocommit=True) as connection:
        from transactional.login_attempts import name_key

        pages.rows(
            """INSERT INTO auth.login_attempt (name_key, address, outcome)
               SELECT %s, 'elsewhere', 'FAILED' FROM generate_series(1, 1000)""",
            name_key("viewer"),
        )
        with pytest.raises(users.TooManyAttempts) as refused:
            users.authenticate(connection, "viewer", WRONG)
        assert 895 <= refused.value.wait_s <= 900


def test_many_names_from_one_address_have_to_wait_too(pages: Any) -> None:
    browser = pages.visitor()
    statuses = [browser.sign_in(f"name{number}", WRONG).status_code for number in range(21)]
    assert statuses == [401] * 20 + [429]
    with psycopg.connect(pages.database.url("web"), autocommit=True) as connection:
        assert users.authenticate(connection, "viewer", RIGHT, address="elsewhere").role == "viewer"


def test_many_attempts_at_once_are_no_way_round_the_wait(pages: Any) -> None:
    url = pages.database.url("web")
    start = threading.Barrier(16)

    def guess(number: int) -> str:
        start.wait()
        try:
            users.authenticate(url, "viewer", f"{WRONG} {number}", address=f"10.0.0.{number}")
        except users.TooManyAttempts:
            return "LOCKED"
        except users.NotAuthenticated:
            return "FAILED"
        return "SUCCEEDED"

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(guess, range(16)))
    assert (outcomes.count("FAILED"), outcomes.count("LOCKED")) == (5, 11)
    assert sorted(row[0] for row in pages.rows(ATTEMPTS)) == sorted(outcomes)


def test_only_a_few_hashes_are_worked_on_at_once_and_others_are_asked_to_come_again(
    pages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = pages.visitor()
    monkeypatch.setattr(passwords, "PATIENCE_S", 0.01)
    for _ in range(passwords.AT_ONCE):
        assert passwords._gate.acquire(blocking=False)
    try:
        busy = browser.sign_in("viewer")
    finally:
        for _ in range(passwords.AT_ONCE):
            passwords._gate.release()
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
    assert "Too many people are signing in" in busy.text
    assert browser.sign_in("viewer").status_code == 303


def test_passwords_and_tokens_are_nowhere_but_in_the_browser(pages: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    browser = pages.visitor("admin")
    token, secret = str(browser.token), "the old lamp in the hall"
    browser.sign_in("secret typed as a name", secret)
    browser.post("/account", {"old": "correct horse battery admin", "new": secret, "repeated": secret})
    made = browser.post("/users", {"name": "new.person", "role": "viewer"})
    once = made.text.partition('<code id="one-time-password">')[2].partition("<")[0]
    assert len(once) == 24
    tables = ("person", "password", "person_event", "session", "login_attempt", "access_log")
    stored = text_of(pages.database, *(f"auth.{table}" for table in tables))
    for word in (token, str(browser.token), secret, "correct horse battery", "secret typed", once):
        assert word not in stored and word not in caplog.text, word
    assert once not in browser.get("/users").text
    assert "$argon2id$v=19$m=64,t=1,p=1$" in stored


def test_production_hashes_are_argon2id_with_64_mib_three_passes_four_lanes(pages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUNDWATCH_ARGON2")
    users.create(pages.database.url("migrator"), "slow", "viewer", "correct horse battery slow")
    assert pages.rows("SELECT password_hash LIKE '$argon2id$v=19$m=65536,t=3,p=4$%%' FROM auth.person JOIN auth.password"
                      " USING (person_id) WHERE login_name = %s", "slow") == [(True,)]  # fmt: skip
    assert pages.visitor().sign_in("slow", WRONG).status_code == 401
    assert pages.visitor().sign_in("slow").status_code == 303
    assert pages.visitor().sign_in("viewer").status_code == 303  # hashes made with other parameters stay good
    for wrong in ("m=1,t=1,p=1", "t=3", "m=65536,t=0,p=4"):
        with pytest.raises(WrongUse, match="argon2"):
            passwords.Passwords(wrong)


def test_the_login_works_for_a_page_but_says_so_when_the_database_is_away(pages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = pages.visitor("viewer")
    host, _, name = pages.database.url("web").rpartition("/")
    monkeypatch.setenv("FUNDWATCH_DATABASE_URL", f"{host.rpartition(':')[0]}:1/{name}")
    pages.app.state.connections.close()
    assert pages.visitor().get("/login").status_code == 200
    for path in ("/", "/account"):
        down = browser.get(path)
        assert (down.status_code, down.headers["retry-after"]) == (503, "5")
        assert "The database does not answer" in down.text
        assert down.headers["content-security-policy"].startswith("default-src 'none'")
    assert browser.token  # nobody is thrown out because the database is away


def test_a_connection_that_the_server_closed_is_replaced(pages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.connections.FRESH_S", 0.0)
    browser = pages.visitor("viewer")
    from fundwatch.services import postgres

    with psycopg.connect(postgres.superuser_url(pages.database.settings), autocommit=True) as connection:
        killed = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s AND usename = 'web'",
            (pages.database.name,),
        ).fetchone()
        assert killed is not None and killed[0] > 0
    assert browser.get("/account").status_code == 200
