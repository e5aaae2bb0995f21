"""The rows of the reconciliation's tables, cast to the lake's contract (contracts sections 7 and 8)."""

from __future__ import annotations

from lake.completeness import IS_SETTLED, WAITED_FOR
from lake.tables import TABLES
from recon.balances import islands
from recon.engine import Statement
from recon.records import GAP_DAYS, GAP_KEY, GAP_RULE, KEY, TOTAL_KEY, quoted
from recon.rules import RuleSet
from recon.severity import escalated

HELD = ":held"
"""End of the key of an item about what an account sets aside, not about its balance."""
ROWS = ":rows"
"""End of the key of an item about rows of a file, not about the file."""
WRITTEN = ("match_group", "open_item", "open_item_effect", "recon_carry", "balance_equation", "recon_summary")
_SHA = (
    "substring(sha2({a}.recon_id || '|' || {a}.platform_id || '|' || {a}.currency || '|' || {a}.match_key || '|' "
    "|| cast({a}.opened_on as string), 256), 1, 32)"
)


def contract(table: str, source: str, run_id: int, *, keep: bool = False) -> Statement:
    """View `out_TABLE`: exactly the columns of a lake table, each cast to its declared type."""
    columns = ", ".join(
        f"cast({run_id} as bigint) as run_id" if name == "run_id" else f"cast({name} as {kind}) as {name}"
        for name, kind in (part.strip().split(" ") for part in TABLES[table].ddl.split(","))
    )
    return Statement(f"out_{table}", f"select {columns} from ({source}) o", keep)


def break_rule_view(rules: RuleSet) -> Statement:
    """View `break_rule`: severity and suggested action of each code."""
    rows = ", ".join(f"({quoted(entry.code)}, '{entry.severity}', {quoted(entry.action)})" for entry in rules.breaks)
    return Statement("break_rule", f"select * from (values {rows}) as t(code, severity, suggested_action)")


def _severity(rules: RuleSet) -> str:
    """Severity of item `e` of rule `b`: that of its kind where the code has one."""
    special = " ".join(
        f"when e.code = '{entry.code}' and e.kind = {quoted(kind)} then '{severity}'"
        for entry in rules.breaks
        for kind, severity in entry.of_kind
    )
    return f"case {special} else b.severity end" if special else "b.severity"


def account_imbalances(rules: RuleSet) -> list[Statement]:
    """Views `account_item` (B20) and `held_item` (B26) with their opening dates and sentences."""
    r6 = rules.control_versions["R6"]
    accounts = f"""
        select 'R6' as recon_id, platform_id, currency, account_no as match_key, business_date, account_no, residual_minor,
          'B20' as code, '{r6}' as rule_version,
          'R6@{r6} B20: V closes at ' || cast(v_minor as string) || ', B at ' || cast(b_minor as string)
            || '; open items explain ' || cast(effect_minor as string) || ' of the difference, '
            || cast(residual_minor as string) || ' stays unexplained (minor units of ' || currency || ')' as explanation
        from account_difference"""
    held = f"""
        select 'R6' as recon_id, platform_id, currency, account_no || '{HELD}' as match_key, business_date, account_no,
          residual_minor, 'B26' as code, '{r6}' as rule_version,
          'R6@{r6} B26: V sets ' || cast(v_minor as string) || ' aside, B ' || cast(b_minor as string)
            || ' (minor units of ' || currency || ')' as explanation
        from held_difference"""
    return [
        Statement("account_imbalance", accounts),
        islands("account_item", "account_imbalance"),
        Statement("held_imbalance", held),
        islands("held_item", "held_imbalance"),
    ]


def position_imbalances(rules: RuleSet) -> list[Statement]:
    """View `position_item` (B23): claims and loans on which platform and book B differ, with opening dates and sentences."""
    r8 = rules.control_versions["R8"]
    positions = f"""
        select 'R8' as recon_id, platform_id, currency, match_key, business_date, cast(null as string) as account_no,
          residual_minor, 'B23' as code, '{r8}' as rule_version,
          'R8@{r8} B23: ' || case kind when 'CLAIM' then 'the platform reports ' else 'the claims of the loan add up to ' end
            || cast(said_minor as string) || ' outstanding, book B makes it ' || cast(is_minor as string)
            || ' (minor units of ' || currency || ')' as explanation
        from position_difference"""
    return [Statement("position_imbalance", positions), islands("position_item", "position_imbalance")]


def equation_imbalances(rules: RuleSet) -> list[Statement]:
    """View `equation_item` (B21): equations that do not hold, with their opening dates and sentences."""
    r7 = rules.control_versions["R7"]
    equations = f"""
        select 'R7' as recon_id, platform_id, currency, equation as match_key, business_date,
          cast(null as string) as account_no, residual_minor, 'B21' as code, '{r7}' as rule_version,
          'R7@{r7} B21: equation ' || equation || ' leaves ' || cast(residual_minor as string) || ' (minor units of '
            || currency || ') after all open items' as explanation
        from equation_residual where residual_minor <> 0"""
    return [Statement("equation_imbalance", equations), islands("equation_item", "equation_imbalance")]


def item_effects() -> Statement:
    """View `item_effect`: effects of record items and, in book V, the unexplained residual of an account's balance."""
    return Statement(
        "item_effect",
        f"""
        select item_id, recon_id, platform_id, currency, business_date, code, book, account_no, effect_minor
        from record_effect
        union all
        select {_SHA.format(a="a")}, a.recon_id, a.platform_id, a.currency, a.business_date, a.code, 'V', a.account_no,
          a.residual_minor
        from account_item a""",
        keep=True,
    )


def _record_items() -> str:
    one = (
        "i.{k}_kind || case when i.{k}_kind = '' then '' else ' ' end || case when i.{k}_debit || i.{k}_credit = '' then '' "
        "else i.{k}_debit || ' > ' || i.{k}_credit || ' ' end || cast(i.{k}_minor as string)"
    )
    left, right = (one.format(k=side) for side in ("left", "right"))
    counts = (
        "i.left_book || ' has ' || cast(i.n_left as string) || ' records of ' || cast(i.left_minor as string) || ' in all, ' "
        "|| i.right_book || ' has ' || cast(i.n_right as string) || ' of ' || cast(i.right_minor as string)"
    )
    return f"""
        select i.platform_id, i.business_date, i.item_id, i.recon_id, i.outcome as code, i.opened_code, i.match_key,
          t.account_no, i.currency,
          case when i.n_left = 1 and i.n_right = 1 and i.left_minor = i.right_minor then i.left_minor
            else greatest(abs(i.left_minor - i.right_minor), case when i.left_minor = i.right_minor then i.left_minor else 0 end)
          end as amount_minor,
          i.opened_on, i.opened_on as account_date, i.rule_version,
          i.recon_id || '@' || i.rule_version || ' ' || i.outcome || ': ' || case
            when i.n_left > 1 or i.n_right > 1 then {counts} || '; a key that repeats is never confirmed'
            when i.n_right = 0 then i.left_book || ' has ' || {left} || ', ' || i.right_book || ' has no record of the key'
            when i.n_left = 0 then i.right_book || ' has ' || {right} || ', ' || i.left_book || ' has no record of the key'
            else i.differs || ' differ: ' || i.left_book || ' has ' || {left} || ', ' || i.right_book || ' has ' || {right}
          end || ' (minor units of ' || i.currency || ')'
            || case when i.outcome = i.both_repeat and i.n_left + i.n_right = 1 then '; several records fit each other equally '
              || 'well (same accounts and amount within ' || cast(i.weak_minutes as string)
              || ' minutes): none is confirmed, all are listed' else '' end
            || case when i.outcome = i.within_tolerance and i.parts > 1 then '; it is one of ' || cast(i.parts as string)
              || ' parts of its order, and rounding by the largest remainder may move a part so far' else '' end
            || case when i.n_right = 0 and i.after_working_days >= 0 then '; the other side was due within '
              || cast(i.after_working_days + 1 as string) || ' working days' else '' end
            || case when i.outcome = i.timing then '; it lies within ' || cast(i.window_minutes as string)
            || ' minutes of the cut-off, so the other side may come with the next date' else '' end as explanation,
          n.label as nearest_candidate, t.evidence,
          split_part(coalesce(i.left_kind, i.right_kind), '/', 1) as kind, i.after_working_days
        from item_day i
        join item_detail t on t.item_id = i.item_id and t.business_date = i.business_date
        left join nearest n on n.item_id = i.item_id and n.business_date = i.business_date
        left join unproven u on u.item_id = i.item_id and u.business_date = i.business_date
        where u.item_id is null"""


def control_items() -> Statement:
    """View `control_item`: the items of the controls of balances, amounts held, positions and equations."""
    columns = (
        "recon_id, platform_id, currency, match_key, business_date, account_no, residual_minor, code, rule_version, explanation, "
        "opened_on"
    )
    views = ("account_item", "held_item", "position_item", "equation_item")
    return Statement("control_item", " union all ".join(f"select {columns} from {view}" for view in views), keep=True)


def _control_items() -> str:
    return f"""
        select a.platform_id, a.business_date, {_SHA.format(a="a")} as item_id, a.recon_id, a.code, a.code as opened_code,
          a.match_key, a.account_no, a.currency, abs(a.residual_minor) as amount_minor, a.opened_on,
          a.opened_on as account_date, a.rule_version, a.explanation, cast(null as string) as nearest_candidate,
          '{{"balance":["' || a.match_key || '"]}}' as evidence, '' as kind, -1 as after_working_days
        from control_item a"""


def _file_items(version: str) -> str:
    key = "sender_id || '/' || platform_id || '.' || file_kind"
    return f"""
        select f.platform_id, f.business_date, {_SHA.format(a="f")} as item_id, f.recon_id, 'B24' as code,
          'B24' as opened_code, f.match_key, cast(null as string) as account_no, f.currency, 0 as amount_minor, f.opened_on,
          f.opened_on as account_date, '{version}' as rule_version,
          'R9@{version} B24: file ' || f.match_key || ' is not accepted: ' || f.reason as explanation,
          cast(null as string) as nearest_candidate, f.evidence, '' as kind, -1 as after_working_days
        from (
          select 'R9' as recon_id, platform_id, business_date, '' as currency, {key} as match_key,
            business_date as opened_on, min(coalesce(reason_code, state) || coalesce(', ' || reason, '')) as reason,
            '{{"file":["' || array_join(array_sort(array_agg(distinct translate(file_name, '"' || chr(92), '__'))), '","')
              || '"]}}' as evidence
          from file_control where {WAITED_FOR}
          group by platform_id, business_date, sender_id, file_kind
          having max(case when {IS_SETTLED} then 1 else 0 end) = 0) f"""


def _row_items(version: str) -> str:
    """Rows of an accepted file that stay in quarantine (B25), one item a file."""
    key = f"q.sender_id || '/' || q.platform_id || '.' || q.file_kind || '{ROWS}'"
    place = "translate(file_name, '\"' || chr(92), '__') || ':' || cast(line_no as string)"
    return f"""
        select f.platform_id, f.business_date, {_SHA.format(a="f")} as item_id, f.recon_id, 'B25' as code,
          'B25' as opened_code, f.match_key, cast(null as string) as account_no, f.currency, 0 as amount_minor, f.opened_on,
          f.opened_on as account_date, '{version}' as rule_version,
          'R9@{version} B25: ' || cast(f.rows as string) || ' rows are in quarantine, the first: ' || f.first_reason
            as explanation,
          cast(null as string) as nearest_candidate, f.evidence, '' as kind, -1 as after_working_days
        from (
          select 'R9' as recon_id, q.platform_id, q.business_date, '' as currency, {key} as match_key,
            q.business_date as opened_on, count(distinct line_no) as rows,
            substring(min(lpad(cast(line_no as string), 12, '0') || 'line ' || cast(line_no as string) || ', ' || column_name
              || ': ' || reason), 13) as first_reason,
            '{{"file":["' || min({place}) || '"]}}' as evidence
          from quarantine_row q
          join complete_date d on d.platform_id = q.platform_id and d.business_date = q.business_date
          group by q.platform_id, q.business_date, q.sender_id, q.file_kind) f"""


def open_item(rules: RuleSet, run_id: int) -> Statement:
    """View `out_open_item`: one row per item and date on which it is open, with age in working days and the severity of it."""
    every = " union all ".join(
        (
            _record_items(),
            _control_items(),
            _file_items(rules.control_versions["R9"]),
            _row_items(rules.control_versions["R9"]),
        )
    )
    source = f"""
        select e.*, {_severity(rules)} as default_severity, b.suggested_action,
          now_day.working_ordinal - then_day.working_ordinal as age_working_days
        from ({every}) e
        join break_rule b on b.code = e.code
        join calendar_day now_day on now_day.business_date = e.business_date
        join calendar_day then_day on then_day.business_date = e.account_date
        where now_day.working_ordinal - then_day.working_ordinal > e.after_working_days"""
    aged = f"select a.*, {escalated('a.default_severity', 'a.age_working_days')} as severity from ({source}) a"
    return contract("open_item", aged, run_id, keep=True)


def open_item_effect(run_id: int) -> Statement:
    """View `out_open_item_effect`."""
    return contract("open_item_effect", "select * from item_effect", run_id)


def match_group(rules: RuleSet, run_id: int) -> Statement:
    """View `out_match_group`: keys proved to be the same event, on the date on which the second side came."""
    sentence = (
        "{a}recon_id || '@' || r.rule_version || ' MATCHED: key, movement type, accounts and amount are equal in ' "
        "|| r.left_book || ' and ' || r.right_book"
    )
    source = f"""
        select k.platform_id, k.first_date as business_date, k.recon_id, k.match_key, 'STRONG' as tier, r.rule_version,
          1 as left_count, 1 as right_count, k.amount_minor, k.currency, k.first_date as matched_on,
          {sentence.format(a="k.")} as explanation
        from key_group k join record_rule r on r.recon_id = k.recon_id where k.is_clean
        union all
        select i.platform_id, i.event_date, i.recon_id, i.match_key, 'STRONG', i.rule_version, 1, 1, i.left_minor, i.currency,
          i.event_date, {sentence.format(a="i.")}
            || case when i.opened_code is null then '' else '; open from ' || cast(i.opened_on as string) || ' as '
              || i.opened_code || ', cured on ' || cast(i.event_date as string) end
        from item_event i join record_rule r on r.recon_id = i.recon_id
        where i.outcome = 'MATCHED' and i.event_date = i.matched_on and i.matched_before is null"""
    return contract("match_group", source, run_id)


def recon_summary(run_id: int) -> Statement:
    """View `out_recon_summary`: per comparison, currency and date the events that matched, their amount, and the open items."""
    source = """
        select platform_id, business_date, recon_id, currency, sum(matched) as matched, sum(amount_minor) as matched_minor,
          sum(is_open) as open_items
        from (
          select platform_id, business_date, recon_id, currency, 1 as matched, amount_minor, 0 as is_open from out_match_group
          union all
          select platform_id, business_date, recon_id, currency, 0, 0, 1 from out_open_item) m
        group by platform_id, business_date, recon_id, currency"""
    return contract("recon_summary", source, run_id)


def balance_equation(run_id: int) -> Statement:
    """View `out_balance_equation`: every term, and the residual flagged."""
    source = """
        select platform_id, business_date, equation, currency, term, amount_minor, false as is_residual from equation_term
        union all
        select platform_id, business_date, equation, currency, 'RESIDUAL', residual_minor, true from equation_residual"""
    return contract("balance_equation", source, run_id)


def recon_carry(run_id: int) -> Statement:
    """View `out_recon_carry`: all that the next run needs of the past, for each complete date."""
    record_state = """'{"matched_on":"' || case when i.is_after_match then cast(i.matched_on as string) else '' end
            || '","matched_minor":' || case when i.is_after_match then cast(coalesce(m.matched_minor, w.left_minor) as string)
              else '0' end || ',"records":' || t.records || '}'"""
    balance_state = """'{"residual_minor":' || cast(residual_minor as string) || '}'"""
    source = f"""
        with matched_here as (select {KEY}, left_minor from item_event
          where outcome = 'MATCHED' and event_date = matched_on and matched_before is null)
        select i.platform_id, i.business_date, i.recon_id, i.match_key, i.currency, i.opened_on, {record_state} as state_json
        from item_day i
        join item_detail t on t.item_id = i.item_id and t.business_date = i.business_date
        left join matched_before m on m.recon_id = i.recon_id and m.platform_id = i.platform_id
          and m.currency = i.currency and m.match_key = i.match_key
        left join matched_here w on w.recon_id = i.recon_id and w.platform_id = i.platform_id
          and w.currency = i.currency and w.match_key = i.match_key
        union all
        select platform_id, business_date, recon_id, match_key, currency, opened_on, {balance_state} from control_item
        union all
        select d.platform_id, d.business_date, '{GAP_RULE}', '{GAP_KEY}' || cast(g.gap_on as string), '', g.gap_on, '{{}}'
        from complete_date d join gap_date g on g.platform_id = d.platform_id and g.gap_on < d.business_date
          and g.gap_on >= cast(d.business_date - {GAP_DAYS} as date)
        union all
        select platform_id, business_date, 'R4', '{TOTAL_KEY}', currency, business_date,
          '{{"b_minor":' || cast(b_minor as string) || ',"c_minor":' || cast(c_minor as string) || '}}' from channel_total"""
    return contract("recon_carry", source, run_id)
