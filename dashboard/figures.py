"""Figures and the rows they are made of: for each figure the published rows, as one relation with a key and an amount.

A figure's count is the number of its rows, its sum that of their `amount_minor`; tiles, charts and tables show exactly these
numbers, so that "rows" always leads to what was added up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.published import SCOPE
from domain.packs import Pack

PACK_ID = "CN_2017"
OLD_WORKING_DAYS = 5
"""An open break is old when it is open for more working days than this (spec 07 section 7.4)."""

_LOANS = f"{SCOPE} JOIN mart.loan_snapshot loan USING (run_id, business_date, platform_id)"
_ITEMS = f"{SCOPE} JOIN mart.open_item item USING (run_id, business_date, platform_id)"
_EQUATIONS = f"{SCOPE} JOIN mart.balance_equation USING (run_id, business_date, platform_id)"

LOAN_SORTS = {
    "amount": "-amount_minor",
    "lender_dpd": "-lender_dpd",
    "borrower_dpd": "-borrower_dpd",
    "disbursed_on": "disbursed_on - date '2000-01-01'",
    "loan": "0",
}
ITEM_SORTS = {"age": "-age_working_days", "amount": "-amount_minor", "code": "code_order", "key": "0"}
EQUATION_SORTS = {"amount": "-amount_minor", "equation": "0"}
_CODE_ORDER = "coalesce(nullif(regexp_replace(code, '\\D', '', 'g'), '')::int, 0) AS code_order"


@dataclass(frozen=True)
class Figure:
    """A figure by its rows: `kind` names the table that shows them, `relation` is SQL: `platform_id`, `key`, `amount_minor` …

    `sorts` maps a sort's name to an ascending integer expression; the first is the default. `filters` are those that narrow it.
    `per_platform` figures have no meaning across platforms: their rows need the platform filter.
    """

    code: str
    kind: str
    relation: str
    sorts: Mapping[str, str]
    filters: tuple[str, ...] = ()
    per_platform: bool = False


def _loans(
    code: str, where: str, amount: str, filters: tuple[str, ...] = ("bucket", "band"), per_platform: bool = False
) -> Figure:
    relation = f"""
        SELECT loan.*, loan.loan_no AS key, {amount} AS amount_minor FROM {_LOANS}
        WHERE loan.currency = %(currency)s AND {where}"""
    return Figure(code, "loan", relation, LOAN_SORTS, filters, per_platform)


def _largest(count: int) -> str:
    """Whether a loan is of one of the borrowers with the largest balance: the ranking of the pack's TOP10_BAL, TOP1_BAL."""
    return f"""outstanding_principal_minor > 0 AND EXISTS (
        SELECT FROM mart.largest_borrower largest
        WHERE largest.run_id = loan.run_id AND largest.business_date = loan.business_date AND largest.place <= {count}
          AND largest.platform_id = loan.platform_id AND largest.currency = loan.currency
          AND largest.borrower_ref = loan.borrower_ref)"""


def _items(code: str, where: str) -> Figure:
    relation = f"""
        SELECT item.*, item_id AS key, {_CODE_ORDER}, NULL::int AS lender_dpd, NULL::int AS borrower_dpd FROM {_ITEMS}
        WHERE currency = %(currency)s AND {where}"""
    return Figure(code, "item", relation, ITEM_SORTS, ("code", "age"))


# findings on loans beside open items: a common shape, the loan's number where an item has its key
_FINDINGS = f"""
    SELECT business_date, run_id, platform_id, item_id, recon_id, code, opened_code, severity, match_key, account_no, currency,
           amount_minor, opened_on, account_date, age_working_days, rule_version, explanation, nearest_candidate,
           suggested_action, evidence, explanation_zh, suggested_action_zh, item_id AS key, {_CODE_ORDER},
           NULL::int AS lender_dpd, NULL::int AS borrower_dpd
    FROM {_ITEMS} WHERE currency = %(currency)s AND severity = 'CRITICAL'
    UNION ALL
    SELECT business_date, run_id, platform_id, NULL, NULL, finding, finding, 'CRITICAL', loan_no, NULL, currency,
           overdue_principal_minor + overdue_interest_minor, NULL, NULL, lender_dpd, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           loan_no, 0, lender_dpd, borrower_dpd
    FROM {_LOANS} WHERE currency = %(currency)s AND finding IS NOT NULL"""

_ALL = (
    Figure(
        "custody_gap",
        "equation",
        f"""SELECT platform_id, business_date, equation, currency, equation AS key,
                   abs(sum(amount_minor))::bigint AS amount_minor, sum(amount_minor)::bigint AS residual_minor
            FROM {_EQUATIONS} WHERE is_residual AND currency = %(currency)s GROUP BY 1, 2, 3, 4""",
        EQUATION_SORTS,
    ),
    _loans("outstanding", "outstanding_principal_minor > 0", "outstanding_principal_minor"),
    _loans("interest", "outstanding_interest_minor > 0", "outstanding_interest_minor"),
    _loans(
        "balance_and_interest",
        "outstanding_principal_minor + outstanding_interest_minor > 0",
        "outstanding_principal_minor + outstanding_interest_minor",
    ),
    _loans("open_loans", "(outstanding_principal_minor > 0 OR outstanding_interest_minor > 0)", "outstanding_principal_minor"),
    _loans("par30", "outstanding_principal_minor > 0 AND lender_dpd > 30", "outstanding_principal_minor"),
    _loans("par90", "outstanding_principal_minor > 0 AND lender_dpd > 90", "outstanding_principal_minor"),
    _loans("overdue_rate", "lender_dpd >= 1", "overdue_principal_minor + overdue_interest_minor"),
    _loans("top10", _largest(10), "outstanding_principal_minor", per_platform=True),
    _loans("top1", _largest(1), "outstanding_principal_minor", per_platform=True),
    _items("old_breaks", f"age_working_days > {OLD_WORKING_DAYS}"),
    _items("open_items", "true"),
    Figure("red_lines", "item", _FINDINGS, ITEM_SORTS, ("code",)),
)
FIGURES: dict[str, Figure] = {figure.code: figure for figure in _ALL}

DENOMINATORS = {"par30": "outstanding", "par90": "outstanding", "overdue_rate": "balance_and_interest", "top10": "outstanding"}
"""Figures that are shares: the figure whose sum they are divided by."""

INDICATORS = {
    "outstanding": ("BAL_AMT",),
    "par90": ("OVD90_AMT", "BAL_AMT"),
    "overdue_rate": ("OVD_RATE_AMT",),
    "top10": ("TOP10_BORR", "TOP1_BORR"),
}
"""Which of the pack's indicators a figure is: the same identity as in the reports."""


def figure_id(code: str, currency: str) -> str:
    """Identity of a figure in every report and page.

    >>> figure_id("BAL_AMT", "CNY"), figure_id("BAL_AMT", "EUR")
    ('CN_2017.BAL_AMT', 'CN_2017.BAL_AMT.EUR')
    """
    return f"{PACK_ID}.{code}" + ("" if currency == "CNY" else f".{currency}")


def definitions(figure: str) -> list[dict[str, str]]:
    """The pack's definitions that a figure shows: identity, names, formula, queries, law."""
    pack = Pack.of(PACK_ID)
    found = []
    for code in INDICATORS.get(figure, ()):
        indicator = pack.indicator(code)
        measures = [pack.measures[name] for name in (*indicator.numerator, *indicator.denominator)]
        found.append(
            {
                "code": code,
                "name_en": indicator.name_en,
                "name_zh": indicator.name_zh,
                "version": indicator.version,
                "formula": indicator.formula,
                "queries": "\n".join(f"{measure.code} = {measure.sql}" for measure in measures),
                "legal_ref": indicator.legal_ref,
            }
        )
    return found
