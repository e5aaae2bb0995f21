"""Tier `key`: one record a side with an equal strong key confirms when all agrees; repeats and differences are breaks."""

from __future__ import annotations

from recon.engine import Statement
from recon.spec import KeyTier
from recon.tiers.scene import (
    Outcome,
    Scene,
    all_given,
    equal,
    inside,
    key_names,
    keys_of,
    listed,
    literal,
    match,
    reference,
    within,
)


def statements(scene: Scene, tier: KeyTier, number: int, open_view: str) -> Outcome:
    """One aggregation per key settles almost every record; only the rest is read again.

    A key of one side alone stays open for the next tiers; a key that repeats on any side never confirms.
    """
    name = f"{scene.prefix}t{number}"
    keys, places = keys_of(scene, tier.keys), key_names(len(tier.keys))
    # a key that does not repeat is the record's id as it was landed
    own_ids = [number > 1 or not scene.is_whole or source.id != tier.keys for source in (scene.left, scene.right)]
    left_id, right_id = (
        f"{word}_id" if has_own else _joined(places) if scene.facts.plain_ids else f"replace({_joined(places)}, ';', '%3B')"
        for word, has_own in zip(("left", "right"), own_ids, strict=True)
    )
    grouped = f"""select {listed(keys)}, count(case when side = 'L' then 1 end) as lefts,
        count(case when side = 'R' then 1 end) as rights, {", ".join(_facts(scene, tier, own_ids))}
      from {open_view} where {all_given(keys)} group by {", ".join(keys)}"""
    judged = f"select *, {_outcome(scene, tier)} as outcome from ({grouped}) as grouped"
    rest = f"""select r.*, k.outcome as kind, {reference([f"k.{place}" for place in places])} as group_ref
      from {open_view} as r join {name}_judged as k on {equal(keys_of(scene, tier.keys, "r"), [f"k.{place}" for place in places])}
      where k.outcome <> 'MATCH' or k.left_minor <> k.right_minor"""
    left_open = f"""select {", ".join(scene.columns())} from {name}_rest where kind = 'OPEN'
      union all select {", ".join(scene.columns())} from {open_view} where not ({all_given(keys)})"""
    broken = f"""select {", ".join(scene.columns())}, group_ref, case when kind = 'MATCH' then 'ROUNDING' else kind end as kind,
      {number} as tier_no from {name}_rest where kind <> 'OPEN'"""
    confirmed = match(
        group_id=f"'L:' || {left_id}",
        state="'CONFIRMED'",
        tier_no=str(number),
        left_count="1",
        right_count="1",
        left_ids=left_id,
        right_ids=right_id,
        left_minor="left_minor",
        right_minor="right_minor",
        currency=_currency(scene, "left"),
        score="100",
        detail="case when left_minor = right_minor then 'exact' else 'tolerance' end",
    )
    return Outcome(
        [
            Statement(f"{name}_judged", judged, keep=True),
            Statement(f"{name}_rest", rest, keep=True),
            Statement(f"{name}_open", left_open, keep=True),
            Statement(f"{name}_broken", broken),
            Statement(f"{name}_match", f"select {confirmed} from {name}_judged where outcome = 'MATCH'"),
        ],
        f"{name}_open",
        f"{name}_match",
        f"{name}_broken",
    )


def _facts(scene: Scene, tier: KeyTier, own_ids: list[bool]) -> list[str]:
    """Aggregates of the one record a side: nothing that the key or the spec says already, since each costs on every record."""
    given = {"minor": "amount_minor"}
    if scene.facts.currency is None:
        given["currency"] = "currency"
    if tier.window is not None:
        given["ordinal"] = "ordinal"
    given |= {f"c{place}": scene.column(entry.field) for place, entry in enumerate(tier.compare)}
    facts = []
    for letter, word, has_own in zip("LR", ("left", "right"), own_ids, strict=True):
        known = given | ({"id": "record_id"} if has_own else {})
        facts += [
            f"min(case when side = '{letter}' then {expression} end) as {word}_{fact}" for fact, expression in known.items()
        ]
    return facts


def _currency(scene: Scene, word: str) -> str:
    return f"{word}_currency" if scene.facts.currency is None else literal(scene.facts.currency)


def _joined(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"concat_ws('|', {', '.join(keys)})"


def _outcome(scene: Scene, tier: KeyTier) -> str:
    amounts = within(tier.tolerance, scene.decimals, "left_minor", "right_minor")
    tests = [("left_currency is distinct from right_currency", "CURRENCY")] if scene.facts.currency is None else []
    for place, entry in enumerate(tier.compare):
        if entry.field == "amount":
            tests.append((f"not ({amounts})", entry.kind))
        else:
            tests.append((f"left_c{place} is distinct from right_c{place}", entry.kind))
    tests.append((f"not ({amounts})", "AMOUNT"))
    if tier.window is not None:
        tests.append((f"not coalesce({inside(tier.window, 'left_ordinal', 'right_ordinal')}, false)", "DATE"))
    cases = " ".join(f"when {test} then '{kind}'" for test, kind in tests)
    return f"""case when lefts = 1 and rights = 1 then case {cases} else 'MATCH' end
      when lefts > 1 and rights > 1 then 'AMBIGUOUS' when lefts > 1 then 'DUPLICATE_LEFT' when rights > 1 then 'DUPLICATE_RIGHT'
      else 'OPEN' end"""
