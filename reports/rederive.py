"""Figures of CN_2017, every definition in version 1, computed again from evidence rows in plain integers: a second way.

It shares no code and no definitions with `spark_jobs.indicators`; a definition that changes its version needs its own lines here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from domain.errors import CheckFailed

_LONG_DAYS, _BAND_2_TO, _LARGEST = 90, 180, 10
_RATIO_UNITS = 1_000_000
NOT_DERIVABLE = frozenset({"REL_BAL_AMT", "REL_BAL_CNT", "FEE_STD"})


class Fraction(NamedTuple):
    """Numerator, denominator (None: not a quotient), and the value as printed (None: no value)."""

    numerator: int
    denominator: int | None
    value: str | None


@dataclass(frozen=True)
class _Loan:
    loan_no: str
    borrower: str
    disbursed: int
    principal: int
    interest: int
    overdue: int
    compensated: int
    compensated_issues: int
    lender_days: int
    borrower_days: int

    @property
    def is_open(self) -> bool:
        return self.principal > 0 or self.interest > 0


def rederive(loan_rows: list[dict[str, str]], claim_rows: list[dict[str, str]], currency: str) -> dict[str, Fraction]:
    """Every figure of one currency by code; CheckFailed when a cell is not a number."""
    try:
        loans = [_loan(row) for row in loan_rows if row["currency"] == currency]
        claims = [row for row in claim_rows if row["currency"] == currency]
        integers = _integers(loans) | _lenders(loans, claims)
        shares = _ratios(loans, integers) | _lender_shares(claims)
    except ValueError as error:
        raise CheckFailed(f"evidence rows: {error}") from error
    fractions = {code: Fraction(value, None, str(value)) for code, value in integers.items()}
    fractions |= {code: _ratio(*parts) for code, parts in shares.items()}
    return fractions | {
        "AVG_CUM_BORR": _average(integers["CUM_AMT"], integers["CUM_BORROWER"]),
        "AVG_CUM_LEND": _average(integers["CUM_AMT"], integers["CUM_LENDER"]),
    }


def _loan(row: dict[str, str]) -> _Loan:
    return _Loan(
        loan_no=row["loan_no"],
        borrower=row["borrower_ref"],
        disbursed=int(row["disbursed_minor"]),
        principal=int(row["outstanding_principal_minor"]),
        interest=int(row["outstanding_interest_minor"]),
        overdue=int(row["overdue_principal_minor"]) + int(row["overdue_interest_minor"]),
        compensated=int(row["compensated_minor"]),
        compensated_issues=int(row["compensated_issue_count"]),
        lender_days=int(row["lender_dpd"]),
        borrower_days=int(row["borrower_dpd"]),
    )


def _integers(loans: list[_Loan]) -> dict[str, int]:
    late = [loan for loan in loans if loan.lender_days > 0]
    long_late = [loan for loan in late if loan.lender_days > _LONG_DAYS]
    still_open = [loan for loan in loans if loan.is_open]
    return {
        "CUM_AMT": sum(loan.disbursed for loan in loans),
        "CUM_CNT": len(loans),
        "BAL_AMT": sum(loan.principal for loan in loans),
        "BAL_CNT": len(still_open),
        "INT_BAL": sum(loan.interest for loan in loans),
        "CUM_BORROWER": len({loan.borrower for loan in loans}),
        "CUR_BORROWER": len({loan.borrower for loan in still_open}),
        "OVD_AMT": sum(loan.overdue for loan in late),
        "OVD_CNT": len(late),
        "OVD90_AMT": sum(loan.principal for loan in long_late),
        "OVD90_CNT": len(long_late),
        "CUM_COMP_AMT": sum(loan.compensated for loan in loans),
        "CUM_COMP_CNT": sum(loan.compensated_issues for loan in loans),
    }


def _lenders(loans: list[_Loan], claims: list[dict[str, str]]) -> dict[str, int]:
    current = {row["lender_ref"] for row in _current_claims(loans, claims)}
    return {"CUM_LENDER": len({row["lender_ref"] for row in claims}), "CUR_LENDER": len(current)}


def _current_claims(loans: list[_Loan], claims: list[dict[str, str]]) -> list[dict[str, str]]:
    """Open claims that still have principal, or interest of their loan, to receive."""
    owes_interest = {loan.loan_no for loan in loans if loan.interest > 0}
    return [
        row
        for row in claims
        if row["is_open"] == "true" and (int(row["outstanding_principal_minor"]) > 0 or row["loan_no"] in owes_interest)
    ]


def _ratios(loans: list[_Loan], integers: dict[str, int]) -> dict[str, tuple[int, int]]:
    by_borrower: dict[str, int] = defaultdict(int)
    for loan in loans:
        by_borrower[loan.borrower] += loan.principal
    balances = sorted(by_borrower.values(), reverse=True)
    balance, to_be_repaid = integers["BAL_AMT"], integers["BAL_AMT"] + integers["INT_BAL"]
    ratios = {
        "TOP10_BORR": (sum(balances[:_LARGEST]), balance),
        "TOP1_BORR": (sum(balances[:1]), balance),
        "OVD_RATE_AMT": (integers["OVD_AMT"], to_be_repaid),
        "OVD_RATE_ITEM": (integers["OVD_CNT"], integers["BAL_CNT"]),
        "OVD_TO_CUM": (integers["OVD_AMT"], integers["CUM_AMT"]),
        "ID_TWP90": (sum(loan.principal for loan in loans if loan.borrower_days > _LONG_DAYS), balance),
    }
    bands: dict[str, Callable[[int], bool]] = {
        "90": lambda days: 0 < days <= _LONG_DAYS,
        "180": lambda days: _LONG_DAYS < days <= _BAND_2_TO,
        "180P": lambda days: days > _BAND_2_TO,
    }
    for band, holds in bands.items():
        graded = [loan for loan in loans if holds(loan.lender_days)]
        ratios[f"OVD_RATE_AMT_{band}"] = (sum(loan.overdue for loan in graded), to_be_repaid)
        ratios[f"OVD_RATE_ITEM_{band}"] = (len(graded), integers["BAL_CNT"])
    return ratios


def _lender_shares(claims: list[dict[str, str]]) -> dict[str, tuple[int, int]]:
    by_lender: dict[str, int] = defaultdict(int)
    for row in claims:
        by_lender[row["lender_ref"]] += int(row["outstanding_principal_minor"])
    balances = sorted(by_lender.values(), reverse=True)
    lent = sum(balances)
    return {"TOP10_LEND": (sum(balances[:_LARGEST]), lent), "TOP1_LEND": (sum(balances[:1]), lent)}


def buckets(loan_rows: list[dict[str, str]], currency: str) -> list[tuple[str, int, int]]:
    """Bucket, number and outstanding principal of the loans overdue on the lender side, by their days: 30 days a bucket."""
    names = [*(f"M{number}" for number in range(1, 7)), "M6+"]
    counted = {name: [0, 0] for name in names}
    for row in loan_rows:
        days = int(row["lender_dpd"])
        if row["currency"] == currency and days > 0:
            cell = counted[names[min((days - 1) // 30, 6)]]
            cell[0] += 1
            cell[1] += int(row["outstanding_principal_minor"])
    return [(name, *counted[name]) for name in names]  # type: ignore[misc]


def evidence_rows(loan_rows: list[dict[str, str]], claim_rows: list[dict[str, str]], currency: str) -> dict[str, int]:
    """How many rows (loans, claims, or people where they are ranked) the numerator of every figure is made of, by code."""
    loans = [_loan(row) for row in loan_rows if row["currency"] == currency]
    claims = [row for row in claim_rows if row["currency"] == currency]
    late = [loan for loan in loans if loan.lender_days > 0]
    long_late = sum(loan.lender_days > _LONG_DAYS for loan in late)
    middle = sum(_LONG_DAYS < loan.lender_days <= _BAND_2_TO for loan in late)
    still_open = sum(loan.is_open for loan in loans)
    borrowers, lenders = (len({loan.borrower for loan in loans}), len({row["lender_ref"] for row in claims}))
    counts = dict.fromkeys(("CUM_AMT", "CUM_CNT", "CUM_BORROWER", "AVG_CUM_BORR", "AVG_CUM_LEND"), len(loans))
    counts |= dict.fromkeys(("OVD_AMT", "OVD_CNT", "OVD_RATE_AMT", "OVD_RATE_ITEM", "OVD_TO_CUM"), len(late))
    counts |= {"BAL_CNT": still_open, "CUR_BORROWER": still_open, "OVD90_AMT": long_late, "OVD90_CNT": long_late}
    for kind in ("AMT", "ITEM"):
        bands = {"90": len(late) - long_late, "180": middle, "180P": long_late - middle}
        counts |= {f"OVD_RATE_{kind}_{band}": count for band, count in bands.items()}
    return counts | {
        "BAL_AMT": sum(loan.principal > 0 for loan in loans),
        "INT_BAL": sum(loan.interest > 0 for loan in loans),
        "CUM_LENDER": len(claims),
        "CUR_LENDER": len(_current_claims(loans, claims)),
        "TOP10_BORR": min(_LARGEST, borrowers),
        "TOP1_BORR": min(1, borrowers),
        "TOP10_LEND": min(_LARGEST, lenders),
        "TOP1_LEND": min(1, lenders),
        "CUM_COMP_AMT": sum(loan.compensated > 0 for loan in loans),
        "CUM_COMP_CNT": sum(loan.compensated_issues > 0 for loan in loans),
        "ID_TWP90": sum(loan.borrower_days > _LONG_DAYS for loan in loans),
    }


def _average(numerator: int, denominator: int) -> Fraction:
    """Rounded half-up to the minor unit."""
    if denominator == 0:
        return Fraction(numerator, 0, None)
    return Fraction(numerator, denominator, str((2 * numerator + denominator) // (2 * denominator)))


def _ratio(numerator: int, denominator: int) -> Fraction:
    """Rounded half-up to six digits."""
    if denominator == 0:
        return Fraction(numerator, 0, None)
    units = (2 * _RATIO_UNITS * numerator + denominator) // (2 * denominator)
    return Fraction(numerator, denominator, f"{units // _RATIO_UNITS}.{units % _RATIO_UNITS:06d}")
