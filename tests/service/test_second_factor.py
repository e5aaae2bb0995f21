"""The second factor at the service: a first code puts it in force, each works once, two administrators reset it."""

from __future__ import annotations

import io
import time
from typing import Any

import psycopg
import pyotp
import pytest

from domain.errors import ServiceMissing
from transactional import second_factor, users

PASSWORD = "seven grey herons at the weir"
# RFC 6238, appendix B: the secret in base 32, and the last six digits of the SHA-1 codes
RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
RFC_CODES = {59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037"}


@pytest.fixture
def bank(api: Any) -> Any:
    """The service with checker wei, who has a password."""
    users.create(api.admin_url, "wei", "checker", PASSWORD)
    return api


def sign_in(bank: Any, **more: Any) -> Any:
    body = {"login_name": "wei", "password": PASSWORD, **more}
    return bank.client.post("/v1/sessions", json=body, headers={"Authorization": ""})


def session(bank: Any, **more: Any) -> dict[str, str]:
    answer = sign_in(bank, **more)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def begun(bank: Any, wei: dict[str, str]) -> pyotp.TOTP:
    answer = bank.client.post("/v1/second-factor", json={"password": PASSWORD}, headers=wei)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store"), answer.text
    return pyotp.TOTP(answer.json()["secret"])


def enrolled(bank: Any, wei: dict[str, str]) -> tuple[pyotp.TOTP, list[str]]:
    """Authenticator and recovery codes, the step before the present one used for the first code."""
    authenticator = begun(bank, wei)
    answer = bank.client.post("/v1/second-factor/confirm", json={"code": code(authenticator, -1)}, headers=wei)
    assert answer.status_code == 201, answer.text
    return authenticator, answer.json()["recovery_codes"]


def code(authenticator: pyotp.TOTP, steps: int = 0) -> str:
    return authenticator.generate_otp(int(time.time()) // 30 + steps)


@pytest.mark.parametrize(("at", "digits"), RFC_CODES.items())
def test_codes_are_those_of_the_rfc(at: int, digits: str) -> None:
    assert second_factor.step_of(RFC_SECRET, digits, at) == at // 30


def test_the_clock_of_an_authenticator_may_be_one_step_off_and_no_more() -> None:
    steps = {
        second_factor.step_of(RFC_SECRET, pyotp.TOTP(RFC_SECRET).generate_otp(37037036 + off), 1111111109) for off in (-1, 0, 1)
    }
    assert steps == {37037035, 37037036, 37037037}
    for off in (-2, 2):
        assert second_factor.step_of(RFC_SECRET, pyotp.TOTP(RFC_SECRET).generate_otp(37037036 + off), 1111111109) is None


def test_once_enrolled_the_password_alone_does_not_sign_in(bank: Any) -> None:
    authenticator, _ = enrolled(bank, session(bank))
    without = sign_in(bank)
    assert (without.status_code, without.json()["code"]) == (401, "CODE_NEEDED")
    assert sign_in(bank, code="000000" if code(authenticator) != "000000" else "111111").json()["code"] == "WRONG_LOGIN"
    wrong_password = bank.client.post(
        "/v1/sessions",
        json={"login_name": "wei", "password": "not it", "code": code(authenticator)},
        headers={"Authorization": ""},
    )
    assert wrong_password.json()["code"] == "WRONG_LOGIN"
    assert sign_in(bank, code=code(authenticator)).json()["has_second_factor"] is True


def test_a_code_works_once_and_none_before_it_afterwards(bank: Any) -> None:
    authenticator, _ = enrolled(bank, session(bank))
    later = code(authenticator, 1)
    session(bank, code=later)
    assert sign_in(bank, code=later).json()["code"] == "WRONG_LOGIN"
    assert sign_in(bank, code=code(authenticator)).json()["code"] == "WRONG_LOGIN"


def test_until_its_first_code_a_secret_counts_for_nothing(bank: Any) -> None:
    wei = session(bank)
    first = begun(bank, wei)
    assert bank.client.get("/v1/second-factor", headers=wei).json() == {
        "in_force": False,
        "since": None,
        "recovery_codes_left": 0,
    }
    session(bank)
    second = begun(bank, wei)
    confirm = "/v1/second-factor/confirm"
    assert bank.client.post(confirm, json={"code": code(first)}, headers=wei).json()["code"] == "CODE_WRONG"
    assert bank.rows("SELECT count(*) FROM auth.recovery_code") == [(0,)]
    assert bank.client.post(confirm, json={"code": code(second)}, headers=wei).status_code == 201
    state = bank.client.get("/v1/second-factor", headers=wei).json()
    assert (state["in_force"], state["recovery_codes_left"]) == (True, 10)


def test_what_waits_for_no_code_is_not_confirmed_and_one_in_force_is_not_replaced(bank: Any) -> None:
    wei = session(bank)
    nothing = bank.client.post("/v1/second-factor/confirm", json={"code": "123456"}, headers=wei)
    assert (nothing.status_code, nothing.json()["code"]) == (409, "SECOND_FACTOR_NOT_BEGUN")
    enrolled(bank, wei)
    again = bank.client.post("/v1/second-factor", json={"password": PASSWORD}, headers=wei)
    assert (again.status_code, again.json()["code"]) == (409, "SECOND_FACTOR_IN_FORCE")
    assert bank.rows("SELECT count(*) FROM auth.second_factor") == [(1,)]


def test_a_stolen_session_enrols_nothing_without_the_password(bank: Any) -> None:
    wei = session(bank)
    refused = bank.client.post("/v1/second-factor", json={"password": "not it"}, headers=wei)
    assert refused.json()["code"] == "WRONG_LOGIN"
    assert bank.rows("SELECT count(*) FROM auth.second_factor") == [(0,)]


def test_enrolling_ends_the_persons_other_sessions(bank: Any) -> None:
    here, there = session(bank), session(bank)
    enrolled(bank, here)
    assert bank.client.get("/v1/sessions/current", headers=here).status_code == 200
    assert bank.client.get("/v1/sessions/current", headers=there).status_code == 401


def test_wrong_codes_are_counted_and_the_password_does_not_reset_the_count(bank: Any) -> None:
    authenticator, _ = enrolled(bank, session(bank))
    wrong = {str(number) * 6 for number in range(9)} - {code(authenticator, step) for step in (-1, 0, 1, 2)}
    for digits in sorted(wrong)[:5]:
        assert sign_in(bank, code=digits).status_code == 401
        if digits != sorted(wrong)[4]:
            assert sign_in(bank).json()["code"] == "CODE_NEEDED"
    late = sign_in(bank, code=code(authenticator))
    assert (late.status_code, late.json()["code"]) == (429, "TOO_MANY_ATTEMPTS")


def test_a_recovery_code_works_once(bank: Any) -> None:
    _, codes = enrolled(bank, session(bank))
    assert len(set(codes)) == 10
    wei = session(bank, code=codes[3].lower().replace("-", " "))
    assert bank.client.get("/v1/second-factor", headers=wei).json()["recovery_codes_left"] == 9
    assert sign_in(bank, code=codes[3]).json()["code"] == "WRONG_LOGIN"
    assert bank.rows("SELECT count(*) FROM audit.change WHERE action = 'PERSON_RECOVERY_CODE_USED' AND actor = 'wei'") == [(1,)]


def test_secret_and_codes_lie_nowhere_in_the_clear(bank: Any) -> None:
    authenticator, codes = enrolled(bank, session(bank))
    tables = bank.rows(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('auth', 'audit', 'api', 'outbox')"
    )
    text = "\n".join(str(row) for (table,) in tables for row in bank.rows(f"SELECT t::text FROM {table} t"))
    hidden = [authenticator.secret, authenticator.secret.encode().hex(), *codes, *(one.replace("-", "") for one in codes)]
    assert [word for word in hidden if word in text] == []


def test_a_sealed_secret_opens_for_its_person_and_key_only(bank: Any, database: Any, tmp_path: Any) -> None:
    settings = database.settings
    box = second_factor.sealed(settings, 7, RFC_SECRET)
    assert second_factor.unsealed(settings, 7, box) == RFC_SECRET
    for person, text in ((8, box), (7, box[:-1] + bytes([box[-1] ^ 1]))):
        with pytest.raises(ServiceMissing, match="second_factor_key"):
            second_factor.unsealed(settings, person, text)


def test_two_administrators_reset_a_lost_factor_and_one_alone_does_not(bank: Any) -> None:
    ada, bob = bank.staff("ada", "admin"), bank.staff("bob", "admin")
    wei = session(bank)
    none_yet = bank.put_down("SECOND_FACTOR_RESET", "wei", {}, by=ada)
    assert none_yet.json()["code"] == "NO_SECOND_FACTOR"
    enrolled(bank, wei)
    asked = bank.put_down("SECOND_FACTOR_RESET", "wei", {}, by=ada).json()
    assert bank.decide(asked, by=ada).json()["code"] == "OWN_APPROVAL"
    assert sign_in(bank).json()["code"] == "CODE_NEEDED"
    assert bank.decide(asked, by=bob).status_code == 201
    assert bank.client.get("/v1/sessions/current", headers=wei).status_code == 401
    again = session(bank)
    enrolled(bank, again)
    events = bank.rows("SELECT kind FROM auth.person_event WHERE kind LIKE 'SECOND%' ORDER BY event_id")
    assert events == [("SECOND_FACTOR_SET",), ("SECOND_FACTOR_RESET",), ("SECOND_FACTOR_SET",)]


@pytest.mark.parametrize(
    "table", ["second_factor", "second_factor_step", "second_factor_end", "recovery_code", "recovery_code_use"]
)
def test_nobody_takes_back_what_was_enrolled_or_used(bank: Any, table: str) -> None:
    for url, state in ((bank.admin_url, "FW403"), (bank.service_url, "42501")):
        with psycopg.connect(url) as connection, pytest.raises(psycopg.Error) as refused:
            connection.execute(f"DELETE FROM auth.{table}".encode())
        assert refused.value.sqlstate == state


def test_a_role_that_needs_a_factor_does_nothing_before_it_is_set_up(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    service = bank.client.app.state.service
    bank.client.app.state.service = replace(service, settings=replace(service.settings, second_factor_roles=("checker", "admin")))
    answer = sign_in(bank)
    assert answer.json()["must_set_second_factor"] is True
    wei = {"Authorization": f"Bearer {answer.json()['token']}"}
    refused = bank.client.get("/v1/approvals", headers=wei)
    assert (refused.status_code, refused.json()["code"]) == (403, "SECOND_FACTOR_NEEDED")
    enrolled(bank, wei)
    assert bank.client.get("/v1/approvals", headers=wei).status_code == 200
    assert bank.client.get("/v1/approvals", headers=bank.staff("ann", "officer")).status_code == 200


def test_commands_take_the_code_as_the_line_after_the_password(bank: Any, database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fundwatch.commands.control import proved

    authenticator, _ = enrolled(bank, session(bank))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n{code(authenticator)}\n"))
    assert proved(database.settings, "wei", from_stdin=True).name == "wei"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    with pytest.raises(users.NotAuthenticated):
        proved(database.settings, "wei", from_stdin=True)
