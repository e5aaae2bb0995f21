"""Charts as ECharts options: plain data, drawn alike by the page (vendored ECharts) and in the PDF (`reports.drawing`).

An option holds no function, so JSON carries it as it is; its texts are in the language asked for. Colours have at least 3:1 on
white and every bar its own pattern, so that no reader needs to tell colours apart. Tooltips are drawn inside the SVG: they need
no inline style, which a strict content policy forbids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from domain.buckets import BUCKETS
from domain.errors import BadInput
from domain.money import MINOR_DIGITS
from reports.texts import words

FONTS = "'WenQuanYi Micro Hei', 'Noto Sans SC', 'DejaVu Sans', system-ui, sans-serif"
BANDS = ("AAA", "AA", "A", "B", "C", "D", "E")
_BUCKET_COLOURS = ("#a67c00", "#b86b00", "#c2540a", "#b8401a", "#a32d20", "#861d24", "#5c1022")
_BAND_COLOURS = ("#0b4f6c", "#1d6a8a", "#2f7f86", "#6b7a2e", "#a67c00", "#b8501a", "#861d24")
_INK, _LINE = "#17212b", "#d5dde4"

Option = dict[str, Any]


def overdue_by_bucket(rows: Iterable[Mapping[str, Any]], language: str, currency: str = "CNY") -> Option:
    """Bars of the outstanding principal of overdue loans by bucket M1 … M6+.

    `rows`: ``bucket`` (name of `domain.buckets`), ``count`` of loans, ``amount_minor`` (minor units of `currency`). Rows of M0
    are not overdue and not drawn, a bucket without a row is drawn as zero. BadInput for a bucket that does not exist.
    """
    text = words(language)["chart"]
    late = [bucket for bucket in BUCKETS if bucket.name != "M0"]
    first_days = [1, *(bucket.last_day + 1 for bucket in late if bucket.last_day is not None)]
    names = [
        f"{bucket.name}\n"
        + text["days" if bucket.last_day else "days_above"].format(first=first, last=bucket.last_day or first - 1)
        for bucket, first in zip(late, first_days, strict=True)
    ]
    found = _by(rows, "bucket", [bucket.name for bucket in BUCKETS])
    values = [found[bucket.name] for bucket in late]
    return _bars(names, values, _BUCKET_COLOURS, language, currency, (text["overdue"], text["overdue_about"]))


def score_bands(rows: Iterable[Mapping[str, Any]], language: str, currency: str = "CNY") -> Option:
    """Bars of the outstanding principal by score band AAA … E.

    `rows`: ``band``, ``count`` of loans, ``amount_minor`` (minor units of `currency`). A band without a row is drawn as zero.
    BadInput for a band that does not exist.
    """
    text = words(language)["chart"]
    found = _by(rows, "band", BANDS)
    values = [found[band] for band in BANDS]
    return _bars(BANDS, values, _BAND_COLOURS, language, currency, (text["score"], text["score_about"]))


def as_json(option: Option) -> str:
    """The option as JSON that may stand inside ``<script type="application/json">``: no character in it ends the element.

    >>> print(as_json({"name": "</script>"}))
    {"name": "\\u003c/script\\u003e"}
    """
    text = json.dumps(option, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _by(rows: Iterable[Mapping[str, Any]], key: str, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Count and amount by name, rows of one name added up."""
    found = dict.fromkeys(names, (0, 0))
    for row in rows:
        if row[key] not in found:
            raise BadInput(f"there is no {key} {row[key]!r}")
        count, amount_minor = found[row[key]]
        found[row[key]] = (count + int(row["count"]), amount_minor + int(row["amount_minor"]))
    return found


def _bars(
    names: Sequence[str],
    values: Sequence[tuple[int, int]],
    colours: Sequence[str],
    language: str,
    currency: str,
    title: tuple[str, str],
) -> Option:
    text = words(language)["chart"]
    power, unit = _scale(max(amount_minor for _, amount_minor in values), language, currency)
    shown = [amount_minor / 10 ** (MINOR_DIGITS[currency] + power) for _, amount_minor in values]
    counts = [text["count"].format(count=f"{count:,}") for count, _ in values]
    bars = [
        {
            "value": value,
            "itemStyle": {"color": colour},
            "label": {"formatter": count},
            "tooltip": {"formatter": f"{name}\n{value:,.2f} {unit}\n{count}"},
        }
        for name, value, colour, count in zip(names, shown, colours, counts, strict=True)
    ]
    spoken = "; ".join(f"{name}: {value:,.2f} {unit}, {count}" for name, value, count in zip(names, shown, counts, strict=True))
    return {
        "textStyle": {"fontFamily": FONTS, "color": _INK},
        "aria": {
            "enabled": True,
            "label": {"description": f"{title[0]}. {title[1]} {spoken}".replace("\n", " ")},
            "decal": {"show": True},
        },
        "animation": False,
        "grid": {"left": 12, "right": 12, "top": 40, "bottom": 12},
        "tooltip": {
            "trigger": "item",
            "renderMode": "richText",
            "confine": True,
            "textStyle": {"fontFamily": FONTS, "color": _INK},
        },
        "xAxis": {
            "type": "category",
            "data": list(names),
            "axisLabel": {"color": _INK, "interval": 0, "lineHeight": 15},
            "axisTick": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "boundaryGap": [0, "8%"],
            "name": text["amount"].format(unit=unit),
            "nameTextStyle": {"color": _INK, "align": "left"},
            "axisLabel": {"color": _INK},
            "splitLine": {"lineStyle": {"color": _LINE}},
        },
        "series": [
            {
                "type": "bar",
                "name": title[0],
                "colorBy": "data",
                "barMaxWidth": 56,
                "data": bars,
                "label": {"show": True, "position": "top", "color": _INK},
            }
        ],
    }


def _scale(largest_minor: int, language: str, currency: str) -> tuple[int, str]:
    """Power of ten of the axis in major units and the name of its unit, so that labels stay short."""
    text = words(language)["chart"]
    powers = [int(key.removeprefix("scale_")) for key in text if key.startswith("scale_")]
    power = max(power for power in powers if power == 0 or largest_minor >= 10 ** (power + MINOR_DIGITS[currency]))
    name = text[f"scale_{power}"]
    if language == "zh":
        return power, name if currency == "CNY" else f"{name.removesuffix('元')}{currency}"
    return power, f"{name} {currency}".strip()
