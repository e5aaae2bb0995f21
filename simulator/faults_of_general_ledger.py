"""The fault of the bank's own general ledger: B21 on the equation of the sub-ledger (spec 07 section 7.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.vocabulary import FileKind
from simulator.fault_places import DAY, amount_of
from simulator.general_ledger import SUB_ACCOUNTS, line_of

if TYPE_CHECKING:
    from simulator.faults import Planter

CENTS_MAX = 99


def plant(planter: Planter) -> bool:
    """B21: on one date the general ledger's account of the sub-accounts opens and closes some cents too high."""
    for day in planter.places.pair_nights():
        line = line_of(planter.places.rows(day, FileKind.GENERAL_LEDGER), SUB_ACCOUNTS)
        cents = planter.rng.randint(1, CENTS_MAX)
        for column in ("opening_minor", "closing_minor"):
            line[column] = amount_of(line, column) + cents
        planter.note("B21", day, "R7", "GL-1", f"general ledger of the sub-accounts off by {cents}", day + DAY)
        return True
    return False
