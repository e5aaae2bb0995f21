"""Cash outside the custody ledger: the bank's statement of the special account, and what the channel says of an order."""

from __future__ import annotations

from recon.engine import Statement
from recon.platform_orders import PENDING_STATUSES

_REQUEST = "platform_id, currency, business_date, request_no"


def cash_movements() -> Statement:
    """View `cash_movement`: what book B moved on the special account, one row a request and date, money in positive."""
    return Statement(
        "cash_movement",
        f"""
        select {_REQUEST}, max(movement_type) as kind, max(recorded_at) as recorded_at, min(movement_id) as movement_id,
          cast(sum(case when debit_role = 'SPECIAL_ACCOUNT' then amount_minor else -amount_minor end) as bigint) as amount_minor
        from ledger_movement
        where (debit_role = 'SPECIAL_ACCOUNT') <> (credit_role = 'SPECIAL_ACCOUNT')
        group by {_REQUEST}""",
    )


def statement_entries() -> Statement:
    """View `statement_entry`: entries of the bank's statement by the reference they carry, one row a reference and date.

    An entry without a reference is a row of its own, ``@entry-DATE-NUMBER``: nobody knows whose it is (B27).
    """
    own = "'@entry-' || cast(business_date as string) || '-' || cast(entry_no as string)"
    return Statement(
        "statement_entry",
        f"""
        select platform_id, currency, business_date, request_no, min(file_name) as file_name, min(line_no) as line_no,
          cast(sum(amount_minor) as bigint) as amount_minor
        from (
          select platform_id, currency, business_date, file_name, line_no, amount_minor,
            coalesce(nullif(bank_ref, ''), {own}) as request_no
          from bank_statement_line where line_type = 'ENTRY') e
        group by {_REQUEST}""",
    )


def channel_records() -> Statement:
    """View `channel_record`: channel orders to compare; one that failed counts only when custody booked its request.

    `kind` is the type, with the status behind it where that is not SUCCESS (``RECHARGE/FAILED``).
    """
    pending = ", ".join(f"'{word}'" for word in PENDING_STATUSES)
    return Statement(
        "channel_record",
        f"""
        select c.platform_id, c.currency, c.business_date, c.request_no, c.order_type, c.account_no, c.amount_minor, c.txn_at,
          c.file_name, c.line_no,
          case when c.channel_status = 'SUCCESS' then c.order_type else c.order_type || '/' || c.channel_status end as kind
        from channel_order c
        left join (select distinct platform_id, currency, business_date, request_no from ledger_movement
                   where movement_type in ('RECHARGE', 'WITHDRAW')) b
          on b.platform_id = c.platform_id and b.currency = c.currency and b.business_date = c.business_date
          and b.request_no = c.request_no
        where c.order_type in ('RECHARGE', 'WITHDRAW')
          and (c.channel_status = 'SUCCESS' or (c.channel_status not in ({pending}) and b.request_no is not null))""",
    )
