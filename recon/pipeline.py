"""The whole reconciliation as one queue of statements, the same for Spark and DuckDB (decision 0001)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from domain.calendars import Calendar
from domain.channel_fees import FeeTerm
from recon import ambiguity, balances, cash, general_ledger, outputs, platform_orders, positions, records, settlements, timeline
from recon.engine import Statement
from recon.rules import RuleSet

INPUTS = (
    "file_control",
    "quarantine_row",
    "platform_order",
    "virtual_posting",
    "virtual_balance",
    "channel_order",
    "channel_settlement",
    "bank_statement_line",
    "general_ledger_line",
    "ledger_movement",
    "ledger_order",
    "ledger_balance",
    "claim_snapshot",
    "loan_snapshot",
)
"""Lake tables read for the run's dates; besides them `carried`, `match_history` and `channel_history` of earlier dates."""


@dataclass(frozen=True)
class Scope:
    """The run's dates and the bank's clock; `calendar_from` reaches back to the oldest open item."""

    run_id: int
    first_date: date
    last_date: date
    calendar_from: date
    zone: ZoneInfo
    calendar: Calendar = field(default_factory=lambda: Calendar.of("CN"))
    cutoff: time = time(23, 0)
    fee_terms: tuple[FeeTerm, ...] = ()


def calendar_days(scope: Scope) -> Statement:
    """View `calendar_day`: working-day ordinal of each date, and the UTC moments at which it opened and closed."""

    def closes(day: date) -> str:
        moment = datetime.combine(day, scope.cutoff, scope.zone).astimezone(UTC)
        return f"timestamp '{moment:%Y-%m-%d %H:%M:%S}'"

    days = scope.calendar.days(scope.calendar_from, scope.last_date)
    rows = ", ".join(f"(date '{day}', {ordinal}, {closes(day - timedelta(days=1))}, {closes(day)})" for day, _, ordinal in days)
    return Statement("calendar_day", f"select * from (values {rows}) as t(business_date, working_ordinal, opened_at, closed_at)")


def statements(rules: RuleSet, scope: Scope) -> list[Statement]:
    """All statements in order; results are the views `out_TABLE` for the tables in `outputs.WRITTEN`."""
    run_id = scope.run_id
    return [
        calendar_days(scope),
        records.rule_view(rules),
        outputs.break_rule_view(rules),
        records.complete_dates(),
        records.gap_dates(scope.first_date.isoformat()),
        records.control_accounts(),
        *records.carried_records(),
        platform_orders.request_parts(),
        platform_orders.order_records(),
        platform_orders.request_records(),
        *platform_orders.pending_records(),
        cash.cash_movements(),
        cash.statement_entries(),
        cash.channel_records(),
        cash.channel_side_movements(),
        *cash.failed_withdrawals(),
        settlements.fee_terms(scope.fee_terms),
        settlements.batch_orders(),
        settlements.scheduled_fees(),
        records.records(rules),
        *records.key_groups(),
        records.split_records(rules),
        records.open_records(rules),
        timeline.matched_before(),
        timeline.events(scope.last_date.isoformat()),
        timeline.states(),
        ambiguity.rivals(rules),
        timeline.outcomes(rules),
        timeline.item_events(),
        timeline.item_days(),
        timeline.item_records(),
        timeline.effects(),
        timeline.details(),
        settlements.batch_candidates(),
        timeline.candidates(),
        timeline.unproven(),
        balances.account_balances(),
        balances.held_amounts(),
        positions.position_differences(),
        positions.position_terms(),
        *balances.balance_totals(),
        *general_ledger.statements(),
        *outputs.account_imbalances(rules),
        *outputs.position_imbalances(rules),
        outputs.item_effects(),
        balances.equation_terms(),
        balances.residuals(),
        *outputs.equation_imbalances(rules),
        outputs.control_items(),
        outputs.open_item(rules, run_id),
        outputs.open_item_effect(run_id),
        outputs.match_group(rules, run_id),
        outputs.recon_summary(run_id),
        outputs.balance_equation(run_id),
        outputs.recon_carry(run_id),
    ]
