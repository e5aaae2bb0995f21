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

_MATCH = 0
_ODD = f"k.outcome <> {_MATCH} or k.left_minor <> k.right_minor"
"""Condition that the records of a judged key have to be read again."""
_REPEATED = (
    ("lefts > 1 and rights > 1", "AMBIGUOUS"),
    ("lefts > 1", "DUPLICATE_LEFT"),
    ("rights > 1", "DUPLICATE_RIGHT"),
)
_FIXED_KINDS = ("MATCH", "OPEN", *(kind for _, kind in _REPEATED))


def statements(scene: Scene, tier: KeyTier, number: int, open_view: str) -> Outcome:
    """One aggregation per key settles almost every record; only the rest is read again.

    A key of one side alone stays open for the next tiers; a key that repeats on any side never confirms.
    """
    name = f"{scene.prefix}t{number}"
    keys, places = keys_of(scene, tier.keys), key_names(len(tier.keys))
    # a key that does not repeat is the record's id as it was landed
    own_ids = [number > 1 or not scene.is_whole or source.id != tier.keys for source in (scene.left, scene.right)]
    grouped, odd = _grouped(scene, tier, own_ids, open_view), f"{name}_judged"
    queue: list[Statement] = []
    narrowing: list[Statement] = []
    if scene.by_join:
        queue, grouped = _joined_sides(scene, tier, own_ids, open_view, name)
        odd = f"{name}_odd"
        narrowing = _narrowed(scene, tier, number, open_view, name)
    facts = ", ".join(f"{word}_{fact}" for word in ("left", "right") for fact in _known(scene, tier, own_ids[word == "right"]))
    kinds, outcome = _outcome(scene, tier)
    judged = f"select {', '.join(places)}, {facts}, {outcome} as outcome from ({grouped}) as grouped"
    rest = _rest(scene, tier, kinds, open_view, odd)
    left_open = f"select {', '.join(scene.columns())} from {name}_rest where kind = 'OPEN'"
    if not _is_keyed(scene, number):
        left_open += f" union all select {', '.join(scene.columns())} from {open_view} where not ({all_given(keys)})"
    broken = f"""select {", ".join(scene.columns())}, group_ref, case when kind = 'MATCH' then 'ROUNDING' else kind end as kind,
      {number} as tier_no from {name}_rest where kind <> 'OPEN'"""
    confirmed = _confirmed(scene, number, own_ids, places)
    return Outcome(
        [
            *queue,
            Statement(f"{name}_judged", judged, keep=True),
            *narrowing,
            Statement(f"{name}_rest", rest if all(own_ids) else _numbered(scene, rest), keep=True),
            Statement(f"{name}_open", left_open, keep=True),
            Statement(f"{name}_broken", broken),
            Statement(f"{name}_match", f"select {confirmed} from {name}_judged where outcome = {_MATCH}"),
        ],
        f"{name}_open",
        f"{name}_match",
        f"{name}_broken",
    )


def _rest(scene: Scene, tier: KeyTier, kinds: list[str], view: str, odd: str) -> str:
    """The records of keys that need a second look, each with the kind of its key and a reference to it."""
    places = [f"k.{place}" for place in key_names(len(tier.keys))]
    words = " ".join(f"when {number} then '{kind}'" for number, kind in enumerate(kinds))
    return f"""select r.*, case k.outcome {words} end as kind, {reference(places)} as group_ref
      from {view} as r join {odd} as k on {equal(keys_of(scene, tier.keys, "r"), places)} where {_ODD}"""


def _confirmed(scene: Scene, number: int, own_ids: list[bool], places: list[str]) -> str:
    """Select list of a match: one record a side, known by the key itself or by an id of its own."""
    key = _joined(places) if scene.facts.plain_ids else f"replace({_joined(places)}, ';', '%3B')"
    left_id, right_id = (f"{word}_id" if has_own else key for word, has_own in zip(("left", "right"), own_ids, strict=True))
    return match(
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


def _grouped(scene: Scene, tier: KeyTier, own_ids: list[bool], view: str) -> str:
    """One row a key: how many records each side has, and what is asked of the one."""
    keys = keys_of(scene, tier.keys)
    return f"""select {listed(keys)}, count(case when side = 'L' then 1 end) as lefts,
        count(case when side = 'R' then 1 end) as rights, {", ".join(_facts(scene, tier, own_ids))}
      from {view} where {all_given(keys)} group by {", ".join(keys)}"""


def _joined_sides(scene: Scene, tier: KeyTier, own_ids: list[bool], view: str, name: str) -> tuple[list[Statement], str]:
    """The same by a join of the keys that do not repeat, which Spark does in half the time of a group by text.

    Repeated keys are found first, by hashes and where counting is cheap, and grouped, so that no key of many records is
    multiplied.
    """
    keys, places = keys_of(scene, tier.keys), key_names(len(tier.keys))
    hashes = f"""select key_hash from (select side, {_hash(keys)} as key_hash from {view} where {all_given(keys)}) as hashed
      group by key_hash having count(case when side = 'L' then 1 end) > 1 or count(case when side = 'R' then 1 end) > 1"""
    suspects = f"""select r.* from {view} as r semi join {name}_hashes as h on {_hash([f"r.{key}" for key in keys])} = h.key_hash
      where {all_given([f"r.{key}" for key in keys])}"""
    repeated = f"""select distinct {listed(keys)} from (select side, {", ".join(keys)} from {name}_suspects
      group by side, {", ".join(keys)} having count(*) > 1) as several"""
    many = equal([f"r.{key}" for key in keys], [f"d.{place}" for place in places])
    records = f"select r.* from {name}_suspects as r join {name}_repeated as d on {many}"
    sides, facts = [], []
    for letter, word, has_own in zip("LR", ("left", "right"), own_ids, strict=True):
        known = _known(scene, tier, has_own)
        facts += [f"{word}_{fact}" for fact in known]
        columns = [f"r.{key} as {place}" for key, place in zip(keys, places, strict=True)]
        columns += [f"r.{expression} as {word}_{fact}" for fact, expression in known.items()]
        sides.append(f"""(select {", ".join(columns)} from {view} as r anti join {name}_repeated as d on {many}
          where r.side = '{letter}' and {all_given([f"r.{key}" for key in keys])})""")
    both = ", ".join(f"coalesce(l.{place}, r.{place}) as {place}" for place in places)
    joined = f"""select /*+ SHUFFLE_HASH(l) */ {both}, case when left_minor is null then 0 else 1 end as lefts,
        case when right_minor is null then 0 else 1 end as rights, {", ".join(facts)}
      from {sides[0]} as l full join {sides[1]} as r
        on {equal([f"l.{place}" for place in places], [f"r.{place}" for place in places])}"""
    queue = [
        Statement(f"{name}_hashes", hashes, keep=True, on_driver=True),
        Statement(f"{name}_suspects", suspects, keep=True, on_driver=True),
        Statement(f"{name}_repeated", repeated, keep=True, on_driver=True),
        Statement(f"{name}_many", records, keep=True, on_driver=True),
    ]
    return queue, f"{joined} union all {_grouped(scene, tier, own_ids, f'{name}_many')}"


def _is_keyed(scene: Scene, number: int) -> bool:
    """Whether every record has its key: landing saw to it for the first tier."""
    return number == 1 and scene.facts.is_keyed


def _narrowed(scene: Scene, tier: KeyTier, number: int, view: str, name: str) -> list[Statement]:
    """The keys whose records are read again, and how many keys and keyless records are left."""
    left = f"select cast(count(*) as bigint) as records from {name}_odd"
    if not _is_keyed(scene, number):
        keyless = f"select count(*) as records from {view} where not ({all_given(keys_of(scene, tier.keys))})"
        left = f"select cast(sum(records) as bigint) as records from ({left} union all {keyless}) as parts"
    return [
        Statement(f"{name}_odd", f"select k.* from {name}_judged as k where {_ODD}", keep=True, on_driver=True),
        Statement(f"{name}_left", left, keep=True, on_driver=True, narrows=True),
    ]


def _hash(keys: list[str]) -> str:
    return f"xxhash64({keys[0] if len(keys) == 1 else reference(keys)})"


def _numbered(scene: Scene, rest: str) -> str:
    """Repeated keys are repeated ids: they get ``~2``, ``~3`` … in the order of the records' content."""
    content = [name for name in scene.columns() if name not in {"side", "record_id", "file_no", "line_no"}]
    order = ", ".join(f"{name} nulls last" for name in [*content, "file_no", "line_no"])
    turn = f"row_number() over (partition by side, record_id order by {order})"
    names = ", ".join(name for name in scene.columns() if name not in {"side", "record_id"})
    return f"""select side, case when turn = 1 then record_id else record_id || '~' || cast(turn as string) end as record_id,
        {names}, kind, group_ref from (select *, {turn} as turn from ({rest}) as rest) as numbered"""


def _known(scene: Scene, tier: KeyTier, has_own: bool) -> dict[str, str]:
    """What is asked of the one record of a side, by name: nothing that the key or the spec says, each costs on every record."""
    given = {"minor": "amount_minor"}
    if scene.facts.currency is None:
        given["currency"] = "currency"
    if tier.window is not None:
        given["ordinal"] = "ordinal"
    given |= {f"c{place}": scene.column(entry.field) for place, entry in enumerate(tier.compare)}
    return given | ({"id": "record_id"} if has_own else {})


def _facts(scene: Scene, tier: KeyTier, own_ids: list[bool]) -> list[str]:
    return [
        f"min(case when side = '{letter}' then {expression} end) as {word}_{fact}"
        for letter, word, has_own in zip("LR", ("left", "right"), own_ids, strict=True)
        for fact, expression in _known(scene, tier, has_own).items()
    ]


def _currency(scene: Scene, word: str) -> str:
    return f"{word}_currency" if scene.facts.currency is None else literal(scene.facts.currency)


def _joined(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"concat_ws('|', {', '.join(keys)})"


def _outcome(scene: Scene, tier: KeyTier) -> tuple[list[str], str]:
    """The kinds that a key can be of, and the expression of one's number: texts would be written for every record."""
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
    kinds = list(dict.fromkeys([*_FIXED_KINDS, *(kind for _, kind in tests)]))
    cases = " ".join(f"when {test} then {kinds.index(kind)}" for test, kind in tests)
    repeated = " ".join(f"when {test} then {kinds.index(kind)}" for test, kind in _REPEATED)
    return (
        kinds,
        f"""cast(case when lefts = 1 and rights = 1 then case {cases} else {_MATCH} end {repeated}
      else {kinds.index("OPEN")} end as tinyint)""",
    )
