"""What holds of any reconciliation: order, files, sides and dates do not matter; one fault is one break."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.calendars import Calendar
from recon import alone
from recon.reconcile import pairs
from recon.spec import parse_spec

FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MIRROR = {"MISSING_LEFT": "MISSING_RIGHT", "MISSING_RIGHT": "MISSING_LEFT", "DUPLICATE_LEFT": "DUPLICATE_RIGHT"}
MIRROR |= {"DUPLICATE_RIGHT": "DUPLICATE_LEFT"}
CALENDAR = Calendar.of("CN")


@dataclass(frozen=True)
class Record:
    number: str
    reference: str
    account: str
    batch: str
    amount_minor: int
    day: date

    @property
    def line(self) -> str:
        sign = "-" if self.amount_minor < 0 else ""
        whole, part = divmod(abs(self.amount_minor), 100)
        return f"{self.number},{self.reference},{self.account},{self.batch},{sign}{whole}.{part:02d},{self.day}"


SIDE: dict[str, Any] = {
    "id": ["number"],
    "fields": {
        "number": {"column": "number"},
        "reference": {"column": "reference"},
        "account": {"column": "account"},
        "batch": {"column": "batch"},
        "amount": {"column": "amount", "type": "amount"},
        "currency": {"constant": "CNY"},
        "date": {"column": "day", "type": "date"},
    },
}
TIERS: list[dict[str, Any]] = [
    {"kind": "key", "name": "reference", "keys": ["reference"], "compare": [{"field": "account", "kind": "ACCOUNT"}]},
    {"kind": "business", "name": "account", "keys": ["account"], "window": {"before": 1, "after": 1}},
    {"kind": "business", "name": "near", "keys": ["account"], "window": {"before": 1, "after": 1}, "tolerance": {"abs": "0.03"}},
    {"kind": "group", "name": "batch", "keys": ["batch"], "final": False},
    {"kind": "subset", "name": "part", "keys": ["batch"]},
    {
        "kind": "score",
        "name": "alike",
        "keys": ["amount"],
        "signals": [{"field": "date", "points": 60, "within": 3}],
        "min_score": 60,
    },
]


def spec(tiers: list[dict[str, Any]] | None = None) -> Any:
    tiers = TIERS if tiers is None else tiers
    return parse_spec({"name": "any", "version": "1", "calendar": "CN", "left": SIDE, "right": SIDE, "tiers": tiers})


def reconciled(*sides: list[list[Record]], tiers: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Summary and tables; each side is a list of files."""
    with TemporaryDirectory() as folder:
        files: dict[str, list[Path]] = {}
        for name, parts in zip(("left", "right"), sides, strict=True):
            files[name] = [Path(folder) / f"{name}{number}.csv" for number in range(len(parts))]
            for path, records in zip(files[name], parts, strict=True):
                lines = ["number,reference,account,batch,amount,day", *(record.line for record in records)]
                path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        found = alone.run(spec(tiers), files, Path(folder) / "out")
        for table in ("matches", "breaks"):
            relation = duckdb.sql(f"from '{folder}/out/{table}.parquet'")
            found[table] = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    assert found["balanced"]
    return found


def kinds(found: dict[str, Any]) -> Counter[str]:
    return Counter(row["kind"] for row in found["breaks"])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Record], list[Record]]:
    """Two sides that mostly agree: few accounts and amounts, so that look-alikes, ties and groups abound."""
    chance = random.Random(draw(st.integers(0, 10**9)))
    left, right = [], []
    for number in range(draw(st.integers(0, 40))):
        record = Record(
            f"N{number}",
            chance.choice(["", f"R{number}", f"R{number}"]),
            chance.choice("ABC"),
            chance.choice(["", "B1", "B2"]),
            chance.choice([100, 100, 101, 250, -100, 999]),
            date(2026, 8, 3) + timedelta(days=chance.randrange(12)),
        )
        if chance.random() < 0.9:
            left.append(record)
        if chance.random() < 0.9:
            shifted = replace(record, number=f"M{number}", amount_minor=record.amount_minor + chance.choice([0, 0, 0, 1, 50]))
            right.append(replace(shifted, day=record.day + timedelta(days=chance.choice([0, 0, 1, 4]))))
        if chance.random() < 0.05 and right:
            right.append(replace(right[-1], number=f"D{number}"))
    return left, right


@given(worlds(), st.randoms(use_true_random=False))
@FEW
def test_neither_the_order_of_rows_nor_the_split_into_files_changes_the_content(
    world: tuple[list[Record], list[Record]], chance: random.Random
) -> None:
    left, right = world
    plain = reconciled([left], [right])
    shuffled = [chance.sample(side, len(side)) for side in world]
    cut = len(shuffled[0]) // 2
    again = reconciled([shuffled[0][:cut], shuffled[0][cut:]], [shuffled[1]])
    assert again["result_sha256"] == plain["result_sha256"]


@given(worlds(), st.integers(0, 10**6))
@FEW
def test_strong_keys_joined_as_spark_does_give_what_grouping_gives(world: tuple[list[Record], list[Record]], place: int) -> None:
    # a key many times on both sides: the join must not multiply it
    left, right = ([*side, *([side[place % len(side)]] * 3 if side else [])] for side in world)
    grouped = reconciled([left], [right])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alone, "pairs", lambda *given, **known: pairs(*given, **{**known, "by_join": True}))
        joined = reconciled([left], [right])
    assert joined["result_sha256"] == grouped["result_sha256"] and joined["pairs"] == grouped["pairs"]


@given(worlds())
@FEW
def test_swapped_sides_give_the_mirrored_breaks_and_matches(world: tuple[list[Record], list[Record]]) -> None:
    plain, swapped = reconciled([world[0]], [world[1]]), reconciled([world[1]], [world[0]])
    assert Counter({MIRROR.get(kind, kind): number for kind, number in kinds(swapped).items()}) == kinds(plain)
    pairs = {(row["state"], row["left_ids"], row["right_ids"]) for row in plain["matches"]}
    assert pairs == {(row["state"], row["right_ids"], row["left_ids"]) for row in swapped["matches"]}
    effects = sorted((row["left_ids"], row["right_ids"], row["effect_minor"]) for row in plain["breaks"])
    assert effects == sorted((row["right_ids"], row["left_ids"], -row["effect_minor"]) for row in swapped["breaks"])


@given(worlds(), st.integers(1, 30))
@FEW
def test_working_days_later_all_is_the_same(world: tuple[list[Record], list[Record]], days: int) -> None:
    # only working days: a day off belongs to the working day before it and would move with it
    work = [[record for record in side if CALENDAR.is_working_day(record.day)] for side in world]
    moved = [[replace(record, day=CALENDAR.add_working_days(record.day, days)) for record in side] for side in work]
    plain, later = reconciled([work[0]], [work[1]]), reconciled([moved[0]], [moved[1]])
    shown = [
        sorted(
            (row["break_id"], row["kind"], row["effect_minor"], row["age_working_days"], row["severity"])
            for row in found["breaks"]
        )
        for found in (plain, later)
    ]
    assert shown[0] == shown[1]
    assert plain["tables"]["matches"]["sha256"] == later["tables"]["matches"]["sha256"]


@given(worlds(), st.integers(0, 10**6), st.sampled_from(["left", "right"]))
@FEW
def test_one_line_twice_or_gone_is_exactly_one_new_break_under_a_strong_key(
    world: tuple[list[Record], list[Record]], place: int, side: str
) -> None:
    # a sound world: what both sides have, once, with a reference
    sound = [replace(record, reference=f"R{number}") for number, record in enumerate(world[0])] or [
        Record("N1", "R1", "A", "", 100, date(2026, 8, 3))
    ]
    sides = {"left": sound, "right": sound}
    at = place % len(sound)
    assert reconciled([sound], [sound])["breaks"] == []
    twice = reconciled(*([part + ([sound[at]] if name == side else [])] for name, part in sides.items()))
    assert kinds(twice) == Counter({f"DUPLICATE_{side.upper()}": 1})
    gone = reconciled(*([part[:at] + part[at + 1 :] if name == side else part] for name, part in sides.items()))
    assert kinds(gone) == Counter({f"MISSING_{side.upper()}": 1})


@given(worlds())
@FEW
def test_every_record_is_in_one_confirmed_match_or_one_break_and_never_in_both_unless_rounded(
    world: tuple[list[Record], list[Record]],
) -> None:
    found = reconciled([world[0]], [world[1]])
    for side, records in zip(("left", "right"), world, strict=True):
        confirmed = Counter(
            one for row in found["matches"] if row["state"] == "CONFIRMED" for one in row[f"{side}_ids"].split(";") if one
        )
        broken = Counter(
            one for row in found["breaks"] if row["kind"] != "ROUNDING" for one in row[f"{side}_ids"].split(";") if one
        )
        assert confirmed + broken == Counter(record.number for record in records)


def test_equal_bids_in_the_same_minute_with_their_own_references_raise_nothing() -> None:
    bids = [Record(f"N{number}", f"R{number}", "A", "B1", 100_000, date(2026, 8, 3)) for number in range(200)]
    found = reconciled([bids], [bids])
    assert found["breaks"] == [] and len(found["matches"]) == 200


def test_equal_records_without_a_reference_are_refused_together_and_never_guessed() -> None:
    left = [Record("N1", "", "A", "", 600_000, date(2026, 8, 10)), Record("N2", "", "A", "", 600_000, date(2026, 8, 10))]
    right = [replace(left[0], number="M1", day=date(2026, 8, 10)), replace(left[1], number="M2", day=date(2026, 8, 11))]
    found = reconciled([left], [right], tiers=TIERS[:3])
    assert found["matches"] == []
    (row,) = found["breaks"]
    assert (row["kind"], row["left_ids"], row["right_ids"], row["effect_minor"]) == ("AMBIGUOUS", "N1;N2", "M1;M2", 0)


def test_the_nearest_date_never_chooses_among_equals() -> None:
    left = [Record("N1", "", "A", "", 500, date(2026, 8, 10))]
    right = [Record("M1", "", "A", "", 500, date(2026, 8, 10)), Record("M2", "", "A", "", 500, date(2026, 8, 11))]
    found = reconciled([left], [right], tiers=TIERS[:2])
    assert found["matches"] == [] and kinds(found) == Counter({"AMBIGUOUS": 1})


def test_a_window_is_measured_in_working_days() -> None:
    friday, monday, tuesday = date(2026, 8, 7), date(2026, 8, 10), date(2026, 8, 11)
    left = [Record("N1", "", "A", "", 500, friday), Record("N2", "", "B", "", 700, friday)]
    right = [Record("M1", "", "A", "", 500, monday), Record("M2", "", "B", "", 700, tuesday)]
    found = reconciled([left], [right], tiers=TIERS[1:2])
    assert [(row["left_ids"], row["right_ids"]) for row in found["matches"]] == [("N1", "M1")]
    assert kinds(found) == Counter({"MISSING_LEFT": 1, "MISSING_RIGHT": 1})


def test_a_tolerance_takes_its_last_cent_and_not_one_more() -> None:
    left = [Record("N1", "", "A", "", 1000, date(2026, 8, 3)), Record("N2", "", "B", "", 1000, date(2026, 8, 3))]
    right = [Record("M1", "", "A", "", 1003, date(2026, 8, 3)), Record("M2", "", "B", "", 1004, date(2026, 8, 3))]
    found = reconciled([left], [right], tiers=TIERS[2:3])
    assert [row["left_ids"] for row in found["matches"]] == ["N1"]
    assert kinds(found) == Counter({"ROUNDING": 1, "MISSING_LEFT": 1, "MISSING_RIGHT": 1})


def test_a_relative_tolerance_counts_from_its_base_exactly() -> None:
    tier = {"kind": "key", "name": "k", "keys": ["reference"], "tolerance": {"rel": "0.001", "base": "left"}}
    left = [Record("N1", "R1", "A", "", 100_000, date(2026, 8, 3)), Record("N2", "R2", "A", "", 100_000, date(2026, 8, 3))]
    right = [replace(left[0], amount_minor=100_100), replace(left[1], amount_minor=100_101)]
    found = reconciled([left], [right], tiers=[tier])
    assert kinds(found) == Counter({"ROUNDING": 1, "AMOUNT": 1})


def test_a_subset_of_twenty_is_found_and_one_of_twenty_one_is_not_searched() -> None:
    def group(size: int) -> tuple[list[Record], list[Record]]:
        # powers of two: every subset has a sum of its own
        left = [Record(f"N{bit}", "", "A", "B1", 2**bit, date(2026, 8, 3)) for bit in range(size)]
        return left, [Record("M1", "", "Z", "B1", 2**19 + 2**10 + 2**9 + 1, date(2026, 8, 3))]

    tiers = TIERS[3:5]
    found = reconciled(*([side] for side in group(20)), tiers=tiers)
    (match,) = found["matches"]
    assert (match["state"], match["left_ids"], match["right_ids"]) == ("PROPOSED", "N0;N10;N19;N9", "M1")
    assert [row["proposal"] for row in found["breaks"]] == [match["group_id"]]
    large = reconciled(*([side] for side in group(21)), tiers=tiers)
    assert large["matches"] == [] and kinds(large) == Counter({"SPLIT_INCOMPLETE": 1})


def test_a_block_of_any_size_is_judged_whole_and_said_in_the_summary() -> None:
    many = [Record(f"N{number}", "", "A", "", 500, date(2026, 8, 3)) for number in range(3000)]
    found = reconciled([many], [many[:2999]], tiers=[TIERS[1]])
    assert found["matches"] == [] and kinds(found) == Counter({"AMBIGUOUS": 1})
    (block,) = found["pairs"]["left-right"]["blocks"]
    assert block == {
        "tier": "account",
        "blocks": 1,
        "largest_records": 5999,
        "largest_pairs": 3000 * 2999,
        "processed": "frames",
    }
