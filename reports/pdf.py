"""The report as PDF/A-3a in one language: tagged, with embedded fonts and the figure set as its attachment.

The same figure set gives the same bytes: nothing in the file comes from the clock. One document a language, because a tagged
document has one language and each reader needs one; both are made from one template.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from domain.errors import ServiceMissing
from domain.packs import Section
from reports.charts import overdue_by_bucket
from reports.consistency import Result
from reports.display import parameters, shown, unit
from reports.drawing import svg
from reports.figures import FIGURES, NOT_AVAILABLE, FigureSet
from reports.texts import words

if TYPE_CHECKING:
    from jinja2 import Template

FONT, FONT_PACKAGE = "WenQuanYi Micro Hei", "fonts-wqy-microhei"
PANGO_PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
VARIANT = "pdf/a-3a"
_CHART_SIZE = (660, 280)


def pdf(figure_set: FigureSet, figures_json: bytes, consistency: list[Result], version: int, language: str) -> bytes:
    """The unsigned document with `figures_json` attached; ServiceMissing when Pango or the Chinese font is not installed."""
    at = datetime.fromisoformat(figure_set["known_as_of"]).astimezone(UTC)
    html = page(figure_set, consistency, version, language)
    return drawn(html, figures_json, FIGURES, at, language)


def drawn(html: str, attached: bytes, name: str, at: datetime, language: str) -> bytes:
    """A page as PDF/A-3a with the document it was made from attached; the same input gives the same bytes."""
    weasyprint = _weasyprint()
    attachment = weasyprint.Attachment(
        string=attached,
        name=name,
        description="figure set",
        relationship="Data",
        created=at,
        modified=at,
    )
    nothing_from_outside = weasyprint.urls.URLFetcher(allowed_protocols={"data"}, fail_on_errors=True)
    options = {
        "pdf_variant": VARIANT,
        "attachments": [attachment],
        "pdf_identifier": sha256(attached + language.encode()).digest()[:16],
    }
    pages = weasyprint.HTML(string=html, url_fetcher=nothing_from_outside).render(**options)
    content: bytes = pages.write_pdf(**options)
    if any(FONT not in font.family for font in pages.fonts.values()):
        raise ServiceMissing(f"the font {FONT} is not installed; run: sudo apt-get install -y {FONT_PACKAGE}")
    return content


def page(figure_set: FigureSet, consistency: list[Result], version: int, language: str) -> str:
    """The document as HTML, complete in itself."""
    figures = figure_set["figures"]
    return _template().render(
        language=language,
        text=words(language),
        figure_set=figure_set,
        parameters=parameters(figure_set, version, language),
        sections=[(f"{section.lower()}_section", _by_currency(figure_set, section)) for section in Section],
        charts=[_chart(figure_set, currency, language) for currency in figure_set["currencies"]],
        consistency=consistency,
        formulas=[figure for figure in figures if figure["formula"] and figure["currency"] == figure_set["currencies"][0]],
        not_available=[figure for figure in figures if figure["state"] == NOT_AVAILABLE],
        shown=lambda figure: shown(figure, language),
        unit=lambda figure: unit(figure, language),
        name=f"name_{language}",
        meaning=f"meaning_{language}",
        version=version,
    )


def _by_currency(figure_set: FigureSet, section: Section) -> list[tuple[str | None, list[dict[str, Any]]]]:
    """Tables of a section: one a currency; figures without a currency stand in the last."""
    mine = [figure for figure in figure_set["figures"] if figure["section"] == section]
    last = figure_set["currencies"][-1]
    return [
        (currency, [f for f in mine if f["currency"] == currency or (f["currency"] is None and currency == last)])
        for currency in figure_set["currencies"]
    ]


def _chart(figure_set: FigureSet, currency: str, language: str) -> dict[str, str]:
    rows = [row for row in figure_set["overdue_by_bucket"] if row["currency"] == currency]
    option = overdue_by_bucket(rows, language, currency)
    image = b64encode(svg(option, *_CHART_SIZE).encode()).decode()
    return {"source": f"data:image/svg+xml;base64,{image}", "about": option["aria"]["label"]["description"]}


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined).get_template("report.html")


def template_files() -> dict[str, str]:
    """sha256 of every file of ours that shapes a document."""
    names = ("templates/report.html", "texts/zh.toml", "texts/en.toml", "vendor/echarts.min.js", "report.schema.json")
    return {name: sha256((files("reports") / name).read_bytes()).hexdigest() for name in names}


def _weasyprint() -> Any:
    try:
        import weasyprint
    except OSError as error:  # its libraries are loaded when it is imported
        line = f"sudo apt-get install -y {PANGO_PACKAGES} {FONT_PACKAGE}"
        raise ServiceMissing(f"Pango, which writes the PDF, is not installed; run: {line}") from error
    return weasyprint
