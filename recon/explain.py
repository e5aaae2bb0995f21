"""Why a match is one and a break is one: reasons by tier, the nearest candidate and what it fails, signal by signal."""

from __future__ import annotations

from recon.engine import Statement
from recon.spec import BusinessTier, GroupTier, KeyTier, ReversalTier, ScoreTier, Spec, SubsetTier, Tier
from recon.tiers.scene import Scene, equal, key_names, keys_of, listed, literal

COLUMNS = ("pair", "subject_id", "step", "signal", "left_value", "right_value", "outcome", "points", "rule")


def reasons(tier: Tier) -> str:
    """Expression of a match's reasons, by how it came about; constants but for the amount."""
    match tier:
        case KeyTier():
            agreed = [*tier.keys, *(entry.field for entry in tier.compare), "currency"]
            said = _agreed(agreed)
        case BusinessTier():
            said = _agreed([*tier.keys, "currency"]) + "; sole candidate of both sides"
        case GroupTier():
            said = _agreed([*tier.keys, "currency"]) + "; sums of the group compared"
        case SubsetTier():
            return literal(_agreed([*tier.keys, "currency"]) + "; the only subset with this sum; to be confirmed by hand")
        case ReversalTier():
            return literal(f"{tier.reversal_of} names {tier.target}; the two net to zero")
        case ScoreTier():
            return literal(f"best score of both sides in the block {', '.join(tier.keys)}; to be confirmed by hand")
    window = getattr(tier, "window", None)
    days = f"; days from {-window.before} to {window.after}" if window is not None else ""
    exact, tolerant = literal(f"{said}; amount equal{days}"), literal(f"{said}; amount within tolerance{days}")
    return f"case detail when 'exact' then {exact} else {tolerant} end"


def _agreed(names: list[str]) -> str:
    return "; ".join(f"{name} equal" for name in dict.fromkeys(names) if name != "amount")


def statements(spec: Spec, scene: Scene, prefix: str, tiers: list[Tier]) -> list[Statement]:
    """Views PREFIXnearest (break, nearest record, failing fields), PREFIXproposal and PREFIXexplanations."""
    return [
        *_lone_candidates(scene, prefix, tiers),
        _faced(scene, prefix),
        _nearest(scene, prefix),
        _proposal(prefix),
        _explanations(spec, scene, prefix, tiers),
    ]


def _blocks(scene: Scene, tiers: list[Tier]) -> list[list[str]]:
    """Keys under which a counterpart is looked for: those of the tiers, equal amounts, and last the blocks of scores."""
    strong = [keys_of(scene, tier.keys) for tier in tiers if isinstance(tier, KeyTier | BusinessTier | GroupTier)]
    weak = [keys_of(scene, tier.keys) for tier in tiers if isinstance(tier, ScoreTier)]
    return [list(keys) for keys in dict.fromkeys(tuple(keys) for keys in [*strong, ["currency", "amount_minor"], *weak])]


def _lone_candidates(scene: Scene, prefix: str, tiers: list[Tier]) -> list[Statement]:
    """For each one-sided record the records of the other side just before and after it in every block: linear, never all
    pairs."""
    lone = f"select * from {prefix}member where tier_no = 0"
    made = [Statement(f"{prefix}lone", lone)]
    parts = []
    for number, keys in enumerate(_blocks(scene, tiers)):
        places = key_names(len(keys))
        block = ", ".join(places)
        order = f"partition by {block} order by coalesce(ordinal, 0), amount_minor, side, record_id"
        given = " and ".join(f"{key} is not null" for key in keys)
        rows = f"""select side, record_id, ordinal, amount_minor, {listed(keys)} from {prefix}lone where {given}"""
        numbered = f"select *, row_number() over ({order}) as place from ({rows}) as rows"
        ordered = f"partition by {block} order by place rows between"
        back, on = f"{ordered} unbounded preceding and current row", f"{ordered} current row and unbounded following"
        seen = f"""select *, case when side = 'L' then max(case when side = 'R' then place end) over ({back})
            else max(case when side = 'L' then place end) over ({back}) end as before_place,
          case when side = 'L' then min(case when side = 'R' then place end) over ({on})
            else min(case when side = 'L' then place end) over ({on}) end as after_place from ({numbered}) as numbered"""
        made.append(Statement(f"{prefix}block{number}", seen, keep=True))
        same = equal([f"a.{place}" for place in places], [f"c.{place}" for place in places])
        for word in ("before", "after"):
            parts.append(
                f"""select a.side, a.record_id, c.record_id as candidate_id, {number} as block,
                  abs(a.amount_minor - c.amount_minor) as amount_apart, coalesce(abs(a.ordinal - c.ordinal), 0) as days_apart
                  from {prefix}block{number} as a join {prefix}block{number} as c on {same} and c.place = a.{word}_place"""
            )
    ranked = f"""select *, row_number() over (partition by side, record_id order by block, amount_apart, days_apart,
          candidate_id) as nearness
      from ({" union all ".join(parts)}) as candidates"""
    made.append(Statement(f"{prefix}candidate", f"select * from ({ranked}) as ranked where nearness = 1", keep=True))
    return made


def _faced(scene: Scene, prefix: str) -> Statement:
    """One left and one right record a break: the pair that differs, or the record that is alone and its nearest candidate."""
    names = [*scene.columns()]
    left = ", ".join(f"l.{name} as left_{name}" for name in names)
    right = ", ".join(f"r.{name} as right_{name}" for name in names)
    lone_side = "case when left_count = 1 then 'L' else 'R' end"
    pairs = f"""select b.break_id, b.tier_no, case when b.tier_no <> 0 then b.left_ids when b.left_count = 1 then b.left_ids
          else c.candidate_id end
        as left_id, case when b.tier_no <> 0 then b.right_ids when b.right_count = 1 then b.right_ids else c.candidate_id end
          as right_id
      from {prefix}break as b left join {prefix}candidate as c on b.tier_no = 0 and c.side = {lone_side}
        and c.record_id = case when b.left_count = 1 then b.left_ids else b.right_ids end
      where b.left_count + b.right_count <= 2 and b.left_count <= 1 and b.right_count <= 1"""
    text = f"""select p.break_id, p.tier_no, {left}, {right} from ({pairs}) as p
      left join (select * from {prefix}member where side = 'L') as l on l.record_id = p.left_id
      left join (select * from {prefix}member where side = 'R') as r on r.record_id = p.right_id"""
    return Statement(f"{prefix}faced", text, keep=True)


def _signals(scene: Scene) -> list[tuple[str, str]]:
    """Name and column of what is shown of a pair: the fields of the tiers, then currency, amount and date."""
    fixed = [("currency", "currency"), ("amount", "amount_minor"), ("date", "business_date")]
    return [(name, scene.column(name)) for name in scene.used if name not in {"currency", "amount", "date"}] + fixed


def _nearest(scene: Scene, prefix: str) -> Statement:
    failing = ", ".join(
        f"case when left_{column} is distinct from right_{column} then '{name}' end" for name, column in _signals(scene)
    )
    text = f"""select break_id, case when tier_no <> 0 then '' when left_group_ref_side = 'L' then 'R:' || right_record_id
        else 'L:' || left_record_id end as nearest, concat_ws(', ', {failing}) as failing
      from (select f.*, case when b.left_count = 1 then 'L' else 'R' end as left_group_ref_side from {prefix}faced as f
        join {prefix}break as b on b.break_id = f.break_id) as f
      where left_record_id is not null and right_record_id is not null"""
    return Statement(f"{prefix}nearest", text)


def _proposal(prefix: str) -> Statement:
    """The least proposal that names any record of a break."""
    named = " union all ".join(
        f"""select group_id, explode(split({word}_ids, ';')) as record_id, '{side}' as side from {prefix}matches
          where state = 'PROPOSED'"""
        for word, side in (("left", "L"), ("right", "R"))
    )
    text = f"""select b.break_id, min(m.group_id) as proposal from ({named}) as m
      join {prefix}member as e on e.side = m.side and e.record_id = m.record_id
      join {prefix}break as b on b.kind = e.kind and b.tier_no = e.tier_no and b.group_ref = e.group_ref
      group by b.break_id"""
    return Statement(f"{prefix}proposal", text)


def _explanations(spec: Spec, scene: Scene, prefix: str, tiers: list[Tier]) -> Statement:
    pair = prefix.rstrip("_").replace("_", "-")
    names = " ".join(f"when {number} then {literal(f'{spec.name}/{tier.name}')}" for number, tier in enumerate(tiers, 1))
    rule = f"case tier_no {names} else '{spec.name}' end || {literal(f'@{spec.version}')}"
    parts = [
        f"""select '{pair}' as pair, break_id as subject_id, {step} as step, '{name}' as signal,
          cast(left_{column} as string) as left_value, cast(right_{column} as string) as right_value,
          case when left_record_id is null or right_record_id is null then 'no candidate'
            when left_{column} is not distinct from right_{column} then 'equal' else 'differs' end as outcome,
          cast(null as int) as points, {rule} as rule from {prefix}faced"""
        for step, (name, column) in enumerate(_signals(scene), 1)
    ]
    parts += _group_signals(prefix, pair, rule)
    for number, tier in enumerate(tiers, 1):
        if isinstance(tier, ScoreTier):
            parts += _score_signals(scene, tier, prefix, pair, number, rule.replace("tier_no", str(number)))
    return Statement(f"{prefix}explanations", " union all ".join(parts))


def _group_signals(prefix: str, pair: str, rule: str) -> list[str]:
    """A break of several records is explained by their number and sums."""
    several = f"(select * from {prefix}break where left_count > 1 or right_count > 1) as several"
    sums = f"""(select b.break_id, b.tier_no, cast(coalesce(sum(case when m.side = 'L' then amount_minor end), 0) as bigint) as
          left_minor,
        cast(coalesce(sum(case when m.side = 'R' then amount_minor end), 0) as bigint) as right_minor
      from {prefix}break as b join {prefix}member as m on m.kind = b.kind and m.tier_no = b.tier_no and m.group_ref = b.group_ref
      where b.left_count > 1 or b.right_count > 1 group by b.break_id, b.tier_no) as sums"""
    return [
        f"""select '{pair}' as pair, break_id as subject_id, 1 as step, 'records' as signal, cast(left_count as string) as
              left_value,
          cast(right_count as string) as right_value, case when left_count = right_count then 'equal' else 'differs' end as
            outcome,
          cast(null as int) as points, {rule} as rule from {several}""",
        f"""select '{pair}' as pair, break_id as subject_id, 2 as step, 'sum' as signal, cast(left_minor as string) as left_value,
          cast(right_minor as string) as right_value, case when left_minor = right_minor then 'equal' else 'differs' end as
            outcome,
          cast(null as int) as points, {rule} as rule from {sums}""",
    ]


def _score_signals(scene: Scene, tier: ScoreTier, prefix: str, pair: str, number: int, rule: str) -> list[str]:
    """Each signal of a proposed pair with the points it gave."""
    from recon.tiers.scored import holds

    parts = []
    for step, signal in enumerate(tier.signals, 1):
        column = {"date": "business_date", "amount": "amount_minor"}.get(signal.field) or scene.column(signal.field)
        parts.append(
            f"""select '{pair}' as pair, m.group_id as subject_id, {step} as step, '{signal.field}' as signal,
              cast(l.{column} as string) as left_value, cast(r.{column} as string) as right_value,
              case when {holds(scene, signal)} then 'speaks for it' else 'does not' end as outcome,
              case when {holds(scene, signal)} then {signal.points} else 0 end as points, {rule} as rule
              from {prefix}t{number}_match as m
              join (select * from {prefix}member where side = 'L') as l on l.record_id = m.left_ids
              join (select * from {prefix}member where side = 'R') as r on r.record_id = m.right_ids"""
        )
    return parts
