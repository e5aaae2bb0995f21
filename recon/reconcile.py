"""The queue of statements that reconciles two landed sides by a spec, the same text on DuckDB and Spark.

Inputs are the views ``side_NAME`` of `recon.landing` with ids made unique; results are the views `matches`, `breaks` and
`explanations`, each behind the pair's prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from recon import blocks, explain
from recon.engine import Statement
from recon.kinds import KINDS
from recon.landing import column
from recon.severity import escalated
from recon.spec import (
    BusinessTier,
    Expected,
    GroupTier,
    Keep,
    KeyTier,
    ReversalTier,
    ScoreTier,
    SourceSpec,
    Spec,
    SubsetTier,
    Tier,
)
from recon.tiers import business_key, reversal, scored, shared_group, strong_key
from recon.tiers.scene import FIXED, NOTHING_KNOWN, Facts, Outcome, Scene, ids, literal


@dataclass(frozen=True)
class Pair:
    """Two sides to compare by their tiers; `as_of_ordinal` is None when the records have no dates."""

    name: str
    left_name: str
    right_name: str
    left: SourceSpec
    right: SourceSpec
    tiers: list[Tier]
    expected: Expected
    as_of_ordinal: int | None
    keep: tuple[Keep, ...] = ()
    facts: Facts = NOTHING_KNOWN
    by_join: bool = False

    @property
    def left_condition(self) -> str:
        """Which records of the left side take part."""
        tests = [
            f"{column(one.field, self.left.fields[one.field])} in ({', '.join(literal(value) for value in one.values)})"
            for one in self.keep
        ]
        return " and ".join(tests) or "true"

    @property
    def prefix(self) -> str:
        """Prefix of this pair's views."""
        return f"{self.left_name}_{self.right_name}_"


def pairs(
    spec: Spec,
    sources: Mapping[str, SourceSpec],
    as_of_ordinal: int | None,
    facts: Facts = NOTHING_KNOWN,
    by_join: bool = False,
) -> list[Pair]:
    """Left with right, then right with third when there is one; `sources` name the fields that identify their records."""
    left, right = sources["left"], sources["right"]
    found = [Pair("left-right", "left", "right", left, right, spec.tiers, spec.expected, as_of_ordinal, (), facts, by_join)]
    if spec.third is not None:
        keep, expected = tuple(spec.third_keep), spec.third_expected
        found.append(
            Pair(
                "right-third",
                "right",
                "third",
                right,
                sources["third"],
                spec.third_tiers,
                expected,
                as_of_ordinal,
                keep,
                by_join=by_join,
            )
        )
    return found


def statements(spec: Spec, pair: Pair) -> list[Statement]:
    """All statements of a pair in order."""
    scene = scene_of(pair)
    queue = [_records(scene, pair)]
    outcomes: list[tuple[Tier, Outcome]] = []
    given: list[str] = []
    open_view = f"{pair.prefix}record"
    for number, tier in enumerate(pair.tiers, 1):
        given.append(open_view)
        outcome = _tier(scene, tier, number, open_view)
        queue += outcome.statements
        outcomes.append((tier, outcome))
        open_view = outcome.open_view
    matches = _matches(spec, pair, outcomes)
    return [
        *queue,
        matches,
        _members(scene, pair, outcomes, open_view),
        _breaks(spec, scene, pair),
        _kinds(spec, pair.prefix),
        *explain.statements(spec, scene, pair.prefix, pair.tiers),
        _out_breaks(spec, pair),
        blocks.statement(scene, pair.name, outcomes, given),
    ]


def scene_of(pair: Pair) -> Scene:
    """The pair's scene with the fields that its tiers use, in the order of their first use."""
    used: list[str] = []
    for tier in pair.tiers:
        used += getattr(tier, "keys", [])
        match tier:
            case KeyTier():
                used += [entry.field for entry in tier.compare]
            case ReversalTier():
                used += [tier.reversal_of, tier.target]
            case ScoreTier():
                used += [signal.field for signal in tier.signals]
            case _:
                pass
    own = ("direction",)
    return replace(
        Scene(pair.prefix, pair.left, pair.right, is_whole=not pair.keep, by_join=pair.by_join, facts=pair.facts),
        used=tuple(name for name in dict.fromkeys(used) if name not in own),
    )


def _tier(scene: Scene, tier: Tier, number: int, open_view: str) -> Outcome:
    match tier:
        case KeyTier():
            return strong_key.statements(scene, tier, number, open_view)
        case BusinessTier():
            return business_key.statements(scene, tier, number, open_view)
        case GroupTier():
            return shared_group.statements(scene, tier, number, open_view)
        case SubsetTier():
            return shared_group.subsets(scene, tier, number, open_view)
        case ReversalTier():
            return reversal.statements(scene, tier, number, open_view)
        case ScoreTier():
            return scored.statements(scene, tier, number, open_view)


def _records(scene: Scene, pair: Pair) -> Statement:
    def side(letter: str, name: str, source: SourceSpec) -> str:
        fields = scene.side_columns(source)
        direction = "case when amount_minor < 0 then '-' else '+' end as direction"
        fixed = ", ".join(direction if word == "direction" else word for word in FIXED[1:])
        return f"select '{letter}' as side, {fixed}{', ' + fields if fields else ''} from side_{name}"

    both = [f"{side('L', pair.left_name, pair.left)} where {pair.left_condition}", side("R", pair.right_name, pair.right)]
    return Statement(f"{pair.prefix}record", " union all ".join(both))


def _matches(spec: Spec, pair: Pair, outcomes: list[tuple[Tier, Outcome]]) -> Statement:
    parts = [
        f"""select '{pair.name}' as pair, group_id, state, {literal(tier.name)} as tier, score, left_count, right_count,
              left_ids,
          right_ids, left_minor, right_minor, currency, {explain.reasons(tier)} as reasons from {outcome.matches}"""
        for tier, outcome in outcomes
        if outcome.matches
    ]
    return Statement(f"{pair.prefix}matches", " union all ".join(parts))


def _members(scene: Scene, pair: Pair, outcomes: list[tuple[Tier, Outcome]], open_view: str) -> Statement:
    """Every record of every break: of broken keys and groups, and each record that stayed open alone."""
    columns = ", ".join(scene.columns())
    parts = [f"select {columns}, group_ref, kind, tier_no from {outcome.broken}" for _, outcome in outcomes if outcome.broken]
    alone = f"""select {columns}, side || record_id as group_ref,
      case when {_not_yet_due(pair)} then 'TIMING' when side = 'L' then 'MISSING_RIGHT' else 'MISSING_LEFT' end as kind, 0 as
        tier_no
      from {open_view}"""
    return Statement(f"{pair.prefix}member", " union all ".join([*parts, alone]), keep=True)


def _not_yet_due(pair: Pair) -> str:
    """A record waits for its other side for some working days, and over one cut-off when it lies close to it."""
    if pair.as_of_ordinal is None:
        return "false"
    age = f"{pair.as_of_ordinal} - ordinal"
    allowed = f"case when side = 'L' then {pair.expected.left} else {pair.expected.right} end"
    return f"ordinal is not null and ({age} < {allowed} or (near_cutoff and {age} < 1))"


def _breaks(spec: Spec, scene: Scene, pair: Pair) -> Statement:
    """One row a break; its identity is the context and the records, neither kind nor rule nor run."""

    def places(side: str) -> str:
        place = "cast(file_no as string) || ':' || cast(line_no as string)"
        return f"array_join(array_sort(array_agg({place}) filter (where side = '{side}')), ';')"

    grouped = f"""select kind, tier_no, group_ref, count(case when side = 'L' then 1 end) as left_count,
        count(case when side = 'R' then 1 end) as right_count, coalesce({ids("L")}, '') as left_ids, coalesce({ids("R")}, '')
          as right_ids,
        coalesce({places("L")}, '') as left_places, coalesce({places("R")}, '') as right_places,
        min(business_date) as opened_on, min(ordinal) as opened_ordinal
      from {pair.prefix}member group by kind, tier_no, group_ref"""
    identity = f"substring(md5(concat_ws('|', '{spec.name}', '{pair.name}', left_ids, right_ids)), 1, 32)"
    return Statement(f"{pair.prefix}break", f"select {identity} as break_id, * from ({grouped}) as grouped", keep=True)


def _kinds(spec: Spec, prefix: str) -> Statement:
    """What each kind is called in this spec."""
    rows = []
    for name, kind in KINDS.items():
        own = spec.breaks.get(name)
        code = (own.code if own else None) or kind.code
        severity = (own.severity if own else None) or kind.severity
        action = own.action if own else None
        texts = (action.en, action.zh) if action else (kind.action_en, kind.action_zh)
        rows.append(f"('{name}', {literal(code)}, '{severity}', {literal(texts[0])}, {literal(texts[1])})")
    return Statement(
        f"{prefix}kind", f"select * from (values {', '.join(rows)}) as t(kind, code, default_severity, action_en, action_zh)"
    )


def _out_breaks(spec: Spec, pair: Pair) -> Statement:
    """Breaks as they are written: one row a break and currency, with its effect and its age."""
    p = pair.prefix
    effect = f"""select kind, tier_no, group_ref, currency, cast(sum(case when side = 'L' then amount_minor else -amount_minor
          end) as bigint)
      as effect_minor from {p}member group by kind, tier_no, group_ref, currency"""
    age = "cast(null as int)" if pair.as_of_ordinal is None else f"{pair.as_of_ordinal} - b.opened_ordinal"
    tiers = " ".join(f"when {number} then {literal(tier.name)}" for number, tier in enumerate(pair.tiers, 1))
    joined = f"""select b.*, e.currency, e.effect_minor, k.code, k.default_severity, k.action_en, k.action_zh,
        cast({age} as int) as age_working_days, coalesce(n.nearest, '') as nearest, coalesce(n.failing, '') as failing,
        coalesce(q.proposal, '') as proposal
      from {p}break as b join ({effect}) as e on e.kind = b.kind and e.tier_no = b.tier_no and e.group_ref = b.group_ref
      join {p}kind as k on k.kind = b.kind left join {p}nearest as n on n.break_id = b.break_id
      left join {p}proposal as q on q.break_id = b.break_id"""
    severity = escalated("default_severity", "age_working_days")
    text = f"""select '{pair.name}' as pair, break_id, kind, code, {severity} as severity, currency,
          effect_minor, opened_on,
        age_working_days, left_count, right_count, left_ids, right_ids, left_places, right_places, case tier_no {tiers} else ''
          end as tier,
        nearest, failing, proposal, action_en, action_zh from ({joined}) as joined"""
    return Statement(f"{p}breaks", text)
