"""Scoring of detection against the answer key."""

from datetime import date

from simulator.answer_key import Finding, KeyItem, compare, expected_findings

A = Finding("B01", "P01", "2026-08-02", "P01-20260802-90001#1")
B = Finding("B02", "P01", "2026-08-03", "P01-20260803-00004#2")


def test_equal_sets_are_ok_and_counted_by_code() -> None:
    result = compare({A, B}, {B, A})
    assert result["ok"] is True
    assert result["codes"]["B01"] == {"planted": 1, "found": 1, "missed": 0, "extra": 0}
    assert result["missed"] == result["extra"] == []


def test_a_missed_fault_is_named_and_not_ok() -> None:
    result = compare({A, B}, {A})
    assert result["ok"] is False
    assert result["codes"]["B02"] == {"planted": 1, "found": 0, "missed": 1, "extra": 0}
    assert [item["match_key"] for item in result["missed"]] == [B.match_key]


def test_a_finding_that_nobody_planted_is_extra_and_not_ok() -> None:
    result = compare({A}, {A, B})
    assert result["ok"] is False
    assert result["codes"]["B02"] == {"planted": 0, "found": 0, "missed": 0, "extra": 1}
    assert [item["opened_on"] for item in result["extra"]] == ["2026-08-03"]


def test_the_same_record_under_another_code_date_or_platform_is_missed_and_extra() -> None:
    for other in (
        Finding("B14", A.platform_id, A.opened_on, A.match_key),
        Finding(A.code, "P02", A.opened_on, A.match_key),
        Finding(A.code, A.platform_id, "2026-08-09", A.match_key),
    ):
        result = compare({A}, {other})
        assert (len(result["missed"]), len(result["extra"]), result["ok"]) == (1, 1, False)


def test_a_key_item_becomes_the_finding_it_asks_for() -> None:
    item = KeyItem("P01-B01-01", "B01", "P01", date(2026, 8, 2), "R3", A.match_key, None, "phantom")
    assert item.as_json()["cured_on"] is None
    assert expected_findings([item.as_json()]) == {A}
