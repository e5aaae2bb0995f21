"""Four small worlds of different trades: everything planted is found, nothing else, nothing confirmed falsely."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from fundwatch.cli import app
from recon import alone
from recon.spec import read_spec

GOLDEN = Path(__file__).parents[1] / "golden" / "recon"
WORLDS = ("card", "payouts", "bank", "custody")


def files_of(world: str) -> dict[str, list[Path]]:
    return {
        side: [GOLDEN / world / f"{side}.csv"] for side in ("left", "right", "third") if (GOLDEN / world / f"{side}.csv").exists()
    }


def run(world: str, out: Path) -> dict[str, Any]:
    return alone.run(read_spec(GOLDEN / world / "spec.yaml"), files_of(world), out, key=GOLDEN / world / "key.csv")


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_is_reconciled_exactly_as_its_key_says(world: str, tmp_path: Path) -> None:
    found = run(world, tmp_path)
    quality = found["quality"]
    wrong = [row for row in quality["scenarios"] if row["missed"]]
    assert not wrong and quality["extra"] == 0 and quality["false_confirmations"] == 0
    assert quality["match_precision"] == quality["match_recall"] == quality["break_precision"] == quality["break_recall"] == 1.0
    assert quality["review_precision"] in {None, 1.0}


@pytest.mark.parametrize("world", WORLDS)
def test_the_difference_of_the_totals_is_the_sum_of_the_open_items(world: str, tmp_path: Path) -> None:
    found = run(world, tmp_path)
    assert found["balanced"]
    for pair in found["pairs"].values():
        for row in pair["identity"]:
            assert row["left_minor"] - row["right_minor"] == row["difference_minor"] == row["open_items_minor"]


def test_every_break_has_an_action_in_both_languages_and_an_explanation(tmp_path: Path) -> None:
    for world in WORLDS:
        run(world, tmp_path / world)
        unexplained = duckdb.sql(
            f"""select kind from '{tmp_path / world}/breaks.parquet' as b where action_en = '' or action_zh = ''
              or not exists (select 1 from '{tmp_path / world}/explanations.parquet' as e where e.subject_id = b.break_id)"""
        ).fetchall()
        assert unexplained == []


def test_a_lone_record_names_its_nearest_candidate_and_what_fails(tmp_path: Path) -> None:
    run("bank", tmp_path)
    nearest = dict(
        duckdb.sql(
            f"select left_ids, nearest || ' ' || failing from '{tmp_path}/breaks.parquet' where kind = 'MISSING_RIGHT'"
        ).fetchall()
    )
    assert nearest["V13"].startswith("R:S9") and "date" in nearest["V13"] and "amount" not in nearest["V13"]
    assert nearest["V12"].startswith("R:S8") and "account" in nearest["V12"]


def test_ages_count_working_days_and_raise_the_severity(tmp_path: Path) -> None:
    run("bank", tmp_path)
    (row,) = duckdb.sql(
        f"select age_working_days, severity, code from '{tmp_path}/breaks.parquet' where right_ids = 'S10'"
    ).fetchall()
    # Friday 21 August to Monday 31 August 2026
    assert row == (6, "CRITICAL", "B27")


def test_the_identity_of_a_break_outlives_the_version_of_the_spec(tmp_path: Path) -> None:
    spec = read_spec(GOLDEN / "card" / "spec.yaml")
    alone.run(spec, files_of("card"), tmp_path / "a")
    alone.run(spec.model_copy(update={"version": "2"}), files_of("card"), tmp_path / "b")
    ids = [duckdb.sql(f"select break_id from '{tmp_path / name}/breaks.parquet' order by 1").fetchall() for name in "ab"]
    assert ids[0] == ids[1] != []


def test_a_timing_item_that_becomes_a_break_keeps_its_identity(tmp_path: Path) -> None:
    spec = read_spec(GOLDEN / "card" / "spec.yaml")
    alone.run(spec, files_of("card"), tmp_path / "a")
    alone.run(
        spec.model_copy(update={"as_of": spec.as_of.replace(day=10)}) if spec.as_of else spec, files_of("card"), tmp_path / "b"
    )
    query = "select break_id, kind from '{}/breaks.parquet' where left_ids = '1010-A'"
    (first,), (later,) = (duckdb.sql(query.format(tmp_path / name)).fetchall() for name in "ab")
    assert first[0] == later[0] and (first[1], later[1]) == ("TIMING", "MISSING_RIGHT")


def test_the_page_says_the_same_in_both_languages(tmp_path: Path) -> None:
    run("bank", tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Several equal candidates" in page and "存在多个同等候选" in page and "V5 V6" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_command_line_scores_a_key_and_fails_with_10_when_it_is_missed(tmp_path: Path) -> None:
    world = GOLDEN / "payouts"
    key = tmp_path / "key.csv"
    key.write_text((world / "key.csv").read_text(encoding="utf-8") + "planted,AMOUNT,O1,E1\n", encoding="utf-8")
    arguments = ["recon", "run", "--left", world / "left.csv", "--right", world / "right.csv", "--spec", world / "spec.yaml"]
    done = CliRunner().invoke(app, [*map(str, arguments), "--out", str(tmp_path / "out"), "--answer-key", str(key), "--json"])
    assert getattr(done.exception, "exit_code", None) == 10
    quality = json.loads(done.stdout.splitlines()[-1])["quality"]
    assert quality["missed"] == 1 and quality["break_recall"] < 1


@pytest.mark.parametrize("world", WORLDS)
def test_a_spec_suggested_from_the_data_runs_and_balances(world: str, tmp_path: Path) -> None:
    files, out = files_of(world), tmp_path / "out"
    spec = tmp_path / "spec.yaml"
    both = ["--left", str(files["left"][0]), "--right", str(files["right"][0])]
    assert CliRunner().invoke(app, ["recon", "suggest", *both, "--out", str(spec)]).exit_code == 0
    done = CliRunner().invoke(app, ["recon", "run", *both, "--spec", str(spec), "--out", str(out), "--json"])
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.exit_code == 0 and found["balanced"]
    # the payouts are net of a commission, which is in no column of its own
    confirmed = sum(row["matches"] for row in found["pairs"]["left-right"]["tiers"])
    assert confirmed > 0 or (world == "payouts" and "net of a fee" in spec.read_text(encoding="utf-8"))


def test_the_suggestion_finds_units_keys_in_text_and_dates(tmp_path: Path) -> None:
    from recon.suggest import suggested

    text, _ = suggested(GOLDEN / "card" / "left.csv", GOLDEN / "card" / "right.csv")
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    spec = read_spec(tmp_path / "spec.yaml")
    assert (spec.left.fields["amount"].unit, spec.right.fields["amount"].unit) == ("major", "minor")
    assert (spec.left.fields["reference"].column, spec.right.fields["reference"].column) == ("order", "reference")
    assert spec.right.fields["date"].formats == ["%Y%m%d"] and spec.right.delimiter == "|"
    payouts, _ = suggested(GOLDEN / "payouts" / "left.csv", GOLDEN / "payouts" / "right.csv")
    assert "kind: group" in payouts and "PO" in payouts


def test_the_same_files_give_the_same_bytes_again(tmp_path: Path) -> None:
    for world in WORLDS:
        for turn in ("a", "b"):
            run(world, tmp_path / turn)
        for path in sorted((tmp_path / "a").iterdir()):
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def berka(folder: Path, change: Callable[[list[str]], list[str]] = lambda lines: lines) -> dict[str, Any]:
    """Permanent orders against transfers, the lines of the transfers changed."""
    lines = (GOLDEN / "berka" / "right.csv").read_text(encoding="utf-8").splitlines()
    right = folder / "right.csv"
    right.write_text("\n".join([lines[0], *change(lines[1:])]) + "\n", encoding="utf-8")
    files = {"left": [GOLDEN / "berka" / "left.csv"], "right": [right]}
    return alone.run(read_spec(GOLDEN / "berka" / "spec.yaml"), files, folder / "out")


def kinds(found: dict[str, Any]) -> dict[str, int]:
    return {row["kind"]: row["breaks"] for row in found["pairs"]["left-right"]["kinds"]}


def test_real_transfers_are_all_explained_by_permanent_orders_and_the_rest_is_not_yet_due(tmp_path: Path) -> None:
    found = berka(tmp_path)
    (tier,) = found["pairs"]["left-right"]["tiers"]
    assert tier["matches"] == found["sides"]["right"]["records"] == 348
    assert kinds(found) == {"TIMING": 5} and found["balanced"]


def test_a_fault_planted_among_real_transfers_is_one_break_of_its_kind(tmp_path: Path) -> None:
    def of_one_transfer(change: Callable[[str], list[str]]) -> Callable[[list[str]], list[str]]:
        def changed(lines: list[str]) -> list[str]:
            at = next(number for number, line in enumerate(lines) if "PREVOD NA UCET" in line)
            return [*lines[:at], *change(lines[at]), *lines[at + 1 :]]

        return changed

    faults: dict[str, Callable[[str], list[str]]] = {
        "MISSING_RIGHT": lambda line: [],
        "DUPLICATE_RIGHT": lambda line: [line, line],
        "AMOUNT": lambda line: [line.replace(".", "9.", 1)],
        "MISSING_LEFT": lambda line: [line, "1;999999;AB;12345678;10.00;940301;VYDAJ;PREVOD NA UCET;500.00"],
    }
    for number, (kind, change) in enumerate(faults.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert kinds(berka(folder, of_one_transfer(change))) == {"TIMING": 5, kind: 1}


def test_the_order_of_a_day_is_found_from_balances_whatever_the_order_of_the_lines(tmp_path: Path) -> None:
    found = [berka(tmp_path, change) for change in (lambda lines: lines, lambda lines: lines[::-1])]
    assert found[0]["sides"]["right"]["sequences"] == {"place": {"ordered": 1492, "several": 0, "broken": 0, "gaps": 0}}
    assert found[0]["tables"]["sequences"] == found[1]["tables"]["sequences"]
    told = duckdb.sql(f"select place from '{tmp_path}/out/sequences.parquet' where record_id = '132002'").fetchall()
    assert told == [("2",)]


def test_a_confirmation_that_the_key_calls_weak_or_wrong_is_counted_as_false(tmp_path: Path) -> None:
    key = tmp_path / "key.csv"
    text = (GOLDEN / "payouts" / "key.csv").read_text(encoding="utf-8")
    key.write_text(text.replace("many to many,MATCH", "many to many,PROPOSED"), encoding="utf-8")
    spec = read_spec(GOLDEN / "payouts" / "spec.yaml")
    quality = alone.run(spec, files_of("payouts"), tmp_path / "out", key=key)["quality"]
    assert (quality["false_confirmations"], quality["missed"], quality["match_precision"]) == (1, 1, 0.5)
    assert quality["match_recall"] == 1.0 and quality["review_precision"] == 1.0
