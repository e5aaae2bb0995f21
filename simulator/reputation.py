"""What the web says of a borrower whose reputation was searched (spec 06 section 6.2): findings, first pending, then reviewed."""

from __future__ import annotations

from datetime import date, timedelta
from math import exp
from random import Random

from domain.vocabulary import ReputationCategory, Review
from simulator.file_format import Row
from simulator.industry import Known
from simulator.knowledge import days_until_next, first_day, known_after, seen_risk
from simulator.parameters import WorldParameters
from simulator.people import Party
from simulator.risk import risk_of

SEARCHED_PERCENT = 80
SEARCHED_WITHIN_DAYS = 180
HITS_A_MONTH, HITS_SLOPE = 0.06, 1.1
REVIEWED_PERCENT = 70
DATED_PERCENT = 90
TIERS = (1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4)
_C = ReputationCategory
CATEGORIES = {
    1: (_C.DISHONEST_LIST, _C.ENFORCEMENT, _C.LITIGATION, _C.LITIGATION, _C.ADMIN_PENALTY, _C.TAX, _C.BANKRUPTCY),
    2: (_C.MEDIA_NEGATIVE, _C.MEDIA_NEGATIVE, _C.FRAUD_ACCUSATION),
    3: (_C.COMPLAINT, _C.COMPLAINT, _C.FRAUD_ACCUSATION),
    4: (_C.OTHER, _C.POSITIVE, _C.COMPLAINT, _C.MEDIA_NEGATIVE),
}
POLARITY = {_C.POSITIVE: (20, 91), _C.OTHER: (-20, 21)}
NEGATIVE = (-100, -29)


def reputation_hits(parameters: WorldParameters, party: Party) -> list[Known]:
    """All findings about a borrower by the end of the world, with the moment from which each is known.

    The first row of everybody who was searched is NO_HIT: searched, nothing found. Nobody who was not searched has a row.
    """
    rng = Random(f"{parameters.seed}/bureau/reputation/{party.party_ref}")
    if rng.randrange(100) >= SEARCHED_PERCENT:
        return []
    rate = HITS_A_MONTH * exp(HITS_SLOPE * seen_risk(rng, risk_of(parameters.seed, party.party_ref)))
    day = first_day(parameters) + timedelta(days=rng.randrange(SEARCHED_WITHIN_DAYS))
    searched_at = known_after(rng, day, 1, 2)
    nothing = _row(party, 0, searched_at.isoformat(), 4, _C.NO_HIT, 0, 0, None)
    known: list[Known] = [(searched_at, nothing | {"review": Review.CONFIRMED.value})]
    number = 0
    while (day := day + timedelta(days=days_until_next(rng, rate))) <= parameters.end:
        number += 1
        known.extend(_finding(rng, party, number, day))
    return known


def _finding(rng: Random, party: Party, number: int, day: date) -> list[Known]:
    """A finding when it is made, and once more when somebody has reviewed it."""
    tier = rng.choice(TIERS)
    category = rng.choice(CATEGORIES[tier])
    polarity, match = rng.randrange(*POLARITY.get(category, NEGATIVE)), rng.randrange(30, 101)
    found_at = known_after(rng, day, 1, 45)
    published_on = day if rng.randrange(100) < DATED_PERCENT else None
    row = _row(party, number, found_at.isoformat(), tier, category, polarity, match, published_on)
    known: list[Known] = [(found_at, row)]
    if rng.randrange(100) < REVIEWED_PERCENT:
        reviewed_at = known_after(rng, found_at.date(), 3, 30)
        review = Review.CONFIRMED if rng.randrange(100) < match else Review.REJECTED
        known.append((reviewed_at, row | {"review": review.value, "knowable_at": reviewed_at.isoformat()}))
    return known


def _row(
    party: Party,
    number: int,
    knowable_at: str,
    tier: int,
    category: ReputationCategory,
    polarity_pct: int,
    match_pct: int,
    published_on: date | None,
) -> Row:
    return {
        "hit_no": f"H-{party.id_hash[:12]}-{number:05d}",
        "subject_hash": party.id_hash,
        "source_tier": tier,
        "category": category.value,
        "polarity_pct": polarity_pct,
        "match_pct": match_pct,
        "review": Review.PENDING.value,
        "published_on": published_on.isoformat() if published_on else None,
        "knowable_at": knowable_at,
    }
