"""Tiers `group` and `subset`: records that share a key, one to many or many to many; never a group by a sum alone."""

from __future__ import annotations

from recon.engine import Statement
from recon.spec import GroupTier, SubsetTier
from recon.tiers.scene import Outcome, Scene, all_given, equal, ids, key_names, keys_of, listed, match, reference, within

_HALF = 10


def statements(scene: Scene, tier: GroupTier, number: int, open_view: str) -> Outcome:
    """Equal sums of both sides confirm the whole group; unequal ones are a break, or stay open when the tier is not final."""
    name = f"{scene.prefix}t{number}"
    keys = [*keys_of(scene, tier.keys), "currency"]
    sums = within(tier.tolerance, scene.decimals, "left_minor", "right_minor")
    late = ""
    if tier.window is not None:
        late = f"""when not coalesce(right_last - left_first <= {tier.window.after} and left_last - right_first <=
              {tier.window.before}, false)
          then '{"DATE" if tier.final else "OPEN"}'"""
    outcome = f"""case when lefts = 0 or rights = 0 then 'OPEN' when not ({sums}) then
          '{"SPLIT_INCOMPLETE" if tier.final else "OPEN"}'
      {late} else 'MATCH' end"""
    confirmed = match(
        group_id="'L:' || first_left",
        state="'CONFIRMED'",
        tier_no=str(number),
        left_count="lefts",
        right_count="rights",
        left_ids="left_ids",
        right_ids="right_ids",
        left_minor="left_minor",
        right_minor="right_minor",
        currency="currency",
        score="100",
        detail="case when left_minor = right_minor then 'exact' else 'tolerance' end",
    )
    return Outcome(
        [
            Statement(
                f"{name}_judged", f"select *, {outcome} as outcome from ({_grouped(keys, open_view)}) as grouped", keep=True
            ),
            *_rest(scene, name, number, keys, open_view),
            Statement(f"{name}_match", f"select {confirmed} from {name}_judged where outcome = 'MATCH'"),
        ],
        f"{name}_open",
        f"{name}_match",
        f"{name}_broken",
    )


def _grouped(keys: list[str], open_view: str) -> str:
    def of(side: str, aggregate: str, expression: str) -> str:
        return f"{aggregate}(case when side = '{side}' then {expression} end)"

    return f"""select {listed(keys)}, max(currency) as currency, {of("L", "count", "1")} as lefts, {of("R", "count", "1")} as
          rights,
        cast(coalesce({of("L", "sum", "amount_minor")}, 0) as bigint) as left_minor,
        cast(coalesce({of("R", "sum", "amount_minor")}, 0) as bigint) as right_minor,
        {of("L", "min", "ordinal")} as left_first, {of("L", "max", "ordinal")} as left_last,
        {of("R", "min", "ordinal")} as right_first, {of("R", "max", "ordinal")} as right_last,
        {of("L", "min", "record_id")} as first_left, {ids("L")} as left_ids, {ids("R")} as right_ids
      from {open_view} where {all_given(keys)} group by {", ".join(keys)}"""


def _rest(scene: Scene, name: str, number: int, keys: list[str], open_view: str) -> list[Statement]:
    places = key_names(len(keys))
    columns = ", ".join(scene.columns())
    rest = f"""select r.*, k.outcome as kind, {reference([f"k.{place}" for place in places])} as group_ref from {open_view} as r
      join {name}_judged as k on {equal([f"r.{key}" for key in keys], [f"k.{place}" for place in places])}
      where k.outcome <> 'MATCH' or k.left_minor <> k.right_minor"""
    return [
        Statement(f"{name}_rest", rest, keep=True),
        Statement(
            f"{name}_open",
            f"""select {columns} from {name}_rest where kind = 'OPEN'
              union all select {columns} from {open_view} where not ({all_given(keys)})""",
            keep=True,
        ),
        Statement(
            f"{name}_broken",
            f"""select {columns}, group_ref, case when kind = 'MATCH' then 'ROUNDING' else kind end as kind, {number} as tier_no
              from {name}_rest where kind <> 'OPEN'""",
        ),
    ]


def subsets(scene: Scene, tier: SubsetTier, number: int, open_view: str) -> Outcome:
    """The one subset of a side that sums to the whole other side is proposed; the group is a break until people confirm it.

    Subset sums meet in the middle: all sums of two halves of at most ten records, joined where they add up to the target.
    """
    name = f"{scene.prefix}t{number}"
    keys = [*keys_of(scene, tier.keys), "currency"]
    judged = f"""select *, case when lefts = 0 or rights = 0 then 'OPEN' else 'SPLIT_INCOMPLETE' end as outcome
      from ({_grouped(keys, open_view)}) as grouped"""
    statements = [Statement(f"{name}_judged", judged, keep=True), *_rest(scene, name, number, keys, open_view)]
    bits = " cross join ".join(f"(select 0 as b{bit} union all select 1 as b{bit}) as x{bit}" for bit in range(_HALF))
    statements.append(Statement(f"{name}_bits", f"select * from {bits}", keep=True))
    found = []
    for many, one in (("L", "R"), ("R", "L")):
        statements += _search(name, many, one, tier.items_max)
        found.append(f"select * from {name}_found_{many}")
    statements.append(Statement(f"{name}_match", _proposed(name, number, found)))
    return Outcome(statements, f"{name}_open", f"{name}_match", f"{name}_broken")


def _search(name: str, many: str, one: str, items_max: int) -> list[Statement]:
    """Views of the items of one side numbered inside their group, the sums of both halves, and the sole solutions."""
    word = "left" if many == "L" else "right"
    other = "right" if many == "L" else "left"
    small = f"""select s.group_ref, s.record_id, s.amount_minor, s.currency,
        row_number() over (partition by s.group_ref order by s.amount_minor, s.record_id) as item_no,
        count(*) over (partition by s.group_ref) as items
      from {name}_rest as s where s.side = '{many}' and s.kind = 'SPLIT_INCOMPLETE'"""
    target = f"""select group_ref, cast(sum(amount_minor) as bigint) as target, {ids(one)} as {other}_ids, count(*) as {other}s
      from {name}_rest where side = '{one}' and kind = 'SPLIT_INCOMPLETE' group by group_ref"""

    def half(number: int) -> str:
        items = [number * _HALF + bit + 1 for bit in range(_HALF)]
        amounts = ", ".join(
            f"coalesce(max(case when item_no = {item} then amount_minor end), 0) as a{bit}" for bit, item in enumerate(items)
        )
        present = ", ".join(f"count(case when item_no = {item} then 1 end) as p{bit}" for bit, item in enumerate(items))
        total = " + ".join(f"b{bit} * a{bit}" for bit in range(_HALF))
        mask = " + ".join(f"{2 ** (item - 1)} * b{bit}" for bit, item in enumerate(items))
        count = " + ".join(f"b{bit}" for bit in range(_HALF))
        real = " and ".join(f"b{bit} <= p{bit}" for bit in range(_HALF))
        return f"""select group_ref, cast({total} as bigint) as total, cast({mask} as bigint) as mask, {count} as taken
          from (select group_ref, {amounts}, {present} from {name}_items_{many} where items between 2 and {items_max}
            group by group_ref) as pivoted cross join {name}_bits where {real}"""

    solved = f"""select t.group_ref, a.mask + b.mask as mask, a.taken + b.taken as taken
      from {name}_target_{many} as t join {name}_first_{many} as a on a.group_ref = t.group_ref
      join {name}_second_{many} as b on b.group_ref = t.group_ref and b.total = t.target - a.total
      where a.taken + b.taken > 0"""
    sole = f"select group_ref, max(mask) as mask from {name}_solved_{many} group by group_ref having count(*) = 1"
    masked = " + ".join(f"case when item_no = {item} then {2 ** (item - 1)} else 0 end" for item in range(1, 2 * _HALF + 1))
    chosen = f"""select i.group_ref, i.record_id, i.amount_minor, i.currency, '{many}' as side
      from (select *, {masked} as bit from {name}_items_{many} where items <= {items_max}) as i
      join ({sole}) as s on s.group_ref = i.group_ref
      where cast(floor(s.mask / i.bit) as bigint) - 2 * cast(floor(s.mask / (2 * i.bit)) as bigint) = 1"""
    found = f"""select c.group_ref, {ids(many)} as {word}_ids, max(t.{other}_ids) as {other}_ids, count(*) as {word}s,
        max(t.{other}s) as {other}s, cast(sum(c.amount_minor) as bigint) as minor, max(c.currency) as currency
      from {name}_chosen_{many} as c join {name}_target_{many} as t on t.group_ref = c.group_ref group by c.group_ref"""
    columns = "group_ref, left_ids, right_ids, lefts, rights, minor, currency"
    return [
        Statement(f"{name}_items_{many}", small, keep=True),
        Statement(f"{name}_target_{many}", target, keep=True),
        Statement(f"{name}_first_{many}", half(0), keep=True),
        Statement(f"{name}_second_{many}", half(1), keep=True),
        Statement(f"{name}_solved_{many}", solved, keep=True),
        Statement(f"{name}_chosen_{many}", chosen, keep=True),
        Statement(f"{name}_found_{many}", f"select {columns} from ({found}) as f", keep=True),
    ]


def _proposed(name: str, number: int, found: list[str]) -> str:
    columns = match(
        group_id=f"'P{number}:' || left_ids",
        state="'PROPOSED'",
        tier_no=str(number),
        left_count="lefts",
        right_count="rights",
        left_ids="left_ids",
        right_ids="right_ids",
        left_minor="minor",
        right_minor="minor",
        currency="currency",
        score="50",
        detail="'subset'",
    )
    return f"select {columns} from ({' union all '.join(found)}) as found"
