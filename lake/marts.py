"""Filling the marts: rows of a run go from the lake to PostgreSQL as Arrow batches over COPY, never row by row in Python.

Most marts hold every date of a run. Those in `LAST_DATE_ONLY` hold one date a platform, the run's last complete one: pages show
loans and scores as they stand, and older dates are in the lake and in the history store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from fundwatch.settings import Settings
from lake import reader
from lake.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

Database = psycopg.Connection[TupleRow]

EVERY_DATE = ("open_item", "open_item_effect", "file_control", "balance_equation", "recon_summary", "indicator")
LAST_DATE_ONLY = ("loan_snapshot", "score")

SUM_MARTS = ("loan_bucket", "largest_borrower", "score_band")
# sums that pages read instead of the rows: made of exactly the rows just copied
SUMS = {
    "loan_snapshot": (
        """
        insert into mart.loan_bucket (business_date, run_id, platform_id, currency, lender_bucket, loans, outstanding_minor,
                                      overdue_minor, overdue_loans, findings)
        select business_date, run_id, platform_id, currency, lender_bucket,
               count(*) filter (where outstanding_principal_minor > 0 or outstanding_interest_minor > 0),
               sum(outstanding_principal_minor), sum(overdue_principal_minor + overdue_interest_minor),
               count(*) filter (where lender_dpd > 0), count(finding)
          from mart.loan_snapshot where run_id = %s group by 1, 2, 3, 4, 5""",
        """
        insert into mart.largest_borrower (business_date, run_id, platform_id, currency, place, borrower_ref, outstanding_minor)
        select * from (
          select business_date, run_id, platform_id, currency,
                 row_number() over (partition by business_date, run_id, platform_id, currency
                                    order by sum(outstanding_principal_minor) desc, borrower_ref collate "C") as place,
                 borrower_ref, sum(outstanding_principal_minor)
            from mart.loan_snapshot where run_id = %s group by business_date, run_id, platform_id, currency, borrower_ref) ranked
         where place <= 10""",
    ),
    "score": (
        """
        insert into mart.score_band (business_date, run_id, platform_id, currency, model_id, band, people, loans,
                                     outstanding_minor)
        select s.business_date, s.run_id, s.platform_id, l.currency, s.model_id, s.band, count(distinct s.borrower_ref), count(*),
               sum(l.outstanding_principal_minor)
          from mart.score s join mart.loan_snapshot l using (run_id, business_date, platform_id, borrower_ref)
         where s.run_id = %s and l.outstanding_principal_minor > 0 group by 1, 2, 3, 4, 5, 6""",
    ),
}


def fill(database: Database, settings: Settings, name: str, run_id: int, last_dates: Mapping[str, date] | None = None) -> int:
    """Copy the run's rows of lake table `name` into the mart of that name; returns their number.

    With `last_dates` (platform → date) only the rows of each platform's date are copied; sums that belong to the mart follow.
    """
    copied = _copy(database, name, _wanted(settings, name, run_id, last_dates))
    for statement in SUMS.get(name, ()):
        database.execute(statement, [run_id])
    return copied


def _wanted(settings: Settings, name: str, run_id: int, last_dates: Mapping[str, date] | None) -> Iterator[pa.RecordBatch]:
    if last_dates is None:
        yield from reader.batches(settings, name, run_id)
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    for day in sorted(set(last_dates.values())):
        platforms = pa.array([platform for platform, last in last_dates.items() if last == day])
        for batch in reader.batches(settings, name, run_id, day):
            yield batch.filter(pc.is_in(batch.column("platform_id"), value_set=platforms))


def _copy(database: Database, name: str, batches: Iterator[pa.RecordBatch]) -> int:
    """Stream batches as CSV, which Arrow writes and PostgreSQL reads in compiled code; an empty cell is null, "" empty text."""
    from pyarrow import csv

    columns = list(TABLES[name].columns)
    into = sql.SQL("copy {} ({}) from stdin with (format csv)").format(
        sql.Identifier("mart", name), sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    )
    count = 0
    with database.cursor().copy(into) as target:
        for batch in batches:
            text = BytesIO()
            csv.write_csv(batch.select(columns), text, csv.WriteOptions(include_header=False, batch_size=16_384))
            target.write(text.getbuffer())
            count += batch.num_rows
    return count
