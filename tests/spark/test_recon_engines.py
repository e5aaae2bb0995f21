"""Every statement of the reconciliation on Spark and DuckDB: equal content on the same data (architecture section 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from domain.channel_fees import FeeTerm
from lake.tables import TABLES
from recon.engine import DuckEngine, SparkEngine, run_statements
from recon.on_duckdb import EARLIER, create_inputs
from recon.pipeline import INPUTS, Scope, statements
from recon.rules import load_rules

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TERMS = (FeeTerm("P01", "PC01", date(2026, 1, 1), date(2026, 12, 31), 123_456_789, 7),)
SCOPE = Scope(1, date(2026, 8, 1), date(2026, 8, 5), date(2026, 7, 30), ZoneInfo("Asia/Shanghai"), fee_terms=TERMS)

TRUTH = """
create temp table truth as
with n as (select range as i from range(400)),
kind as (
  select i, date '2026-08-01' + cast(i // 80 as int) as business_date, 'Q' || i as request_no, 'P0' || (1 + i % 2) as platform_id,
    case when i % 10 = 0 then 'RECHARGE' when i % 10 = 1 then 'WITHDRAW' else 'TENDER' end as movement_type,
    100 + (i * 31) % 9973 as amount_minor,
    cast(date '2026-08-01' + cast(i // 80 as int) as timestamp) + interval (i * 2617 % 82800) second as moment from n)
select *,
  case movement_type when 'RECHARGE' then platform_id || '-X-CHANNEL' else platform_id || '-L-' || (i % 7) end
    as debit_account_no,
  case movement_type when 'RECHARGE' then platform_id || '-L-' || (i % 7) when 'WITHDRAW'
    then platform_id || '-X-WITHDRAWAL'
    else platform_id || '-B-' || (i % 3) end as credit_account_no,
  case movement_type when 'RECHARGE' then 'CHANNEL_RECEIVABLE' else 'INVESTOR' end as debit_role,
  case movement_type when 'RECHARGE' then 'INVESTOR' when 'WITHDRAW' then 'WITHDRAWAL_PAYABLE' else 'BORROWERS' end as credit_role
from kind"""
COMMON = "1 as run_id, platform_id, 'CNY' as currency"
FAULTY = (
    f"""insert into ledger_movement by name select business_date, {COMMON}, i as movement_id, request_no, 1 as seq, movement_type,
    movement_type as order_type,
    debit_account_no, debit_role, credit_account_no, credit_role, amount_minor, moment as recorded_at from truth
    where i % 91 <> 5""",
    f"""insert into virtual_posting by name
    with v as (select * from truth where i % 71 <> 3 union all select * from truth where i % 53 = 2
      union all select * replace (least(business_date + 1, date '2026-08-05') as business_date) from truth where i % 67 = 4)
    select business_date, {COMMON}, 'v.gz' as file_name, i as line_no, request_no, case when i % 97 = 7 then 2 else 1 end as seq,
      case when i % 83 = 9 then 'PRINCIPAL' else movement_type end as movement_type, debit_account_no,
      case when i % 89 = 8 then platform_id || '-B-9' else credit_account_no end as credit_account_no,
      amount_minor + case when i % 79 = 6 then 1 else 0 end as amount_minor, moment as txn_at from v""",
    f"""insert into channel_order by name select business_date, {COMMON}, 'c.gz' as file_name, i as line_no, request_no,
    'C' || i as channel_order_no, movement_type as order_type,
    case movement_type when 'RECHARGE' then credit_account_no else debit_account_no end as account_no,
    amount_minor + case when i % 110 = 1 then 5 else 0 end as amount_minor, moment as txn_at,
    case when i % 120 = 0 then 'FAILED' else 'SUCCESS' end as channel_status from truth where movement_type <> 'TENDER'""",
    f"""insert into ledger_balance by name select business_date, {COMMON}, account_no, account_no like '%-X-%' as is_control,
    case when account_no like '%CHANNEL' then 'CHANNEL_RECEIVABLE' when account_no like '%WITHDRAWAL' then 'WITHDRAWAL_PAYABLE'
      when account_no like '%-L-%' then 'INVESTOR' else 'BORROWERS' end as account_role,
    closing_minor - coalesce(change, 0) as opening_minor, closing_minor from b_closing""",
    f"""insert into virtual_balance by name select business_date, {COMMON}, account_no,
    closing_minor + case when account_no like '%-L-3' and day(business_date) in (2, 3) then 9 else 0 end as closing_minor
    from v_closing where account_no not like '%-X-%'""",
    f"""insert into bank_statement_line by name select distinct business_date, {COMMON}, 'CLOSING' as line_type,

    cast(case when platform_id = 'P01' and day(business_date) >= 4 then 7 else 0 end as bigint) as amount_minor from truth""",
    """insert into file_control by name select business_date, 1 as run_id, platform_id, platform_id as sender_id,
    'postings' as file_kind,
    'f.gz' as file_name, case when platform_id = 'P02' and day(business_date) = 4 then 'REFUSED' else 'ACCEPTED' end as state,
    'HASH' as reason_code, 'wrong hash' as reason from (select distinct business_date, platform_id from truth)""",
    f"""insert into platform_order by name select business_date, {COMMON}, 'o.gz' as file_name, i as line_no, request_no,
    movement_type as order_type, amount_minor + case when i % 61 = 11 then 1 else 0 end as amount_minor,
    case when i % 59 = 12 then 'FAILED' when i % 57 = 13 then 'PROCESSING' else 'SUCCESS' end as order_status,
    moment as created_at from truth where i % 63 <> 14
    union all select business_date, {COMMON}, 'o.gz', 1000 + i, 'X' || request_no, movement_type, amount_minor,
      case when i % 2 = 0 then 'SUCCESS' else 'ACCEPT' end, moment from truth where i % 43 = 15""",
    f"""insert into ledger_order by name select business_date, {COMMON}, i as order_id, 'BID' || i as request_no,
    'TENDER' as order_type, amount_minor, moment as recorded_at from truth where i % 37 = 16""",
    f"""insert into ledger_movement by name select business_date, {COMMON}, 1000 + i as movement_id, 'S' || i as request_no,
    1 as seq, 'SETTLEMENT' as movement_type, 'SETTLEMENT' as order_type, platform_id || '-X-SPECIAL' as debit_account_no,
    'SPECIAL_ACCOUNT' as debit_role, platform_id || '-X-CHANNEL' as credit_account_no, 'CHANNEL_RECEIVABLE' as credit_role,
    amount_minor, moment as recorded_at from truth where i % 20 = 0""",
    f"""insert into bank_statement_line by name select business_date, {COMMON}, 's.gz' as file_name, i as line_no,
    'ENTRY' as line_type, i as entry_no, amount_minor + case when i % 100 = 0 then 1 else 0 end as amount_minor,
    case when i % 60 = 0 then null else 'S' || i end as bank_ref from truth where i % 20 = 0""",
    """insert into file_control by name select business_date, 1 as run_id, platform_id, 'BANK' as sender_id, 'gl' as file_kind,
    'g.gz' as file_name, 'ACCEPTED' as state from (select distinct business_date, platform_id from truth)""",
    f"""insert into general_ledger_line by name select business_date, {COMMON}, 'g.gz' as file_name, 3 as line_no,
    '2241' as gl_account_no, 'SUB_ACCOUNTS' as account_kind, 0 as opening_minor,
    sum(case when movement_type = 'RECHARGE' then 0 else amount_minor end) as debit_minor,
    sum(case when movement_type = 'WITHDRAW' then 0 else amount_minor end) as credit_minor, 77 as closing_minor
    from truth group by business_date, platform_id
    union all select distinct business_date, {COMMON}, 'g.gz', 4, '2011', 'SPECIAL_ACCOUNT', 1, 0, 2, 3 from truth""",
    """insert into quarantine_row by name select business_date, 1 as run_id, platform_id, platform_id as sender_id,
    'loans' as file_kind, 'l.gz' as file_name, i as line_no, 'currency' as column_name, 'unknown word' as reason,
    'x' as raw_text from truth where i % 90 = 17""",
    # lines of the statement twice, withdrawals that failed and went back or not, parts of interest a cent off, twins, batches
    f"""insert into bank_statement_line by name select business_date, {COMMON}, 's.gz' as file_name, 5000 + i as line_no,
    'ENTRY' as line_type, 5000 + i as entry_no, amount_minor, 'S' || i as bank_ref from truth where i % 80 = 20""",
    f"""insert into channel_order by name select business_date + 1 as business_date, {COMMON}, 'c.gz' as file_name,
    5000 + i as line_no, request_no, 'C' || i as channel_order_no, 'WITHDRAW' as order_type, debit_account_no as account_no,
    amount_minor, moment as txn_at,
    'REFUSED' as channel_status from truth where i % 40 = 21 and i < 320""",
    f"""insert into ledger_movement by name select business_date + 1 as business_date, {COMMON}, 5000 + i as movement_id,
    request_no || '#B' as request_no, 1 as seq, 'BACKROLL' as movement_type, 'BACKROLL' as order_type,
    platform_id || '-X-WITHDRAWAL' as debit_account_no, 'WITHDRAWAL_PAYABLE' as debit_role, debit_account_no as credit_account_no,
    'INVESTOR' as credit_role, amount_minor, moment as recorded_at from truth where i % 80 in (11, 21) and i < 320""",
    f"""insert into ledger_movement by name select business_date, {COMMON}, 6000 + 2 * i + seq as movement_id,
    'I' || i as request_no, seq, 'INTEREST' as movement_type, 'REPAYMENT' as order_type,
    platform_id || '-B-1' as debit_account_no, 'BORROWERS' as debit_role, platform_id || '-L-' || seq as credit_account_no,
    'INVESTOR' as credit_role, amount_minor,
    moment as recorded_at from truth cross join (select unnest([1, 2]) as seq) where i % 50 = 22""",
    f"""insert into virtual_posting by name select business_date, {COMMON}, 'v.gz' as file_name, 6000 + 2 * i + seq as line_no,
    'I' || i as request_no, seq, 'INTEREST' as movement_type, platform_id || '-B-1' as debit_account_no,
    platform_id || '-L-' || seq as credit_account_no, amount_minor + seq - 1 as amount_minor, moment as txn_at
    from truth cross join (select unnest([1, 2]) as seq) where i % 50 = 22""",
    f"""insert into ledger_movement by name select business_date, {COMMON}, 8000 + 2 * i + n as movement_id,
    'TWIN' || i || '-' || n as request_no, 1 as seq, 'TENDER' as movement_type, 'DISBURSE' as order_type,
    platform_id || '-L-1' as debit_account_no, 'INVESTOR' as debit_role, platform_id || '-B-1' as credit_account_no,
    'BORROWERS' as credit_role, amount_minor, moment as recorded_at
    from truth cross join (select unnest([1, 2]) as n) where i % 60 = 33""",
    f"""insert into virtual_posting by name select business_date, {COMMON}, 'v.gz' as file_name, 8000 + i as line_no,
    'LONE' || i as request_no, 1 as seq, 'TENDER' as movement_type, platform_id || '-L-1' as debit_account_no,
    platform_id || '-B-1' as credit_account_no, amount_minor, moment as txn_at from truth where i % 60 = 33""",
    """update channel_order set settlement_batch_no = platform_id || business_date where order_type = 'RECHARGE'""",
    """insert into channel_settlement by name select business_date + 1 as business_date, 1 as run_id, platform_id,
    'PC01' as sender_id, 'b.gz' as file_name, day(business_date) as line_no, currency, settlement_batch_no,
    business_date + 1 as settled_on,
    count(*) as order_count, cast(sum(amount_minor) as bigint) as gross_minor, max(5 * day(business_date)) as fee_minor,
    cast(sum(amount_minor) - max(5 * day(business_date)
      + case when day(business_date) = 2 then amount_minor else 0 end) as bigint) as net_minor
    from channel_order where settlement_batch_no is not null and channel_status = 'SUCCESS' and day(business_date) < 5
    group by business_date, platform_id, currency, settlement_batch_no""",
    "update virtual_balance set held_minor = 3 where account_no like '%-L-1' and day(business_date) = 2",
    """insert into recon_earlier by name select date '2026-07-31' as business_date, 0 as run_id, 'R3' as recon_id,
    'P01' as platform_id,
    'OLD#1' as match_key, 'CNY' as currency, date '2026-07-30' as opened_on,
    '{"matched_on":"","matched_minor":0,"records":["L|2026-07-30|TENDER|P01-L-1|P01-B-1|500|old.gz:1|1"]}' as state_json""",
    """insert into match_history by name select date '2026-07-31' as business_date, 0 as run_id, 'R3' as recon_id, platform_id,
    request_no || '#1' as match_key, 'CNY' as currency, date '2026-07-31' as matched_on, amount_minor from truth where i = 5""",
)


def closings(book: str, table: str) -> str:
    return f"""create temp table {book}_closing as
    with leg as (select business_date, platform_id, debit_account_no as account_no, -amount_minor as change from {table}
      union all select business_date, platform_id, credit_account_no, amount_minor from {table}),
    day as (select business_date, platform_id, account_no, sum(change) as change from leg group by all),
    grid as (select * from (select distinct platform_id, account_no from day) cross join (select distinct business_date from day))
    select *, sum(coalesce(change, 0)) over (partition by platform_id, account_no order by business_date) as closing_minor
    from grid left join day using (platform_id, account_no, business_date)"""


@pytest.fixture(scope="module")
def books() -> Iterator[duckdb.DuckDBPyConnection]:
    """Five dates of two platforms with every kind of fault, a carried item and a remembered match."""
    with duckdb.connect() as connection:
        create_inputs(connection)
        connection.execute(TRUTH)
        for number, text in enumerate(FAULTY):
            if number == 3:
                connection.execute(closings("b", "ledger_movement"))
                connection.execute(closings("v", "virtual_posting"))
            connection.execute(text.replace("recon_earlier", "carried"))
        yield connection


def content(rows: list[Any]) -> Counter[str]:
    return Counter(repr(tuple(row)) for row in rows)


def test_every_statement_gives_the_same_rows_on_spark_and_duckdb(
    books: duckdb.DuckDBPyConnection, spark: SparkSession, tmp_path: Path
) -> None:
    rules = load_rules()
    queue = statements(rules, SCOPE)
    on_duckdb, on_spark = DuckEngine(books), SparkEngine(spark)
    try:
        run_statements(on_duckdb, queue)
        for name, table in {**{name: name for name in INPUTS}, **EARLIER}.items():
            books.execute(f"copy {name} to '{tmp_path / name}.parquet' (format parquet)")
            on_spark.provide(name, spark.read.schema(TABLES[table].ddl).parquet(f"{tmp_path / name}.parquet"))
        run_statements(on_spark, queue)
        codes = {row[0] for row in books.execute("select distinct code from out_open_item").fetchall()}
        assert codes >= {"B01", "B02", "B04", "B05", "B07", "B08", "B14", "B20", "B21", "B24"}
        assert codes >= {"B03", "B06", "B16", "B22", "B25", "B26", "B27"}
        assert codes >= {"B09", "B15", "B17", "B18", "B19", "B28"}
        for statement in queue:
            columns = ", ".join(on_spark.frame(statement.name).columns)
            mine = content(books.execute(f"select {columns} from {statement.name}").fetchall())
            theirs = content(on_spark.frame(statement.name).collect())
            assert mine == theirs, (statement.name, [*(mine - theirs)][:2], [*(theirs - mine)][:2])
    finally:
        on_spark.close()
        on_duckdb.close()
