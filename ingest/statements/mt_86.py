"""Field 86 of MT940 and MT942: what the bank tells the owner, in the forms that banks use."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SUBFIELD = re.compile(r"\?([0-9]{2})")
_SEPA = re.compile(r"(?:^|\s|(?<=[^A-Z]))(EREF|KREF|MREF|CRED|DEBT|SVWZ|ABWA|ABWE|COAM|OAMT|IBAN|BIC)\+")
_SLASHED = re.compile(
    r"/(EREF|KREF|PREF|IREF|RTRN|REMI|ORDP|BENM|NAME|IBAN|BIC|ACCW|TRCD|CSID|MARF|CNTP|ISDT|PURP|ULTC|ULTD|EXCH|CHGS|OCMT)/"
)


@dataclass(frozen=True)
class Told:
    """What field 86 says of an entry; None where it says nothing."""

    type_code: str | None = None
    counterparty_name: str | None = None
    counterparty_acct: str | None = None
    e2e_id: str | None = None
    remittance: str | None = None


def told(lines: list[str]) -> Told:
    """The parts of field 86: German subfields ``?nn``, slashed words ``/REMI/…``, SEPA's words ``SVWZ+…``, or plain text."""
    # a subfield may be broken anywhere, so its lines are one text; plain text keeps the break as a space
    glued = "".join(lines)
    if re.match(r"[0-9]{3}[?]", glued):
        return _subfields(glued)
    if _SLASHED.match(glued):
        return _slashed(glued)
    if _SEPA.match(glued):
        words = _words(glued)
        return Told(None, None, words.get("IBAN"), _given(words.get("EREF")), words.get("SVWZ") or None)
    return Told(remittance=" ".join(line.strip() for line in lines).strip() or None)


def _subfields(text: str) -> Told:
    pieces = _SUBFIELD.split(text[3:])
    values: dict[int, str] = {}
    for number, value in zip(pieces[1::2], pieces[2::2], strict=True):
        values[int(number)] = values.get(int(number), "") + value
    purpose = "".join(values.get(number, "") for number in (*range(20, 30), *range(60, 64)))
    words = _words(purpose)
    name = (values.get(32, "") + values.get(33, "")).strip()
    return Told(
        text[:3],
        name or None,
        values.get(31, "").strip() or words.get("IBAN"),
        _given(words.get("EREF")),
        (words.get("SVWZ") or words.get("") or "").strip() or None,
    )


def _words(purpose: str) -> dict[str, str]:
    """SEPA's words inside the purpose (``EREF+…SVWZ+…``); what stands before the first one is under the empty word."""
    pieces = _SEPA.split(purpose)
    found = {"": pieces[0].strip()}
    for word, value in zip(pieces[1::2], pieces[2::2], strict=True):
        found.setdefault(word, value.strip())
    return found


def _slashed(text: str) -> Told:
    pieces = _SLASHED.split(text)
    found: dict[str, str] = {}
    for word, value in zip(pieces[1::2], pieces[2::2], strict=True):
        found.setdefault(word, value.strip("/").strip())
    counterparty = found.get("CNTP", "").split("/")
    account = counterparty[0] if len(counterparty) > 2 else found.get("IBAN")
    name = counterparty[2] if len(counterparty) > 2 else found.get("NAME")
    remittance = found.get("REMI", "")
    # /REMI/USTD//text and /REMI/STRD/CUR/reference carry the kind in front
    remittance = re.sub(r"^(USTD//|STRD/[A-Z]{3}/)", "", remittance)
    return Told(found.get("TRCD") or None, name or None, account or None, _given(found.get("EREF")), remittance or None)


def _given(reference: str | None) -> str | None:
    return None if reference in (None, "", "NOTPROVIDED", "NONREF") else reference
