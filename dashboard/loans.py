"""One loan for a page: its published state, its borrower's accounts and open items, and its score with the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dashboard.published import Database, Source

_DATE = "run_id = %(run_id)s AND business_date = %(business_date)s"
_LOAN = f"""
SELECT loan.*, person.name_masked FROM mart.loan_snapshot loan
LEFT JOIN mart.customer_name person
  ON person.platform_id = loan.platform_id AND person.customer_no = loan.borrower_customer_no
WHERE {_DATE} AND loan.platform_id = %(platform_id)s AND loan_no = %(loan_no)s"""
_ACCOUNTS = """
SELECT account_no, account_role, currency FROM night.account
WHERE platform_id = %(platform_id)s AND customer_no = %(customer_no)s ORDER BY account_no"""
_ITEMS = f"""
SELECT * FROM mart.open_item
WHERE {_DATE} AND platform_id = %(platform_id)s AND account_no = ANY(%(accounts)s)
ORDER BY opened_on, match_key"""
_SCORE = f"""
SELECT * FROM mart.score
WHERE {_DATE} AND platform_id = %(platform_id)s AND borrower_ref = %(borrower)s"""


@dataclass(frozen=True)
class Loan:
    """A loan on the newest complete date of its platform; `score` is None when its borrower has none."""

    facts: dict[str, Any]
    accounts: list[dict[str, Any]]
    items: list[dict[str, Any]]
    score: dict[str, Any] | None


def loan(database: Database, source: Source, loan_no: str) -> Loan | None:
    """The loan of a published date, or None when that date has no such loan."""
    key = {"run_id": source.run_id, "business_date": source.business_date, "platform_id": source.platform_id}
    facts = database.execute(_LOAN, key | {"loan_no": loan_no}).fetchone()
    if facts is None:
        return None
    accounts = database.execute(_ACCOUNTS, key | {"customer_no": facts["borrower_customer_no"]}).fetchall()
    items = database.execute(_ITEMS, key | {"accounts": [account["account_no"] for account in accounts]}).fetchall()
    return Loan(facts, accounts, items, _score(database, key | {"borrower": facts["borrower_ref"]}))


def _score(database: Database, values: dict[str, Any]) -> dict[str, Any] | None:
    return database.execute(_SCORE, values).fetchone()


def items_of_account(database: Database, source: Source, account_no: str) -> list[dict[str, Any]]:
    """Open items on an account on a published date, oldest first."""
    key = {"run_id": source.run_id, "business_date": source.business_date, "platform_id": source.platform_id}
    return database.execute(_ITEMS, key | {"accounts": [account_no]}).fetchall()
