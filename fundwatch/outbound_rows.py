"""What each outbound file tells, as SQL over what a run published (contracts section 3, spec 07 section 7.2).

The rows come from the lake as Arrow batches into DuckDB, which joins and sorts them and spills to the disk what is too large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_MEMORY = "1GB"
# the records of a sender's files with the comparisons they take part in and the key they have there (contracts section 8)
_PLATFORM_RECORDS = """
select 'orders' as file_kind, line_no, request_no as match_key, amount_minor, currency from platform_order
union all select 'postings', line_no, request_no || '#' || cast(seq as varchar), amount_minor, currency from virtual_posting
union all select 'balances', line_no, account_no, closing_minor, currency from virtual_balance"""
_CHANNEL_RECORDS = "select 'channel' as file_kind, line_no, request_no as match_key, amount_minor, currency from channel_order"
_COMPARED = "(values ('orders', 'R1'), ('orders', 'R1P'), ('postings', 'R3'), ('balances', 'R6'), ('channel', 'R4'))"
# R6 proves balances without match groups: in a complete date every account of the file was compared
_VERDICTS = """
select recon_id, match_key, currency, cast(null as varchar) as code, cast(null as varchar) as item_id from match_group
union all select 'R6', account_no, currency, null, null from virtual_balance
union all select recon_id, regexp_replace(match_key, ':held$', ''), currency, code, item_id from open_item"""
_BREAKS = """
select i.item_id, i.recon_id, i.code, i.severity, i.match_key, i.account_no, i.currency, i.amount_minor, e.effect_minor,
       e.effects, cast(i.opened_on as varchar) as opened_on, i.age_working_days, i.suggested_action as action, i.explanation
  from open_item i
  left join (
    select item_id, sum(case book when 'B' then -effect_minor else effect_minor end) as effect_minor,
           string_agg(book || ' ' || account_no || ' ' || cast(effect_minor as varchar), ';'
                      order by book, account_no, effect_minor) as effects
      from open_item_effect group by item_id) e using (item_id)
 where i.recon_id <> 'R9'"""
_CONFIRMATION = """
select file_kind, file_name, sha256, row_count, control_sum, sequence_no, state as verdict, reason_code, reason,
       strftime(make_timestamp(epoch_us(received_at)), '%Y-%m-%dT%H:%M:%S.%fZ') as received_at
  from file_control where state in ('ACCEPTED', 'REFUSED') and sha256 is not null"""
_NOTICE = """
select file_kind, file_name, state, reason_code, reason, sha256 from file_control where state in ('MISSING', 'REFUSED')"""


RunsOf = Callable[[Sequence[date]], dict[date, int]]


class Source(Protocol):
    """Where published rows come from: the lake, or tables that a test made."""

    def __call__(self, table: str, run_id: int, business_date: date) -> pa.RecordBatchReader | pa.Table:
        """The rows that a run wrote into a lake table for a date."""


@dataclass(frozen=True)
class Scope:
    """Whose rows: what run `run_id` found about a platform and date, for one receiver.

    `role` is PLATFORM or PAYMENT_COMPANY; `is_sole_company` when the platform has no other payment company.
    """

    receiver_id: str
    role: str
    platform_id: str
    business_date: date
    run_id: int
    is_sole_company: bool = True


@contextmanager
def scratch_database(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB database in memory that spills under `folder`."""
    import duckdb

    settings = {"memory_limit": _MEMORY, "temp_directory": str(folder / "spill"), "threads": "2"}
    with duckdb.connect(":memory:", config=settings) as connection:
        yield connection


def query_of(connection: duckdb.DuckDBPyConnection, kind: str, scope: Scope, source: Source, runs_of: RunsOf) -> str:
    """Load what `kind` needs into the connection and give the query that has the file's columns.

    Where a platform has several payment companies, an item is told to the one whose file or account had it on the date it was
    opened; `runs_of` gives the runs that count for such dates.
    """
    if kind in ("confirmation", "notice"):
        _load(connection, source, scope, "file_control", f"sender_id = {_text(scope.receiver_id)}")
        return _CONFIRMATION if kind == "confirmation" else _NOTICE
    is_company = scope.role == "PAYMENT_COMPANY"
    _load(connection, source, scope, "open_item", "recon_id = 'R4'" if is_company else "true")
    if kind == "results":
        return _results(connection, scope, source, is_company)
    _load(connection, source, scope, "open_item_effect", "true")
    if is_company and not scope.is_sole_company:
        _keys_of_company(connection, scope, source, runs_of)
        return f"{_BREAKS} and i.match_key in (select match_key from company_key)"
    return _BREAKS


def _results(connection: duckdb.DuckDBPyConnection, scope: Scope, source: Source, is_company: bool) -> str:
    _load(connection, source, scope, "match_group", "recon_id = 'R4'" if is_company else "true")
    if is_company:
        _load(connection, source, scope, "channel_order", f"sender_id = {_text(scope.receiver_id)}")
    else:
        for name in ("platform_order", "virtual_posting"):
            _load(connection, source, scope, name, "true")
    # without the platform's balances (a payment company) the table is there and empty
    _load(connection, source, scope, "virtual_balance", "false" if is_company else "true")
    return f"""
      with verdict as (
        select recon_id, match_key, currency, coalesce(string_agg(distinct code, ';' order by code), 'MATCHED') as result,
               string_agg(distinct item_id, ';' order by item_id) as item_ids
          from ({_VERDICTS}) v group by recon_id, match_key, currency)
      select r.file_kind, r.line_no, v.recon_id, r.match_key, r.amount_minor, r.currency, v.result, v.item_ids
        from ({_CHANNEL_RECORDS if is_company else _PLATFORM_RECORDS}) r
        join {_COMPARED} c(file_kind, recon_id) on c.file_kind = r.file_kind
        join verdict v on v.recon_id = c.recon_id and v.match_key = r.match_key and v.currency = r.currency"""


def _keys_of_company(connection: duckdb.DuckDBPyConnection, scope: Scope, source: Source, runs_of: RunsOf) -> None:
    """Table `company_key`: what the company sent, and what custody booked on its account, on the dates of open items."""
    connection.execute("create or replace temp table company_key (match_key varchar)")
    account = _text(f"{scope.platform_id}-X-CHANNEL-{scope.receiver_id}")
    dates = connection.execute("select distinct opened_on from open_item where opened_on is not null order by 1").fetchall()
    for day, run_id in {**runs_of([row[0] for row in dates]), scope.business_date: scope.run_id}.items():
        of_day = Scope(scope.receiver_id, scope.role, scope.platform_id, day, run_id)
        _load(connection, source, of_day, "channel_order", f"sender_id = {_text(scope.receiver_id)}")
        _load(connection, source, of_day, "ledger_movement", f"{account} in (debit_account_no, credit_account_no)")
        for name in ("channel_order", "ledger_movement"):
            connection.execute(f"insert into company_key select request_no from {name}")


def _load(connection: duckdb.DuckDBPyConnection, source: Source, scope: Scope, name: str, condition: str) -> None:
    """Table `name` with the platform's rows of the run and date that meet the condition, streamed."""
    connection.register("incoming", source(name, scope.run_id, scope.business_date))
    rows = f"select * from incoming where platform_id = {_text(scope.platform_id)} and {condition}"
    connection.execute(f"create or replace temp table {name} as {rows}")
    connection.unregister("incoming")


def _text(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"
