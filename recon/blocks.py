"""How large the blocks were in which tiers look for candidates: none is cut, so the largest says what a run had to bear."""

from __future__ import annotations

from collections.abc import Sequence

from recon.engine import Statement
from recon.spec import BusinessTier, ScoreTier, Tier
from recon.tiers.scene import Outcome, Scene, all_given, is_tolerant, key_names, keys_of, literal

BY_FRAMES = "frames"
"""Candidates are counted in each key's order, never paired: a block costs its sort."""
BY_PAIRS = "pairs"
"""The records of a key are paired with each other, key by key."""


def statement(scene: Scene, pair: str, outcomes: Sequence[tuple[Tier, Outcome]], open_views: Sequence[str]) -> Statement:
    """View PREFIXblocks: pair, tier, blocks, largest_records, largest_pairs (left times right records), processed.

    `open_views`: what each tier was given.
    """
    parts = [
        _of_tier(scene, pair, tier, number, view)
        for number, ((tier, _), view) in enumerate(zip(outcomes, open_views, strict=True), 1)
        if isinstance(tier, BusinessTier | ScoreTier)
    ]
    nothing = f"""select {literal(pair)} as pair, '' as tier, cast(0 as bigint) as blocks, cast(0 as bigint) as largest_records,
        cast(0 as bigint) as largest_pairs, '' as processed from {scene.prefix}kind where false"""
    return Statement(f"{scene.prefix}blocks", " union all ".join([*parts, nothing]))


def _of_tier(scene: Scene, pair: str, tier: BusinessTier | ScoreTier, number: int, view: str) -> str:
    processed = BY_FRAMES if isinstance(tier, BusinessTier) and not is_tolerant(tier.tolerance, scene.decimals) else BY_PAIRS
    if isinstance(tier, BusinessTier):
        exact = ["amount_minor"] if processed == BY_FRAMES else []
        view, keys, given = f"{scene.prefix}t{number}_seen", key_names(len(tier.keys) + 1 + len(exact)), "true"
    else:
        keys = [*keys_of(scene, tier.keys), "currency"]
        given = all_given(keys)
    left, right = (f"count(case when side = '{side}' then 1 end)" for side in "LR")
    sizes = f"""select count(*) as records, {left} * {right} as pairs
      from {view} where {given} group by {", ".join(keys)}"""
    return f"""select {literal(pair)} as pair, {literal(tier.name)} as tier, cast(count(*) as bigint) as blocks,
        cast(coalesce(max(records), 0) as bigint) as largest_records, cast(coalesce(max(pairs), 0) as bigint) as largest_pairs,
        '{processed}' as processed from ({sizes}) as sizes"""
