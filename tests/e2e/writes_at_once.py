"""Run by a test in a process of its own: frames made of one list of dates, asked for at once in one Spark Connect session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from fundwatch.settings import load
from lake.session import spark_session
from lake.tables import TABLES
from spark_jobs.positions import complete_dates

ROUNDS, AT_ONCE = 30, 4


def main() -> None:
    """Print how many of the answers were the right one."""
    spark = spark_session(load(), "writes at once")
    columns = TABLES["file_control"].columns
    row = {"platform_id": "P01", "sender_id": "P01", "file_kind": "postings", "file_name": "f.gz", "state": "ACCEPTED"}
    control = spark.createDataFrame([tuple(row.get(name) for name in columns)], TABLES["file_control"].ddl)
    right = 0
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for number in range(ROUNDS):
            dates = complete_dates(control.where(f"'{number}' = '{number}'"), None)
            counts = threads.map(lambda place, dates=dates: dates.where(f"{place} = {place}").count(), range(AT_ONCE))
            right += sum(count == 1 for count in counts)
    print(right)


if __name__ == "__main__":
    main()
