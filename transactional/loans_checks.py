"""What `fundwatch ledger verify` asks of the loans side: each check is a query for the rows at fault, as (row, what)."""

from __future__ import annotations

NAMES = (
    "disbursement is what was tendered",
    "open claims are the outstanding principal",
    "no claim is below zero",
    "claim was opened by its movement",
    "principal is paid to a claim of the loan",
    "plan adds up to the disbursed amount",
    "status follows the allowed transitions",
    "deal was paid by its order",
    "no mandate is used beyond its total",
    "no guarantee pays beyond its cover",
    "payout and recovery are what their orders moved",
    "row is what the audit chain was told",
)
CHECKS: dict[str, str] = {
    f"loans: {name}": f"SELECT row_name, what FROM loans.fault WHERE check_name = '{name}' ORDER BY row_name" for name in NAMES
}
