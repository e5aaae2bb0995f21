"""Where a login may lead back to, which passwords are refused, and what each role may do."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dashboard.paths import local_path
from dashboard.texts import LANGUAGES, texts
from transactional import passwords
from transactional.permissions import PERMISSIONS, ROLES, allows

PAGE = "http://127.0.0.1:8000/login"
SIGNS = ["/", "//", "\\", "/\\", "@", ":", "?", "#", "%2f", "..", ".", "\t", "\n", "\r", " ", "\x00", "é", "\u2028"]
PIECES = st.sampled_from(
    [*SIGNS, "http:", "https://evil.example", "evil.example", "login", "logout", "open-items", "javascript:"]
)
MIXED = st.lists(PIECES, max_size=8).map("".join)


@given(st.one_of(st.text(max_size=40), MIXED, MIXED.map("/{}".format)))
@example("//evil.example")
@example("/\\evil.example")
@example("/\t/evil.example")
def test_no_address_leads_out_of_the_pages(text: str) -> None:
    found = local_path(text)
    if found is None:
        return
    target = urlsplit(urljoin(PAGE, found))
    assert (target.scheme, target.netloc) == ("http", "127.0.0.1:8000")
    assert found == text and found.startswith("/")
    assert not any(character in found for character in "\\\r\n\t\x00 ")
    # browsers drop tabs and line breaks and read a backslash as a slash: none of that makes two slashes of one
    assert not found.replace("\\", "/").startswith("//")


@given(st.from_regex(r"/[a-z-]{1,20}(/[A-Za-z0-9.-]{1,20}){0,3}(\?[a-z]{1,8}=[A-Za-z0-9%.-]{0,20}(&[a-z]{1,8}=[a-z0-9]{0,8}){0,3})?",
                     fullmatch=True))  # fmt: skip
def test_every_page_of_ours_may_be_led_back_to(path: str) -> None:
    ways_in = {"login", "logout"}
    expected = None if path.lstrip("/").partition("/")[0].partition("?")[0] in ways_in else path
    assert local_path(path) == expected


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("eleven char", "TOO_SHORT"),
        ("x" * 257, "TOO_LONG"),
        ("password1234", "COMMON"),
        ("P@ssw0rd-2026", "COMMON"),
        ("Welcome-Bank-2026", "COMMON"),
        ("iloveyou12345", "COMMON"),
        ("1q2w3e4r5t6y", "COMMON"),
        ("zhangwei.19880101", "COMMON"),
        ("wei.chen2026!", "NAME"),
        ("abcabcabcabc", "REPEATED"),
        ("098765432109", "REPEATED"),
        ("aaaaaaaaaaaa", "REPEATED"),
        ("efghijklmnopqr", "REPEATED"),
    ],
)
def test_passwords_that_are_guessed_first_are_refused(password: str, reason: str) -> None:
    with pytest.raises(passwords.WeakPassword) as weak:
        passwords.check_choice(password, "wei.chen", "Chen Wei")
    assert weak.value.reason == reason


@pytest.mark.parametrize(
    "password", ["correct horse battery", "blue lamp 7 stairs", "我的密码是什么呢你知道吗一二三", "x" * 3 + "Kv9!tUq2#pLm"]
)
def test_long_passwords_of_ones_own_are_taken(password: str) -> None:
    passwords.check_choice(password, "wei.chen", "Chen Wei")


@given(st.integers())
def test_made_passwords_pass_their_own_rules(_: int) -> None:
    passwords.check_choice(passwords.generated(), "wei.chen", "Chen Wei")


def test_the_matrix_knows_its_roles_only_and_has_a_text_for_everything() -> None:
    assert set().union(*PERMISSIONS.values()) == set(ROLES)
    assert not any(allows("stranger", name) for name in PERMISSIONS)
    for language in LANGUAGES:
        words = [*(f"role_{role}" for role in ROLES), *(f"may_{name}" for name in PERMISSIONS)]
        assert [word for word in words if word not in texts(language).entries] == []


def test_texts_of_different_files_never_meet() -> None:
    folder = files("dashboard.texts")
    for language in LANGUAGES:
        parts = [
            tomllib.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir() if path.name.endswith(f"{language}.toml")
        ]
        assert len(parts) > 1
        assert sum(len(part) for part in parts) == len(texts(language).entries)
        shown = [name for part in parts for name, text in part.items() if isinstance(text, str) and not text.strip()]
        assert shown == []
