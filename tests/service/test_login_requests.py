"""What a request must be before any page looks at it: from our own pages, to our own name, small, with the right token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

HOLD = {"kind": "HOLD", "reason": "the special account does not add up"}
OURS = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}


def held(pages: Any) -> int:
    count: int = pages.rows("SELECT count(*) FROM ops.control")[0][0]
    return count


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_from_elsewhere_changes_nothing(pages: Any, headers: dict[str, str]) -> None:
    browser = pages.visitor("officer")
    fields = HOLD | {"csrf": browser.csrf}
    answer = browser.client.post("/operations/controls", data=fields, headers=headers)
    assert (answer.status_code, held(pages)) == (403, 0)
    assert "Your role may not do this" in answer.text
    assert browser.client.post("/operations/controls", data=fields, headers=OURS).status_code == 303
    assert held(pages) == 1


def test_a_form_without_the_sessions_token_changes_nothing_and_is_written_down(pages: Any) -> None:
    browser, other = pages.visitor("officer"), pages.visitor("officer")
    for token in ("", "x", other.csrf, browser.token, "é"):
        answer = browser.post("/operations/controls", HOLD | {"csrf": token})
        assert answer.status_code == 403
        assert "does not come from this page" in answer.text
    assert held(pages) == 0
    assert pages.rows("SELECT count(*), min(subject) FROM auth.access_log WHERE kind = 'REFUSED'") == [(5, "csrf")]
    # htmx sends it as a header
    answer = browser.post("/operations/controls", HOLD | {"csrf": ""}, **{"X-CSRF-Token": browser.csrf})
    assert (answer.status_code, held(pages)) == (303, 1)


def test_no_other_site_can_sign_a_browser_in(pages: Any) -> None:
    browser = pages.visitor()
    fields = {"name": "viewer", "password": "correct horse battery viewer"}
    assert browser.client.post("/login", data=fields, headers={"Origin": "https://evil.example"}).status_code == 403
    for token in ("", "x"):
        answer = browser.client.post("/login", data=fields | {"csrf": token}, headers=OURS)
        assert answer.status_code == 403
        assert 'name="password"' in answer.text  # the form again, ready to be sent
    assert browser.token is None
    assert pages.rows("SELECT count(*) FROM auth.login_attempt") == [(0,)]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "", "evil.example:80"])
def test_a_foreign_name_that_points_here_gets_nothing(pages: Any, host: str) -> None:
    answer = pages.visitor("viewer").get("/account", Host=host)
    assert answer.status_code == 400
    assert "The viewer" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:25123", "localhost:80", "[::1]:8000", "[::1]"])
def test_loopback_has_several_names(pages: Any, host: str) -> None:
    assert pages.visitor().get("/livez", Host=host).status_code == 200


def test_large_and_odd_bodies_are_refused_before_they_are_read(pages: Any) -> None:
    browser = pages.visitor("officer")

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"reason=" + b"x" * 10_000 + b"&"

    def post(path: str = "/operations/controls", **given: Any) -> int:
        headers = OURS | {"Content-Type": "application/x-www-form-urlencoded"} | given.pop("headers", {})
        status: int = browser.client.post(path, headers=headers, **given).status_code
        return status

    assert post(content=b"x" * 70_000) == 413
    assert post(content=endless()) == 413
    assert post("/login", content=endless()) == 413
    assert post(content=b"x", headers={"Content-Length": "1e3"}) == 400
    assert post(content=b"{}", headers={"Content-Type": "application/json"}) == 415
    assert post(content=b"kind=HOLD&kind=RESUME") == 400
    assert post(content=b"reason=%ff") == 400
    assert post(content=b"reason=\xff") == 400
    assert post(content=b"reason=%00") == 400
    assert post(content=b"&".join(b"f%d=1" % number for number in range(40))) == 400
    assert held(pages) == 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_refusal_has_a_page_in_both_languages_with_all_headers(pages: Any, language: str) -> None:
    viewer = pages.visitor("viewer")
    twice = {"Content-Type": "application/x-www-form-urlencoded"}
    asked = {
        400: viewer.client.post(f"/account?lang={language}", content=b"a=1&a=2", headers=OURS | twice),
        403: viewer.get(f"/users?lang={language}"),
        404: viewer.get(f"/nowhere?lang={language}"),
        405: viewer.client.delete(f"/users?lang={language}", headers=OURS),
        413: viewer.post(f"/account?lang={language}", {"old": "x" * 70_000}),
        415: viewer.client.post(f"/account?lang={language}", json={}, headers=OURS),
        422: pages.visitor("admin").get(f"/audit?lang={language}&table=nothing"),
    }  # fmt: skip
    for status, answer in asked.items():
        assert answer.status_code == status
        assert f'<html lang="{language}">' in answer.text
        assert 'role="alert"' in answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert pages.visitor().get("/login?lang=fr").status_code == 422


def test_a_crash_shows_a_page_and_no_detail(pages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = pages.visitor("admin")

    def broken(*_: Any) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("transactional.users.listed", broken)
    answer = browser.get("/users?lang=zh")
    assert answer.status_code == 500
    assert "页面出错" in answer.text and "secret" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"


def test_the_language_link_keeps_every_filter_of_the_address(pages: Any) -> None:
    page = pages.visitor("auditor").get("/audit?table=accesses&who=viewer&kind=EXPORT&from=2026-08-01&lang=en").text
    assert 'href="/audit?lang=zh&amp;table=accesses&amp;who=viewer&amp;kind=EXPORT&amp;from=2026-08-01"' in page
    hostile = pages.visitor().get("/login?lang=en&next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").text
    assert "<script>alert" not in hostile
