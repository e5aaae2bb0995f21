"""Step `history` on a real lake and a real HBase: what is published is found by key; a new version replaces the old."""

from __future__ import annotations

import socket
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from domain.errors import Failed, ServiceMissing
from domain.ids import entity_id
from fundwatch.settings import Settings
from hbase_schema.client import HistoryClient
from hbase_schema.tables import TABLES
from lake import store
from lake.steps import Run, StepContext
from lake.tables import TABLES as LAKE
from models.features import FEATURES, FLAG_OF, Group
from spark_jobs import history

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# numbers that no other test's runs have: the lake is shared by the session
FIRST, SECOND = 7_700_001, 7_700_002
DAY, NEXT = date(2031, 3, 3), date(2031, 3, 4)
ITEM = "0123456789abcdef0123456789abcdef"


def at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def movement(run_id: int, number: int, day: date, debit: int, credit: int, amount: int) -> dict[str, Any]:
    return {
        "business_date": day, "run_id": run_id, "platform_id": "P01", "ledger_no": number, "movement_id": number,
        "order_id": 100 + number, "request_no": f"R{number}", "seq": 1, "order_type": "REPAYMENT", "movement_type": "PRINCIPAL",
        "debit_account_no": f"P01-B-{debit}", "debit_account_id": debit, "debit_role": "BORROWERS",
        "credit_account_no": f"P01-L-{credit}", "credit_account_id": credit, "credit_role": "INVESTOR",
        "amount_minor": amount, "currency": "CNY", "effective_at": at(day, number), "recorded_at": at(day, number),
    }  # fmt: skip


def balance(run_id: int, account: int, day: date, debit: int, credit: int, closing: int) -> dict[str, Any]:
    return {
        "business_date": day, "run_id": run_id, "platform_id": "P01", "account_no": f"P01-L-{account}", "account_id": account,
        "account_role": "INVESTOR", "is_control": False, "currency": "CNY", "opening_minor": closing + debit - credit,
        "debit_minor": debit, "credit_minor": credit, "closing_minor": closing, "held_minor": 0,
    }  # fmt: skip


def customer(run_id: int, day: date, name: str) -> dict[str, Any]:
    return {
        "business_date": day, "run_id": run_id, "platform_id": "P01", "sender_id": "P01", "file_name": "f", "line_no": 1,
        "customer_no": "P01-C-1", "id_hash": "hash-1", "party_type": "PERSON", "name_masked": name, "opened_on": day,
    }  # fmt: skip


def open_item(run_id: int, day: date) -> tuple[dict[str, Any], dict[str, Any]]:
    front = {"business_date": day, "run_id": run_id, "platform_id": "P01", "item_id": ITEM, "recon_id": "R3", "code": "B01"}
    front |= {"account_no": "P01-L-1", "currency": "CNY"}
    return front | {"match_key": "R1#1", "amount_minor": 5, "opened_on": DAY}, front | {"book": "V", "effect_minor": -5}


def feature(run_id: int, day: date, subject: str, applied: int) -> dict[str, Any]:
    return {
        "business_date": day, "run_id": run_id, "platform_id": "P01", "borrower_ref": subject, "subject_hash": subject,
        "as_of": at(day, 15), "has_industry": 1, "app_member_cnt_90": applied, "app_reject_share_180": Decimal("0.250000"),
        "contract_new_minor_180": 5_000_000_000, "has_reputation": 1, "reputation_neg_weighted_365": Decimal("1.234567"),
        "reputation_max_severity": 4,
    }  # fmt: skip


def scored(run_id: int, day: date, subject: str, points: int) -> dict[str, Any]:
    return {
        "business_date": day, "run_id": run_id, "platform_id": "P01", "borrower_ref": subject, "subject_hash": subject,
        "model_id": "SC-0123456789abcdef", "points": points, "pd": Decimal("0.012345678"), "band": "AA",
        "reason_1": "APPLICATIONS", "feature_as_of": at(day, 15),
    }  # fmt: skip


def lake_rows(run_id: int, days: list[date]) -> dict[str, list[dict[str, Any]]]:
    """What a run writes. The second run lacks movement 2, the loan of NEXT, the item, and the new name."""
    is_first = run_id in (FIRST, FIRST + 20)
    movements = [movement(run_id, 1, DAY, 50, 1, 1000), movement(run_id, 3, NEXT, 50, 1, 300)]
    balances = [balance(run_id, 1, DAY, 0, 1000, 1500), balance(run_id, 2, DAY, 0, 0, 77), balance(run_id, 3, DAY, 0, 0, 0)]
    balances += [balance(run_id, 1, NEXT, 0, 300, 1800 if is_first else 1790), balance(run_id, 2, NEXT, 0, 0, 77)]
    loans = [
        {"business_date": day, "run_id": run_id, "platform_id": "P01", "loan_no": "L1", "currency": "CNY", "lender_dpd": 3}
        for day in days
        if is_first or day == DAY
    ]
    rows = {"ledger_movement": movements, "ledger_balance": balances, "loan_snapshot": loans, "customer": [], "open_item": []}
    if is_first:
        movements.append(movement(run_id, 2, NEXT, 50, 2, 10))
        rows["customer"] = [customer(run_id, DAY, "old"), customer(run_id, NEXT, "new")]
        item, effect = open_item(run_id, NEXT)
        rows |= {"open_item": [item], "open_item_effect": [effect]}
    # hash-2 has no open loan on NEXT; the second run has no scores of NEXT
    rows["person_feature"] = [feature(run_id, DAY, "hash-1", 2), feature(run_id, DAY, "hash-2", 7)]
    rows["person_feature"].append(feature(run_id, NEXT, "hash-1", 3 if is_first else 4))
    rows["score"] = [scored(run_id, DAY, "hash-1", 640), scored(run_id, DAY, "hash-2", 520)]
    if is_first:
        rows["score"].append(scored(run_id, NEXT, "hash-1", 660))
    order = {"run_id": run_id, "platform_id": "P01", "order_type": "REPAYMENT", "amount_minor": 1, "currency": "CNY"}
    rows["ledger_order"] = [order | {"business_date": m["business_date"], "order_id": m["order_id"]} for m in movements]
    return {name: [row for row in found if row["business_date"] in days] for name, found in rows.items()}


def publish(spark: SparkSession, database: Any, settings: Settings, run_id: int, days: list[date], version: int) -> StepContext:
    """Write a run's rows to the lake and publish it, without the night around it."""
    run = Run(run_id, days[0], days[-1], None, None, 10)
    context = StepContext(run, settings, spark)
    for name, rows in lake_rows(run_id, days).items():
        values = [tuple(row.get(column) for column in LAKE[name].columns) for row in rows]
        store.write(context, name, spark.createDataFrame(values, LAKE[name].ddl))
    with psycopg.connect(database.url("jobs")) as connection:
        connection.execute(
            """insert into run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
               values (%s, %s, %s, 10, '{}', 'test', 'PUBLISHED', now())""",
            [run_id, days[0], days[-1]],
        )
        for day in days:
            connection.execute(
                "insert into run.published values (%s, 'P01', %s, %s, 'COMPLETE', null, now())", [day, version, run_id]
            )
    return context


def projected(database: Any) -> list[int]:
    with psycopg.connect(database.url("jobs")) as connection:
        return [row[0] for row in connection.execute("select run_id from run.projected order by run_id")]


@pytest.fixture
def lake_session(spark: SparkSession) -> SparkSession:
    store.ensure_tables(spark)
    return spark


def test_a_new_version_replaces_the_old_and_what_it_lacks_is_gone(
    lake_session: SparkSession, database: Any, tables: Settings, client: HistoryClient
) -> None:
    first = publish(lake_session, database, tables, FIRST, [DAY, NEXT], 1)
    result = history.run(first)
    people = {"cust_360": 1, "cust_360:i": 2, "cust_360:n": 2, "cust_360:s": 2}
    assert result.tables == {"mv": 6, "ord": 3, "acct_bal": 3, "loan_snap": 2, "recon": 1} | people
    assert projected(database) == [FIRST]
    # account 2 did not move on DAY, but the platform starts there; account 3 is zero and has no row
    closings = [(client.balance_on(account, NEXT) or {}).get("closing_minor") for account in (1, 2, 3)]
    assert closings == [1800, 77, None]
    assert [row["amount_minor"] for row in client.movements(1, 10)] == [300, 1000]
    assert [(row["side"], row["counter_account_no"]) for row in client.movements(2, 10)] == [("C", "P01-B-50")]
    assert [row["side"] for row in client.movements(50, 10)] == ["D", "D", "D"]
    profile, loan, item = TABLES["cust_360"], TABLES["loan_snap"], TABLES["recon"]
    party = profile.key.encode(entity_id("hash-1"))
    loan_key = loan.key.encode(entity_id("P01", "L1"), NEXT)
    item_key = item.key.encode(bytes.fromhex(ITEM), NEXT)
    assert profile.cell.decode(client.get("cust_360", party) or b"")["name_masked"] == "new"
    assert loan.cell.decode(client.get("loan_snap", loan_key) or b"")["lender_dpd"] == 3
    assert item.cell.decode(client.get("recon", item_key) or b"")["effect_v_minor"] == -5

    before = {name: client.count(name) for name in TABLES}
    history.run(first)
    assert {name: client.count(name) for name in TABLES} == before

    history.run(publish(lake_session, database, tables, SECOND, [NEXT], 2))
    assert projected(database) == [FIRST, SECOND]
    assert client.movements(2, 10) == []
    assert [row["amount_minor"] for row in client.movements(1, 10)] == [300, 1000]
    assert (client.balance_on(1, NEXT) or {})["closing_minor"] == 1790
    assert (client.balance_on(1, NEXT, run_bound=FIRST) or {})["closing_minor"] == 1800
    assert client.get("loan_snap", loan_key) is None and client.get("recon", item_key) is None
    # the name of NEXT was withdrawn: the one of DAY holds again
    assert profile.cell.decode(client.get("cust_360", party) or b"")["name_masked"] == "old"


def test_a_run_not_yet_projected_is_caught_up_and_an_unpublished_one_or_an_hbase_that_is_down_is_said(
    lake_session: SparkSession, database: Any, tables: Settings, client: HistoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake_session, database, tables, FIRST + 10, [DAY], 1)
    second = publish(lake_session, database, tables, SECOND + 10, [NEXT], 1)
    result = history.run(second)
    assert result.detail["caught_up_runs"] == [FIRST + 10]
    assert projected(database) == [FIRST + 10, SECOND + 10]
    assert [row["amount_minor"] for row in client.movements(1, 10)] == [300, 1000]
    with psycopg.connect(database.url("jobs")) as connection:
        connection.execute("delete from run.projected")
    with monkeypatch.context() as patch, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        patch.setenv("FUNDWATCH_HBASE_THRIFT", f"127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(ServiceMissing, match="does not answer"):
            history.run(second)
    assert projected(database) == []
    with psycopg.connect(database.url("jobs")) as connection:
        connection.execute("delete from run.published")
    with pytest.raises(Failed, match="published nothing"):
        history.run(second)


def test_a_person_has_profile_features_and_score_in_one_row_and_a_new_version_takes_them_back(
    lake_session: SparkSession, database: Any, tables: Settings, client: HistoryClient
) -> None:
    run = FIRST + 20
    history.run(publish(lake_session, database, tables, run, [DAY, NEXT], 1))
    one, two = (client.person(entity_id(subject)) for subject in ("hash-1", "hash-2"))
    assert one["profile"] is not None and one["profile"]["name_masked"] == "new"
    industry, reputation, score = one["industry"], one["reputation"], one["score"]
    assert industry is not None and reputation is not None and score is not None
    assert (industry["business_date"], industry["app_member_cnt_90"], industry["as_of"]) == (NEXT, 3, at(NEXT, 15))
    assert (industry["app_reject_share_180_millionths"], industry["contract_new_minor_180"]) == (250_000, 5_000_000_000)
    assert industry["app_member_cnt_30"] is None
    assert (reputation["reputation_neg_weighted_365_millionths"], reputation["reputation_max_severity"]) == (1_234_567, 4)
    assert (score["points"], score["pd_billionths"], score["band"], score["business_date"]) == (660, 12_345_678, "AA", NEXT)
    assert (score["model_id"], score["reason_1"], score["reason_2"]) == ("SC-0123456789abcdef", "APPLICATIONS", None)
    # no open loan any more: what was last known stays, with its date; no customer row: no profile
    assert two["score"] is not None and (two["score"]["business_date"], two["profile"]) == (DAY, None)
    assert client.person(entity_id("nobody")) == dict.fromkeys(("profile", "industry", "reputation", "score"))

    again = SECOND + 20
    history.run(publish(lake_session, database, tables, again, [NEXT], 2))
    new = client.person(entity_id("hash-1"))
    assert new["industry"] is not None and new["industry"]["app_member_cnt_90"] == 4
    # the score of NEXT was withdrawn: the one of DAY holds again, and readers bounded by the first run still see the old
    assert new["score"] is not None and (new["score"]["points"], new["score"]["business_date"]) == (640, DAY)
    before = client.person(entity_id("hash-1"), run_bound=run)
    assert before["score"] is not None and before["score"]["points"] == 660
    assert client.person(entity_id("hash-2"))["score"] == two["score"]


def test_the_cells_hold_every_feature_of_their_group() -> None:
    cells = TABLES["cust_360"].cells
    for qualifier, group in (("i", Group.INDUSTRY), ("n", Group.REPUTATION)):
        wanted = {FLAG_OF[group]} | {code for code, one in FEATURES.items() if one.group is group}
        held = {name.removesuffix("_millionths") for name in cells[qualifier].names}
        assert held == wanted | {"platform_id", "business_date", "as_of"}
        decimals = {code for code in wanted if FEATURES[code].scale}
        assert {name.removesuffix("_millionths") for name in cells[qualifier].names if name.endswith("_millionths")} == decimals
