"""The second factor: one-time codes of an authenticator (RFC 6238, 30 s, SHA-1, six digits), and recovery codes.

The secret lies in the database sealed with AES-256-GCM under the home's `secrets/second_factor_key`, bound to its person: a copy
of the database makes no codes. A code works once, within one step of the clock; its attempts are counted as those of a password.
Recovery codes are random, kept as hashes, and work once each.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from base64 import b32encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import psycopg
import pyotp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import BadInput, ServiceMissing
from fundwatch.settings import Settings

KEY_SECRET = "second_factor_key"
ISSUER = "Fundwatch"
STEP_S = 30
WINDOW_STEPS = 1
RECOVERY_CODES = 10
HALF_S = 180
_NONCE_BYTES = 12
_RECOVERY_BYTES = 10
Connection = psycopg.Connection[Any]


class CodeWrong(BadInput):
    """The code is not the authenticator's, or it was used before."""


class FactorRefused(BadInput):
    """What the database refuses; `code` is SECOND_FACTOR_IN_FORCE or SECOND_FACTOR_NOT_BEGUN; nothing was changed."""

    def __init__(self, code: str) -> None:
        super().__init__(f"refused: {code.lower().replace('_', ' ')}")
        self.code = code


@dataclass(frozen=True)
class Enrolment:
    """What an authenticator is told, once: the secret as text, and the same as an ``otpauth:`` address."""

    secret: str
    uri: str


def begin(connection: Connection, settings: Settings, person_id: int, login_name: str) -> Enrolment:
    """Make a secret that counts once `confirm` saw its first code; one that was begun before counts no more.

    FactorRefused while one is in force: two administrators reset that.
    """
    secret = pyotp.random_base32()
    with _refusals():
        connection.execute("SELECT auth.begin_second_factor(%s, %s)", (person_id, sealed(settings, person_id, secret)))
    return _enrolment(settings, login_name, secret)


@dataclass(frozen=True)
class InForce:
    """A person's factor that counts: since when, and how many recovery codes are left."""

    since: datetime
    recovery_codes_left: int


def in_force(connection: Connection, person_id: int) -> InForce | None:
    """The factor of a person, None without one."""
    row = connection.execute(
        """SELECT confirmed_at, recovery_codes_left FROM auth.second_factor_state
           WHERE person_id = %s AND confirmed_at IS NOT NULL""",
        (person_id,),
    ).fetchone()
    return None if row is None else InForce(row[0], int(row[1]))


def confirm(connection: Connection, settings: Settings, person_id: int, code: str, session_hash: bytes) -> list[str]:
    """Put the begun factor in force with its first code; returns the recovery codes, the only time they are seen.

    Every other session of the person ends. CodeWrong for another code, FactorRefused when none waits.
    """
    row = connection.execute(
        "SELECT factor_id, sealed_secret FROM auth.second_factor_state WHERE person_id = %s AND confirmed_at IS NULL",
        (person_id,),
    ).fetchone()
    factor_id, step = 0, 0
    if row is not None:
        factor_id = int(row[0])
        found = step_of(unsealed(settings, person_id, bytes(row[1])), code, time.time())
        if found is None:
            raise CodeWrong("this is not the code of the authenticator at this time")
        step = found
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    hashes = [recovery_hash(factor_id, one) for one in codes]
    values = (person_id, factor_id, step, hashes, session_hash)
    with _refusals():
        connection.execute("SELECT auth.confirm_second_factor(%s, %s, %s, %s, %s)", values)
    return codes


def use(connection: Connection, settings: Settings, person_id: int, factor_id: int, sealed_secret: bytes, code: str) -> bool:
    """Whether a one-time or recovery code is right; it is used up by that."""
    digits = re.sub(r"\s", "", code)
    if re.fullmatch(r"[0-9]{6}", digits):
        step = step_of(unsealed(settings, person_id, sealed_secret), digits, time.time())
        if step is None:
            return False
        row = connection.execute("SELECT auth.use_second_factor(%s, %s)", (factor_id, step)).fetchone()
    else:
        row = connection.execute("SELECT auth.use_recovery_code(%s, %s)", (factor_id, recovery_hash(factor_id, code))).fetchone()
    return row is not None and bool(row[0])


def step_of(secret: str, code: str, at: float) -> int | None:
    """The time step whose code this is, at most one from that of `at` (seconds since 1970); None when it is none of them."""
    now, generator = int(at) // STEP_S, pyotp.TOTP(secret, interval=STEP_S)
    given, found = code.strip().encode(), None
    for step in range(now - WINDOW_STEPS, now + WINDOW_STEPS + 1):
        # all are compared, so that the time taken says nothing
        if hmac.compare_digest(generator.generate_otp(step).encode(), given):
            found = step
    return found


def recovery_hash(factor_id: int, code: str) -> bytes:
    """What is stored of a recovery code; 80 random bits need no more than sha256. Case and signs do not matter."""
    return sha256(f"{factor_id}:{re.sub('[^A-Z2-7]', '', code.upper())}".encode()).digest()


def sealed(settings: Settings, person_id: int, secret: str) -> bytes:
    """A secret as it lies in the database: nonce and AES-GCM, bound to the person."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(_key(settings, "seal")).encrypt(nonce, secret.encode(), str(person_id).encode())


def unsealed(settings: Settings, person_id: int, text: bytes) -> str:
    """The secret; ServiceMissing when the home's key is another than it was sealed with."""
    try:
        return AESGCM(_key(settings, "seal")).decrypt(text[:_NONCE_BYTES], text[_NONCE_BYTES:], str(person_id).encode()).decode()
    except InvalidTag:
        raise ServiceMissing(f"secrets/{KEY_SECRET} is not the key that second factors were sealed with") from None


def half_signed_in(settings: Settings, name: str, password_hash: str) -> str:
    """A token that says: this name's password was right just now. It ends after three minutes, or with another password."""
    expires = int(time.time()) + HALF_S
    return f"{name}|{expires}|{_half_mac(settings, name, expires, password_hash)}"


def name_of_half(token: str) -> str:
    """The login name that a token speaks of, proved or not."""
    return token.partition("|")[0]


def is_half_signed_in(settings: Settings, token: str, password_hash: str) -> bool:
    """Whether a token of `half_signed_in` is ours, in time and of this password."""
    parts = token.split("|")
    if len(parts) != 3 or not re.fullmatch(r"[0-9]{1,12}", parts[1]):
        return False
    name, expires, mac = parts[0], int(parts[1]), parts[2]
    return time.time() < expires and hmac.compare_digest(_half_mac(settings, name, expires, password_hash).encode(), mac.encode())


def _half_mac(settings: Settings, name: str, expires: int, password_hash: str) -> str:
    content = f"{name}|{expires}|{sha256(password_hash.encode()).hexdigest()}"
    return hmac.new(_key(settings, "half"), content.encode(), sha256).hexdigest()


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except psycopg.DatabaseError as error:
        if error.sqlstate == "FW422":
            raise FactorRefused(error.diag.message_primary or "") from None
        raise


def _enrolment(settings: Settings, login_name: str, secret: str) -> Enrolment:
    uri = pyotp.TOTP(secret, interval=STEP_S).provisioning_uri(name=login_name, issuer_name=f"{ISSUER} {settings.bank_id}")
    return Enrolment(secret, uri)


def _recovery_code() -> str:
    letters = b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode()
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def _key(settings: Settings, purpose: str) -> bytes:
    return hmac.new(settings.secret(KEY_SECRET).encode(), purpose.encode(), sha256).digest()
