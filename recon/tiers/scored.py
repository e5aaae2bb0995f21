"""Tier `score`: candidates of one block by points; the sole best pair of both sides is proposed, people confirm."""

from __future__ import annotations

from recon.engine import Statement
from recon.spec import ScoreTier, Signal
from recon.tiers.scene import Outcome, Scene, all_given, equal, keys_of, match


def statements(scene: Scene, tier: ScoreTier, number: int, open_view: str) -> Outcome:
    """Nothing is taken from what is open: a proposal stays a break until it is confirmed by hand."""
    name = f"{scene.prefix}t{number}"
    left, right = keys_of(scene, tier.keys, "l"), keys_of(scene, tier.keys, "r")
    score = " + ".join(f"case when {holds(scene, signal)} then {signal.points} else 0 end" for signal in tier.signals)
    scored = f"""select l.record_id as left_id, r.record_id as right_id, l.amount_minor as left_minor, r.amount_minor as
          right_minor,
        l.currency as currency, {score} as score
      from {open_view} as l join {open_view} as r on {equal([*left, "l.currency"], [*right, "r.currency"])}
      where l.side = 'L' and r.side = 'R' and {all_given(left)}"""
    kept = f"select * from ({scored}) as scored where score >= {tier.min_score}"
    ranked = f"""select *, rank() over (partition by left_id order by score desc) as left_rank,
        rank() over (partition by right_id order by score desc) as right_rank from {name}_candidate"""
    sole = f"""select *, count(case when left_rank = 1 then 1 end) over (partition by left_id) as left_ties,
        count(case when right_rank = 1 then 1 end) over (partition by right_id) as right_ties from ({ranked}) as ranked"""
    columns = match(
        group_id=f"'P{number}:' || left_id",
        state="'PROPOSED'",
        tier_no=str(number),
        left_count="1",
        right_count="1",
        left_ids="left_id",
        right_ids="right_id",
        left_minor="left_minor",
        right_minor="right_minor",
        currency="currency",
        score="score",
        detail="'score'",
    )
    proposed = f"""select {columns} from ({sole}) as best
      where left_rank = 1 and right_rank = 1 and left_ties = 1 and right_ties = 1"""
    return Outcome(
        [Statement(f"{name}_candidate", kept, keep=True), Statement(f"{name}_match", proposed)], open_view, f"{name}_match"
    )


def holds(scene: Scene, signal: Signal) -> str:
    """Condition that a signal speaks for a pair; a null never does."""
    if signal.field == "date":
        return f"abs(l.ordinal - r.ordinal) <= {signal.within}"
    column = scene.column(signal.field)
    if signal.field != "direction" and scene.declared(signal.field).type == "amount":
        return f"abs(l.{column} - r.{column}) <= {signal.within}"
    if signal.within and scene.declared(signal.field).type == "text":
        return f"levenshtein(l.{column}, r.{column}) <= {signal.within}"
    return f"l.{column} = r.{column}"
