"""The supervisory feed's checks: a sound feed passes all of them, and each planted fault is found by the one meant for it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expectations.suites import load_suite
from fundwatch.settings import Settings
from ingest.statements import feed, formats
from ingest.statements.delimited import record_schema
from ingest.statements.land import ACCEPTED, Target, land
from ingest.statements.source import Limits
from lake.steps import Run
from spark_jobs import supervisory_feed

Feed = dict[int, list[dict[str, Any]]]
CHECKS = {check.name: check.sql for check in load_suite("supervisory_feed")}
DAY = "2026-08-31 10:00:00"


def sound() -> Feed:
    """Two people, one loan of two instalments, one claim that is sold on, one pool."""

    def flow(number: str, kind: int, **more: str) -> dict[str, Any]:
        return {
            "transId": number,
            "sourceProductCode": "L1",
            "transType": str(kind),
            "transMoney": "10",
            "userIdcardHash": "h1",
            "transTime": DAY,
        } | more

    def row(number: int, when: str) -> dict[str, Any]:
        return {
            "sourceProductCode": "L1",
            "totalIssue": 2,
            "issue": number,
            "replanId": f"P{number}",
            "curFund": "500",
            "curInterest": "5",
            "repayTime": when,
        }

    return {
        1: [{"userIdcardHash": "h1"}, {"userIdcardHash": "h2"}],
        2: [
            {
                "productStartTime": DAY,
                "sourceProductCode": "L1",
                "userIdcardHash": "h1",
                "loanRate": "0.120000",
                "amount": "1000.00",
                "term": "60",
                "payType": "1",
            }
        ],
        6: [{"sourceProductCode": "L1", "productStatus": status, "productDate": DAY} for status in ("6", "1", "9")],
        81: [row(1, "2026-09-30 00:00:00"), row(2, "2026-10-01 00:00:00")],
        82: [
            {
                "finClaimId": "C1",
                "sourceProductCode": "L1",
                "userIdcardHash": "h2",
                "invAmount": "995",
                "redpackage": "4.99",
                "invTime": DAY,
            }
        ],
        83: [{"transferId": "X1", "fromType": "1", "finClaimId": "C1", "transferAmount": "100", "transferDate": DAY}],
        84: [{"transferId": "X1", "transferStatus": "2"}],
        85: [{"unFinClaimId": "U1", "transferId": "X1", "finClaimId": "C1", "takeAmount": "100", "takeTime": DAY}],
        4: [
            flow("T1", 1),
            flow("T2", 2, finClaimId="C1"),
            flow("T3", 18, replanId="P1"),
            flow("T4", 19, replanId="P1"),
            flow("T5", 8, replanId="P1", finClaimId="C1"),
            flow("T6", 9, replanId="P1", finClaimId="C1"),
        ],
        86: [{"sourceFinancingCode": "POOL"}],
        87: [{"configId": "G1", "finClaimId": "U1", "sourceFinancingCode": "POOL"}],
        88: [
            {
                "transId": "J1",
                "sourceFinancingCode": "POOL",
                "transType": "1",
                "transMoney": "5",
                "userIdcardHash": "h2",
                "transTime": DAY,
            }
        ],
    }


def failed(rows: Feed, folder: Path) -> set[str]:
    """Names of the checks with offending rows, over what lands of the feed's files."""
    with duckdb.connect() as engine:
        for kind, entity in feed.entities().items():
            engine.register(entity.name, landed(kind, rows[kind], folder))
        names = {entity.name: f'"{entity.name}"' for entity in feed.entities().values()}
        return {name for name, sql in CHECKS.items() if engine.sql(sql.format(**names)).fetchall()}


def landed(kind: int, rows: list[dict[str, Any]], folder: Path) -> pa.Table:
    if not rows:
        return record_schema(feed.entities()[kind].layout).empty_table()
    path = folder / f"{kind}.json"
    envelope = {"version": "1.5", "sourceCode": "S", "batchNum": "S_20260831_1", "sentTime": DAY, "dataType": 1, "nonce": "1"}
    path.write_text(json.dumps(envelope | {"infType": kind, "totalNum": len(rows), "dataList": rows}), encoding="utf-8")
    (verdict,) = land([path], formats.chosen("auto", None, None), Target(folder / "out"), Limits(date(2026, 9, 1)))
    assert (verdict.state, verdict.bad_row_cnt) == (ACCEPTED, 0), verdict.reason
    return pq.read_table(folder / "out" / str(verdict.folder) / "records.parquet")


def test_a_sound_feed_passes_every_check(tmp_path: Path) -> None:
    assert failed(sound(), tmp_path) == set()


def change(kind: int, at: int, **fields: object) -> Callable[[Feed], None]:
    return lambda rows: rows[kind][at].update(fields)


def drop(kind: int, at: int) -> Callable[[Feed], None]:
    return lambda rows: rows[kind].pop(at) and None


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda rows: rows[4].append(copy.deepcopy(rows[4][0])), {"a_record_comes_once"}),
        (change(2, 0, userIdcardHash="h9"), {"every_identity_is_in_user_info"}),
        (change(82, 0, userIdcardHash="-1"), {"a_hash_is_no_filler"}),
        (drop(4, 0), {"a_loan_past_raising_was_disbursed"}),
        (lambda rows: rows[81].clear(), {"a_loan_past_raising_has_a_plan"}),
        (change(81, 1, totalIssue=3), {"a_plan_has_as_many_rows_as_it_says"}),
        (change(81, 1, repayTime="2026-11-01 00:00:00"), {"the_months_of_a_plan_follow_each_other"}),
        (drop(4, 3), {"repaid_principal_comes_with_interest_or_fee_and_reaches_lenders"}),
        (lambda rows: rows[4].__delitem__(slice(4, 6)), {"repaid_principal_comes_with_interest_or_fee_and_reaches_lenders"}),
        (drop(4, 5), {"redeemed_principal_comes_with_interest"}),
        (change(82, 0, redpackage="-0.01"), {"claims_add_up_to_the_loan_within_five_yuan"}),
        (change(82, 0, redpackage="0"), set()),
        (drop(4, 1), {"a_claim_was_paid_for"}),
        (drop(6, 1), {"a_loan_has_a_status_and_was_full"}),
        (change(4, 2, transMoney="0.00"), {"a_flow_moves_money"}),
        (drop(84, 0), {"a_transfer_has_a_status_and_its_claim_exists"}),
        (change(83, 0, fromType="2"), {"a_transfer_has_a_status_and_its_claim_exists"}),
        (change(87, 0, finClaimId="Z"), {"a_product_pool_holds_what_exists"}),
        (change(88, 0, sourceFinancingCode="Z"), {"a_product_pool_holds_what_exists"}),
    ],
)
def test_each_fault_is_found_by_the_check_meant_for_it(fault: Callable[[Feed], None], found: set[str], tmp_path: Path) -> None:
    rows = sound()
    fault(rows)
    assert failed(rows, tmp_path) == found


def test_the_night_judges_a_date_with_all_that_was_pushed_by_then(tmp_path: Path) -> None:
    home = tmp_path / "home"
    rows = sound()
    rows[4][2]["transMoney"] = "0"
    for kind in feed.entities():
        landed(kind, rows[kind], tmp_path)
        day = "2026-09-01" if kind == 4 else "2026-08-31"
        place = home / "landing" / day / "P01" / "feed"
        place.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{kind}.json").rename(place / f"{kind}.json")
    (place / "broken.json").write_text('{"version": ', encoding="utf-8")
    settings, run = Settings(home, tmp_path), Run(1, date(2026, 8, 31), date(2026, 9, 1), None, None, 0)
    first, second = supervisory_feed.judged(settings, run)
    assert (first["platform_id"], first["business_date"], len(first["files"])) == ("P01", "2026-08-31", 12)
    # the flows came a day later: with them only the one without money is left
    assert "a_claim_was_paid_for" in first["faults"]
    assert second["faults"] == {"a_flow_moves_money": 1}
    read = {one["entity"]: (one["state"], one["records"]) for one in second["files"]}
    assert read == {"transact": (ACCEPTED, len(rows[4]))}
    assert {one["file_name"]: one["code"] for one in first["files"] if one["code"]} == {"broken.json": "TRUNCATED"}
    kept = {path: path.stat().st_mtime_ns for path in home.glob("feed/*/*")}
    assert supervisory_feed.judged(settings, run) == [first, second]
    assert {path: path.stat().st_mtime_ns for path in home.glob("feed/*/*")} == kept
    assert supervisory_feed.judged(settings, Run(2, date(2026, 9, 2), date(2026, 9, 2), None, None, 0)) == []
    assert supervisory_feed.judged(settings, Run(3, date(2026, 8, 31), date(2026, 9, 1), "P02", None, 0)) == []
