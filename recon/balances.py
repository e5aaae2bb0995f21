"""R6, balances per sub-account, and R7, the equations with all their terms (spec 07 section 7.7)."""

from __future__ import annotations

from recon.engine import Statement
from recon.records import KEY, TOTAL_KEY

_ON_DATE = "join complete_date d on d.platform_id = s.platform_id and d.business_date = s.business_date"
_SCOPE = "platform_id, currency, business_date"


def account_balances() -> Statement:
    """View `account_difference`: accounts whose closings in V and B differ by another sum than their open items explain."""
    return Statement(
        "account_difference",
        f"""
        with part as (
          select s.platform_id, s.currency, s.business_date, s.account_no, s.closing_minor as v_minor, 0 as b_minor,
            0 as effect_minor from virtual_balance s {_ON_DATE}
          union all
          select s.platform_id, s.currency, s.business_date, s.account_no, 0, s.closing_minor, 0
          from ledger_balance s {_ON_DATE} where not s.is_control
          union all
          select platform_id, currency, business_date, account_no, 0, 0,
            case when book = 'V' then effect_minor else -effect_minor end
          from record_effect where recon_id = 'R3')
        select platform_id, currency, business_date, account_no, cast(sum(v_minor) as bigint) as v_minor,
          cast(sum(b_minor) as bigint) as b_minor, cast(sum(effect_minor) as bigint) as effect_minor,
          cast(sum(v_minor) - sum(b_minor) - sum(effect_minor) as bigint) as residual_minor
        from part group by platform_id, currency, business_date, account_no
        having sum(v_minor) - sum(b_minor) - sum(effect_minor) <> 0""",
        keep=True,
    )


def held_amounts() -> Statement:
    """View `held_difference`: accounts of which V sets another amount aside than B (B26)."""
    return Statement(
        "held_difference",
        f"""
        with part as (
          select s.platform_id, s.currency, s.business_date, s.account_no, s.held_minor as v_minor, 0 as b_minor
          from virtual_balance s {_ON_DATE}
          union all
          select s.platform_id, s.currency, s.business_date, s.account_no, 0, s.held_minor
          from ledger_balance s {_ON_DATE} where not s.is_control)
        select platform_id, currency, business_date, account_no, cast(sum(v_minor) as bigint) as v_minor,
          cast(sum(b_minor) as bigint) as b_minor, cast(sum(v_minor) - sum(b_minor) as bigint) as residual_minor
        from part group by platform_id, currency, business_date, account_no
        having sum(v_minor) <> sum(b_minor)""",
    )


def balance_totals() -> list[Statement]:
    """Views `role_total` (book B by role), `virtual_total`, `boundary_total` (B-6), `channel_total` (R4, cumulative)."""
    roles = f"""
        select s.platform_id, s.currency, s.business_date, s.account_role, s.is_control,
          cast(sum(s.opening_minor) as bigint) as opening_minor, cast(sum(s.closing_minor) as bigint) as closing_minor
        from ledger_balance s {_ON_DATE}
        group by s.platform_id, s.currency, s.business_date, s.account_role, s.is_control"""
    boundary = """
        select s.platform_id, s.currency, s.business_date, s.movement_type,
          cast(sum(case when d.account_no is not null and c.account_no is not null then 0
            when d.account_no is not null then s.amount_minor when c.account_no is not null then -s.amount_minor
            else 0 end) as bigint) as amount_minor
        from ledger_movement s
        join complete_date x on x.platform_id = s.platform_id and x.business_date = s.business_date
        left join control_account d on d.platform_id = s.platform_id and d.account_no = s.debit_account_no
        left join control_account c on c.platform_id = s.platform_id and c.account_no = s.credit_account_no
        where (d.account_no is null) <> (c.account_no is null)
        group by s.platform_id, s.currency, s.business_date, s.movement_type"""
    return [
        Statement("role_total", roles, keep=True),
        Statement("boundary_total", boundary),
        Statement("scope", "select distinct platform_id, currency, business_date from role_total"),
        Statement("control_total", _control_total()),
        Statement("channel_total", _channel_total(), keep=True),
    ]


def _control_total() -> str:
    """What each type of movement did to the channel's receivable and to own funds, per platform, currency and date."""
    roles = "('CHANNEL_RECEIVABLE', 'OWN_FUNDS')"
    return f"""
        select e.* from (
          select platform_id, currency, business_date, movement_type, debit_role as account_role, -amount_minor as amount_minor
          from ledger_movement where debit_role in {roles}
          union all
          select platform_id, currency, business_date, movement_type, credit_role, amount_minor
          from ledger_movement where credit_role in {roles}) e
        join complete_date s on s.platform_id = e.platform_id and s.business_date = e.business_date"""


def _channel_total() -> str:
    signed = "case when debit_account_no <> '' then -amount_minor else amount_minor end"
    return f"""
        with day as (
          select {_SCOPE}, sum(case when side = 'L' then {signed} else 0 end) as b_minor,
            sum(case when side = 'R' then {signed} else 0 end) as c_minor
          from record where recon_id = 'R4' group by {_SCOPE}),
        before as (
          select platform_id, currency, cast(get_json_object(state_json, '$.b_minor') as bigint) as b_minor,
            cast(get_json_object(state_json, '$.c_minor') as bigint) as c_minor
          from carried where recon_id = 'R4' and match_key = '{TOTAL_KEY}')
        select x.platform_id, x.currency, x.business_date,
          cast(coalesce(o.b_minor, 0) + sum(coalesce(d.b_minor, 0)) over (partition by x.platform_id, x.currency
            order by x.business_date rows between unbounded preceding and current row) as bigint) as b_minor,
          cast(coalesce(o.c_minor, 0) + sum(coalesce(d.c_minor, 0)) over (partition by x.platform_id, x.currency
            order by x.business_date rows between unbounded preceding and current row) as bigint) as c_minor
        from scope x
        left join day d on d.platform_id = x.platform_id and d.currency = x.currency and d.business_date = x.business_date
        left join before o on o.platform_id = x.platform_id and o.currency = x.currency"""


def _role_term(equation: str, term: str, sign: int, where: str, value: str = "closing_minor") -> str:
    return (
        f"select '{equation}' as equation, '{term}' as term, {sign} as sign, platform_id, currency, business_date, "
        f"{value} as amount_minor from role_total where {where}"
    )


def _effect_term(equation: str, term: str, sign: int, recon_ids: str, book: str) -> str:
    return (
        f"select '{equation}', '{term}', {sign}, platform_id, currency, business_date, effect_minor "
        f"from item_effect where recon_id in ({recon_ids}) and book = '{book}'"
    )


def _control_terms(equation: str, role: str, sign: int) -> tuple[str, ...]:
    """Opening + movements by type = closing of a control account; `sign` -1 shows a receivable as what is due to the bank."""
    return (
        _role_term(equation, "OPENING", 1, f"account_role = '{role}'", f"{sign} * opening_minor"),
        f"select '{equation}', movement_type, 1, platform_id, currency, business_date, {sign} * amount_minor "
        f"from control_total where account_role = '{role}'",
        _role_term(equation, "CLOSING", -1, f"account_role = '{role}'", f"{sign} * closing_minor"),
    )


_ALWAYS = (
    ("B-1", "K", 1), ("B-1", "R_IN_TRANSIT", 1), ("B-1", "W_PAYABLE", -1), ("B-1", "N", -1), ("B-1", "S", -1),
    ("B-1", "EFFECTS_S", -1), ("B-1", "EFFECTS_B", 1),
    ("B-2", "S", 1), ("B-2", "S_LENDER", -1), ("B-2", "S_BORROWER", -1), ("B-2", "S_GUARANTOR", -1),
    ("B-2", "S_PLATFORM_FUNCTIONAL", -1), ("B-3", "OPENING", 1), ("B-3", "CLOSING", -1), ("B-4", "OPENING", 1),
    ("B-4", "RECHARGE", 1), ("B-4", "SETTLEMENT", 1), ("B-4", "CHANNEL_FEE", 1), ("B-4", "CLOSING", -1),
    ("B-5", "OP_PLATFORM", 1), ("B-5", "OP_CUSTODY", -1), ("B-5", "CLAIM_ITEMS", -1), ("B-5", "LOAN_ITEMS", -1),
    ("B-6", "DELTA_S", -1), ("PROMISE_1_V", "S_V", 1),
    ("PROMISE_1_V", "S_B", -1), ("PROMISE_1_V", "EFFECTS_V", -1), ("PROMISE_1_V", "EFFECTS_B", 1),
    ("PROMISE_1_C", "TOTAL_C", 1), ("PROMISE_1_C", "TOTAL_B", -1), ("PROMISE_1_C", "EFFECTS_C", -1),
    ("PROMISE_1_C", "EFFECTS_B", 1),
)  # fmt: skip
"""Terms that are listed though nothing moved, with their signs."""


def _terms() -> tuple[str, ...]:
    """SELECTs of the terms that have rows, in the order of the equations."""
    return (
        f"select 'B-1', 'K', 1, s.platform_id, s.currency, s.business_date, s.amount_minor "
        f"from bank_statement_line s {_ON_DATE} where s.line_type = 'CLOSING'",
        _role_term("B-1", "R_IN_TRANSIT", 1, "account_role = 'CHANNEL_RECEIVABLE'", "-closing_minor"),
        _role_term("B-1", "W_PAYABLE", -1, "account_role = 'WITHDRAWAL_PAYABLE'"),
        _role_term("B-1", "N", -1, "account_role = 'SUSPENSE'"),
        _role_term("B-1", "S", -1, "not is_control"),
        _effect_term("B-1", "EFFECTS_S", -1, "'R5'", "S"),
        _effect_term("B-1", "EFFECTS_B", 1, "'R5'", "B"),
        _role_term("B-2", "S", 1, "is_control", "-closing_minor"),
        _role_term("B-2", "S_LENDER", -1, "account_role = 'INVESTOR'"),
        _role_term("B-2", "S_BORROWER", -1, "account_role = 'BORROWERS'"),
        _role_term("B-2", "S_GUARANTOR", -1, "account_role = 'GUARANTEECORP'"),
        _role_term("B-2", "S_PARTNER", -1, "account_role in ('INTERMEDIATOR', 'COLLABORATOR', 'SUPPLIER')"),
        _role_term("B-2", "S_PLATFORM_FUNCTIONAL", -1, "account_role like 'PLATFORM%'"),
        *_control_terms("B-3", "OWN_FUNDS", 1),
        *_control_terms("B-4", "CHANNEL_RECEIVABLE", -1),
        "select 'B-5', term, sign, platform_id, currency, business_date, amount_minor from position_term",
        _role_term("B-6", "DELTA_S", -1, "not is_control", "closing_minor - opening_minor"),
        "select 'B-6', movement_type, 1, platform_id, currency, business_date, amount_minor from boundary_total",
        f"select 'PROMISE_1_V', 'S_V', 1, s.platform_id, s.currency, s.business_date, s.closing_minor "
        f"from virtual_balance s {_ON_DATE}",
        _role_term("PROMISE_1_V", "S_B", -1, "not is_control"),
        _effect_term("PROMISE_1_V", "EFFECTS_V", -1, "'R3', 'R6'", "V"),
        _effect_term("PROMISE_1_V", "EFFECTS_B", 1, "'R3', 'R6'", "B"),
        "select 'PROMISE_1_C', 'TOTAL_C', 1, platform_id, currency, business_date, c_minor from channel_total",
        "select 'PROMISE_1_C', 'TOTAL_B', -1, platform_id, currency, business_date, b_minor from channel_total",
        _effect_term("PROMISE_1_C", "EFFECTS_C", -1, "'R4'", "C"),
        _effect_term("PROMISE_1_C", "EFFECTS_B", 1, "'R4'", "B"),
    )


def equation_terms() -> Statement:
    """View `equation_term`: every term of every equation per platform, currency and date; Σ sign × amount must be 0.

    B-1: K + in transit − payable − N = S + what open items of R5 move on the statement and not in custody.
    B-2: S by the double entry = Σ by role. B-3, B-4: opening + movements by type = closing, of own funds and of what the channel
    owes. B-5: claims as reported − loans by book B = items of R8. B-6: ΔS = Σ of what crosses the boundary.
    GL-1 … GL-8: the bank's general ledger and core banking (`recon.general_ledger`).
    PROMISE_1_V: V − B = Σ effects of V − Σ effects of B. PROMISE_1_C: the same for channel and custody, cumulated.
    """
    rows = ", ".join(f"('{equation}', '{term}', {sign})" for equation, term, sign in _ALWAYS)
    zeros = (
        "select t.equation, t.term, t.sign, x.platform_id, x.currency, x.business_date, cast(0 as bigint) as amount_minor "
        f"from scope x cross join (values {rows}) as t(equation, term, sign)"
    )
    bank = "select equation, term, sign, platform_id, currency, business_date, amount_minor from general_ledger_term"
    union = " union all ".join((zeros, *_terms(), bank))
    return Statement(
        "equation_term",
        f"""
        select equation, term, sign, {_SCOPE}, cast(sum(amount_minor) as bigint) as amount_minor
        from ({union}) u group by equation, term, sign, {_SCOPE}""",
        keep=True,
    )


def residuals() -> Statement:
    """View `equation_residual`: what is left of each equation; anything but 0 is an open item B21."""
    return Statement(
        "equation_residual",
        f"""
        select equation, {_SCOPE}, cast(sum(sign * amount_minor) as bigint) as residual_minor
        from equation_term group by equation, {_SCOPE}""",
    )


def islands(name: str, source: str) -> Statement:
    """View `name`: rows of `source` (key, business_date, ordinal …) with `opened_on`, the first date of their unbroken run.

    A run that begins on the first complete date goes on from the carried one when that was open.
    """
    partition = ", ".join(f"n.{column.strip()}" for column in KEY.split(","))
    return Statement(
        name,
        f"""
        with numbered as (
          select s.*, d.ordinal, d.ordinal - row_number() over (partition by s.recon_id, s.platform_id, s.currency,
            s.match_key order by d.ordinal) as island
          from {source} s {_ON_DATE})
        select n.*, case when n.island = 0 and c.opened_on is not null then c.opened_on
            else min(n.business_date) over (partition by {partition}, n.island) end as opened_on
        from numbered n left join carried c on c.recon_id = n.recon_id and c.platform_id = n.platform_id
          and c.currency = n.currency and c.match_key = n.match_key""",
    )
