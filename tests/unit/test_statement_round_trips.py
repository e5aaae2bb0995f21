"""What is written in a format reads back as it was, whatever it is; and the columnar readers agree with the plain ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.statements import amounts, bai2, camt, days, delimited, formats, mt, ofx
from ingest.statements.checks import Before, controlled
from ingest.statements.currencies import DIGITS
from ingest.statements.land import ACCEPTED, Target, land
from ingest.statements.layout import packaged
from ingest.statements.model import Ended, Entries, Event
from ingest.statements.refusal import Place, Refused
from ingest.statements.source import Content, Limits, Readable

LIMITS = Limits(date(2026, 9, 1))
PLACE = Place("x")
DAY = date(2026, 8, 31)
PLAIN = next(layout for layout in packaged() if layout.layout == "plain_csv")
CODES = st.sampled_from(["CNY", "EUR", "JPY", "KWD", "CLF"])
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x9FFF, exclude_characters="\x7f"), max_size=30).map(str.strip)
REFS = st.from_regex(r"[A-Z0-9]{1,12}", fullmatch=True)


@dataclass(frozen=True)
class Move:
    """One entry as it is written and must be read."""

    signed: int
    ref: str
    text: str
    day: date


MOVES = st.lists(
    st.builds(
        Move,
        st.integers(-(10**12), 10**12),
        REFS.filter(lambda ref: ref != "NONREF"),
        TEXTS,
        st.integers(0, 30).map(lambda n: DAY - timedelta(n)),
    ),
    max_size=12,
)


def content(data: bytes) -> Content:
    def opened() -> AbstractContextManager[Readable]:
        return BytesIO(data)

    return Content("made", "0" * 64, len(data), opened, LIMITS)


def major(minor: int, code: str, point: str = ".") -> str:
    digits = DIGITS[code]
    whole, part = divmod(abs(minor), 10**digits)
    return f"{whole}{point}{part:0{digits}d}" if digits else f"{whole}{',' if point == ',' else ''}"


def mt940(opening: int, code: str, moves: list[Move]) -> bytes:
    lines = [":20:R", ":25:ACC", ":28C:1", f":60F:{'D' if opening < 0 else 'C'}260801{code}{major(opening, code, ',')}"]
    for move in moves:
        mark, amount = "D" if move.signed < 0 else "C", major(move.signed, code, ",")
        lines.append(f":61:{move.day:%y%m%d}{move.day:%m%d}{mark}{amount}NTRF{move.ref}//{move.ref}")
        if move.text:
            lines.append(f":86:{move.text}")
    closing = opening + sum(move.signed for move in moves)
    return "\n".join([*lines, f":62F:{'D' if closing < 0 else 'C'}260831{code}{major(closing, code, ',')}", "-", ""]).encode()


def camt053(opening: int, code: str, moves: list[Move]) -> bytes:
    def side(value: int) -> str:
        return f'<Amt Ccy="{code}">{major(value, code)}</Amt><CdtDbtInd>{"DBIT" if value < 0 else "CRDT"}</CdtDbtInd>'

    def balance(kind: str, value: int) -> str:
        return f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>{side(value)}<Dt><Dt>2026-08-31</Dt></Dt></Bal>"

    entries = "".join(
        f"<Ntry>{side(move.signed)}<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>{move.day}</Dt></BookgDt><AcctSvcrRef>{move.ref}</AcctSvcrRef>"
        f"<AddtlNtryInf>{escape(move.text)}</AddtlNtryInf></Ntry>"
        for move in moves
    )
    closing = opening + sum(move.signed for move in moves)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08">'
        f"<BkToCstmrStmt><Stmt><Id>R</Id><Acct><Id><Othr><Id>ACC</Id></Othr></Id><Ccy>{code}</Ccy></Acct>"
        f"{balance('OPBD', opening)}{balance('CLBD', closing)}{entries}</Stmt></BkToCstmrStmt></Document>"
    ).encode()


def bai(opening: int, code: str, moves: list[Move]) -> bytes:
    closing = opening + sum(move.signed for move in moves)
    entries = [
        f"16,{'495' if move.signed < 0 else '195'},{abs(move.signed)},V,{move.day:%y%m%d},,{move.ref},,{move.text.strip('/')}/"
        for move in moves
    ]
    total, count = opening + closing + sum(abs(move.signed) for move in moves), len(moves) + 2
    return "\n".join(
        [
            "01,S,R,260831,0200,1,80,,2/",
            f"02,R,S,1,260831,,{code},2/",
            f"03,ACC,,010,{opening},,,015,{closing},,/",
            *entries,
            f"49,{total},{count}/",
            f"98,{total},1,{count + 2}/",
            f"99,{total},1,{count + 4}/",
            "",
        ]
    ).encode()


def ofx2(_: int, code: str, moves: list[Move]) -> bytes:
    entries = "".join(
        f"<STMTTRN><TRNTYPE>OTHER</TRNTYPE><DTPOSTED>{move.day:%Y%m%d}</DTPOSTED><TRNAMT>{'-' if move.signed < 0 else ''}"
        f"{major(move.signed, code)}</TRNAMT><FITID>{move.ref}</FITID><MEMO>{escape(move.text)}</MEMO></STMTTRN>"
        for move in moves
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><?OFX OFXHEADER="200"?><OFX><BANKMSGSRSV1><STMTTRNRS><STMTRS>'
        f"<CURDEF>{code}</CURDEF><BANKACCTFROM><ACCTID>ACC</ACCTID></BANKACCTFROM><BANKTRANLIST>{entries}</BANKTRANLIST>"
        "</STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>"
    ).encode()


def csv(opening: int, code: str, moves: list[Move]) -> bytes:
    rows, balance = [",".join(column.name for column in PLAIN.columns)], opening
    for move in moves:
        balance += move.signed
        text = move.text.replace('"', '""')
        sign, standing = "-" if move.signed < 0 else "", "-" if balance < 0 else ""
        rows.append(
            f'ACC,{code},{move.day},,{sign}{major(move.signed, code)},{standing}{major(balance, code)},{move.ref},,,,"{text}"'
        )
    return ("\n".join(rows) + "\n").encode()


FORMATS: dict[str, tuple[Callable[[int, str, list[Move]], bytes], Callable[[Content], object]]] = {
    "mt940": (mt940, mt.read),
    "camt": (camt053, camt.read),
    "bai2": (bai, bai2.read),
    "ofx": (ofx2, ofx.read),
    "csv": (csv, lambda made: delimited.read(made, PLAIN)),
}


def read(name: str, data: bytes) -> tuple[list[dict[str, object]], list[Ended]]:
    made = content(data)
    events: list[Event] = list(controlled(made, FORMATS[name][1](made), Before()))  # type: ignore[arg-type]
    rows = [row for event in events if isinstance(event, Entries) for row in event.batch.to_pylist()]
    return rows, [event for event in events if isinstance(event, Ended)]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(opening=st.integers(-(10**12), 10**12), code=CODES, moves=MOVES)
def test_a_statement_reads_back_as_it_was_written(name: str, opening: int, code: str, moves: list[Move]) -> None:
    if name == "csv" and not moves:
        # rows are all that names an account here
        with pytest.raises(Refused):
            read(name, csv(opening, code, moves))
        return
    rows, ended = read(name, FORMATS[name][0](opening, code, moves))
    assert [row["amount_minor"] if row["dr_cr"] == "C" else -row["amount_minor"] for row in rows] == [m.signed for m in moves]  # type: ignore[operator]
    assert [row["bank_ref"] for row in rows] == [move.ref for move in moves]
    assert {row["currency"] for row in rows} <= {code}
    if name in {"camt", "csv"}:
        assert [row["book_date"] for row in rows] == [move.day for move in moves]
    (end,) = ended
    assert (end.statement.account, end.statement.currency, end.statement.entry_cnt) == ("ACC", code, len(moves))
    assert end.statement.proof == ("NONE" if name == "ofx" else "BALANCE")


@pytest.mark.parametrize("name", ["mt940", "camt", "bai2", "csv"])
@settings(max_examples=40, deadline=None)
@given(code=CODES, moves=MOVES.filter(bool), at=st.integers(0, 11), by=st.integers(1, 10**6))
def test_one_amount_changed_anywhere_is_noticed(name: str, code: str, moves: list[Move], at: int, by: int) -> None:
    at %= len(moves)
    changed = [Move(m.signed + by if n == at else m.signed, m.ref, m.text, m.day) for n, m in enumerate(moves)]
    good, other = FORMATS[name][0](0, code, moves), FORMATS[name][0](0, code, changed)
    # the changed file's entries between the good file's balances
    lines, others = good.decode().split("\n"), other.decode().split("\n")
    if name in {"camt"}:
        text = good.decode()
        old, new = (str(major(m[at].signed, code)) for m in (moves, changed))
        entry = f'<Ntry><Amt Ccy="{code}">{old}</Amt>'
        if old == new or entry not in text:
            return
        mixed = text.replace(entry, f'<Ntry><Amt Ccy="{code}">{new}</Amt>', 1)
    else:
        mark = {"mt940": ":61:", "bai2": "16,", "csv": "ACC,"}[name]
        places = [n for n, line in enumerate(lines) if line.startswith(mark)]
        line = others[places[at]]
        if name == "csv":
            own, theirs = lines[places[at]].split(","), line.split(",")
            line = ",".join([*own[:4], theirs[4], *own[5:]])
            if len(moves) == 1 or at == 0:
                # the first row's balance is all that tells the opening
                return
        mixed = "\n".join(line if n == places[at] else kept for n, kept in enumerate(lines))
    if mixed == good.decode():
        return
    with pytest.raises(Refused):
        read(name, mixed.encode())


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), st.from_regex(r"[+-]?[0-9]{0,16}(\.[0-9]{0,7})?", fullmatch=True), TEXTS), max_size=20),
    code=CODES,
)
def test_the_column_of_amounts_agrees_with_the_single_one(texts: list[str | None], code: str) -> None:
    found = amounts.column(pa.array(texts, pa.string()), code, "major")
    for text, value, bad in zip(texts, found.values.to_pylist(), found.bad.to_pylist(), strict=True):
        if text is None:
            assert (value, bad) == (None, False)
        elif value is not None:
            assert value == amounts.minor(text, code, PLACE)
        else:
            assert bad


@settings(max_examples=200, deadline=None)
@given(minor=st.integers(-(10**15), 10**15), code=CODES)
def test_every_amount_survives_being_written(minor: int, code: str) -> None:
    text = ("-" if minor < 0 else "") + major(minor, code)
    assert amounts.minor(text, code, PLACE) == minor
    assert amounts.column(pa.array([text]), code, "major").values.to_pylist() == [minor]
    assert amounts.column(pa.array([str(minor)]), code, "minor").values.to_pylist() == [minor]


@given(day=st.dates(date(1980, 1, 1), date(2079, 12, 31)), shift=st.integers(-150, 150))
def test_short_dates_read_back(day: date, shift: int) -> None:
    assert days.short(f"{day:%y%m%d}", PLACE) == day
    other = day + timedelta(shift)
    assert days.beside(f"{other:%m%d}", day, PLACE) == other


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=300), name=st.sampled_from([name for name in formats.names() if name != "auto"]))
def test_bytes_of_any_kind_are_read_or_refused_and_never_crash(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any"
        path.write_bytes(data)
        verdicts = list(land([path], formats.chosen(name, None, None), Target(None), LIMITS))
    assert verdicts and all(verdict.state == ACCEPTED or (verdict.code and verdict.reason) for verdict in verdicts)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(code=CODES, moves=MOVES.filter(bool), at=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_statement_is_read_or_refused_and_never_crashes(
    name: str, code: str, moves: list[Move], at: int, byte: int, cut: bool
) -> None:
    data = bytearray(FORMATS[name][0](0, code, moves))
    at %= len(data)
    data = data[:at] if cut else data[:at] + bytes([byte]) + data[at + 1 :]
    try:
        read(name, bytes(data))
    except Refused as refused:
        assert refused.code and refused.reason
