"""Tier `reversal`: two records of one side that net to zero by reference, such as a booking and its reversal or refund."""

from __future__ import annotations

from recon.engine import Statement
from recon.spec import ReversalTier
from recon.tiers.scene import Outcome, Scene, match

SIDES = {"left": "'L'", "right": "'R'", "both": "'L', 'R'"}


def statements(scene: Scene, tier: ReversalTier, number: int, open_view: str) -> Outcome:
    """One reversal of one original that nets to zero confirms; an original that is not there at all, or does not net, is a break.

    A reversal whose original was matched before stays open: its own other side is what is missing.
    """
    name = f"{scene.prefix}t{number}"
    refers, target, columns = scene.column(tier.reversal_of), scene.column(tier.target), ", ".join(scene.columns())
    sides = SIDES[tier.side]
    part = f"""select r.*, r.{refers} as reference, 1 as is_reversal from {open_view} as r where r.{refers} is not null and
          r.side in ({sides})
      union all select o.*, o.{target} as reference, 0 as is_reversal from {open_view} as o
      where o.{refers} is null and o.{target} is not null and o.side in ({sides})"""
    known = f"""select distinct a.side, a.{target} as reference from {scene.prefix}record as a
      join (select distinct side, reference from {name}_part where is_reversal = 1) as v on v.side = a.side and v.reference =
        a.{target}
      where a.{refers} is null"""
    judged = f"""select p.side, p.reference, max(p.currency) as currency,
        case when max(k.reference) is null then 'REVERSAL_UNPAIRED' when count(case when is_reversal = 0 then 1 end) = 0 then
          'OPEN'
          when count(*) = 2 and count(distinct p.currency) = 1 and sum(amount_minor) = 0 then 'MATCH' else 'REVERSAL_UNPAIRED'
            end as outcome,
        array_join(array_sort(array_agg(record_id)), ';') as ids, count(*) as records, cast(sum(amount_minor) as bigint) as minor
      from {name}_part as p left join ({known}) as k on k.side = p.side and k.reference = p.reference
      group by p.side, p.reference having count(case when is_reversal = 1 then 1 end) > 0"""
    rest = f"""select p.*, coalesce(j.outcome, 'OPEN') as kind, p.side || p.reference as group_ref
      from {name}_part as p left join {name}_judged as j on j.side = p.side and j.reference = p.reference"""
    outside = f"""select {columns} from {open_view} where side not in ({sides}) or ({refers} is null and {target} is null)"""
    netted = match(
        group_id="side || ':' || ids",
        state="'CONFIRMED'",
        tier_no=str(number),
        left_count="case when side = 'L' then records else 0 end",
        right_count="case when side = 'R' then records else 0 end",
        left_ids="case when side = 'L' then ids else '' end",
        right_ids="case when side = 'R' then ids else '' end",
        left_minor="case when side = 'L' then minor else 0 end",
        right_minor="case when side = 'R' then minor else 0 end",
        currency="currency",
        score="100",
        detail="'netted'",
    )
    return Outcome(
        [
            Statement(f"{name}_part", part, keep=True),
            Statement(f"{name}_judged", judged, keep=True),
            Statement(f"{name}_rest", rest, keep=True),
            Statement(f"{name}_open", f"select {columns} from {name}_rest where kind = 'OPEN' union all {outside}", keep=True),
            Statement(
                f"{name}_broken",
                f"select {columns}, group_ref, kind, {number} as tier_no from {name}_rest where kind = 'REVERSAL_UNPAIRED'",
            ),
            Statement(f"{name}_match", f"select {netted} from {name}_judged where outcome = 'MATCH'"),
        ],
        f"{name}_open",
        f"{name}_match",
        f"{name}_broken",
    )
