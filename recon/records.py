"""From the books' rows to keys: what agrees at once, and the few records that need a closer look (spec 07 section 7.3)."""

from __future__ import annotations

from domain.vocabulary import CONTROL_ROLES
from lake import completeness
from recon.engine import Statement
from recon.rules import RecordRule, RuleSet, Source

KEY = "recon_id, platform_id, currency, match_key"
TOTAL_KEY = "#TOTAL"
GAP_RULE, GAP_KEY = "R9", "#GAP-"
"""How the carry names a date that was not complete."""
GAP_DAYS = 31
"""For so many calendar days a date that was not complete is carried."""
_CONTROL_ROLES = ", ".join(f"'{role}'" for role in sorted(CONTROL_ROLES))
_RECORD = (
    "side, business_date, kind, debit_account_no, credit_account_no, amount_minor, source, in_window, parts, rivals, "
    "cast(null as timestamp) as happened_at"
)


def quoted(text: str) -> str:
    """A text as an SQL literal that Spark and DuckDB read alike (no backslashes, no quotes in it)."""
    return "'" + text.replace("\\", "/").replace("'", "’") + "'"


def rule_view(rules: RuleSet) -> Statement:
    """View `record_rule`: books, codes and version of each record rule."""
    rows = ", ".join(
        "("
        + ", ".join(
            quoted(text)
            for text in (
                rule.recon_id,
                rule.version,
                rule.left.book,
                rule.right.book,
                rule.breaks.left_only,
                rule.breaks.right_only,
                rule.breaks.left_repeats,
                rule.breaks.right_repeats,
                rule.breaks.both_repeat,
                rule.breaks.timing,
                rule.breaks.within_tolerance,
            )
        )
        + f", {rule.window_minutes}, {rule.after_working_days}, {rule.weak_minutes}, {rule.across_days})"
        for rule in rules.records
    )
    columns = (
        "recon_id, rule_version, left_book, right_book, left_only, right_only, left_repeats, right_repeats, both_repeat, "
        "timing, within_tolerance, window_minutes, after_working_days, weak_minutes, across_days"
    )
    return Statement("record_rule", f"select * from (values {rows}) as t({columns})")


def complete_dates() -> Statement:
    """View `complete_date`: platform-dates of the run that are complete (`lake.completeness`), numbered from 1."""
    return Statement(
        "complete_date",
        f"""
        select platform_id, business_date,
          cast(row_number() over (partition by platform_id order by business_date) as bigint) as ordinal
        from ({completeness.complete_dates("file_control")}) d""",
        keep=True,
    )


def control_accounts() -> Statement:
    """View `control_account`: accounts that belong to the bank and not to a sub-account."""
    return Statement("control_account", "select distinct platform_id, account_no from ledger_balance where is_control", keep=True)


def _side(rule: RecordRule, source: Source, side: str) -> str:
    fill = {"control_roles": _CONTROL_ROLES}
    return f"""
        select '{rule.recon_id}' as recon_id, s.platform_id, s.currency, {source.key} as match_key, '{side}' as side,
          s.business_date, {source.kind} as kind, {source.debit.format(**fill)} as debit_account_no,
          {source.credit.format(**fill)} as credit_account_no, {source.amount} as amount_minor,
          {source.happened_at} as happened_at,
          {source.source} as source
        from {source.table} s
        join complete_date d on d.platform_id = s.platform_id and d.business_date = s.business_date
        where {source.where.format(**fill)}"""


def records(rules: RuleSet) -> Statement:
    """View `record`: one row per record of either side (L, R) of every rule, uncompared dates left out."""
    sides = [_side(rule, source, side) for rule in rules.records for source, side in ((rule.left, "L"), (rule.right, "R"))]
    return Statement("record", " union all ".join(sides))


def carried_records() -> list[Statement]:
    """Views `carried_record` and `carried_key`: records of keys that were open when the last published date closed."""
    lines = f"""
        with text as (
          select {KEY}, get_json_object(state_json, '$.records') as records from carried
          where recon_id in (select recon_id from record_rule) and match_key <> '{TOTAL_KEY}'),
        line as (select {KEY}, explode(split(substring(records, 3, length(records) - 4), '","')) as field from text)
        select {KEY}, split_part(field, '|', 1) as side, cast(split_part(field, '|', 2) as date) as business_date,
          split_part(field, '|', 3) as kind, split_part(field, '|', 4) as debit_account_no,
          split_part(field, '|', 5) as credit_account_no, cast(split_part(field, '|', 6) as bigint) as amount_minor,
          split_part(field, '|', 7) as source, split_part(field, '|', 8) = '1' as in_window,
          cast(nullif(split_part(field, '|', 9), '') as bigint) as parts,
          cast(nullif(split_part(field, '|', 10), '') as bigint) as rivals
        from line"""
    return [
        Statement("carried_record", lines, keep=True),
        Statement("carried_key", f"select distinct {KEY} from carried_record"),
    ]


def key_groups() -> list[Statement]:
    """View `key_group`: counts and extremes per key, `is_clean` = one record a side, same date, all attributes equal.

    Almost every key is clean and is done here in one aggregation; `open_key` holds the others and what was carried.
    """
    groups = f"""
        with g as (
          select {KEY}, count(*) filter (where side = 'L') as n_left, count(*) filter (where side = 'R') as n_right,
            min(business_date) as first_date, max(business_date) as final_date,
            min(kind) as low_kind, max(kind) as high_kind, min(debit_account_no) as low_debit,
            max(debit_account_no) as high_debit, min(credit_account_no) as low_credit, max(credit_account_no) as high_credit,
            min(amount_minor) as low_minor, max(amount_minor) as high_minor
          from record group by {KEY})
        select g.recon_id, g.platform_id, g.currency, g.match_key, g.n_left, g.n_right, g.first_date,
          g.high_minor as amount_minor,
          c.match_key is null and g.n_left = 1 and g.n_right = 1 and g.first_date = g.final_date and g.low_kind = g.high_kind
          and g.low_debit = g.high_debit and g.low_credit = g.high_credit and g.low_minor = g.high_minor as is_clean
        from g left join carried_key c on c.recon_id = g.recon_id and c.platform_id = g.platform_id
          and c.currency = g.currency and c.match_key = g.match_key"""
    open_keys = f"""
        select {KEY} from key_group where not is_clean
        union
        select {KEY} from carried_key"""
    return [Statement("key_group", groups, keep=True), Statement("open_key", open_keys, keep=True)]


def split_records(rules: RuleSet) -> Statement:
    """View `split_record`: keys of book B that are one of several parts of an order, for the kinds that a split may round."""
    kinds = ", ".join(f"'{kind}'" for kind in sorted({kind for rule in rules.records for kind, _ in rule.split_tolerance}))
    return Statement(
        "split_record",
        f"""
        with part as (
          select platform_id, currency, business_date, request_no, movement_type, count(*) as parts from ledger_movement
          where movement_type in ({kinds or "''"})
          group by platform_id, currency, business_date, request_no, movement_type having count(*) > 1)
        select p.platform_id, p.currency, m.request_no || '#' || cast(m.seq as string) as match_key, max(p.parts) as parts
        from part p join ledger_movement m on m.platform_id = p.platform_id and m.currency = p.currency
          and m.business_date = p.business_date and m.request_no = p.request_no and m.movement_type = p.movement_type
        group by p.platform_id, p.currency, m.request_no, m.seq""",
    )


def gap_dates(first_date: str) -> Statement:
    """View `gap_date`: platform-dates that were not complete, of this run and of some weeks before it.

    What lies on such a date is unknown: a comparison across dates calls nothing missing that may lie there. Before the first
    complete date nothing is known at all, and no gap either.
    """
    return Statement(
        "gap_date",
        f"""
        select distinct f.platform_id, f.business_date as gap_on
        from file_control f
        join (
          select platform_id, min(business_date) as first_on
          from (select platform_id, business_date from complete_date union all select platform_id, business_date from carried) k
          group by platform_id) b on b.platform_id = f.platform_id and b.first_on < f.business_date
        left join complete_date d on d.platform_id = f.platform_id and d.business_date = f.business_date
        where d.platform_id is null
        union
        select platform_id, opened_on from carried where recon_id = '{GAP_RULE}' and match_key like '{GAP_KEY}%'
        union
        select l.platform_id, c.business_date
        from (select platform_id, max(business_date) as last_on from carried group by platform_id) l
        join calendar_day c on c.business_date > l.last_on and c.business_date < date '{first_date}'""",
        keep=True,
    )


def open_records(rules: RuleSet) -> Statement:
    """View `open_record`: all records, carried and new, of the keys in `open_key`; `in_window` = near a cut-off.

    `parts`: of how many parts of its order the record is one, where a split may round; `rivals` and `happened_at`: see
    `recon.ambiguity`. Characters that the carried text uses as separators are replaced here, so one pass and many give the same
    text.
    """
    near = " or ".join(
        f"(r.recon_id = '{rule.recon_id}' and (r.happened_at between c.opened_at - interval {rule.window_minutes} minutes "
        f"and c.opened_at + interval {rule.window_minutes} minutes or r.happened_at between c.closed_at - interval "
        f"{rule.window_minutes} minutes and c.closed_at + interval {rule.window_minutes} minutes))"
        for rule in rules.records
    )

    splits = ", ".join(f"'{rule.recon_id}'" for rule in rules.records if rule.split_tolerance) or "''"

    def plain(column: str) -> str:
        return f"translate(coalesce(r.{column}, ''), '|\"' || chr(92), '___') as {column}"

    return Statement(
        "open_record",
        f"""
        select r.recon_id, r.platform_id, r.currency, r.match_key, r.side, r.business_date, {plain("kind")},
          {plain("debit_account_no")}, {plain("credit_account_no")}, r.amount_minor, {plain("source")},
          coalesce({near}, false) as in_window, q.parts, cast(null as bigint) as rivals, r.happened_at
        from record r
        join open_key k on k.recon_id = r.recon_id and k.platform_id = r.platform_id and k.currency = r.currency
          and k.match_key = r.match_key
        join calendar_day c on c.business_date = r.business_date
        left join split_record q on r.recon_id in ({splits}) and q.platform_id = r.platform_id and q.currency = r.currency
          and q.match_key = r.match_key
        union all
        select {KEY}, {_RECORD} from carried_record""",
        keep=True,
    )
