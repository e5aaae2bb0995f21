"""Passwords: argon2id hashes, made and checked a few at a time, and what a person may choose.

Each hash takes 64 MiB and about a third of a second on purpose (RFC 9106, section 4, second recommended option with p = 4), so
only `AT_ONCE` are worked on at a time in a process; who waits longer than `PATIENCE_S` is told to come again.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from itertools import pairwise

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from domain.errors import ServiceMissing, WrongUse

LENGTH_MIN = 12
LENGTH_MAX = 256
AT_ONCE = 2
PATIENCE_S = 5.0
PRODUCTION = "m=65536,t=3,p=4"
# what stands in the database for a person who has no password yet: no password belongs to it
UNUSABLE = "$argon2id$none given"
_PARAMETERS = re.compile(r"m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})")
_AROUND = "0-9@!$"
_SWAPS = str.maketrans("@4301!5$7", "aaeoiisst")
_gate = threading.BoundedSemaphore(AT_ONCE)


class Busy(ServiceMissing):
    """Too many passwords are being checked at once; the same request may succeed in a moment."""


class WeakPassword(Exception):
    """A password that is refused; `reason` is TOO_SHORT, TOO_LONG, NAME, COMMON, REPEATED or SAME."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Passwords:
    """Makes and checks hashes with given parameters, written as in a hash: ``m=`` KiB of memory, ``t=`` passes, ``p=`` lanes."""

    def __init__(self, parameters: str = PRODUCTION) -> None:
        found = _PARAMETERS.fullmatch(parameters)
        if found is None:
            raise WrongUse(f"argon2 is m=KiB,t=passes,p=lanes such as {PRODUCTION}, not {parameters!r}")
        memory_kib, passes, lanes = (int(part) for part in found.groups())
        if passes < 1 or lanes < 1 or memory_kib < 8 * lanes:
            raise WrongUse(f"argon2 needs at least one pass, one lane and 8 KiB a lane, not {parameters!r}")
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes, type=Type.ID)
        with _a_place():
            # what a name that nobody has is checked against: the answer takes the same time
            self._nobody = self._hasher.hash(secrets.token_urlsafe(32))

    def hashed(self, password: str) -> str:
        """The PHC string of a password, with a salt of its own."""
        with _a_place():
            return self._hasher.hash(password)

    def is_right(self, password_hash: str | None, password: str) -> bool:
        """Whether a password belongs to a hash; None takes as long and is never right."""
        with _a_place():
            try:
                self._hasher.verify(password_hash or self._nobody, password[: LENGTH_MAX + 1])
            except (VerifyMismatchError, VerificationError, InvalidHashError):
                return False
        return password_hash is not None


@cache
def of(parameters: str) -> Passwords:
    """The one instance of a process for these parameters."""
    return Passwords(parameters)


@contextmanager
def _a_place() -> Iterator[None]:
    if not _gate.acquire(timeout=PATIENCE_S):
        raise Busy("too many logins at once: try again in a moment")
    try:
        yield
    finally:
        _gate.release()


def check_choice(password: str, login_name: str, display_name: str = "") -> None:
    """Raise WeakPassword unless a person may choose this password: long enough, not common, not made of their name.

    Length counts characters. Common: one of the list `common_passwords.txt`, or nothing but such a word with digits, signs and
    the usual swaps around it (``P@ssw0rd-2026``). No rules on kinds of characters (NIST SP 800-63B, section 5.1.1.2).

    >>> check_choice("correct horse battery", "wei.chen")
    """
    if len(password) < LENGTH_MIN:
        raise WeakPassword("TOO_SHORT")
    if len(password) > LENGTH_MAX:
        raise WeakPassword("TOO_LONG")
    lowered = password.lower()
    names = [part for part in (login_name.lower(), *re.split(r"\W+", display_name.lower())) if len(part) >= 4]
    rest = lowered
    for name in names:
        rest = rest.replace(name, "")
    if len(rest) < LENGTH_MIN // 2:
        raise WeakPassword("NAME")
    if len(set(lowered)) < 5 or _is_a_run(lowered):
        raise WeakPassword("REPEATED")
    if _is_common(lowered):
        raise WeakPassword("COMMON")


def generated() -> str:
    """A new random password of 144 bits, for a secret file or to be shown once."""
    return secrets.token_urlsafe(18)


def _is_a_run(text: str) -> bool:
    """Whether a short piece is repeated (``abcabcabcabc``) or each character follows its neighbour (``345678901234``)."""
    repeated = any(text == (text[:size] * len(text))[: len(text)] for size in range(1, len(text) // 2 + 1))
    steps = {
        (ord(right) - ord(left)) % 10 if (left + right).isdigit() else ord(right) - ord(left) for left, right in pairwise(text)
    }
    return repeated or steps <= {1} or steps <= {-1, 9}


def _is_common(lowered: str) -> bool:
    """Whether nothing but one or two common words is left when digits and signs are taken away, swaps undone or not."""
    words = _common()
    tokens = (token.strip("0123456789@!$").translate(_SWAPS) for token in re.findall(rf"[a-z{_AROUND}]+", lowered))
    forms = (re.findall(r"[a-z]+", lowered), [token for token in tokens if token], [re.sub(r"[^a-z]", "", lowered)])
    return lowered in words or any(0 < len(set(form)) <= 2 and words.issuperset(form) for form in forms)


@cache
def _common() -> frozenset[str]:
    text = (files("transactional") / "common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))
