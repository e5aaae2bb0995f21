"""R7 against the bank's own books: sub-ledger ↔ general ledger, statement ↔ core banking (spec 07 sections 7.6 and 7.7).

Compared on dates whose file `gl` was accepted; a line that it lacks counts as zero there.

| equation | says |
|---|---|
| GL-1 | general ledger's closing of the sub-accounts = Σ sub-accounts of book B |
| GL-2 | core banking's balance of the special account = closing of its statement |
| GL-3, GL-4 | the day's debit, credit turnover of the sub-accounts, general ledger = book B |
| GL-5 | general ledger's closing of the special account = core banking's balance |
| GL-6, GL-7 | general ledger's closing of own funds, of suspense = book B |
| GL-8 | every line rolls: Σ of what opening + credit − debit misses its closing by, line by line without sign, is 0 |
"""

from __future__ import annotations

from recon.engine import Statement

_SCOPE = "platform_id, currency, business_date"
_ON_DATE = "join general_ledger_date d on d.platform_id = s.platform_id and d.business_date = s.business_date"
_CLOSING_OF = """case {column} when 'SUB_ACCOUNTS' then 'GL-1' when 'SPECIAL_ACCOUNT' then 'GL-5' when 'OWN_FUNDS' then 'GL-6'
    else 'GL-7' end"""
_ALWAYS = (
    ("GL-1", "GL_CLOSING", 1), ("GL-1", "S", -1), ("GL-2", "CORE_BALANCE", 1), ("GL-2", "K", -1), ("GL-3", "GL_DEBIT", 1),
    ("GL-3", "B_DEBIT", -1), ("GL-4", "GL_CREDIT", 1), ("GL-4", "B_CREDIT", -1), ("GL-5", "GL_CLOSING", 1),
    ("GL-5", "CORE_BALANCE", -1), ("GL-6", "GL_CLOSING", 1), ("GL-6", "B_CLOSING", -1), ("GL-7", "GL_CLOSING", 1),
    ("GL-7", "B_CLOSING", -1), ("GL-8", "OFF_SUB_ACCOUNTS", 1), ("GL-8", "OFF_SPECIAL_ACCOUNT", 1), ("GL-8", "OFF_OWN_FUNDS", 1),
    ("GL-8", "OFF_SUSPENSE", 1),
)  # fmt: skip
"""Terms that are listed though they are zero, with their signs."""


def statements() -> list[Statement]:
    """Views `general_ledger_date`, `general_ledger_total`, `sub_account_turnover`, `general_ledger_term`."""
    dates = """
        select distinct s.platform_id, s.business_date from file_control s
        join complete_date d on d.platform_id = s.platform_id and d.business_date = s.business_date
        where s.file_kind = 'gl' and s.state = 'ACCEPTED'"""
    totals = f"""
        select s.platform_id, s.currency, s.business_date, s.account_kind, sum(s.debit_minor) as debit_minor,
          sum(s.credit_minor) as credit_minor, sum(s.closing_minor) as closing_minor,
          sum(coalesce(s.core_balance_minor, 0)) as core_minor,
          sum(abs(s.opening_minor + s.credit_minor - s.debit_minor - s.closing_minor)) as off_minor
        from general_ledger_line s {_ON_DATE}
        group by s.platform_id, s.currency, s.business_date, s.account_kind"""
    turnover = f"""
        select s.platform_id, s.currency, s.business_date,
          sum(case when b.account_no is null then s.amount_minor else 0 end) as debit_minor,
          sum(case when c.account_no is null then s.amount_minor else 0 end) as credit_minor
        from ledger_movement s {_ON_DATE}
        left join control_account b on b.platform_id = s.platform_id and b.account_no = s.debit_account_no
        left join control_account c on c.platform_id = s.platform_id and c.account_no = s.credit_account_no
        group by s.platform_id, s.currency, s.business_date"""
    return [
        Statement("general_ledger_date", dates, keep=True),
        Statement("general_ledger_total", totals, keep=True),
        Statement("sub_account_turnover", turnover, keep=True),
        Statement("general_ledger_term", " union all ".join(_terms())),
    ]


def _terms() -> tuple[str, ...]:
    rows = ", ".join(f"('{equation}', '{term}', {sign})" for equation, term, sign in _ALWAYS)

    def of_total(equation: str, term: str, sign: int, value: str, where: str = "true") -> str:
        return f"select {equation}, {term}, {sign}, {_SCOPE}, {value} from general_ledger_total where {where}"

    def of_turnover(equation: str, term: str, value: str) -> str:
        return f"select '{equation}', '{term}', -1, {_SCOPE}, {value} from sub_account_turnover"

    subs, special = "account_kind = 'SUB_ACCOUNTS'", "account_kind = 'SPECIAL_ACCOUNT'"
    return (
        "select t.equation, t.term, t.sign, s.platform_id, s.currency, s.business_date, 0 as amount_minor "
        f"from scope s {_ON_DATE} cross join (values {rows}) as t(equation, term, sign)",
        of_total(_CLOSING_OF.format(column="account_kind"), "'GL_CLOSING'", 1, "closing_minor"),
        of_total("'GL-2'", "'CORE_BALANCE'", 1, "core_minor", special),
        of_total("'GL-5'", "'CORE_BALANCE'", -1, "core_minor", special),
        of_total("'GL-3'", "'GL_DEBIT'", 1, "debit_minor", subs),
        of_total("'GL-4'", "'GL_CREDIT'", 1, "credit_minor", subs),
        of_total("'GL-8'", "'OFF_' || account_kind", 1, "off_minor"),
        of_turnover("GL-3", "B_DEBIT", "debit_minor"),
        of_turnover("GL-4", "B_CREDIT", "credit_minor"),
        "select case when s.is_control then " + _CLOSING_OF.format(column="s.account_role") + " else 'GL-1' end, "
        "case when s.is_control then 'B_CLOSING' else 'S' end, -1, s.platform_id, s.currency, s.business_date, s.closing_minor "
        f"from role_total s {_ON_DATE} where not s.is_control or s.account_role in ('OWN_FUNDS', 'SUSPENSE')",
        "select 'GL-2', 'K', -1, s.platform_id, s.currency, s.business_date, s.amount_minor "
        f"from bank_statement_line s {_ON_DATE} where s.line_type = 'CLOSING'",
    )
