"""The rows of the reconciliation's tables, cast to the lake's contract (contracts sections 7 and 8)."""

from __future__ import annotations

from functools import reduce
from operator import add

from lake.completeness import IS_SETTLED, WAITED_FOR
from lake.tables import TABLES
from recon.balances import islands
from recon.engine import Statement
from recon.records import GAP_DAYS, GAP_KEY, GAP_RULE, KEY, TOTAL_KEY, quoted
from recon.rules import RuleSet
from recon.sentences import Sentence, first_of, said
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


_UNIT, _UNIT_ZH = "(minor units of {currency})", "({currency} 最小货币单位)"


def contract(table: str, source: str, run_id: int, *, keep: bool = False) -> Statement:
    """View `out_TABLE`: exactly the columns of a lake table, each cast to its declared type."""
    columns = ", ".join(
        f"cast({run_id} as bigint) as run_id" if name == "run_id" else f"cast({name} as {kind}) as {name}"
        for name, kind in (part.strip().split(" ") for part in TABLES[table].ddl.split(","))
    )
    return Statement(f"out_{table}", f"select {columns} from ({source}) o", keep)


def break_rule_view(rules: RuleSet) -> Statement:
    """View `break_rule`: severity and suggested action of each code, in both languages."""
    rows = ", ".join(
        f"({quoted(entry.code)}, '{entry.severity}', {quoted(entry.action)}, {quoted(entry.action_zh)})" for entry in rules.breaks
    )
    columns = "code, severity, suggested_action, suggested_action_zh"
    return Statement("break_rule", f"select * from (values {rows}) as t({columns})")


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
    balance = said(
        f"R6@{r6} B20: V closes at {{v_minor}}, B at {{b_minor}}; open items explain {{effect_minor}} of the difference, "
        f"{{residual_minor}} stays unexplained {_UNIT}",
        f"R6@{r6} B20:V 日终余额为 {{v_minor}},B 为 {{b_minor}};未达账项解释差额中的 {{effect_minor}},"
        f"尚有 {{residual_minor}} 无法解释{_UNIT_ZH}",
    )
    amounts_held = said(
        f"R6@{r6} B26: V sets {{v_minor}} aside, B {{b_minor}} {_UNIT}",
        f"R6@{r6} B26:V 冻结 {{v_minor}},B 冻结 {{b_minor}}{_UNIT_ZH}",
    )
    accounts = f"""
        select 'R6' as recon_id, platform_id, currency, account_no as match_key, business_date, account_no, residual_minor,
          'B20' as code, '{r6}' as rule_version, {balance.columns}
        from account_difference"""
    held = f"""
        select 'R6' as recon_id, platform_id, currency, account_no || '{HELD}' as match_key, business_date, account_no,
          residual_minor, 'B26' as code, '{r6}' as rule_version, {amounts_held.columns}
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
    sentence = first_of(
        (
            "kind = 'CLAIM'",
            said(f"R8@{r8} B23: the platform reports {{said_minor}}", f"R8@{r8} B23:平台报送的待还余额为 {{said_minor}}"),
        ),
        otherwise=said(
            f"R8@{r8} B23: the claims of the loan add up to {{said_minor}}", f"R8@{r8} B23:该借款各债权合计为 {{said_minor}}"
        ),
    ) + said(
        f" outstanding, book B makes it {{is_minor}} {_UNIT}",
        f",存管账(B)为 {{is_minor}}{_UNIT_ZH}",
    )
    positions = f"""
        select 'R8' as recon_id, platform_id, currency, match_key, business_date, cast(null as string) as account_no,
          residual_minor, 'B23' as code, '{r8}' as rule_version, {sentence.columns}
        from position_difference"""
    return [Statement("position_imbalance", positions), islands("position_item", "position_imbalance")]


def equation_imbalances(rules: RuleSet) -> list[Statement]:
    """View `equation_item` (B21): equations that do not hold, with their opening dates and sentences."""
    r7 = rules.control_versions["R7"]
    sentence = said(
        f"R7@{r7} B21: equation {{equation}} leaves {{residual_minor}} {_UNIT} after all open items",
        f"R7@{r7} B21:平衡式 {{equation}} 计入全部未达账项后仍差 {{residual_minor}}{_UNIT_ZH}",
    )
    equations = f"""
        select 'R7' as recon_id, platform_id, currency, equation as match_key, business_date,
          cast(null as string) as account_no, residual_minor, 'B21' as code, '{r7}' as rule_version, {sentence.columns}
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


_ITEM_FIELDS = ("recon_id", "rule_version", "differs", "n_left", "n_right", "left_minor", "right_minor", "weak_minutes", "parts",
                "window_minutes")  # fmt: skip
_WORDS_ZH = {"status": "状态", "movement type": "业务类型", "accounts": "账户", "amount": "金额", ", ": "、"}
_DIFFERS_ZH = reduce(lambda text, word: f"replace({text}, '{word}', '{_WORDS_ZH[word]}')", _WORDS_ZH, "i.differs")


def _record_sentence(fields: dict[str, str]) -> Sentence:
    """What an item about records says: what both books have, then what else there is to know."""

    def one(en: str, zh: str) -> Sentence:
        return said(en, zh, **fields)

    body = first_of(
        (
            "i.n_left > 1 or i.n_right > 1",
            one(
                "{left_book} has {n_left} records of {left_minor} in all, {right_book} has {n_right} of {right_minor}"
                "; a key that repeats is never confirmed",
                "{left_book} 有 {n_left} 条记录、合计 {left_minor},{right_book} 有 {n_right} 条、合计 {right_minor}"
                ";主键重复,不予确认",
            ),
        ),
        (
            "i.n_right = 0",
            one(
                "{left_book} has {left}, {right_book} has no record of the key",
                "{left_book} 有 {left},{right_book} 没有该主键的记录",
            ),
        ),
        (
            "i.n_left = 0",
            one(
                "{right_book} has {right}, {left_book} has no record of the key",
                "{right_book} 有 {right},{left_book} 没有该主键的记录",
            ),
        ),
        otherwise=one(
            "{differs} differ: {left_book} has {left}, {right_book} has {right}",
            "{differs_zh}不符:{left_book} 有 {left},{right_book} 有 {right}",
        ),
    )
    more = (
        one(
            "; several records fit each other equally well (same accounts and amount within {weak_minutes} minutes)"
            ": none is confirmed, all are listed",
            ";多条记录同样相符({weak_minutes} 分钟内账户与金额相同):均不确认,全部列出",
        ).when("i.outcome = i.both_repeat and i.n_left + i.n_right = 1"),
        one(
            "; it is one of {parts} parts of its order, and rounding by the largest remainder may move a part so far",
            ";它是所属订单 {parts} 个部分之一,按最大余数法舍入可能使一个部分相差这么多",
        ).when("i.outcome = i.within_tolerance and i.parts > 1"),
        one("; the other side was due within {due_days} working days", ";对方记录应在 {due_days} 个工作日内到达").when(
            "i.n_right = 0 and i.after_working_days >= 0"
        ),
        one(
            "; it lies within {window_minutes} minutes of the cut-off, so the other side may come with the next date",
            ";它距切日不超过 {window_minutes} 分钟,对方记录可能随下一账务日到达",
        ).when("i.outcome = i.timing"),
    )
    head = one("{recon_id}@{rule_version} {outcome}: ", "{recon_id}@{rule_version} {outcome}:")
    return reduce(add, (head, body, one(f" {_UNIT}", _UNIT_ZH), *more))


def _record_items() -> str:
    one = (
        "i.{k}_kind || case when i.{k}_kind = '' then '' else ' ' end || case when i.{k}_debit || i.{k}_credit = '' then '' "
        "else i.{k}_debit || ' > ' || i.{k}_credit || ' ' end || cast(i.{k}_minor as string)"
    )
    left, right = (one.format(k=side) for side in ("left", "right"))
    places = {name: f"i.{name}" for name in (*_ITEM_FIELDS, "left_book", "right_book", "currency", "outcome")}
    fields = places | {"left": left, "right": right, "differs_zh": _DIFFERS_ZH, "due_days": "i.after_working_days + 1"}
    sentence = _record_sentence(fields)
    return f"""
        select i.platform_id, i.business_date, i.item_id, i.recon_id, i.outcome as code, i.opened_code, i.match_key,
          t.account_no, i.currency,
          case when i.n_left = 1 and i.n_right = 1 and i.left_minor = i.right_minor then i.left_minor
            else greatest(abs(i.left_minor - i.right_minor), case when i.left_minor = i.right_minor then i.left_minor else 0 end)
          end as amount_minor,
          i.opened_on, i.opened_on as account_date, i.rule_version, {sentence.columns},
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
        "explanation_zh, opened_on"
    )
    views = ("account_item", "held_item", "position_item", "equation_item")
    return Statement("control_item", " union all ".join(f"select {columns} from {view}" for view in views), keep=True)


def _control_items() -> str:
    return f"""
        select a.platform_id, a.business_date, {_SHA.format(a="a")} as item_id, a.recon_id, a.code, a.code as opened_code,
          a.match_key, a.account_no, a.currency, abs(a.residual_minor) as amount_minor, a.opened_on,
          a.opened_on as account_date, a.rule_version, a.explanation, a.explanation_zh,
          cast(null as string) as nearest_candidate,
          '{{"balance":["' || a.match_key || '"]}}' as evidence, '' as kind, -1 as after_working_days
        from control_item a"""


def _file_items(version: str) -> str:
    key = "sender_id || '/' || platform_id || '.' || file_kind"
    # why a file is refused is said by file control, in English
    sentence = said(
        f"R9@{version} B24: file {{match_key}} is not accepted: {{reason}}",
        f"R9@{version} B24:文件 {{match_key}} 未被接受:{{reason}}",
        match_key="f.match_key",
        reason="f.reason",
    )
    return f"""
        select f.platform_id, f.business_date, {_SHA.format(a="f")} as item_id, f.recon_id, 'B24' as code,
          'B24' as opened_code, f.match_key, cast(null as string) as account_no, f.currency, 0 as amount_minor, f.opened_on,
          f.opened_on as account_date, '{version}' as rule_version, {sentence.columns},
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
    sentence = said(
        f"R9@{version} B25: {{rows}} rows are in quarantine, the first: {{first_reason}}",
        f"R9@{version} B25:{{rows}} 行在隔离区,首行:{{first_reason}}",
        rows="f.rows",
        first_reason="f.first_reason",
    )
    return f"""
        select f.platform_id, f.business_date, {_SHA.format(a="f")} as item_id, f.recon_id, 'B25' as code,
          'B25' as opened_code, f.match_key, cast(null as string) as account_no, f.currency, 0 as amount_minor, f.opened_on,
          f.opened_on as account_date, '{version}' as rule_version, {sentence.columns},
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
        select e.*, {_severity(rules)} as default_severity, b.suggested_action, b.suggested_action_zh,
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
