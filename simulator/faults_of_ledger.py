"""Further faults of the platform's ledger and of its files' rows: B05, B07, B25, B26 (spec 07 section 7.4)."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from domain.vocabulary import FileKind, MovementType
from simulator.fault_places import DAY, amount_of
from simulator.file_format import Row

if TYPE_CHECKING:
    from simulator.faults import Planter


def plant_account(planter: Planter, _number: int) -> bool:
    """B05: the platform credits another account of the same kind; its balances follow."""
    places = planter.places
    for day in places.quiet_nights():
        for row in places.free_postings(day):
            right = str(row["credit_account_no"])
            others = [account for account in sorted(places.sub_accounts) if account[:6] == right[:6]]
            wrong = places.rng.choice(others) if right in places.sub_accounts and len(others) > 1 else right
            if wrong in (right, row["debit_account_no"]) or not places.is_free("", [wrong]):
                continue
            moved: Row = {"debit_account_no": right, "credit_account_no": wrong}
            if not places.shift(day, planter.parameters.end, moved, amount_of(row)):
                continue
            places.take(str(row["request_no"]), [*places.accounts_of(row), wrong])
            row["credit_account_no"] = wrong
            planter.note("B05", day, "R3", f"{row['request_no']}#{row['seq']}", "platform credits another account")
            return True
    return False


def plant_type(planter: Planter, _number: int) -> bool:
    """B07: the platform calls a recharge by another name."""
    places = planter.places
    for day in places.quiet_nights():
        for row in places.free_postings(day):
            if row["movement_type"] != MovementType.RECHARGE:
                continue
            places.take(str(row["request_no"]), places.accounts_of(row))
            row["movement_type"] = MovementType.ALTERNATIVE_RECHARGE.value
            planter.note("B07", day, "R3", f"{row['request_no']}#{row['seq']}", "platform calls a recharge by another name")
            return True
    return False


def plant_position(planter: Planter, _number: int) -> bool:
    """B23: the platform reports another principal of a claim than what is left of it, and never again corrects it."""
    places = planter.places
    days = sorted(day for day, kind in places.feeds if kind is FileKind.CLAIMS)
    seen: dict[str, list[date]] = {}
    for day in days:
        for row in places.rows(day, FileKind.CLAIMS):
            seen.setdefault(str(row["claim_no"]), []).append(day)
    for day in places.quiet_nights():
        for row in places.rows(day, FileKind.CLAIMS):
            claim, sent = str(row["claim_no"]), seen[str(row["claim_no"])]
            if row["closed_on"] is not None or len(sent) < 2 or sent[-1] != day or not places.is_free(claim, []):
                continue
            delta = places.rng.randrange(1, 5_000)
            row["principal_minor"] = amount_of(row, "principal_minor") + delta
            places.take(claim, [])
            planter.note("B23", day, "R8", claim, f"platform reports a claim that is off by {delta}")
            return True
    return False


def plant_held(planter: Planter, _number: int) -> bool:
    """B26: the platform sets too much aside on one date."""
    for day in planter.places.pair_nights():
        rows = list(planter.places.rows(day, FileKind.BALANCES))
        planter.rng.shuffle(rows)
        for row in rows:
            account, room = str(row["account_no"]), amount_of(row, "closing_minor") - amount_of(row, "held_minor")
            if room < 2 or not planter.places.is_free("", [account]):
                continue
            delta = planter.rng.randrange(1, room)
            row["held_minor"] = amount_of(row, "held_minor") + delta
            planter.places.used_accounts.add(account)
            planter.note("B26", day, "R6", f"{account}:held", f"amount set aside off by {delta}", day + DAY)
            return True
    return False


def plant_bad_row(planter: Planter, _number: int) -> bool:
    """B25: a row of the loans' statuses cannot be read."""
    for day in planter.places.quiet_nights():
        if (day, "B25") in planter.dates:
            continue
        bad: Row = {
            "loan_no": f"{planter.platform_id}-LOAN-0",
            "seq": 1,
            "loan_status": "99",
            "changed_at": f"{day}T12:00:00+08:00",
        }
        planter.places.rows(day, FileKind.STATUS).append(bad)
        key = f"{planter.platform_id}/{planter.platform_id}.{FileKind.STATUS}:rows"
        planter.note("B25", day, "R9", key, "a loan's status that is no status")
        return True
    return False
