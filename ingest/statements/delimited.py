"""CSV and text files by a layout: blocks of lines to Arrow batches, header and trailer checked, balances followed row by row."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from domain.money import MAX_AMOUNT_MINOR
from ingest.statements import amounts
from ingest.statements.checks import STATEMENTS_MAX
from ingest.statements.columns import Typed, reason, type_of, typed
from ingest.statements.currencies import DIGITS
from ingest.statements.gather import credible, stmt_id
from ingest.statements.layout import Column, Edge, Layout
from ingest.statements.lines import blocks
from ingest.statements.model import (
    BAD_ROWS,
    BOOKED,
    CREDIT,
    DEBIT,
    ENTRIES,
    BadRows,
    Declared,
    Ended,
    Entries,
    Event,
    Records,
    Statement,
)
from ingest.statements.refusal import Place, Refused
from ingest.statements.source import Content

BLOCK_BYTES = 4 * 1024 * 1024
_FORMS = {
    "YYYYMMDD": "%Y%m%d",
    "YYYY-MM-DD": "%Y-%m-%d",
    "YYYY/MM/DD": "%Y/%m/%d",
    "DD.MM.YYYY": "%d.%m.%Y",
    "DD/MM/YYYY": "%d/%m/%Y",
}
_SUMS = ("sum", "credit_sum", "debit_sum")


@dataclass
class _Account:
    """One account of the file: its statement and what its rows said so far."""

    statement: Statement
    first_minor: int | None = None
    reached_minor: int | None = None


@dataclass
class _File:
    """What a file said so far."""

    header: dict[str, str] = field(default_factory=dict)
    accounts: dict[tuple[str, str], _Account] = field(default_factory=dict)
    rows: int = 0
    bad: int = 0
    unreadable: bool = False
    counted: dict[str, int] = field(default_factory=lambda: {CREDIT: 0, DEBIT: 0})
    summed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0))
    last_line: int = 0
    has_balances: bool | None = None


def read(content: Content, layout: Layout) -> Iterator[Event]:
    """The rows of a file by its layout, then its statements; refuses with the place of the first fault, or keeps bad rows out."""
    with content.opened() as stream:
        reader = _Reader(content, layout)
        held: tuple[int, bytes] | None = None
        for first, block in blocks(content, stream, BLOCK_BYTES):
            if held:
                yield from reader.take(*held)
            held = (first, block)
        if held:
            yield from reader.take(*reader.without_trailer(*held))
        yield from reader.finish()


class _Reader:
    def __init__(self, content: Content, layout: Layout) -> None:
        self.content, self.layout = content, layout
        self.file = _File()
        self.is_utf8 = codecs.lookup(layout.encoding).name in {"utf-8", "ascii"}
        self.heads_left = layout.skip_lines + (layout.header is not None) + layout.names
        self.trailer: tuple[int, dict[str, str]] | None = None
        self.names: list[str] = []
        self.by_means = {column.means: column for column in layout.kept}

    # ---- lines before and behind the rows

    def take(self, first: int, block: bytes) -> Iterator[Event]:
        """One block of whole lines."""
        while self.heads_left and block:
            line, _, block = block.partition(b"\n")
            self._head(first, self._line(first, line))
            first += 1
        if self.layout.trailer and self.layout.trailer.mark:
            self._no_trailer_inside(first, block)
        if block.strip():
            yield from self._rows(first, block)

    def _head(self, number: int, line: str) -> None:
        self.heads_left -= 1
        behind = self.layout.names + (self.layout.header is not None)
        if self.heads_left >= behind:
            return
        if self.layout.header and self.heads_left == int(self.layout.names):
            self.file.header = self._edge(self.layout.header, number, line, "header")
            return
        given = [name.strip() for name in self._split(line)]
        declared = [column.name for column in self.layout.columns]
        if given[: len(declared)] != declared or len(given) - len(declared) > self.layout.extra_columns_max:
            at = next(
                (i for i, (a, b) in enumerate(zip(given, declared, strict=False)) if a != b), min(len(given), len(declared))
            )
            due = declared[at] if at < len(declared) else "nothing"
            came = given[at] if at < len(given) else "nothing"
            raise Refused("SCHEMA", self.content.at(number, at + 1), f"column {at + 1} is {came!r}, {due!r} was due")

    def without_trailer(self, first: int, block: bytes) -> tuple[int, bytes]:
        """The last block without its trailer line, which is read and kept."""
        edge = self.layout.trailer
        if edge is None:
            return first, block
        body = block.rstrip(b"\r\n")
        rows, newline, line = body.rpartition(b"\n")
        number = first + body.count(b"\n")
        text = self._line(number, line)
        if self._split(text)[0] != edge.mark:
            raise Refused("TRUNCATED", self.content.at(number), f"the last line is no trailer (it begins with {edge.mark!r})")
        self.trailer = (number, self._edge(edge, number, text, "trailer"))
        return first, rows + newline

    def _no_trailer_inside(self, first: int, block: bytes) -> None:
        mark = f"{self.layout.trailer.mark}{self.layout.delimiter}".encode(self.layout.encoding) if self.layout.trailer else b""
        at = 0 if block.startswith(mark) else block.find(b"\n" + mark) + 1
        if block.startswith(mark) or at:
            raise Refused("SCHEMA", self.content.at(first + block.count(b"\n", 0, at)), "lines follow the trailer")

    def _edge(self, edge: Edge, number: int, line: str, what: str) -> dict[str, str]:
        values = [value.strip() for value in self._split(line)]
        if self.layout.trailing_delimiter and values[-1:] == [""]:
            values.pop()
        if len(values) != len(edge.fields):
            raise Refused(
                "SCHEMA", self.content.at(number), f"the {what} has {len(values)} fields, {len(edge.fields)} are declared"
            )
        found = dict(zip(edge.fields, values, strict=True))
        if edge.mark is not None and found["mark"] != edge.mark:
            raise Refused("SCHEMA", self.content.at(number, 1), f"the {what} does not begin with {edge.mark!r}: {line[:40]!r}")
        return found

    def _split(self, line: str) -> list[str]:
        return line.split(self.layout.delimiter)

    def _line(self, number: int, line: bytes) -> str:
        return self._decoded(number, line.removesuffix(b"\r"))

    def _decoded(self, first: int, data: bytes) -> str:
        try:
            return data.decode(self.layout.encoding)
        except UnicodeDecodeError as error:
            number = first + data.count(b"\n", 0, error.start)
            column = error.start - data.rfind(b"\n", 0, error.start)
            raise Refused(
                "ENCODING",
                self.content.at(number, column),
                f"the bytes are not {self.layout.encoding.upper()}, which the layout names",
            ) from None

    def _checked(self, first: int, block: bytes) -> bytes:
        """The block when it is UTF-8; Arrow asks that quicker than Python, which finds the place."""
        try:
            pc.cast(pa.array([block], pa.binary()), pa.string())
        except pa.ArrowInvalid:
            self._decoded(first, block)
        return block

    # ---- rows

    def _rows(self, first: int, block: bytes) -> Iterator[Event]:
        text = self._checked(first, block) if self.is_utf8 else self._decoded(first, block).encode()
        text = text.rstrip(b"\r\n") + b"\n"
        lines = text.count(b"\n")
        texts, numbers, skipped = self._texts(first, text, lines)
        codes = self._codes(texts, numbers)
        made = {
            column.means or "": typed(self.layout, column, texts[column.means], codes, self.content.limits)
            for column in self.layout.kept
            if column.means
        }
        bad = pa.array(np.zeros(len(numbers), dtype=bool))
        for one in made.values():
            bad = pc.or_(bad, one.bad)
        faults = self._faults(texts, numbers, made, skipped, text, first)
        self.file.rows += len(numbers) + len(skipped)
        self.file.last_line = first + lines - 1
        if self.layout.target == "records":
            yield from self._records(made, numbers, bad)
        else:
            yield from self._statements(made, codes, numbers, bad)
        if faults:
            yield BadRows(pa.RecordBatch.from_pylist(faults, schema=BAD_ROWS))

    def _texts(self, first: int, block: bytes, lines: int) -> tuple[dict[str, pa.StringArray], np.ndarray, dict[int, str]]:
        """Trimmed texts by meaning, line numbers, and the lines with another number of fields."""
        skipped: dict[int, str] = {}
        numbers = np.arange(first, first + lines, dtype=np.int64)
        if self.layout.quote and self.layout.quote.encode() in block:
            self._no_open_quote(first, block)

        def skip(row: Any) -> str:
            skipped[first + row.number - 1] = f"the line has {row.actual_columns} fields, {row.expected_columns} are declared"
            return "skip"

        try:
            table = csv.read_csv(
                pa.BufferReader(block),
                read_options=csv.ReadOptions(
                    use_threads=False, block_size=len(block) + 1, column_names=self._column_names(first, block)
                ),
                parse_options=csv.ParseOptions(
                    delimiter=self.layout.delimiter,
                    quote_char=self.layout.quote or False,
                    newlines_in_values=False,
                    ignore_empty_lines=False,
                    invalid_row_handler=skip,
                ),
                convert_options=csv.ConvertOptions(
                    include_columns=[f"c{index}" for index, column in enumerate(self.layout.columns) if column.means],
                    column_types={name: pa.string() for name in self._column_names(first, block)},
                    strings_can_be_null=True,
                    null_values=[""],
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid as error:
            raise Refused("SCHEMA", self.content.at(first), f"the lines cannot be split ({error})") from None
        if skipped:
            numbers = numbers[~np.isin(numbers, list(skipped))]
        has_blanks = self._has_blanks(block)
        texts = {
            column.means: (_trimmed if has_blanks else _as_they_are)(table.column(f"c{index}").combine_chunks())
            for index, column in enumerate(self.layout.columns)
            if column.means
        }
        return texts, numbers, skipped

    def _has_blanks(self, block: bytes) -> bool:
        """Whether any value begins or ends with a blank; trimming all costs a fifth of the whole reading."""
        data = np.frombuffer(b"\n" + block, dtype=np.uint8)
        is_blank = data == 32
        at = np.flatnonzero(is_blank | (data == 9) if b"\t" in block else is_blank)
        is_edge = np.zeros(256, dtype=bool)
        is_edge[[ord(self.layout.delimiter), 10, 13, ord(self.layout.quote or "\n")]] = True
        # the block ends with a line's end, so that there is a byte behind each
        return bool(is_edge[data[at - 1]].any() or is_edge[data[at + 1]].any()) or "\u3000".encode() in block

    def _column_names(self, first: int, block: bytes) -> list[str]:
        """Arrow's names of the columns; how many undeclared ones follow is learned from the first row."""
        if not self.names:
            count = len(self.layout.columns) + self.layout.trailing_delimiter
            if self.layout.extra_columns_max:
                here = block.partition(b"\n")[0].count(self.layout.delimiter.encode()) + 1
                count = min(max(count, here), count + self.layout.extra_columns_max)
            self.names = [f"c{index}" for index in range(count)]
        return self.names

    def _no_open_quote(self, first: int, block: bytes) -> None:
        data = np.frombuffer(block, dtype=np.uint8)
        at = np.searchsorted(np.flatnonzero(data == 10), np.flatnonzero(data == ord(self.layout.quote or '"')))
        odd = np.flatnonzero(np.bincount(at) % 2)
        if len(odd):
            raise Refused("SCHEMA", self.content.at(first + int(odd[0])), "the line has an unclosed quote")

    def _codes(self, texts: Mapping[str, pa.StringArray], numbers: np.ndarray) -> pa.StringArray | str:
        """The currency of each row, or of all rows."""
        if "currency" in texts:
            column = self.by_means["currency"]
            made = typed(self.layout, column, texts["currency"], "", self.content.limits) if self._is_word(column) else None
            return made.values if made else texts["currency"]
        return self._currency()

    def _is_word(self, column: Column) -> bool:
        return self.layout.type_of(column) == "word"

    def _currency(self) -> str:
        if self.layout.currency:
            return self.layout.currency
        code = self.file.header.get("currency", "CNY" if self.layout.target == "records" else "")
        return amounts.currency(code, self.content.at(1))

    def _faults(
        self,
        texts: Mapping[str, pa.StringArray],
        numbers: np.ndarray,
        made: Mapping[str, Typed],
        skipped: Mapping[int, str],
        block: bytes,
        first: int,
    ) -> list[dict[str, object]]:
        """Every fault of the block's rows; the first of them refuses the file unless the layout keeps bad rows out."""
        found: list[tuple[int, int, str, str]] = [(number, 0, "*", problem) for number, problem in skipped.items()]
        for index, column in enumerate(self.layout.columns):
            if not column.means:
                continue
            for at in pc.indices_nonzero(made[column.means].bad).to_pylist():
                text = texts[column.means][at].as_py()
                found.append((int(numbers[at]), index + 1, column.name, reason(self.layout, column, text)))
        if not found:
            return []
        found.sort()
        self.file.unreadable = True
        if self.layout.bad_rows == "refuse":
            number, column_no, _, problem = found[0]
            raise Refused("DATE" if "date of the calendar" in problem else "SCHEMA", self.content.at(number, column_no), problem)
        lines = block.split(b"\n")
        self.file.bad += len({number for number, *_ in found})
        return [
            {
                "file_name": self.content.file_name,
                "line_no": number,
                "column_name": name,
                "reason": problem,
                "raw": lines[number - first].decode("utf-8", "replace"),
            }
            for number, _, name, problem in found
        ]

    # ---- records

    def _records(self, made: Mapping[str, Typed], numbers: np.ndarray, bad: pa.BooleanArray) -> Iterator[Event]:
        schema = record_schema(self.layout)
        arrays = [pa.repeat(pa.scalar(self.content.sha256), len(numbers)), pa.array(numbers)]
        arrays += [made[column.means or ""].values for column in self.layout.kept]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        if pc.any(bad).as_py():
            batch = batch.filter(pc.invert(bad))
        total = batch.column("amount_minor") if "amount_minor" in schema.names else None
        if total is not None:
            self.file.summed["sum"] += _sum(total)
        if len(batch):
            yield Records(batch)

    # ---- statements

    def _statements(
        self, made: Mapping[str, Typed], codes: pa.StringArray | str, numbers: np.ndarray, bad: pa.BooleanArray
    ) -> Iterator[Event]:
        signed, direction = self._signed(made, numbers, bad)
        good = pc.invert(bad)
        count = len(numbers)
        accounts = made["account"].values if "account" in made else pa.repeat(pa.scalar(self._account()), count)
        currencies = codes if isinstance(codes, pa.Array) else pa.repeat(pa.scalar(codes), count)
        book_date, booked_at = self._booked(made)
        values: dict[str, pa.Array] = {name: one.values for name, one in made.items() if name in ENTRIES.names}
        reversal = values.get("reversal_flag")
        values |= {
            "entry_no": pa.array(np.arange(self.file.rows - count + 1, self.file.rows + 1, dtype=np.int64)),
            "line_no": pa.array(numbers),
            "dr_cr": direction,
            "amount_minor": pc.abs(signed),
            "currency": currencies,
            "book_date": book_date,
            "booked_at": booked_at,
            "reversal_flag": pc.equal(reversal, "yes") if reversal is not None else None,
            "status": pa.repeat(pa.scalar(BOOKED), count),
            "balance_minor": made["balance"].values if "balance" in made else None,
        }
        values["reversal_flag"] = pc.fill_null(values["reversal_flag"], False) if reversal is not None else _falses(count)
        if "account" in made or isinstance(codes, pa.Array):
            keys = pc.binary_join_element_wise(accounts, currencies, "\x1f")
            values["stmt_id"] = self._stmt_ids(keys, values, good)
        else:
            values["stmt_id"] = self._only_stmt_id(f"{self._account()}\x1f{codes}", book_date, good)
        arrays = [pa.nulls(count, one.type) if values.get(one.name) is None else values[one.name] for one in ENTRIES]
        batch = pa.RecordBatch.from_arrays(
            [pc.cast(a, f.type) for a, f in zip(arrays, ENTRIES, strict=True)], names=ENTRIES.names
        )
        if pc.any(bad).as_py():
            # copies every column: most blocks have nothing to keep out
            batch, signed = batch.filter(good), pc.filter(signed, good)
        self._totals(signed, batch)
        if "balance" in made and len(batch):
            self._follow(batch, signed)
        if len(batch):
            yield Entries(pa.RecordBatch.from_arrays(batch.columns, schema=ENTRIES))

    def _account(self) -> str:
        account = self.layout.account or self.file.header.get("account", "")
        if not account:
            raise Refused("SCHEMA", self.content.at(1), "the header names no account")
        return account

    def _signed(self, made: Mapping[str, Typed], numbers: np.ndarray, bad: pa.BooleanArray) -> tuple[pa.Array, pa.Array]:
        """How each row moved its account, and the direction of it."""
        if "amount" not in made:
            debit, credit = (pc.fill_null(made[name].values, 0) for name in ("debit", "credit"))
            both = pc.and_(pc.and_(pc.not_equal(debit, 0), pc.not_equal(credit, 0)), pc.invert(bad))
            self._refuse_first(both, numbers, "the row has a debit and a credit")
            signed = pc.subtract(credit, debit)
            return signed, pc.if_else(pc.greater_equal(signed, 0), CREDIT, DEBIT)
        amount = pc.fill_null(made["amount"].values, 0)
        if "dr_cr" not in made:
            return amount, pc.if_else(pc.greater_equal(amount, 0), CREDIT, DEBIT)
        direction = pc.fill_null(made["dr_cr"].values, DEBIT)
        # a negative amount beside a direction takes back: it moves the account the other way
        signed = pc.if_else(pc.equal(direction, CREDIT), amount, pc.negate(amount))
        is_back = pc.less(amount, 0)
        turned = pc.if_else(pc.equal(direction, CREDIT), DEBIT, CREDIT)
        return signed, pc.if_else(is_back, turned, direction)

    def _refuse_first(self, mask: pa.BooleanArray, numbers: np.ndarray, problem: str) -> None:
        places = pc.indices_nonzero(mask)
        if len(places):
            raise Refused("SCHEMA", self.content.at(int(numbers[places[0].as_py()])), problem)

    def _booked(self, made: Mapping[str, Typed]) -> tuple[pa.Array, pa.Array | None]:
        moment = made["booked_at"].values if "booked_at" in made else None
        if "book_date" in made:
            return made["book_date"].values, moment
        local = pc.local_timestamp(pc.cast(moment, pa.timestamp("us", tz=self.layout.zone)))
        return pc.cast(pc.floor_temporal(local, unit="day"), pa.date32()), moment

    def _stmt_ids(self, keys: pa.StringArray, values: Mapping[str, pa.Array], good: pa.BooleanArray) -> pa.StringArray:
        """The statement of each row: one an account and currency, numbered as they first appear."""
        encoded = pc.dictionary_encode(pc.if_else(good, keys, pa.scalar(None, pa.string())))
        names = [self._of(key).stmt_id for key in encoded.dictionary.to_pylist()]
        self._periods(encoded, values["book_date"])
        return pc.take(pa.array(names, pa.string()), encoded.indices)

    def _only_stmt_id(self, key: str, days: pa.Array, good: pa.BooleanArray) -> pa.StringArray:
        """The same for a file of one account."""
        statement = self._of(key)
        bounds = pc.min_max(pc.filter(days, good)).as_py()
        self._extend(statement, bounds["min"], bounds["max"])
        return pa.repeat(pa.scalar(statement.stmt_id), len(days))

    def _extend(self, statement: Statement, first: date | None, last: date | None) -> None:
        if first and last:
            statement.period_from = min(statement.period_from or first, first)
            statement.period_to = max(statement.period_to or last, last)

    def _of(self, key: str) -> Statement:
        account, code = key.split("\x1f")
        found = self.file.accounts.get((account, code))
        if found is None:
            if len(self.file.accounts) >= STATEMENTS_MAX:
                raise Refused("SIZE", self.content.place, f"the file speaks of more than {STATEMENTS_MAX} accounts")
            statement = Statement(
                stmt_id(self.content, len(self.file.accounts) + 1),
                self.file.header.get("ref"),
                account,
                code,
                f"layout {self.layout.layout} v{self.layout.version}",
            )
            found = self.file.accounts[(account, code)] = _Account(statement)
        return found.statement

    def _periods(self, encoded: pa.DictionaryArray, days: pa.Array) -> None:
        table = pa.table({"at": encoded.indices, "day": days})
        for row in table.group_by("at", use_threads=False).aggregate([("day", "min"), ("day", "max")]).to_pylist():
            if row["at"] is None:
                continue
            self._extend(self._of(encoded.dictionary[row["at"]].as_py()), row["day_min"], row["day_max"])

    def _totals(self, signed: pa.Array, batch: pa.RecordBatch) -> None:
        credits = pc.equal(batch.column("dr_cr"), CREDIT)
        credit = _sum(pc.filter(batch.column("amount_minor"), credits))
        debit = _sum(batch.column("amount_minor")) - credit
        count = pc.sum(pc.cast(credits, pa.int64())).as_py() or 0
        self.file.counted[CREDIT] += count
        self.file.counted[DEBIT] += len(batch) - count
        self.file.summed["credit_sum"] += credit
        self.file.summed["debit_sum"] += debit
        is_signed = "amount" in self.by_means and "dr_cr" not in self.by_means
        self.file.summed["sum"] += _sum(signed) if is_signed else credit + debit

    def _follow(self, batch: pa.RecordBatch, signed: pa.Array) -> None:
        """Every balance is the one before it in the same account and the row's amount; the first gives the opening balance."""
        balances = batch.column("balance_minor")
        if self.file.has_balances is None:
            self.file.has_balances = balances.null_count < len(balances)
        strange = pc.is_null(balances) if self.file.has_balances else pc.is_valid(balances)
        if pc.any(strange).as_py():
            number = batch.column("line_no")[pc.indices_nonzero(strange)[0].as_py()].as_py()
            has = "no balance, others have" if self.file.has_balances else "a balance, those before it have none"
            raise Refused("SCHEMA", self.content.at(number), f"the row has {has}")
        if not self.file.has_balances:
            return
        encoded = pc.dictionary_encode(batch.column("stmt_id"))
        of = encoded.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(of, kind="stable")
        balance, moved = balances.to_numpy()[order], signed.to_numpy()[order]
        begins = np.concatenate(([True], of[order][1:] != of[order][:-1]))
        # read backwards, a row's balance is the next one's less that one's amount
        is_newest_first = self.layout.order == "newest_first"
        reached, expected = (balance - moved, balance) if is_newest_first else (balance, balance - moved)
        before = np.concatenate(([0], reached[:-1]))
        by_id = {account.statement.stmt_id: account for account in self.file.accounts.values()}
        groups = np.flatnonzero(begins)
        for begin, end in zip(groups, np.append(groups[1:], len(order)), strict=True):
            account = by_id[encoded.dictionary[int(of[order[begin]])].as_py()]
            if account.reached_minor is None:
                account.first_minor = account.reached_minor = int(expected[begin])
            before[begin] = account.reached_minor
            account.reached_minor = int(reached[end - 1])
        wrong = order[np.flatnonzero(before != expected)]
        if len(wrong):
            number = batch.column("line_no")[int(wrong.min())].as_py()
            raise Refused(
                "BALANCE", self.content.at(number), "the row's balance is not the balance before it and the row's amount"
            )

    # ---- the end

    def finish(self) -> Iterator[Event]:
        """Trailer and header against the rows, then the statements."""
        if self.heads_left:
            raise Refused("TRUNCATED", self.content.place, "the file ends before its rows begin")
        line_no, said = self.trailer or (1, {})
        for at, values in ((1, self.file.header), (line_no, said)):
            self._check(self.content.at(at), values)
        if self.layout.target == "records":
            return
        if not self.file.accounts and (self.layout.account or self.file.header.get("account")):
            self._of(f"{self._account()}\x1f{self._currency()}")
        if not self.file.accounts:
            raise Refused("EMPTY", self.content.place, "the file has no rows, and nothing else names an account")
        for account in self.file.accounts.values():
            statement = account.statement
            ends = (account.first_minor, account.reached_minor)
            statement.opening_minor, statement.closing_minor = ends[::-1] if self.layout.order == "newest_first" else ends
            self._edges(statement, {**self.file.header, **said})
            yield Ended(statement, self.trailer[0] if self.trailer else self.file.last_line, Declared())

    def _check(self, place: Place, values: Mapping[str, str]) -> None:
        counts = {"row_cnt": self.file.rows, "credit_cnt": self.file.counted[CREDIT], "debit_cnt": self.file.counted[DEBIT]}
        for name, came in counts.items():
            if values.get(name) and self._count(values[name], place) != came:
                raise Refused("ROW_COUNT", place, f"{name} says {values[name]}, {came} rows came")
        for name, total in self.file.summed.items():
            # while an amount cannot be read its sum is not proved
            if values.get(name) and not self.file.unreadable and self._money(values[name], place) != total:
                raise Refused("CONTROL_TOTAL", place, f"{name} says {values[name]}, the rows add up to {total} minor units")

    def _count(self, text: str, place: Place) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise Refused("SCHEMA", place, f"{text[:20]!r} is no count")
        return int(text)

    def _money(self, text: str, place: Place) -> int:
        text = text.replace(self.layout.thousands, "") if self.layout.thousands else text
        code = self.layout.currency or self.file.header.get("currency") or next((code for _, code in self.file.accounts), "CNY")
        sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
        if self.layout.unit == "minor":
            whole = digits
        else:
            yuan, _, decimals = digits.partition(".")
            decimals = decimals.rstrip("0")
            whole = yuan + decimals.ljust(DIGITS[code], "0") if len(decimals) <= DIGITS[code] else ""
        if not (whole.isascii() and whole.isdigit() and len(whole) <= len(str(MAX_AMOUNT_MINOR)) + 3):
            raise Refused("SCHEMA", place, f"{text[:40]!r} is no amount")
        return sign * int(whole)

    def _edges(self, statement: Statement, values: Mapping[str, str]) -> None:
        """What header and trailer say of the only account."""
        place = self.content.at(1)
        if values.get("seq_no"):
            statement.seq_no = self._count(values["seq_no"], place)
        for name in ("opening", "closing", "available"):
            if not values.get(name):
                continue
            value, held = self._money(values[name], place), getattr(statement, f"{name}_minor")
            if held is not None and held != value:
                raise Refused("BALANCE", place, f"the {name} balance is said to be {value}, the rows say {held} minor units")
            setattr(statement, f"{name}_minor", value)
        for name, fields in (
            ("date", ("period_from", "period_to")),
            ("period_from", ("period_from",)),
            ("period_to", ("period_to",)),
        ):
            if values.get(name):
                self._period(statement, self._day(values[name], place), fields, place)

    def _period(self, statement: Statement, day: date, fields: tuple[str, ...], place: Place) -> None:
        for one in fields:
            held = getattr(statement, one)
            if held is not None and (day > held if one == "period_from" else day < held):
                raise Refused("DATE", place, f"rows of {held} lie outside the period that the file names ({day})")
            setattr(statement, one, day)

    def _day(self, text: str, place: Place) -> date:
        form = _FORMS.get(self.layout.date_form, "%Y%m%d")
        try:
            day = datetime.strptime(text, form).date()  # noqa: DTZ007 a date has no zone
        except ValueError:
            raise Refused("DATE", place, f"{text[:20]!r} is not a date of the calendar ({self.layout.date_form})") from None
        credible(day, self.content.limits, place)
        return day


def record_schema(layout: Layout) -> pa.Schema:
    """Schema of a layout's records: the file's hash, the line, then the columns; amounts are named ``…_minor``."""
    fields: list[tuple[str, pa.DataType]] = [("file_sha256", pa.string()), ("line_no", pa.int64())]
    for column in layout.kept:
        name = f"{column.means}_minor" if layout.type_of(column) == "amount" else str(column.means)
        fields.append((name, type_of(layout, column)))
    return pa.schema(fields, metadata={"layout": json.dumps({"layout": layout.layout, "version": layout.version})})


def _trimmed(texts: pa.StringArray) -> pa.StringArray:
    """Without the blanks around, null when nothing is left."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _as_they_are(texts: pa.StringArray) -> pa.StringArray:
    return texts


def _falses(count: int) -> pa.BooleanArray:
    return pa.array(np.zeros(count, dtype=bool))


def _sum(values: pa.Array) -> int:
    if not len(values):
        return 0
    largest = pc.max(pc.abs(values)).as_py() or 0
    wide = values if largest * len(values) < 2**63 else pc.cast(values, pa.decimal128(38, 0))
    return int(pc.sum(wide).as_py() or 0)
