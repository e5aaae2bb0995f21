"""The pages of the report as images, compared with images that people looked at: a wrong glyph has the right text (guide 4.3 g).

`FUNDWATCH_WRITE_GOLDEN=1 pytest tests/unit/test_report_golden.py` writes them anew after a change that was meant; look at them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image, ImageChops

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
SCALE = 1.0  # 72 dots an inch
STRONG, MOST_DIFFERING = 64, 0.003


def pages(path: Path) -> list[Image.Image]:
    return [page.render(scale=SCALE).to_pil().convert("L") for page in pypdfium2.PdfDocument(path)]


def differing(one: Image.Image, other: Image.Image) -> float:
    """Share of the pixels that differ strongly, one pixel's shift forgiven by nothing."""
    histogram = ImageChops.difference(one, other).histogram()
    return sum(histogram[STRONG:]) / (one.width * one.height)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_page_looks_as_it_did_when_it_was_looked_at(built: Path, language: str) -> None:
    drawn = pages(built / f"report.{language}.pdf")
    if os.environ.get("FUNDWATCH_WRITE_GOLDEN"):
        GOLDEN.mkdir(parents=True, exist_ok=True)
        for old in GOLDEN.glob(f"{language}-*.png"):
            old.unlink()
        for number, page in enumerate(drawn, 1):
            page.save(GOLDEN / f"{language}-{number}.png", optimize=True)
    kept = sorted(GOLDEN.glob(f"{language}-*.png"))
    assert len(drawn) == len(kept)
    for page, path in zip(drawn, kept, strict=True):
        golden = Image.open(path).convert("L")
        assert page.size == golden.size
        assert differing(page, golden) <= MOST_DIFFERING, f"{path.name} looks different: look at it"


def test_a_page_with_other_glyphs_is_noticed() -> None:
    """The measure itself: the Chinese page against the English one, and a page with one line moved by its height."""
    zh, en = (Image.open(GOLDEN / f"{language}-1.png").convert("L") for language in ("zh", "en"))
    assert differing(zh, en) > 5 * MOST_DIFFERING
    assert differing(zh, ImageChops.offset(zh, 0, 3)) > 5 * MOST_DIFFERING
    assert differing(zh, zh) == 0
