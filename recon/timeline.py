"""The life of a key: cumulative state at each event date, what it is called, and the intervals in which it is open.

Events are the dates on which either side has records, and the date after a record near the cut-off (its timing ends).
A key matches at most once: counts only grow, and a key that repeats on a side is never confirmed (architecture 7.1).
"""

from __future__ import annotations

from recon.engine import Statement
from recon.records import KEY, TOTAL_KEY
from recon.rules import RecordRule, RuleSet

_DIFFERS = {
    "status": "split_part(s.left_kind, '/', 2) <> split_part(s.right_kind, '/', 2)",
    "kind": "split_part(s.left_kind, '/', 1) <> split_part(s.right_kind, '/', 1)",
    "account": "(s.left_debit <> s.right_debit or s.left_credit <> s.right_credit)",
    "amount": "abs(s.left_minor - s.right_minor) > {tolerance}",
}
_SAME_KEY = " and ".join(f"{{a}}.{column} = {{b}}.{column}" for column in KEY.split(", "))


def same_key(a: str, b: str) -> str:
    """Join condition of two views on the key columns."""
    return _SAME_KEY.format(a=a, b=b)


def matched_before() -> Statement:
    """View `matched_before`: open keys that had matched on an earlier, published date, with the amount."""
    return Statement(
        "matched_before",
        f"""
        with known as (
          select {KEY}, cast(nullif(get_json_object(state_json, '$.matched_on'), '') as date) as matched_on,
            cast(get_json_object(state_json, '$.matched_minor') as bigint) as matched_minor
          from carried where recon_id in (select recon_id from record_rule) and match_key <> '{TOTAL_KEY}'
          union all
          select h.recon_id, h.platform_id, h.currency, h.match_key, h.matched_on, h.amount_minor as matched_minor
          from match_history h join open_key k on {same_key("h", "k")})
        select {KEY}, max(matched_on) as matched_on, max(matched_minor) as matched_minor
        from known where matched_on is not null group by {KEY}""",
        keep=True,
    )


def events(last_date: str) -> Statement:
    """View `key_event`: the dates on which the state of an open key may change, up to the run's last date."""
    return Statement(
        "key_event",
        f"""
        select {KEY}, business_date as event_date from open_record
        union
        select {KEY}, cast(business_date + 1 as date) as event_date from open_record
        where in_window and business_date < date '{last_date}'""",
    )


def states() -> Statement:
    """View `key_state`: what both sides hold of a key at an event date, everything up to that date counted."""
    return Statement(
        "key_state",
        f"""
        select e.recon_id, e.platform_id, e.currency, e.match_key, e.event_date, max(m.matched_on) as matched_before,
          cast(count(*) filter (where r.side = 'L') + count(distinct m.matched_on) as bigint) as n_left,
          cast(count(*) filter (where r.side = 'R') + count(distinct m.matched_on) as bigint) as n_right,
          cast(coalesce(sum(r.amount_minor) filter (where r.side = 'L'), 0) + coalesce(max(m.matched_minor), 0) as bigint)
            as left_minor,
          cast(coalesce(sum(r.amount_minor) filter (where r.side = 'R'), 0) + coalesce(max(m.matched_minor), 0) as bigint)
            as right_minor,
          max(r.kind) filter (where r.side = 'L') as left_kind, max(r.kind) filter (where r.side = 'R') as right_kind,
          max(r.debit_account_no) filter (where r.side = 'L') as left_debit,
          max(r.debit_account_no) filter (where r.side = 'R') as right_debit,
          max(r.credit_account_no) filter (where r.side = 'L') as left_credit,
          max(r.credit_account_no) filter (where r.side = 'R') as right_credit,
          max(r.parts) as parts,
          max(case when r.in_window and r.business_date = e.event_date then 1 else 0 end) as is_near_cutoff
        from key_event e
        join open_record r on {same_key("r", "e")} and r.business_date <= e.event_date
        left join matched_before m on {same_key("m", "e")}
        group by e.recon_id, e.platform_id, e.currency, e.match_key, e.event_date""",
    )


def _tolerance(rule: RecordRule) -> str:
    """Minor units by which the amounts of key `s` may differ: those of its kind when it is one part of several."""
    kinds = " ".join(
        f"when s.parts > 1 and split_part(s.left_kind, '/', 1) = '{kind}' then {minor}" for kind, minor in rule.split_tolerance
    )
    return f"case {kinds} else {rule.tolerance_minor} end" if kinds else str(rule.tolerance_minor)


def _left_only(rules: RuleSet) -> str:
    special = " ".join(
        f"when s.recon_id = '{rule.recon_id}' and split_part(s.left_kind, '/', 2) = '{status}' then '{code}'"
        for rule in rules.records
        for status, code in rule.left_only_of_status
    )
    return f"case {special} else r.left_only end" if special else "r.left_only"


def outcomes(rules: RuleSet) -> Statement:
    """View `key_outcome`: MATCHED or the code of the break at each event date, and which attributes differ."""
    compared = " ".join(
        f"when s.recon_id = '{rule.recon_id}' then case "
        + " ".join(
            f"when {_DIFFERS[attribute].format(tolerance=_tolerance(rule))} then '{code}'" for attribute, code in rule.compare
        )
        + f" when s.left_minor <> s.right_minor then '{rule.breaks.within_tolerance}' else 'MATCHED' end"
        for rule in rules.records
    )
    return Statement(
        "key_outcome",
        f"""
        select s.*, r.rule_version, r.left_book, r.right_book, r.left_repeats, r.right_repeats, r.timing, r.window_minutes,
          r.weak_minutes, r.across_days, r.both_repeat, r.within_tolerance, v.rivals,
          case when s.n_left = 1 and s.n_right = 0 then r.after_working_days else -1 end as after_working_days,
          case
            when s.n_left > 1 and s.n_right > 1 then r.both_repeat
            when s.n_left > 1 then r.left_repeats
            when s.n_right > 1 then r.right_repeats
            when s.n_left + s.n_right = 1 and s.is_near_cutoff = 1 then r.timing
            when s.n_left + s.n_right = 1 and v.rivals > 1 then r.both_repeat
            when s.n_right = 0 then {_left_only(rules)}
            when s.n_left = 0 then r.right_only
            else case {compared} end
          end as outcome,
          concat_ws(', ',
            case when {_DIFFERS["status"]} then 'status' end,
            case when {_DIFFERS["kind"]} then 'movement type' end,
            case when {_DIFFERS["account"]} then 'accounts' end,
            case when s.left_minor <> s.right_minor then 'amount' end) as differs
        from key_state s join record_rule r on r.recon_id = s.recon_id
        left join rival v on {same_key("v", "s")}""",
    )


def item_events() -> Statement:
    """View `item_event`: outcomes with the key's match date, the episode (before or after it) and when that opened.

    `opened_code`: the outcome when the episode became an item; while a side may still come (`after_working_days`) it is none.
    """
    return Statement(
        "item_event",
        f"""
        with matched as (
          select o.*, coalesce(o.matched_before,
              min(case when o.outcome = 'MATCHED' then o.event_date end) over (partition by {KEY})) as matched_on,
            lead(o.event_date) over (partition by {KEY} order by o.event_date) as next_event_date
          from key_outcome o),
        episode as (
          select m.*, coalesce(m.event_date > m.matched_on, false) as is_after_match from matched m),
        opened as (
          select e.*, min(case when e.outcome <> 'MATCHED' then e.event_date end)
            over (partition by {KEY}, e.is_after_match) as opened_on
          from episode e),
        waited as (
          select o.*, case when o.outcome = 'MATCHED' or (o.after_working_days >= 0
              and n.working_ordinal - f.working_ordinal <= o.after_working_days) then null else o.event_date end as item_date
          from opened o
          left join calendar_day f on f.business_date = o.opened_on
          left join calendar_day n on n.business_date = cast(o.next_event_date - 1 as date)),
        shown as (
          select w.*, min(w.item_date) over (partition by {KEY}, w.is_after_match) as shown_on from waited w)
        select o.*, max(case when o.event_date = o.shown_on then o.outcome end)
          over (partition by {KEY}, o.is_after_match) as opened_code
        from shown o""",
        keep=True,
    )


def item_days() -> Statement:
    """View `item_day`: one row per open item and complete date of the run on which it is open."""
    return Statement(
        "item_day",
        """
        select i.*, d.business_date,
          substring(sha2(i.recon_id || '|' || i.platform_id || '|' || i.currency || '|' || i.match_key || '|'
            || cast(i.opened_on as string), 256), 1, 32) as item_id
        from item_event i
        join complete_date d on d.platform_id = i.platform_id and d.business_date >= i.event_date
          and (i.next_event_date is null or d.business_date < i.next_event_date)
        where i.outcome <> 'MATCHED'""",
        keep=True,
    )


def item_records() -> Statement:
    """View `item_record`: the records behind an item on a date; after a match only those that came later count.

    `debit_sub_account` and `credit_sub_account` are empty for the bank's control accounts: book V does not hold them.
    """
    return Statement(
        "item_record",
        f"""
        select i.item_id, i.recon_id, i.platform_id, i.currency, i.match_key, i.business_date, i.outcome, i.left_book,
          i.right_book, i.left_repeats, i.right_repeats, i.rivals, r.parts,
          r.side, r.business_date as record_date, r.kind, r.debit_account_no,
          r.credit_account_no, r.amount_minor, r.source, r.in_window,
          case when d.account_no is null then r.debit_account_no else '' end as debit_sub_account,
          case when c.account_no is null then r.credit_account_no else '' end as credit_sub_account
        from item_day i
        join open_record r on {same_key("r", "i")} and r.business_date <= i.business_date
          and (not i.is_after_match or r.business_date > i.matched_on)
        left join control_account d on d.platform_id = r.platform_id and d.account_no = r.debit_account_no
        left join control_account c on c.platform_id = r.platform_id and c.account_no = r.credit_account_no""",
        keep=True,
    )


def effects() -> Statement:
    """View `record_effect`: signed effect of an item on a book's balance of an account.

    A repeated key has one effect, in the book that repeats: its records less the other side's (contracts section 8).
    """
    return Statement(
        "record_effect",
        """
        with leg as (
          select item_id, recon_id, platform_id, currency, match_key, business_date, outcome, side, left_book, right_book,
            left_repeats, right_repeats, debit_sub_account as account_no, -amount_minor as change_minor from item_record
          union all
          select item_id, recon_id, platform_id, currency, match_key, business_date, outcome, side, left_book, right_book,
            left_repeats, right_repeats, credit_sub_account as account_no, amount_minor as change_minor from item_record),
        booked as (
          select item_id, recon_id, platform_id, currency, business_date, outcome, account_no,
            case when outcome = left_repeats then left_book when outcome = right_repeats then right_book
              when side = 'L' then left_book else right_book end as book,
            case when (outcome = left_repeats and side = 'R') or (outcome = right_repeats and side = 'L')
              then -change_minor else change_minor end as change_minor
          from leg where account_no <> '')
        select item_id, recon_id, platform_id, currency, business_date, outcome as code, book, account_no,
          cast(sum(change_minor) as bigint) as effect_minor
        from booked
        group by item_id, recon_id, platform_id, currency, business_date, outcome, book, account_no
        having sum(change_minor) <> 0""",
    )


def details() -> Statement:
    """View `item_detail`: evidence as JSON, the account to look at, and the carried text of an item on a date."""
    listed = "array_join(array_sort(array_agg(distinct source) filter (where side = '{side}')), '\",\"')"

    def evidence(book: str, side: str) -> str:
        return f"""'"' || max({book}) || '":[' || coalesce('"' || nullif({listed.format(side=side)}, '') || '"', '') || ']'"""

    account = "case when credit_sub_account <> '' and debit_sub_account = '' then credit_sub_account else debit_sub_account end"
    return Statement(
        "item_detail",
        f"""
        select item_id, business_date,
          nullif(nullif(nullif(coalesce(max({account}) filter (where side = 'L'), max({account}) filter (where side = 'R')), ''),
            'SPECIAL_ACCOUNT'), 'CHANNEL_RECEIVABLE') as account_no,
          '{{' || {evidence("left_book", "L")} || ',' || {evidence("right_book", "R")} || '}}' as evidence,
          '["' || array_join(array_sort(array_agg(side || '|' || cast(record_date as string) || '|' || kind || '|'
            || debit_account_no || '|' || credit_account_no || '|' || cast(amount_minor as string) || '|' || source || '|'
            || case when in_window then '1' else '0' end || '|' || coalesce(cast(parts as string), '') || '|'
            || case when rivals > 1 then cast(rivals as string) else '' end)), '","') || '"]' as records
        from item_record group by item_id, business_date""",
    )


def unproven() -> Statement:
    """View `unproven`: items and dates on which a missing side may lie on a date that was not complete (rules across dates).

    A left side alone: such a date lies between its own and the one by which the right side was due; a right side alone: in the
    `across_days` before it. Nothing is called missing until the date is complete or waived.
    """
    return Statement(
        "unproven",
        """
        select distinct i.item_id, i.business_date
        from item_day i
        join gap_date g on g.platform_id = i.platform_id
        join calendar_day o on o.business_date = i.opened_on
        left join calendar_day c on c.business_date = g.gap_on
        left join calendar_day p on p.business_date = cast(g.gap_on - 1 as date)
        where i.across_days > 0 and ((i.n_left = 0 and g.gap_on < i.opened_on
            and g.gap_on >= cast(i.opened_on - i.across_days as date))
          or (i.n_right = 0 and g.gap_on > i.opened_on and g.gap_on <= i.business_date
            and (c.working_ordinal - o.working_ordinal <= i.after_working_days
              or (c.working_ordinal - o.working_ordinal = i.after_working_days + 1
                and c.working_ordinal > p.working_ordinal))))""",
    )


def candidates() -> Statement:
    """View `nearest`: for an item with records on one side, the other side's open record that failed by least.

    Same request under another sequence number comes first, then same accounts and amount under another key. An item that is
    ambiguous (`recon.ambiguity`) names all records that fit it, a batch the orders that make up its difference.
    """
    return Statement(
        "nearest",
        """
        with one as (
          select r.item_id, r.rivals, r.recon_id, r.platform_id, r.currency, r.business_date, r.side,
            split_part(r.match_key, '#', 1)
              as request_no, r.debit_account_no, r.credit_account_no, r.amount_minor,
            r.match_key || ' (' || r.kind || ' ' || r.debit_account_no || ' > ' || r.credit_account_no || ' '
              || cast(r.amount_minor as string) || ')' as label
          from item_record r
          join item_day i on i.item_id = r.item_id and i.business_date = r.business_date
          where i.n_left = 0 or i.n_right = 0),
        by_request as (
          select recon_id, platform_id, currency, business_date, side, request_no, min(label) as label
          from one group by recon_id, platform_id, currency, business_date, side, request_no),
        by_value as (
          select recon_id, platform_id, currency, business_date, side, debit_account_no, credit_account_no, amount_minor,
            min(label) as label
          from one group by recon_id, platform_id, currency, business_date, side, debit_account_no, credit_account_no,
            amount_minor),
        found as (
          select a.item_id, a.business_date, '1' || b.label || ': same request, the sequence number differs' as label
          from one a join by_request b on b.recon_id = a.recon_id and b.platform_id = a.platform_id
            and b.currency = a.currency and b.business_date = a.business_date and b.side <> a.side
            and b.request_no = a.request_no
          union all
          select a.item_id, a.business_date, '2' || b.label || ': same accounts and amount, the key differs' as label
          from one a join by_value b on b.recon_id = a.recon_id and b.platform_id = a.platform_id
            and b.currency = a.currency and b.business_date = a.business_date and b.side <> a.side
            and b.debit_account_no = a.debit_account_no and b.credit_account_no = a.credit_account_no
            and b.amount_minor = a.amount_minor),
        listed as (
          select a.item_id, a.business_date, array_join(array_sort(array_agg(distinct b.label)), '; ')
              || ': all of them fit equally well' as label
          from one a join one b on b.recon_id = a.recon_id and b.platform_id = a.platform_id
            and b.currency = a.currency and b.business_date = a.business_date and b.side <> a.side
            and b.debit_account_no = a.debit_account_no and b.credit_account_no = a.credit_account_no
            and b.amount_minor = a.amount_minor
          where a.rivals > 1 and b.rivals > 1
          group by a.item_id, a.business_date)
        select item_id, business_date, label from listed
        union all
        select f.item_id, f.business_date, substring(min(f.label), 2) as label
        from found f left join listed l on l.item_id = f.item_id and l.business_date = f.business_date
        where l.item_id is null group by f.item_id, f.business_date
        union all
        select item_id, business_date, label from batch_candidate""",
    )
