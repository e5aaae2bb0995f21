"""Tier `business`: an equal weaker key, the amount within a tolerance, days within a window; only a sole candidate of both
sides confirms."""

from __future__ import annotations

from recon.engine import Statement
from recon.spec import BusinessTier
from recon.tiers.scene import (
    Outcome,
    Scene,
    all_given,
    equal,
    inside,
    is_tolerant,
    key_names,
    keys_of,
    listed,
    match,
    reference,
    within,
)


def statements(scene: Scene, tier: BusinessTier, number: int, open_view: str) -> Outcome:
    """Candidates are counted for every record of both sides; a record with more than one, or a rival for its one, is ambiguous.

    Ambiguous records of one key are one break as long as their days (or amounts) hang together.
    """
    name = f"{scene.prefix}t{number}"
    keys = [*keys_of(scene, tier.keys), "currency"]
    tolerant = is_tolerant(tier.tolerance, scene.decimals)
    if not tolerant:
        keys.append("amount_minor")
    eligible = all_given([*keys, "ordinal"] if tier.window else keys)
    counting = _counted_pairs if tolerant else _counted_frames
    return Outcome(
        [
            *counting(scene, tier, name, keys, f"select *, {listed(keys)} from {open_view} where {eligible}"),
            Statement(f"{name}_pair", _sole_pairs(scene, tier, name, len(keys)), keep=True),
            *_left_over(scene, tier, name, number, len(keys)),
            Statement(
                f"{name}_open",
                f"{_not_reached(scene, name)} union all {_plain(scene, open_view, f'not ({eligible})')}",
                keep=True,
            ),
            Statement(f"{name}_match", _confirmed(name, number)),
        ],
        f"{name}_open",
        f"{name}_match",
        f"{name}_broken",
    )


def _plain(scene: Scene, view: str, condition: str) -> str:
    return f"select {', '.join(scene.columns())} from {view} where {condition}"


def _not_reached(scene: Scene, name: str) -> str:
    return _plain(scene, f"{name}_seen", "candidates = 0")


def _counted_frames(scene: Scene, tier: BusinessTier, name: str, keys: list[str], eligible: str) -> list[Statement]:
    """Equal amounts: window frames count the other side's candidates without ever pairing them."""
    block = f"partition by {', '.join(key_names(len(keys)))}"
    before, after = (tier.window.before, tier.window.after) if tier.window else (0, 0)

    def count(other: str, back: int, on: int) -> str:
        frame = f" order by ordinal range between {back} preceding and {on} following" if tier.window else ""
        return f"count(case when side = '{other}' then 1 end) over ({block}{frame})"

    seen = f"""select *, case when side = 'L' then {count("R", before, after)} else {count("L", after, before)} end as candidates
      from ({eligible}) as eligible"""
    return [Statement(f"{name}_seen", seen, keep=True)]


def _counted_pairs(scene: Scene, tier: BusinessTier, name: str, keys: list[str], eligible: str) -> list[Statement]:
    """Amounts within a tolerance: pairs inside a key, counted for both sides."""
    places = key_names(len(keys))
    candidate = f"""select l.record_id as left_id, r.record_id as right_id from {name}_eligible as l join {name}_eligible as r
      on l.side = 'L' and r.side = 'R' and {equal([f"l.{place}" for place in places], [f"r.{place}" for place in places])}
      where {within(tier.tolerance, scene.decimals, "l.amount_minor", "r.amount_minor")}
        and {inside(tier.window, "l.ordinal", "r.ordinal")}"""
    counted = f"""select 'L' as side, left_id as record_id, count(*) as candidates from {name}_candidate group by left_id
      union all select 'R' as side, right_id as record_id, count(*) as candidates from {name}_candidate group by right_id"""
    seen = f"""select e.*, coalesce(c.candidates, 0) as candidates from {name}_eligible as e
      left join ({counted}) as c on c.side = e.side and c.record_id = e.record_id"""
    return [
        Statement(f"{name}_eligible", eligible, keep=True),
        Statement(f"{name}_candidate", candidate, keep=True),
        Statement(f"{name}_seen", seen, keep=True),
    ]


def _sole_pairs(scene: Scene, tier: BusinessTier, name: str, size: int) -> str:
    places = key_names(size)
    return f"""select l.record_id as left_id, r.record_id as right_id, l.amount_minor as left_minor, r.amount_minor as
          right_minor,
        l.currency as currency
      from {name}_seen as l join {name}_seen as r on
        {equal([f"l.{place}" for place in places], [f"r.{place}" for place in places])}
      where l.side = 'L' and r.side = 'R' and l.candidates = 1 and r.candidates = 1
        and {within(tier.tolerance, scene.decimals, "l.amount_minor", "r.amount_minor")} and
          {inside(tier.window, "l.ordinal", "r.ordinal")}"""


def _left_over(scene: Scene, tier: BusinessTier, name: str, number: int, size: int) -> list[Statement]:
    """Records with candidates that no sole pair took: ambiguous; and pairs that agree only within the tolerance: rounding."""
    block = ", ".join(key_names(size))
    measure = "ordinal" if tier.window else "amount_minor"
    if tier.window:
        apart = f"{measure} - lag({measure}) over ({{w}}) > {max(tier.window.before, tier.window.after)}"
    else:
        near = within(tier.tolerance, scene.decimals, f"lag({measure}) over ({{w}})", measure)
        apart = f"not ({near})"
    order = f"partition by {block} order by {measure}, side, record_id"
    taken = f"""select 'L' as side, left_id as record_id from {name}_pair union all select 'R' as side, right_id as record_id
          from {name}_pair"""
    loose = f"""select s.* from {name}_seen as s left join ({taken}) as t on t.side = s.side and t.record_id = s.record_id
      where s.candidates > 0 and t.record_id is null"""
    stepped = f"select *, case when {apart.format(w=order)} then 1 else 0 end as starts from ({loose}) as loose"
    running = f"{order} rows between unbounded preceding and current row"
    island = f"select *, sum(starts) over ({running}) as island from ({stepped}) as stepped"
    group = reference([*key_names(size), "island"])
    columns = ", ".join(scene.columns())
    ambiguous = f"select {columns}, {group} as group_ref, 'AMBIGUOUS' as kind, {number} as tier_no from ({island}) as islands"
    rounded = " union all ".join(
        f"""select {", ".join(f"s.{column}" for column in scene.columns())}, p.left_id as group_ref, 'ROUNDING' as kind,
              {number} as tier_no
          from {name}_seen as s join {name}_pair as p on s.record_id = p.{word}_id where s.side = '{side}' and p.left_minor <>
            p.right_minor"""
        for word, side in (("left", "L"), ("right", "R"))
    )
    text = f"{ambiguous} union all {rounded}" if is_tolerant(tier.tolerance, scene.decimals) else ambiguous
    return [Statement(f"{name}_broken", text, keep=True)]


def _confirmed(name: str, number: int) -> str:
    columns = match(
        group_id="'L:' || left_id",
        state="'CONFIRMED'",
        tier_no=str(number),
        left_count="1",
        right_count="1",
        left_ids="left_id",
        right_ids="right_id",
        left_minor="left_minor",
        right_minor="right_minor",
        currency="currency",
        score="100",
        detail="case when left_minor = right_minor then 'exact' else 'tolerance' end",
    )
    return f"select {columns} from {name}_pair"
