"""Rule packs as data."""

from __future__ import annotations

from importlib import resources

import pytest

from domain.errors import BadInput
from domain.pack_rules import RuleKind, Severity
from domain.packs import Pack, Section, Unit

TEXT = (resources.files("domain") / "packs" / "CN_2017.toml").read_text(encoding="utf-8")


def test_cn_2017_defines_every_indicator_with_names_law_and_version() -> None:
    pack = Pack.of("CN_2017")
    assert (pack.pack_id, pack.version, pack.calendar, len(pack.indicators)) == ("CN_2017", "2", "CN", 37)
    for indicator in pack.indicators:
        assert indicator.name_zh and indicator.name_en and indicator.legal_ref and indicator.version
        assert indicator.meaning_zh and indicator.meaning_en
        assert indicator.unit is not Unit.RATIO or indicator.denominator
    assert pack.indicator("OVD_RATE_AMT").formula == "(OVD_AMT) / (BAL_AMT + INT_BAL)"
    assert pack.measures["OVD_AMT_BAND_2"].where == "lender_dpd > 90 and lender_dpd <= 180"


def test_cn_2017_has_the_27_rows_of_the_law_and_what_it_cannot_give_has_a_reason() -> None:
    pack = Pack.of("CN_2017")
    sections = [[i.code for i in pack.indicators if i.section is section] for section in Section]
    assert [len(codes) for codes in sections] == [21, 14, 2]
    assert len(pack.computed) == 31
    missing = {i.code: i.not_available for i in pack.indicators if i.not_available}
    assert missing == {"REL_BAL_AMT": "RELATED_PARTIES", "REL_BAL_CNT": "RELATED_PARTIES", "FEE_STD": "FEE_SCHEDULES"}
    assert all(pack.reasons[reason]["zh"] and pack.reasons[reason]["en"] for reason in missing.values())
    assert [i.code for i in pack.indicators if i.metadata] == ["END_DATE", "REPORT_DATE", "FLAG"]


def test_cn_2017_has_the_consistency_rules_of_the_specification() -> None:
    rules = {rule.formula: rule for rule in Pack.of("CN_2017").rules}
    for formula in (
        "BAL_AMT ≤ CUM_AMT",
        "BAL_CNT ≤ CUM_CNT",
        "CUR_LENDER ≤ CUM_LENDER",
        "CUR_BORROWER ≤ CUM_BORROWER",
        "OVD_CNT ≤ BAL_CNT",
        "OVD90_CNT ≤ OVD_CNT",
        "OVD90_AMT ≤ BAL_AMT",
        "TOP1_BORR ≤ TOP10_BORR",
        "TOP10_BORR ≤ 1",
        "REL_BAL_AMT ≤ BAL_AMT",
        "OVD_RATE_AMT_90 + OVD_RATE_AMT_180 + OVD_RATE_AMT_180P = OVD_RATE_AMT",
    ):
        assert rules[formula].severity is Severity.ERROR
    kinds = [rule.kind for rule in rules.values()]
    assert kinds.count(RuleKind.NOT_FALLING) == 6
    assert {RuleKind.MONTH_FLOW, RuleKind.CLAIMS_EQUAL_LOANS, RuleKind.NOT_CHECKED} <= set(kinds)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('not_available = "RELATED_PARTIES"', 'not_available = "NO_SUCH_REASON"'),
        ('not_available = "RELATED_PARTIES"', ""),
        ('metadata = "AS_OF"', 'metadata = "TOMORROW"'),
        ('rounding = "HALF_UP_0"', 'rounding = "HALF_UP_6"'),
        ('section = "ANNEX"', 'section = "ELSEWHERE"'),
        ('left = "BAL_AMT"', 'left = "NOPE"'),
        ('kind = "AT_MOST"', 'kind = "ADDS_UP"'),
        ('severity = "WARNING"', 'severity = "MEH"'),
        ('reason = "FLOWS_STAY_IN_THE_BANK"', 'reason = "NO_SUCH_REASON"'),
        ('denominator = ["BAL_CNT"]', 'denominator = ["NOPE"]'),
        ('numerator = ["CUM_AMT"]', "numerator = []"),
        ('unit = "RATIO"', 'unit = "MINOR"'),
        ('unit = "MINOR"', 'unit = "FURLONG"'),
        ("{overdue_long_days}", "{unheard_of}"),
        ("tau_minor = 1", "tau_minor = 0.01"),
        ('column = "disbursed_minor"', 'column = "disbursed_minor) --"'),
        ('code = "CUM_CNT"', 'code = "CUM_AMT"'),
        ("[pack]", "[pack"),
        ('jurisdiction = "CN"\n', ""),
    ],
)
def test_a_contradictory_pack_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(BadInput):
        Pack.parse(TEXT.replace(old, new, 1))


@pytest.mark.parametrize("name", ["XX_1", "../CN_2017", ""])
def test_an_unknown_pack_or_code_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="no rule pack"):
        Pack.of(name)
    with pytest.raises(BadInput, match="no indicator"):
        Pack.of("CN_2017").indicator(name)
