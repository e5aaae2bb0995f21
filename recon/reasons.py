"""Why a row is set apart, in both languages; what was read or allowed stands in the sentence."""

from __future__ import annotations

from dataclasses import dataclass

from domain.money import MAX_AMOUNT_MINOR


@dataclass(frozen=True)
class Reason:
    """One sentence about a column or a line, in English and Chinese."""

    en: str
    zh: str


NONE = Reason("", "")
"""Of a column that cannot be wrong."""
REQUIRED = Reason("is required and empty", "为必填项,不能为空")
OPEN_QUOTE = Reason("the line has an unclosed quote", "该行引号未闭合")


def not_an_amount(decimals: int) -> Reason:
    """An amount that is not exactly so many decimals, or too large."""
    allowed, zh = (f"at most {decimals} decimals", f"小数不超过 {decimals} 位") if decimals else ("whole units", "须为整数")
    return Reason(
        f"is not an amount of {allowed} within ±{MAX_AMOUNT_MINOR} minor units",
        f"不是有效金额:{zh},且须在 ±{MAX_AMOUNT_MINOR} 最小货币单位以内",
    )


def not_a_date(formats: list[str]) -> Reason:
    """A date that no format reads, or that no calendar has."""
    return Reason(f"is not a date of the calendar ({' or '.join(formats)})", f"不是有效日期({' 或 '.join(formats)})")


def not_a_time(formats: list[str]) -> Reason:
    """A time that no format reads."""
    return Reason(f"is not a time ({' or '.join(formats)})", f"不是有效时间({' 或 '.join(formats)})")


def outside(calendar: str) -> Reason:
    """A date that the calendar does not reach."""
    return Reason(f"lies outside calendar {calendar}", f"超出日历 {calendar} 的范围")


def not_encoded(encoding: str) -> Reason:
    """A line whose bytes are not text of the encoding."""
    return Reason(f"the line is not {encoding}", f"该行不是 {encoding} 编码")


def field_count(found: int, declared: int) -> Reason:
    """A line with too many or too few fields."""
    return Reason(f"the line has {found} fields, {declared} are declared", f"该行有 {found} 个字段,应为 {declared} 个")
