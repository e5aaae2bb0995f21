"""The second factor at the pages: set up at one's own account, asked for at the login, nothing secret in an address."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import pyotp
import pytest

from tests.service.conftest import Visitor, password_of
from transactional import second_factor


def code(authenticator: pyotp.TOTP, steps: int = 0) -> str:
    return authenticator.generate_otp(int(time.time()) // 30 + steps)


def enrolled(pages: Any, role: str = "checker") -> tuple[pyotp.TOTP, list[str], Visitor]:
    browser = pages.visitor(role)
    begun = browser.post("/account/second-factor", {"password": password_of(role)})
    assert begun.status_code == 201
    secret = re.search(r'id="second-factor-secret">([A-Z2-7]+)<', begun.text)
    assert secret
    authenticator = pyotp.TOTP(secret[1])
    wrong = browser.post("/account/second-factor/confirm", {"code": "12345"})
    assert (wrong.status_code, "This code is not right" in wrong.text, secret[1] in wrong.text) == (422, True, False)
    done = browser.post("/account/second-factor/confirm", {"code": code(authenticator, -1)})
    assert done.status_code == 201
    codes = re.findall(r"<li><code>([A-Z2-7-]{19})</code>", done.text)
    assert len(codes) == 10
    return authenticator, codes, browser


def test_the_login_asks_for_the_code_after_the_password_and_only_then(pages: Any) -> None:
    authenticator, _, _ = enrolled(pages)
    browser = pages.visitor()
    wrong = browser.sign_in("checker", "wrong" * 4)
    assert (wrong.status_code, 'name="code"' in wrong.text) == (401, False)
    asked = browser.sign_in("checker", next="/operations?lang=en")
    assert (asked.status_code, 'name="code"' in asked.text, 'name="password"' in asked.text) == (200, True, False)
    assert browser.token is None
    assert browser.get("/operations").status_code == 303
    form = {"csrf": re.search(r'name="csrf" value="([0-9a-f]+)"', asked.text)[1], "next": "/operations?lang=en"}  # type: ignore[index]
    refused = browser.post("/login", {**form, "code": "000000" if code(authenticator) != "000000" else "111111"})
    assert (refused.status_code, "This code is not right" in refused.text) == (401, True)
    right = browser.post("/login", {**form, "code": code(authenticator)})
    assert (right.status_code, right.headers["location"]) == (303, "/operations?lang=en")
    assert browser.get("/operations").status_code == 200
    again = pages.visitor()
    asked = again.sign_in("checker")
    form["csrf"] = re.search(r'name="csrf" value="([0-9a-f]+)"', asked.text)[1]  # type: ignore[index]
    assert again.post("/login", {**form, "code": code(authenticator)}).status_code == 401


def test_a_code_without_the_password_before_it_is_nothing(pages: Any) -> None:
    authenticator, _, _ = enrolled(pages)
    browser = pages.visitor()
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', browser.get("/login").text)
    assert token
    forged = [None, "", "checker", "checker|99999999999|" + "0" * 64, "checker|1|x|y", "nobody|99999999999|0"]
    for half in forged:
        if half is not None:
            browser.client.cookies.set("fw_half", half)
        answer = browser.post("/login", {"csrf": token[1], "code": code(authenticator)})
        assert (answer.status_code, "Too much time went by" in answer.text) == (401, True), half
    assert pages.rows("SELECT count(*) FROM auth.login_attempt WHERE outcome = 'FAILED'") == [(0,)]


def test_what_says_that_the_password_was_right_ends_with_time_and_with_another_password(
    pages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = pages.database.settings
    token = second_factor.half_signed_in(settings, "checker", "a hash")
    assert second_factor.is_half_signed_in(settings, token, "a hash")
    assert not second_factor.is_half_signed_in(settings, token, "another hash")
    assert not second_factor.is_half_signed_in(settings, token.replace("checker", "admin"), "a hash")
    now = time.time()
    monkeypatch.setattr(second_factor.time, "time", lambda: now + second_factor.HALF_S + 1)
    assert not second_factor.is_half_signed_in(settings, token, "a hash")


def test_a_recovery_code_signs_in_when_the_authenticator_is_lost(pages: Any) -> None:
    _, codes, _ = enrolled(pages)
    browser = pages.visitor()
    asked = browser.sign_in("checker")
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', asked.text)
    assert token
    assert browser.post("/login", {"csrf": token[1], "code": codes[0]}).status_code == 303
    account = browser.get("/account?lang=en").text
    assert "9 recovery codes are left" in account
    assert codes[1] not in account


def test_the_page_shows_what_is_in_force_and_replaces_nothing(pages: Any) -> None:
    _, _, browser = enrolled(pages)
    assert "双因素认证" in browser.get("/account?lang=zh").text
    assert 'action="/account/second-factor?' not in browser.get("/account").text
    again = browser.post("/account/second-factor", {"password": password_of("checker")})
    assert (again.status_code, "two administrators can reset it" in again.text) == (409, True)
    wrong = pages.visitor("viewer").post("/account/second-factor", {"password": "wrong" * 4})
    assert (wrong.status_code, "The present password is wrong" in wrong.text) == (422, True)
    assert pages.rows("SELECT count(*) FROM auth.second_factor") == [(1,)]


def test_nothing_secret_stands_in_an_address_or_outlives_its_page(pages: Any) -> None:
    authenticator, codes, browser = enrolled(pages)
    assert str(browser.client.cookies).count(authenticator.secret) == 0
    account = browser.get("/account").text
    assert [word for word in (authenticator.secret, *codes) if word in account] == []
    page = browser.post("/account/second-factor", {"password": "wrong" * 4})
    assert page.headers["cache-control"] == "no-store"


def test_a_role_that_needs_a_factor_is_led_to_its_account_first(pages: Any) -> None:
    pages.app.state.settings = replace(pages.app.state.settings, second_factor_roles=("admin",))
    browser = pages.visitor()
    entered = browser.sign_in("admin")
    assert entered.headers["location"] == "/account?lang=en"
    assert "Set it up to go on" in browser.get("/account?lang=en").text
    for path in ("/users", "/audit", "/operations"):
        assert browser.get(path).headers["location"].startswith("/account")
    assert pages.visitor("viewer").get("/").status_code == 200
