"""Every route × every role, and nobody at all: generated from the application's routes, judged by a table written by hand."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from domain.errors import WrongUse
from fundwatch.settings import load

ROLES = {"v": "viewer", "o": "officer", "c": "checker", "f": "finance", "m": "admin", "a": "auditor"}
TABLE: dict[str, str] = tomllib.loads((Path(__file__).parent / "route_roles.toml").read_text(encoding="utf-8"))
# ids that nothing has: whoever may open the page gets its 404, whoever may not is refused before anybody looks
UNKNOWN = {"figure": "nothing", "table": "nothing", "platform_id": "P99", "loan_no": "P99-N-000001", "account_no": "P99-L-000001",
           "control_id": "999999", "name": "nobody"}  # fmt: skip


def routes(pages: Any) -> list[tuple[str, str]]:
    """Method and path of every route, the way out last."""
    from dashboard.app import guarded_routes

    found = [(method, path) for method, path, _ in guarded_routes(pages.app)]
    return sorted(found, key=lambda route: route == ("POST", "/logout"))


def ask(browser: Any, method: str, path: str) -> Any:
    """One request with unknown ids and an empty form."""
    address = re.sub(r"{(\w+)(:path)?}", lambda name: UNKNOWN[name.group(1)], path)
    return browser.get(address) if method == "GET" else browser.post(address, {})


def test_every_route_stands_in_the_table_and_nothing_else_does(pages: Any) -> None:
    assert {f"{method} {path}" for method, path in routes(pages)} == set(TABLE)


def test_every_role_may_do_what_the_table_says_and_no_more(pages: Any) -> None:
    wrong = []
    for letter, role in ROLES.items():
        browser = pages.visitor(role)
        for method, path in routes(pages):
            allowed = TABLE[f"{method} {path}"]
            before = pages.rows("SELECT count(*) FROM auth.access_log WHERE kind = 'REFUSED'")[0][0]
            answer = ask(browser, method, path)
            refused = pages.rows("SELECT count(*) FROM auth.access_log WHERE kind = 'REFUSED'")[0][0] - before
            is_open = answer.status_code not in (401, 403, 500) and refused == 0
            if letter in allowed:
                right = is_open and not answer.headers.get("location", "").startswith("/login?lang=en&next")
            else:
                right = (answer.status_code, refused) == (403, 1)
            if not right and allowed != "*":
                wrong.append((role, method, path, answer.status_code, refused))
    assert wrong == []
    refusals = pages.rows("SELECT DISTINCT path FROM auth.access_log WHERE person_id = (SELECT person_id FROM auth.person"
                          " WHERE login_name = 'viewer') AND path LIKE '/users%%'")  # fmt: skip
    assert sorted(refusals) == [("/users",), ("/users/nobody/role",), ("/users/nobody/state",)]


def test_without_a_login_there_is_nothing_but_the_way_in(pages: Any) -> None:
    browser = pages.visitor()
    for method, path in routes(pages):
        answer = ask(browser, method, path)
        if TABLE[f"{method} {path}"] == "*":
            assert answer.status_code in (200, 403, 404), (method, path)
        elif path.endswith(".csv"):
            assert (answer.status_code, answer.text) == (401, "Sign in first.\n"), (method, path)
        else:
            assert answer.status_code == 303, (method, path)
            assert answer.headers["location"].startswith("/login?lang=en&next=%2F"), (method, path)


def test_unknown_and_foreign_ids_get_the_page_of_what_does_not_exist(pages: Any) -> None:
    browser = pages.visitor("checker")
    nowhere = browser.get("/nowhere")
    assert nowhere.status_code == 404
    for path in ("/accounts/P99-L-000001", "/accounts/%00", "/accounts/..%2f..%2fetc", "/rows/nothing", "/static/nothing.css"):
        answer = browser.get(path)
        assert answer.status_code == 404, path
        assert "There is no such page, account, loan or person here." in answer.text, path
    for control in ("999999", "0", "-1", "1e3", "abc", "9" * 30, "١"):
        answer = browser.post(f"/operations/controls/{control}/decision", {"decision": "approve"})
        assert answer.status_code == 404, control
    admin = pages.visitor("admin")
    for name in ("nobody", "NOBODY", "%27--", "a" * 500):
        assert admin.post(f"/users/{name}/state", {"disabled": "yes"}).status_code == 404, name


def test_the_navigation_shows_what_the_role_may_open(pages: Any) -> None:
    for letter, role in ROLES.items():
        browser = pages.visitor(role)
        page = browser.get("/account").text
        shown = re.findall(r'<a href="([^"?]+)\?lang=en"', page.partition('class="main-nav"')[2].partition("</nav>")[0])
        assert set(shown) == {path for path in ("/", "/operations", "/users", "/audit") if letter in TABLE[f"GET {path}"]}, role
        for path in shown:
            assert browser.get(path).status_code == 200, (role, path)


def test_an_application_with_an_unguarded_route_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard import app

    def careless(_settings: Any, _render: Any) -> APIRouter:
        router = APIRouter()
        router.add_api_route("/figures", lambda: "42", methods=["GET"])
        return router

    monkeypatch.setattr(app, "ROUTERS", (*app.ROUTERS, careless))
    with pytest.raises(WrongUse, match="GET /figures requires nothing"):
        app.create_app(load())


def test_a_route_cannot_require_what_no_matrix_knows() -> None:
    from dashboard.session import require

    with pytest.raises(KeyError, match="see_everything"):
        require("see_everything")
