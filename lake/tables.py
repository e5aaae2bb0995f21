"""Every table of the lake, declared once (contracts section 7).

Each has `business_date date, run_id bigint` in front and is partitioned by both. `*_minor` are integer minor units.
"""

from __future__ import annotations

from dataclasses import dataclass

NAMESPACE = "lake.fundwatch"
_FRONT = "business_date date, run_id bigint, platform_id string"
_FILE = "sender_id string, file_name string, line_no bigint"


@dataclass(frozen=True)
class Table:
    """One lake table: its name, its columns as Spark SQL DDL, and the columns that identify a row in a run and date."""

    name: str
    ddl: str
    key: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in order: what a step selects before it writes."""
        return tuple(part.split(" ")[0] for part in self.declared)

    @property
    def declared(self) -> tuple[str, ...]:
        """Columns in order with their types: ``"name type"``."""
        return tuple(part.strip() for part in _split(self.ddl))

    @property
    def identifier(self) -> str:
        """Full name for Spark: catalog, namespace and table."""
        return f"{NAMESPACE}.{self.name}"


def _split(ddl: str) -> list[str]:
    """Columns of a DDL text; commas inside parentheses (decimal types) do not separate."""
    parts, depth, current = [], 0, ""
    for character in ddl:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [*parts, current]


def _table(name: str, columns: str, *key: str, landed: bool = False) -> Table:
    ddl = ", ".join((_FRONT, _FILE, columns) if landed else (_FRONT, columns))
    return Table(name, " ".join(ddl.split()), ("platform_id", *key))


_ALL = (
    # land
    _table(
        "file_control",
        """sender_id string, file_kind string, file_name string, state string, reason_code string, reason string, sha256 string,
        received_at timestamp, sequence_no bigint, row_count bigint, control_sum bigint, rows_quarantined bigint""",
        "sender_id",
        "file_kind",
        "file_name",
    ),
    _table(
        "quarantine_row",
        "file_kind string, column_name string, reason string, raw_text string",
        "sender_id",
        "file_name",
        "line_no",
        "column_name",
        landed=True,
    ),
    _table(
        "platform_order",
        """request_no string, order_type string, account_no string, counter_account_no string, amount_minor bigint,
        currency string, order_status string, created_at timestamp, loan_no string""",
        "request_no",
        "line_no",
        landed=True,
    ),
    _table(
        "virtual_posting",
        """request_no string, seq int, movement_type string, debit_account_no string, credit_account_no string,
        amount_minor bigint, currency string, txn_at timestamp, loan_no string, issue_no int, component string""",
        "request_no",
        "seq",
        "line_no",
        landed=True,
    ),
    _table(
        "virtual_balance",
        "account_no string, currency string, closing_minor bigint, held_minor bigint",
        "account_no",
        "line_no",
        landed=True,
    ),
    _table(
        "loan",
        """loan_no string, borrower_customer_no string, borrower_account_no string, guarantor_account_no string,
        contract_minor bigint, disbursed_minor bigint, currency string, annual_rate decimal(9,6), plan_type string,
        term_months int, raised_from date, disbursed_on date, purpose_code string, grade string""",
        "loan_no",
        "line_no",
        landed=True,
    ),
    _table(
        "plan_row",
        """loan_no string, plan_version int, issue_no int, due_on date, due_principal_minor bigint,
        due_interest_minor bigint, due_fee_minor bigint, currency string""",
        "loan_no",
        "plan_version",
        "issue_no",
        "line_no",
        landed=True,
    ),
    _table(
        "claim",
        """claim_no string, loan_no string, lender_customer_no string, lender_account_no string, principal_minor bigint,
        currency string, origin string, parent_claim_no string, opened_on date, closed_on date""",
        "claim_no",
        "line_no",
        landed=True,
    ),
    _table(
        "loan_status",
        "loan_no string, seq int, loan_status string, changed_at timestamp",
        "loan_no",
        "seq",
        "line_no",
        landed=True,
    ),
    _table(
        "customer",
        """customer_no string, id_hash string, party_type string, name_masked string, phone_masked string, roles string,
        opened_on date""",
        "customer_no",
        "line_no",
        landed=True,
    ),
    _table(
        "opening_payment",
        """payment_no string, loan_no string, issue_no int, component string, payer_role string, amount_minor bigint,
        currency string, paid_on date""",
        "payment_no",
        "line_no",
        landed=True,
    ),
    _table(
        "channel_order",
        """channel_order_no string, request_no string, order_type string, account_no string, amount_minor bigint,
        currency string, txn_at timestamp, channel_status string, settlement_batch_no string""",
        "channel_order_no",
        "line_no",
        landed=True,
    ),
    _table(
        "channel_settlement",
        """settlement_batch_no string, settled_on date, order_count bigint, gross_minor bigint, fee_minor bigint,
        net_minor bigint, currency string""",
        "settlement_batch_no",
        "line_no",
        landed=True,
    ),
    _table(
        "bank_statement_line",
        """line_type string, entry_no int, book_date date, amount_minor bigint, currency string, bank_ref string,
        type_code string, remittance string""",
        "line_type",
        "entry_no",
        "line_no",
        landed=True,
    ),
    _table(
        "general_ledger_line",
        """gl_account_no string, account_kind string, currency string, opening_minor bigint, debit_minor bigint,
        credit_minor bigint, closing_minor bigint, core_balance_minor bigint""",
        "gl_account_no",
        "currency",
        "line_no",
        landed=True,
    ),
    _table(
        "industry_record",
        """record_no string, subject_hash string, member_no string, record_type string, contract_no string, occurred_on date,
        amount_minor bigint, currency string, decision string, status_code string, dpd int, kind string,
        knowable_at timestamp""",
        "record_no",
        "line_no",
        landed=True,
    ),
    _table(
        "reputation_hit",
        """hit_no string, subject_hash string, source_tier int, category string, polarity_pct int, match_pct int,
        review string, published_on date, knowable_at timestamp""",
        "hit_no",
        "line_no",
        landed=True,
    ),
    # extract: book B up to the run's ledger_no_to
    _table(
        "ledger_movement",
        """ledger_no bigint, movement_id bigint, order_id bigint, request_no string, seq int, order_type string,
        movement_type string, debit_account_no string, debit_account_id bigint, debit_role string,
        credit_account_no string, credit_account_id bigint, credit_role string, amount_minor bigint, currency string,
        loan_no string, issue_no int, component string, claim_no string, reversal_of bigint, effective_at timestamp,
        recorded_at timestamp""",
        "movement_id",
    ),
    _table(
        "ledger_order",
        "order_id bigint, request_no string, order_type string, amount_minor bigint, currency string, recorded_at timestamp",
        "order_id",
    ),
    _table(
        "ledger_hold_event",
        """hold_event_id bigint, hold_no string, account_no string, event_type string, amount_minor bigint,
        currency string, order_id bigint, recorded_at timestamp""",
        "hold_event_id",
    ),
    _table(
        "ledger_balance",
        """account_no string, account_id bigint, account_role string, is_control boolean, customer_no string,
        currency string, opening_minor bigint, debit_minor bigint, credit_minor bigint, closing_minor bigint,
        held_minor bigint""",
        "account_no",
    ),
    # reconcile
    _table(
        "match_group",
        """recon_id string, match_key string, tier string, rule_version string, left_count bigint, right_count bigint,
        amount_minor bigint, currency string, matched_on date, explanation string""",
        "recon_id",
        "match_key",
    ),
    _table(
        "open_item",
        """item_id string, recon_id string, code string, opened_code string, severity string, match_key string,
        account_no string, currency string, amount_minor bigint, opened_on date, account_date date,
        age_working_days int, rule_version string, explanation string, nearest_candidate string,
        suggested_action string, evidence string, default_severity string, explanation_zh string,
        suggested_action_zh string""",
        "item_id",
    ),
    _table(
        "open_item_effect",
        "item_id string, recon_id string, code string, book string, account_no string, currency string, effect_minor bigint",
        "item_id",
        "book",
        "account_no",
    ),
    _table(
        "recon_carry",
        """recon_id string, match_key string, currency string, opened_on date, state_json string""",
        "recon_id",
        "match_key",
    ),
    _table(
        "recon_summary",
        "recon_id string, currency string, matched bigint, matched_minor bigint, open_items bigint",
        "recon_id",
        "currency",
    ),
    _table(
        "balance_equation",
        "equation string, currency string, term string, amount_minor bigint, is_residual boolean",
        "equation",
        "currency",
        "term",
    ),
    # snapshot, indicators
    _table(
        "loan_snapshot",
        """loan_no string, borrower_customer_no string, borrower_ref string, currency string, plan_type string,
        disbursed_on date, disbursed_minor bigint, outstanding_principal_minor bigint, outstanding_interest_minor bigint,
        overdue_principal_minor bigint, overdue_interest_minor bigint, compensated_minor bigint,
        compensated_issue_count bigint, lender_dpd int, borrower_dpd int, lender_bucket string, borrower_bucket string,
        finding string""",
        "loan_no",
    ),
    _table(
        "claim_snapshot",
        """claim_no string, loan_no string, lender_customer_no string, lender_ref string, currency string,
        principal_minor bigint, outstanding_principal_minor bigint, is_open boolean""",
        "claim_no",
    ),
    # features: declared in `models.features`, in the same order
    _table(
        "person_feature",
        """borrower_ref string, subject_hash string, as_of timestamp, app_member_cnt_30 int, app_member_cnt_90 int,
        app_reject_share_180 decimal(9,6), contract_open_cnt int, contract_new_minor_180 bigint, industry_max_dpd_365 int,
        industry_months_since_overdue int, industry_ever_write_off int, stacking_flag int, reputation_hit_cnt_365 int,
        reputation_confirmed_tier1 int, reputation_confirmed_tier2 int, reputation_neg_weighted_365 decimal(12,6),
        reputation_max_severity int, own_age_days int, own_loan_cnt int, own_on_time_ratio decimal(9,6),
        own_max_dpd_365 int, own_late_issue_cnt_365 int, own_outstanding_minor bigint, own_repaid_share decimal(9,6),
        ledger_balance_minor bigint, ledger_avg_balance_30_minor bigint, ledger_recharge_30_minor bigint,
        ledger_days_since_movement int, has_industry int, has_reputation int, has_ledger int, bureau_known_at timestamp,
        books_known_on date""",
        "borrower_ref",
    ),
    # score
    _table(
        "score",
        """borrower_ref string, subject_hash string, model_id string, points int, pd decimal(12,9), band string,
        reason_1 string, reason_2 string, reason_3 string, reason_4 string, feature_as_of timestamp""",
        "borrower_ref",
    ),
    _table(
        "indicator",
        """pack_id string, code string, definition_version string, unit string, currency string, value decimal(38,6),
        numerator bigint, denominator bigint, evidence_rows bigint""",
        "pack_id",
        "code",
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
GROWN = ("open_item",)
"""Tables that have gained columns at their end since a release: those of an older lake are given them, empty in older rows."""
