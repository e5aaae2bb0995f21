"""What publishing leaves in the marts: exactly the lake's rows; of loans and scores, those of a platform's last complete date."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from fundwatch.settings import load
from lake import marts, reader
from lake.tables import TABLES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

_LAST = """SELECT platform_id, max(business_date) FROM run.published WHERE run_id = %s AND state = 'COMPLETE' GROUP BY 1"""


def text(row: tuple[Any, ...]) -> tuple[str, ...]:
    """A row as text, times in seconds since the epoch, so that both sides compare whatever their time zone's class is."""
    return tuple(str(cell.timestamp() if hasattr(cell, "timestamp") else cell) for cell in row)


@pytest.mark.parametrize("name", [*marts.EVERY_DATE, *marts.LAST_DATE_ONLY])
def test_a_mart_holds_exactly_the_rows_of_the_lake(night: Any, published: dict[str, Any], name: str) -> None:
    settings = replace(load(), home=night.home)
    columns = TABLES[name].columns
    run_id = night.command("run", "show")["run_id"]
    rows = [
        row
        for batch in reader.batches(settings, name, run_id)
        for row in zip(*(batch[c].to_pylist() for c in columns), strict=True)
    ]
    with psycopg.connect(settings.database_url("reader")) as connection:
        found = connection.execute(
            f"SELECT {', '.join(columns)} FROM mart.{name} WHERE run_id = %s".encode(), [run_id]
        ).fetchall()
        last = dict(connection.execute(_LAST, [run_id]).fetchall())
    if name in marts.LAST_DATE_ONLY:
        day, platform = columns.index("business_date"), columns.index("platform_id")
        rows = [row for row in rows if row[day] == last[row[platform]]]
    assert sorted(map(text, found)) == sorted(map(text, rows))
    assert found or name == "score"


def test_sums_by_bucket_are_those_of_the_loans(night: Any, published: dict[str, Any]) -> None:
    settings = replace(load(), home=night.home)
    with psycopg.connect(settings.database_url("reader")) as connection:
        summed = connection.execute(
            "SELECT sum(outstanding_minor), sum(overdue_minor), sum(overdue_loans), sum(findings) FROM mart.loan_bucket"
        ).fetchone()
        loans = connection.execute(
            """SELECT sum(outstanding_principal_minor), sum(overdue_principal_minor + overdue_interest_minor),
                      count(*) FILTER (WHERE lender_dpd > 0), count(finding) FROM mart.loan_snapshot"""
        ).fetchone()
    assert summed == loans
