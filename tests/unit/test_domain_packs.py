"""Rule packs as data."""

from __future__ import annotations

from importlib import resources

import pytest

from domain.errors import BadInput
from domain.packs import Pack, Unit

TEXT = (resources.files("domain") / "packs" / "CN_2017.toml").read_text(encoding="utf-8")


def test_cn_2017_defines_every_indicator_with_names_law_and_version() -> None:
    pack = Pack.of("CN_2017")
    assert (pack.pack_id, pack.calendar, len(pack.indicators)) == ("CN_2017", "CN", 27)
    for indicator in pack.indicators:
        assert indicator.name_zh and indicator.name_en and indicator.legal_ref and indicator.version
        assert (indicator.unit is Unit.RATIO) == bool(indicator.denominator)
    assert pack.indicator("OVD_RATE_AMT").formula == "(OVD_AMT) / (BAL_AMT + INT_BAL)"
    assert pack.measures["OVD_AMT_BAND_2"].where == "lender_dpd > 90 and lender_dpd <= 180"


@pytest.mark.parametrize(
    ("old", "new"),
    [
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
