"""R8, positions: what the platform says is owed against what book B makes of it (spec 07 sections 7.1 and 7.7, B-5)."""

from __future__ import annotations

from recon.engine import Statement

OF_LOAN = ":claims"
"""End of the key of an item about a loan whose claims do not add up to what is owed on it."""
_ON_DATE = "join complete_date d on d.platform_id = s.platform_id and d.business_date = s.business_date"
_PLACE = "s.platform_id, s.currency, s.business_date"


def position_differences() -> Statement:
    """View `position_difference`: claims reported otherwise than book B says, loans that are not the sum of their claims.

    Columns beside key and date: `residual_minor` is the platform's amount less book B's, for a loan its claims less the loan,
    both by book B; `said_minor` and `is_minor` are the two amounts.
    """
    return Statement(
        "position_difference",
        f"""
        with per_loan as (
          select platform_id, currency, business_date, loan_no, sum(outstanding_principal_minor) as claims_minor
          from claim_snapshot group by platform_id, currency, business_date, loan_no)
        select {_PLACE}, s.claim_no as match_key, s.principal_minor as said_minor, s.outstanding_principal_minor as is_minor,
          s.principal_minor - s.outstanding_principal_minor as residual_minor, 'CLAIM' as kind
        from claim_snapshot s {_ON_DATE}
        where s.is_open and s.principal_minor <> s.outstanding_principal_minor
        union all
        select {_PLACE}, s.loan_no || '{OF_LOAN}', cast(coalesce(c.claims_minor, 0) as bigint), s.outstanding_principal_minor,
          cast(coalesce(c.claims_minor, 0) - s.outstanding_principal_minor as bigint), 'LOAN'
        from loan_snapshot s {_ON_DATE}
        left join per_loan c on c.platform_id = s.platform_id and c.currency = s.currency and c.business_date = s.business_date
          and c.loan_no = s.loan_no
        where s.outstanding_principal_minor <> coalesce(c.claims_minor, 0)""",
        keep=True,
    )


def position_terms() -> Statement:
    """View `position_term`: the terms of B-5: claims as the platform reports them, loans by book B, the items between them."""
    return Statement(
        "position_term",
        f"""
        select 'OP_PLATFORM' as term, 1 as sign, {_PLACE}, s.principal_minor as amount_minor
        from claim_snapshot s {_ON_DATE} where s.is_open
        union all
        select 'OP_CUSTODY', -1, {_PLACE}, s.outstanding_principal_minor from loan_snapshot s {_ON_DATE}
        union all
        select case kind when 'CLAIM' then 'CLAIM_ITEMS' else 'LOAN_ITEMS' end, -1, platform_id, currency, business_date,
          residual_minor from position_difference""",
    )
