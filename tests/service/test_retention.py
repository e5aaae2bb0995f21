"""Retention by policy: what has been kept for its time goes, everything else stays, and a kill anywhere ends the same."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import BadInput, Failed
from fundwatch.retention import apply as applying
from fundwatch.retention import plan as planning
from fundwatch.retention.apply import apply
from fundwatch.retention.policy import Policy, policies
from fundwatch.settings import Settings
from ingest.quarantine import keep
from ingest.records import Verdict
from lake import marts

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
D1, D2 = date(2026, 8, 30), date(2026, 8, 31)
TABLE = [
    Policy("superseded_mart_rows", "", "", 90),
    Policy("past_position_rows", "", "", 35),
    Policy("logs", "", "", 400, 180),
    Policy("quarantine", "", "", 1830, 1826),
    Policy("outbound", "", "", 1830, 1826),
    Policy("past_sum_rows", "", "", 50),
    Policy("ended_sessions", "", "", 400, 180),
    Policy("login_attempts", "", "", 400, 180),
]
NOTHING = {"skipped": True, "reason": "nothing has been kept for longer than its time"}


def quiet(_: str) -> None:
    """Nobody listens."""


@pytest.fixture
def site(database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home of its own with old and young logs and refused files, and a platform whose first date has three versions."""
    monkeypatch.setenv("FUNDWATCH_SECRETS", str(database.settings.home / "secrets"))
    settings = replace(database.settings, home=tmp_path)
    with psycopg.connect(database.url("migrator"), autocommit=True) as connection:
        connection.execute("update ledger.clock set now_at = %s", [NOW])
        for run_id, (day, version, state, days_ago) in enumerate(
            [
                (D1, 1, "COMPLETE", 100),
                (D1, 2, "COMPLETE", 95),
                (D1, 3, "COMPLETE", 10),
                (D2, 1, "COMPLETE", 95),
                (D2, 2, "INCOMPLETE", 94),
            ],
            start=1,
        ):
            at = NOW - timedelta(days=days_ago)
            connection.execute(
                """insert into run.run (first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
                   values (%s, %s, 0, '{}', 'x', 'PUBLISHED', %s)""",
                [day, day, at],
            )
            connection.execute(
                "insert into run.published values (%s, 'P01', %s, %s, %s, null, %s)", [day, version, run_id, state, at]
            )
            connection.execute(
                "insert into mart.open_item (business_date, run_id, platform_id, item_id, code) "
                "values (%s, %s, 'P01', 'i', 'B01')",
                [day, run_id],
            )
            connection.execute(
                "insert into mart.indicator (business_date, run_id, platform_id, pack_id, code) values (%s, %s, 'P01', 'P', 'X')",
                [day, run_id],
            )
            connection.execute(
                "insert into mart.loan_snapshot (business_date, run_id, platform_id, loan_no) values (%s, %s, 'P01', 'L')",
                [day, run_id],
            )
            summed(connection, day, run_id)
        signed_in(connection)
    for name, days in (("api.log", 500), ("web.log", 10)):
        aged(settings.log_dir / name, days)
    aged(settings.home / "scheduler" / "logs" / "dag" / "task.log", 500)
    for day in (date(2021, 11, 1), date(2026, 8, 30)):
        landed = settings.landing_dir / day.isoformat() / "P01" / "P01.orders.csv.gz"
        aged(landed, 2000)
        aged(settings.outbound_dir / "P01" / day.isoformat() / "P01.results.1.csv.gz", 1)
        keep(
            settings.quarantine_dir,
            Verdict(day, "P01", "P01", "orders", landed.name, "REFUSED", "HASH", "x", "ab" * 32, path=landed),
        )
    return settings


def summed(connection: psycopg.Connection[Any], day: date, run_id: int) -> None:
    """A row of each mart of sums."""
    connection.execute("insert into mart.loan_bucket values (%s, %s, 'P01', 'CNY', 'M0', 1, 1, 0, 0, 0)", [day, run_id])
    connection.execute("insert into mart.largest_borrower values (%s, %s, 'P01', 'CNY', 1, 'B', 1)", [day, run_id])
    connection.execute("insert into mart.score_band values (%s, %s, 'P01', 'CNY', 'M', 'A', 1, 1, 1)", [day, run_id])


def signed_in(connection: psycopg.Connection[Any]) -> None:
    """Two people: of ann's sessions 1 is old, 2 is old and in the access log, 3 is new; ben's only one (4) is old."""
    connection.execute(
        "insert into auth.person (login_name, display_name, role) values ('ann', 'Ann', 'officer'), ('ben', 'Ben', 'checker')"
    )
    for number, (name, at) in enumerate(
        [("ann", "2020-01-01Z"), ("ann", "2020-01-02Z"), ("ann", "now"), ("ben", "2020-01-01Z")], start=1
    ):
        connection.execute(
            """insert into auth.session
                 (token_hash, person_id, address, created_at, last_seen_at, expires_at, ended_at, end_reason)
               select sha256(%s), person_id, 'x', %s, %s, %s, %s, 'LOGOUT' from auth.person where login_name = %s""",
            [bytes([number]), at, at, at, at, name],
        )
        connection.execute(
            """insert into auth.login_attempt (at, name_key, person_id, address, outcome)
               select %s, sha256('x'), person_id, 'x', 'SUCCEEDED' from auth.person where login_name = %s""",
            [at, name],
        )
    connection.execute(
        """insert into auth.access_log (person_id, session_id, address, kind, subject, path)
           select person_id, session_id, 'x', 'LOAN_SEEN', 'L', '/' from auth.session where session_id = 2"""
    )
    connection.execute(
        """insert into auth.login_attempt (at, name_key, address, outcome)
           values ('2020-01-01Z', sha256('y'), 'x', 'FAILED'), (clock_timestamp(), sha256('y'), 'x', 'FAILED')"""
    )


def aged(path: Path, days: int) -> Path:
    """A file that was written so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{path.name}\n")
    at = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (at, at))
    return path


def there(site: Settings) -> dict[str, Any]:
    """Everything retention could touch: rows of the marts by run, files of the home."""
    with psycopg.connect(site.database_url("migrator")) as connection:
        rows = {
            name: [row[0] for row in connection.execute(f"select run_id from mart.{name} order by 1".encode())]
            for name in ("open_item", "indicator", "loan_snapshot", "loan_bucket", "largest_borrower", "score_band")
        }
        for name, number in (("session", "session_id"), ("login_attempt", "attempt_id")):
            rows[name] = [row[0] for row in connection.execute(f"select {number} from auth.{name} order by 1".encode())]
        current = connection.execute("select count(*) from mart.current_open_item").fetchone()
    files = sorted(str(path.relative_to(site.home)) for path in site.home.rglob("*") if path.is_file())
    return {**rows, "current": current, "files": [name for name in files if not name.startswith("manifests")]}


def certificates(site: Settings) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(site.manifests_dir.glob("retention*"))]


DONE = {
    # version 1 was replaced 95 days ago, version 2 ten days ago; of the last date the complete version still wins
    "open_item": [2, 3, 4, 5],
    "indicator": [1, 2, 3, 4, 5],
    # of the first date no loans, since the last one shows them
    "loan_snapshot": [4, 5],
    "loan_bucket": [4, 5],
    "largest_borrower": [4, 5],
    "score_band": [4, 5],
    # what the access log names and each person's last stay
    "session": [2, 3, 4],
    "login_attempt": [3, 4, 6],
    "current": (2,),
    "files": [
        "landing/2021-11-01/P01/P01.orders.csv.gz",
        "landing/2026-08-30/P01/P01.orders.csv.gz",
        "log/web.log",
        "outbound/P01/2026-08-30/P01.results.1.csv.gz",
        "quarantine/2026-08-30/P01/P01.orders.csv.gz/abababababababab/P01.orders.csv.gz",
        "quarantine/2026-08-30/P01/P01.orders.csv.gz/abababababababab/REASON.json",
    ],
}


def test_what_was_kept_for_its_time_goes_with_a_certificate_and_the_rest_stays(site: Settings) -> None:
    before = there(site)
    planned = apply(site, quiet, dry_run=True, table=TABLE, now=NOW)
    assert there(site) == before
    assert certificates(site) == []
    done = apply(site, quiet, table=TABLE, now=NOW)
    assert there(site) == DONE
    assert (
        done["totals"]
        == planned["totals"]
        == {
            "superseded_mart_rows": {"rows": 1},
            "past_position_rows": {"rows": 3},
            "logs": {"files": 2},
            "quarantine": {"files": 1},
            "outbound": {"files": 1},
            "past_sum_rows": {"rows": 9},
            "ended_sessions": {"rows": 1},
            "login_attempts": {"rows": 3},
        }
    )
    (certificate,) = certificates(site)
    assert certificate["verified"]
    assert certificate["totals"] == done["totals"]
    assert [policy["days"] for policy in certificate["policies"]] == [90, 35, 400, 1830, 1830, 50, 400, 400]
    assert {item["what"] for item in certificate["items"]} >= {"log/api.log", "mart.open_item of run 1, 2026-08-30 P01"}
    assert apply(site, quiet, table=TABLE, now=NOW) == NOTHING
    assert len(certificates(site)) == 1


class Killed(BaseException):
    """Ends a process in the middle, as kill -9 would."""


POINTS = [(name, when) for name in [policy.name for policy in TABLE] for when in ("before", "after")]


@pytest.mark.parametrize(("name", "when"), [*POINTS, ("certificate", "before"), ("certificate", "after")])
def test_a_kill_anywhere_and_a_second_call_end_like_one_call(
    site: Settings, monkeypatch: pytest.MonkeyPatch, name: str, when: str
) -> None:
    def dying(work: Callable[..., Any]) -> Callable[..., Any]:
        def work_and_die(*arguments: Any) -> Any:
            if when == "after":
                work(*arguments)
            raise Killed

        return work_and_die

    with monkeypatch.context() as patch:
        if name != "certificate":
            kind = type(applying.DELETIONS[name])
            delete = kind.delete

            def only_this(self: Any, site: Any, items: Any) -> None:
                chosen = dying(delete) if items and items[0].of_class == name else delete
                chosen(self, site, items)

            patch.setattr(kind, "delete", only_this)
        elif when == "before":
            patch.setattr(applying, "certify", dying(planning.certify))
        else:
            write = planning._write
            patch.setattr(
                planning,
                "_write",
                lambda path, content: write(path, content) if path.name == planning.PLAN else dying(write)(path, content),
            )
        with pytest.raises(Killed):
            apply(site, quiet, table=TABLE, now=NOW)
    assert (site.manifests_dir / planning.PLAN).exists()
    # a later moment and other policies: the unfinished plan is finished as it was made
    done = apply(site, quiet, table=TABLE[:1], now=NOW + timedelta(days=400))
    assert done["was_unfinished"]
    assert there(site) == DONE
    assert [one["totals"] for one in certificates(site)] == [done["totals"]]
    assert done["totals"]["logs"] == {"files": 2}


def test_a_log_that_is_written_again_after_the_plan_stays(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = type(applying.DELETIONS["logs"]).delete

    def written_again(self: Any, site_: Any, items: Any) -> None:
        (site.log_dir / "api.log").write_text("again\n")
        delete(self, site_, items)

    monkeypatch.setattr(type(applying.DELETIONS["logs"]), "delete", written_again)
    apply(site, quiet, table=TABLE, now=NOW)
    assert (site.log_dir / "api.log").read_text() == "again\n"


@pytest.mark.parametrize(
    ("of_class", "what"),
    [("logs", "landing/2026-08-30/P01/P01.orders.csv.gz"), ("quarantine", "../landing/2026-08-30"), ("quarantine", ".")],
)
def test_a_plan_that_was_changed_by_hand_deletes_nothing_else(site: Settings, of_class: str, what: str) -> None:
    plan = planning.Plan(NOW, NOW, TABLE, [planning.Item(of_class, what, 1, "files", {"written_at": ""})])
    planning.write_plan(site, plan)
    before = there(site)
    with pytest.raises(Failed, match="the plan names"):
        apply(site, quiet, table=TABLE, now=NOW)
    assert there(site) == before


def test_nothing_is_deleted_through_a_link(site: Settings) -> None:
    outside = aged(site.home / "reports" / "old.log", 900)
    (site.log_dir / "linked").symlink_to(outside.parent)
    (site.log_dir / "linked.log").symlink_to(outside)
    apply(site, quiet, table=TABLE, now=NOW)
    assert outside.exists()


def test_the_policies_are_data_and_never_shorter_than_the_law(tmp_path: Path) -> None:
    found = policies()
    assert {policy.name for policy in found} == set(applying.DELETIONS)
    assert next(policy for policy in found if policy.name == "quarantine").days >= 5 * 365
    path = tmp_path / "retention.toml"
    line = '[[policy]]\nclass = "logs"\nwhat = "x"\nbasis = "y"\n'
    for text, words in (
        (f"{line}days = 30\nlegal_days = 180\n", "180 is the least that is allowed"),
        (f"{line}days = -1\n", "not a table of policies"),
        (f"{line}days = true\n", "not a table of policies"),
        (f"{line}days = 1\n{line}days = 1\n", "names logs twice"),
        ("policy = 3\n", "not a table of policies"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=words):
            policies(path)
    with pytest.raises(Failed, match="nobody knows how to delete landing"):
        apply(Settings(tmp_path, tmp_path), quiet, table=[Policy("landing", "", "", 1)])


def test_rows_of_a_mart_that_were_not_deleted_are_noticed(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    deletion = applying.DELETIONS["superseded_mart_rows"]
    monkeypatch.setattr(type(deletion), "delete", lambda *_: None)
    with pytest.raises(Failed, match="superseded_mart_rows: still there after it was deleted"):
        apply(site, quiet, table=TABLE[:1], now=NOW)


def test_the_jobs_cannot_forget_who_signed_in_lately_nor_read_it(site: Settings) -> None:
    with psycopg.connect(site.database_url("jobs"), autocommit=True) as connection:
        connection.execute("select auth.forget_sessions('{1,2,3,4}'), auth.forget_attempts('{1,2,3,4,5,6}')")
        for table in ("session", "login_attempt", "person", "password"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select * from auth.{table}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from auth.session")
    assert (there(site)["session"], there(site)["login_attempt"]) == ([2, 3, 4], [3, 4, 6])


def test_every_mart_of_sums_has_its_time() -> None:
    filled = {
        word for statements in marts.SUMS.values() for text in statements for word in re.findall(r"insert into mart\.(\w+)", text)
    }
    assert filled == set(marts.SUM_MARTS)
