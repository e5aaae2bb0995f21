"""A spec that is wrong names all its errors at once, each with its path; a spec that is right means what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from fundwatch.cli import app
from recon import alone
from recon.spec import SpecFault, parse_spec, read_spec

SIDE: dict[str, Any] = {
    "fields": {
        "reference": {"column": "ref"},
        "amount": {"column": "amt", "type": "amount"},
        "currency": {"constant": "CNY"},
        "date": {"column": "day", "type": "date"},
    }
}
SOUND: dict[str, Any] = {
    "name": "sound",
    "version": "1",
    "left": SIDE,
    "right": SIDE,
    "tiers": [{"kind": "key", "name": "reference", "keys": ["reference"]}],
}


def changed(path: str, value: object) -> dict[str, Any]:
    # no part is shared: a change of the left side is one of the left side only
    content: Any = json.loads(json.dumps(SOUND))
    place = content
    *way, last = path.split(".")
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    place[int(last) if isinstance(place, list) else last] = value
    return content  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "value", "where", "why"),
    [
        ("colour", "red", "colour", "Extra inputs"),
        ("calendar", "MARS", "calendar", "no calendar"),
        ("zone", "Mars/Base", "zone", "no time zone"),
        ("left.encoding", "klingon", "left.encoding", "unknown encoding"),
        ("left.fields.amount", {"column": "amt"}, "left.fields.amount.type", "must be amount"),
        ("left.fields.amount", {"type": "amount"}, "left.fields.amount", "one of column"),
        ("left.fields.amount", {"type": "amount", "column": "a", "decimals": 3}, "left.fields.amount.decimals", "same decimals"),
        ("left.fields.net", {"type": "amount", "sum": {"gross": 1}}, "left.fields.net.sum.gross", "no amount field"),
        (
            "left.fields.fee",
            {"type": "amount", "rate": {"of": "amount", "rate": "1.5"}},
            "left.fields.fee.rate.rate",
            "share of 0 to 1",
        ),
        ("left.fields.reference", {"column": "r", "normalise": ["shout"]}, "left.fields.reference.normalise", ""),
        (
            "left.fields.reference",
            {"column": "r", "normalise": [{"regex": "(("}]},
            "left.fields.reference.normalise",
            "regular expression",
        ),
        ("left.id", ["nothing"], "left.id.0", "no field"),
        ("left.keep", [{"field": "amount", "values": ["1"]}], "left.keep.0.field", "no text field"),
        ("tiers", [], "tiers", "at least 1"),
        ("tiers.0.keys", ["nothing"], "tiers.0.keys.0", "left has no field"),
        ("tiers.0.kind", "magic", "tiers.0", "magic"),
        ("tiers.0.tolerance", {"abs": "0.005"}, "tiers.0.tolerance.abs", "more than 2 decimals"),
        ("tiers.0.tolerance", {"abs": "-1"}, "tiers.0.key.tolerance.abs", "zero or more"),
        ("tiers.0.compare", [{"field": "date", "kind": "MOOD"}], "tiers.0.key.compare.0.kind", "unknown kind"),
        ("breaks", {"MOOD": {"code": "B99"}}, "breaks.MOOD", "unknown kind"),
        ("third_tiers", [{"kind": "key", "name": "x", "keys": ["reference"]}], "third_tiers", "together"),
        ("third_keep", [{"field": "nothing", "values": ["x"]}], "third_keep.0.field", "no text field"),
    ],
)
def test_a_wrong_place_is_named_with_its_reason(path: str, value: object, where: str, why: str) -> None:
    with pytest.raises(SpecFault) as fault:
        parse_spec(changed(path, value))
    assert any(found.startswith(where) and why in reason for found, reason in fault.value.errors), fault.value.errors


def test_all_errors_of_a_spec_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        """name: "Not A Name"
version: "1"
calendar: MARS
left: {encoding: klingon, fields: {amount: {column: a}}}
right: {fields: {amount: {column: a, type: amount}, currency: {constant: CNY}}}
tiers:
  - {kind: key, name: k, keys: [reference], tolerance: {abs: much}}
  - {kind: subset, name: s, keys: [batch], items_max: 30}
""",
        encoding="utf-8",
    )
    with pytest.raises(SpecFault) as fault:
        read_spec(path)
    named = {where for where, _ in fault.value.errors}
    assert named >= {"name", "calendar", "left.encoding", "left.fields.amount.type", "left.fields.currency", "tiers.0.keys.0"}
    assert named >= {"tiers.0.key.tolerance.abs", "tiers.1.subset.items_max", "tiers.1.keys.0"}
    assert "bad.yaml has" in str(fault.value)


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "a: [", "\x00"])
def test_what_is_no_mapping_is_refused_and_not_a_crash(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecFault):
        read_spec(path)


@pytest.mark.parametrize("part", [None, 7, "text", [], {}])
@pytest.mark.parametrize(
    "path", ["left", "left.fields", "tiers", "tiers.0", "tiers.0.keys", "third", "breaks", "left.fields.amount"]
)
def test_any_part_of_another_type_is_an_error_and_not_a_crash(path: str, part: object) -> None:
    try:
        parse_spec(changed(path, part))
    except SpecFault as fault:
        assert fault.errors


def test_the_hash_of_a_spec_is_of_its_meaning_and_not_of_its_spelling(tmp_path: Path) -> None:
    first, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    fields = "amount: {column: a, type: amount}, currency: {constant: CNY}, r: {column: r}"
    body = f"name: n\nversion: '1'\nleft: &s {{fields: {{{fields}}}}}\n"
    first.write_text(body + "right: *s\ntiers: [{kind: key, name: r, keys: [r]}]\n", encoding="utf-8")
    other.write_text(
        "# said otherwise\n"
        + body.replace("name: n\n", "")
        + "right: *s\nname: n\ntiers:\n- name: r\n  kind: key\n  keys:\n  - r\n",
        encoding="utf-8",
    )
    assert read_spec(first).sha256 == read_spec(other).sha256
    assert read_spec(first).sha256 != parse_spec(SOUND).sha256


def test_words_of_a_spec_never_end_a_statement(tmp_path: Path) -> None:
    hostile = "it's \\ \"; drop table side_left; --"
    content = changed("version", hostile)
    content["tiers"][0]["name"] = hostile
    for side in ("left", "right"):
        content[side]["fields"]["currency"] = {"constant": hostile}
        content[side]["keep"] = [{"field": "currency", "values": [hostile]}]
    content["breaks"] = {"MISSING_LEFT": {"code": hostile, "action": {"en": hostile, "zh": hostile}}}
    left, right = tmp_path / "left.csv", tmp_path / "it's right.csv"
    left.write_text("ref,amt,day\nA,1.00,2026-08-03\n", encoding="utf-8")
    right.write_text("ref,amt,day\nA,1.00,2026-08-03\nB',2.00,2026-08-03\n", encoding="utf-8")
    found = alone.run(parse_spec(content), {"left": [left], "right": [right]}, tmp_path / "it's out")
    (kind,) = found["pairs"]["left-right"]["kinds"]
    assert (kind["code"], kind["currency"]) == (hostile, hostile) and found["balanced"]
    assert found["pairs"]["left-right"]["tiers"][0]["tier"] == hostile
    page = (tmp_path / "it's out" / "index.html").read_text(encoding="utf-8")
    assert "drop table" in page and '"; drop' not in page


def test_the_command_line_refuses_with_3_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("name: X\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text("ref,amt,day\n", encoding="utf-8")
    files = ["--left", str(tmp_path / "a.csv"), "--right", str(tmp_path / "a.csv")]
    bad_spec = CliRunner().invoke(
        app, ["recon", "run", *files, "--spec", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")]
    )
    no_file = CliRunner().invoke(
        app, ["recon", "suggest", *files[:2], "--right", "nothing.csv", "--out", str(tmp_path / "s.yaml")]
    )
    assert [getattr(done.exception, "exit_code", None) for done in (bad_spec, no_file)] == [3, 3]
    assert not (tmp_path / "out").exists() and not (tmp_path / "s.yaml").exists()


def test_a_reversal_on_one_side_nets_or_is_named_and_the_other_side_needs_no_such_field(tmp_path: Path) -> None:
    content = changed("tiers", [
        {"kind": "key", "name": "reference", "keys": ["reference"]},
        {"kind": "reversal", "name": "reversed", "side": "left", "reversal_of": "undoes", "target": "reference"},
    ])  # fmt: skip
    content["left"]["fields"]["undoes"] = {"column": "undoes"}
    left, right = tmp_path / "left.csv", tmp_path / "right.csv"
    left.write_text(
        "ref,amt,day,undoes\nA,5.00,2026-08-03,\nB,-5.00,2026-08-03,A\nC,7.00,2026-08-03,\nD,-6.00,2026-08-03,C\n"
        "E,9.00,2026-08-03,\nF,-9.00,2026-08-03,E\nG,-1.00,2026-08-03,nothing\n",
        encoding="utf-8",
    )
    right.write_text("ref,amt,day\nE,9.00,2026-08-03\n", encoding="utf-8")
    alone.run(parse_spec(content), {"left": [left], "right": [right]}, tmp_path / "out")
    matches = duckdb.sql(f"select tier, left_ids from '{tmp_path}/out/matches.parquet' order by 1").fetchall()
    breaks = duckdb.sql(f"select kind, left_ids, effect_minor from '{tmp_path}/out/breaks.parquet' order by left_ids").fetchall()
    assert matches == [("reference", "E"), ("reversed", "A;B")]
    # the original of F is matched, so what F lacks is its own other side
    assert breaks == [("REVERSAL_UNPAIRED", "C;D", 100), ("MISSING_RIGHT", "F", -900), ("REVERSAL_UNPAIRED", "G", -100)]
