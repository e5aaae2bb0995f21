"""The one table that people read, `results/README.md`, made from the measurements' JSON files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import result


def write() -> Path:
    """Write the table of the figures kept last; returns the file."""
    night, orders, hbase = (result.read(name) for name in ("one_night", "orders_over_http", "hbase_through_spark"))
    parts = [
        ["# Measurements", "", *_taken(night)],
        _night(night),
        _orders(orders),
        _bulk(result.read("orders_in_bulk")),
        _reads(result.read("balance_reads")),
        _verify(result.read("ledger_verify")),
        _growth(result.read("ledger_growth")),
        _recon_alone(result.read("recon_alone")),
        _hbase(hbase),
        _scoring(result.read("scoring")),
    ]
    parts.append(_report(result.read("report")))
    parts.append(_pages(result.read("pages")))
    parts.append(_statements(result.read("ingest_csv")))
    path = result.FOLDER / "README.md"
    path.write_text("\n\n".join("\n".join(part) for part in parts) + "\n", encoding="utf-8")
    return path


def _recon_alone(figures: dict[str, Any]) -> list[str]:
    shell = figures["shell_two_files_of_1000_rows"]
    lines = [
        "## Any two sets of records by a spec",
        "",
        f"`fundwatch recon run` of two files of 1,000 rows from the shell: {shell['wall_s']} s, {shell['cpu_s']} s of CPU. Then "
        "Parquet, 20-character keys, every break explained, all written as Parquet and CSV, whole processes:",
        "",
        "| records a side | query by hand: CPU s, GB | by spec on DuckDB: CPU s, GB | ratio | on Spark: CPU s, GB | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for size in figures["sizes"]:
        hand, spec, spark = size["by_hand"], size["duckdb"], size.get("spark")
        on_spark = f"{spark['cpu_s']}, {spark['memory_gb']} | {size['spark_to_hand_cpu']}" if spark else "not run | "
        lines.append(
            f"| {size['rows_a_side']:,} | {hand['cpu_s']}, {hand['memory_gb']} | {spec['cpu_s']}, {spec['memory_gb']} "
            f"| {size['duckdb_to_hand_cpu']} | {on_spark} |"
        )
    up = [(size["rows_a_side"], size["spark_session_up"]) for size in figures["sizes"] if "spark_session_up" in size]
    lines += [
        f"\nWith Spark's session up, {rows:,} records a side: {one['wall_s']} s, {one['cpu_s']} s of CPU." for rows, one in up
    ]
    return lines


def _taken(figures: dict[str, Any]) -> list[str]:
    machine = figures["machine"]
    return [
        f"`make bench`, {figures['taken_at']}, on {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}.",
        "Services, clients and jobs share that machine. " + ", ".join(f"{k} {v}" for k, v in figures["versions"].items()) + ".",
    ]


def _night(night: dict[str, Any]) -> list[str]:
    steps = [(step["step"], _count(step["rows_in"]), _count(step["rows_out"]), step["seconds"]) for step in night["steps"]]
    return [
        f"## One night: {night['first_date']} to {night['last_date']} in one pass, {night['movements']:,} movements of "
        f"{night['orders']:,} orders{_load(night)}",
        "",
        *_table(("step", "rows in", "rows out", "seconds"), [*steps, ("all", "", "", night["total_seconds"])]),
    ]


def _orders(orders: dict[str, Any]) -> list[str]:
    rows = [
        ("orders per second, one movement each, committed", f"{orders['orders_per_second']:,}"),
        ("pgbench TPC-B transactions per second, same server, same run", f"{orders['pgbench_tps']:,}"),
        ("orders for each pgbench transaction", orders["orders_per_pgbench_transaction"]),
        ("orders per second when all go to 10 accounts", f"{orders['orders_per_second_to_10_accounts']:,}"),
        ("response time p50 / p99, ms", f"{orders['p50_ms']} / {orders['p99_ms']}"),
        ("processor time an order, ms: service + PostgreSQL", f"{orders['service_cpu_ms']} + {orders['postgres_cpu_ms']}"),
    ]
    title = f"## Orders over HTTP, {orders['clients']} clients, {orders['seconds']:.0f} seconds{_load(orders)}"
    return [title, "", *_table(("figure", "value"), rows)]


def _bulk(bulk: dict[str, Any]) -> list[str]:
    rows = [
        ("postings per second", f"{bulk['postings_per_second']:,}"),
        ("processor microseconds a posting: service + PostgreSQL", f"{bulk['service_cpu_us']} + {bulk['postgres_cpu_us']}"),
        ("memory of the service, MB", bulk["service_memory_mb"]),
        # figures taken before it was measured do not have it
        ("longest wait for a ledger number while posting, s", bulk.get("largest_unsealed_window_s", "not measured")),
        ("movements without a ledger number after the last answer", f"{bulk['unsealed_at_the_end']:,}"),
    ]
    title = f"## Orders in bulk, 1,000 a call, {bulk['callers']} callers{_load(bulk)}"
    return [title, "", *_table(("figure", "value"), rows)]


def _verify(verified: dict[str, Any]) -> list[str]:
    full, anchored, since = (verified[name] for name in ("full", "full_with_anchors", "since_anchor"))
    rows = [
        ("movements per second, everything", f"{full['movements_per_second']:,}"),
        ("movements per second, everything and the anchors", f"{anchored['movements_per_second']:,}"),
        ("processor microseconds a movement", full["cpu_us_a_movement"]),
        (f"seconds since the last anchor, {since['movements']:,} movements", since["seconds"]),
    ]
    title = f"## `ledger verify`, {verified['movements']:,} movements, two connections{_load(verified)}"
    return [title, "", *_table(("figure", "value"), rows)]


def _hbase(hbase: dict[str, Any]) -> list[str]:
    names = ("write_first", "write_warm", "read_first", "read_warm")
    rows = [(name.replace("_", ", "), f"{hbase[name]['rows_per_second']:,}", hbase[name]["seconds"]) for name in names]
    widths = f"key {hbase['key_bytes']}, cell {hbase['cell_bytes']} bytes"
    title = f"## HBase through Spark, {hbase['rows']:,} rows ({widths}){_load(hbase)}"
    return [title, "", *_table(("what", "rows per second", "seconds"), rows)]


def _report(report: dict[str, Any]) -> list[str]:
    rows = [
        (
            "build: lake rows to signed bundle, first / second time",
            f"{report['build_cold_seconds']} / {report['build_warm_seconds']}",
        ),
        ("of that, two PDFs", f"{report['pdf_warm_seconds']} ({report['pdf_share_of_warm_build']:.0%})"),
        ("build when the bundle is there", report["build_kept_seconds"]),
        ("verify: every figure, rendering and signature again", report["verify_seconds"]),
        ("of that, signature and hashes of all files, ms", report["check_files_milliseconds"]),
    ]
    title = (
        f"## One report: {report['figures']} figures, {report['files']} files, {report['bundle_bytes']:,} bytes{_load(report)}"
    )
    return [title, "", *_table(("figure", "seconds"), rows)]


def _scoring(scoring: dict[str, Any]) -> list[str]:
    rows = [(name, f"{scoring[key]['rows_per_second']:,}", scoring[key]["seconds"]) for key, name in _ENGINES.items()]
    title = f"## Scoring {scoring['rows']:,} rows, {scoring['features']} features of {scoring['bins']} bins{_load(scoring)}"
    return [title, "", *_table(("the same expression in", "rows per second", "seconds"), rows)]


_ENGINES = {"spark": "Spark", "duckdb": "DuckDB (peer)"}


def _pages(pages: dict[str, Any]) -> list[str]:
    rows = [
        ("ready (charts drawn) with an empty cache / a full one, s", f"{pages['ready_cold_s']} / {pages['ready_warm_s']}"),
        ("requests and bytes with an empty cache", f"{pages['requests']} / {pages['bytes_cold']:,}"),
        ("server's answer p50 / p95, ms", f"{pages['server_p50_ms']} / {pages['server_p95_ms']}"),
    ]
    title = f"## The overview in Chromium {pages['chromium'].split('.')[0]}, {pages['loans']:,} loans{_load(pages)}"
    return [title, "", *_table(("figure", "value"), rows)]


def _statements(landed: dict[str, Any]) -> list[str]:
    names = {"plain_csv": "UTF-8, many accounts, yuan", "cn_bank_daily": "GB18030, one account, fen, a unique reference"}
    rows = [
        (names[layout], f"{one['megabytes']:,}", f"{one['rows']:,}", one["cpu_s"], one["mb_per_core_s"], one["peak_rss_mb"])
        for layout, one in landed["files"].items()
    ]
    columns = ("file", "MB", "rows", "CPU s", f"MB/s a core (goal {landed['goal_mb_per_core_s']})", "peak memory MB")
    return [f"## Statements as CSV landed by `fundwatch ingest`{_load(landed)}", "", *_table(columns, rows)]


def _load(figures: dict[str, Any]) -> str:
    return f" (load average afterwards {figures['machine']['load_average_1m_after']})"


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _table(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Markdown: the first column left, the others right."""
    lines = [columns, ("---", *("---:" for _ in columns[1:])), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _reads(reads: dict[str, Any]) -> list[str]:
    rows = [
        ("orders written per second, 70 % of the full rate", f"{reads['orders_written_per_second']:,}"),
        ("balance read p50 / p99, ms", f"{reads['read_p50_ms']} / {reads['read_p99_ms']}"),
        ("order p50 / p99 beside them, ms from when it was due", f"{reads['write_p50_ms']} / {reads['write_p99_ms']}"),
    ]
    return [f"## Balance reads beside writes{_load(reads)}", "", *_table(("figure", "value"), rows)]


def _growth(growth: dict[str, Any]) -> list[str]:
    small, large = growth["small"], growth["large"]
    rows = [
        ("movements", f"{small['movements']:,}", f"{large['movements']:,}"),
        ("orders per second over HTTP", f"{small['orders_per_second']:,}", f"{large['orders_per_second']:,}"),
        ("pgbench TPC-B beside it", f"{small['pgbench_tps']:,}", f"{large['pgbench_tps']:,}"),
        (
            "verified movements per second",
            f"{small['verify_movements_per_second']:,}",
            f"{large['verify_movements_per_second']:,}",
        ),
        ("database, GB", small["database_gb"], large["database_gb"]),
    ]
    return [f"## Posting as the ledger grows{_load(growth)}", "", *_table(("figure", "small", "large"), rows)]
