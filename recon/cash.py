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

    An entry that is there more often than book B moved that amount under its reference is a row of its own: a repetition (B09).
    An entry without a reference is a row of its own, ``@entry-DATE-NUMBER``: nobody knows whose it is (B27).
    """
    own = "'@entry-' || cast(business_date as string) || '-' || cast(entry_no as string)"
    return Statement(
        "statement_entry",
        f"""
        with entry as (
          select platform_id, currency, business_date, file_name, line_no, amount_minor,
            coalesce(nullif(bank_ref, ''), {own}) as request_no
          from bank_statement_line where line_type = 'ENTRY'),
        placed as (
          select entry.*, row_number() over (partition by {_REQUEST}, amount_minor order by line_no) as place from entry),
        booked as (
          select {_REQUEST}, case when debit_role = 'SPECIAL_ACCOUNT' then amount_minor else -amount_minor end as amount_minor,
            count(*) as times
          from ledger_movement
          where (debit_role = 'SPECIAL_ACCOUNT') <> (credit_role = 'SPECIAL_ACCOUNT')
          group by {_REQUEST}, debit_role = 'SPECIAL_ACCOUNT', amount_minor),
        told as (
          select p.*, case when p.place > b.times then p.place - b.times else 0 end as repetition
          from placed p
          left join booked b on b.platform_id = p.platform_id and b.currency = p.currency
            and b.business_date = p.business_date and b.request_no = p.request_no and b.amount_minor = p.amount_minor)
        select platform_id, currency, business_date, request_no, min(file_name) as file_name, min(line_no) as line_no,
          cast(sum(amount_minor) as bigint) as amount_minor
        from told group by {_REQUEST}, repetition""",
    )


def channel_records() -> Statement:
    """View `channel_record`: channel orders to compare; one that failed counts only when custody booked its request that date.

    `kind` is the type, for a recharge with the status behind it where that is not SUCCESS (``RECHARGE/FAILED``). A withdrawal
    that failed was asked for all the same: its return is followed by R4B (`failed_withdrawals`).
    """
    pending = ", ".join(f"'{word}'" for word in PENDING_STATUSES)
    return Statement(
        "channel_record",
        f"""
        select c.platform_id, c.currency, c.business_date, c.request_no, c.order_type, c.account_no, c.amount_minor, c.txn_at,
          c.file_name, c.line_no,
          case when c.channel_status = 'SUCCESS' or c.order_type = 'WITHDRAW' then c.order_type
            else c.order_type || '/' || c.channel_status end as kind
        from channel_order c
        left join (select distinct platform_id, currency, business_date, request_no from channel_order
                   where order_type = 'WITHDRAW' and channel_status = 'SUCCESS') p
          on p.platform_id = c.platform_id and p.currency = c.currency and p.business_date = c.business_date
          and p.request_no = c.request_no
        left join (select distinct platform_id, currency, business_date, request_no from ledger_movement
                   where movement_type in ('RECHARGE', 'WITHDRAW')) b
          on b.platform_id = c.platform_id and b.currency = c.currency and b.business_date = c.business_date
          and b.request_no = c.request_no
        where c.order_type in ('RECHARGE', 'WITHDRAW')
          and (c.channel_status = 'SUCCESS'
            or (c.channel_status not in ({pending}) and b.request_no is not null
              and (c.order_type = 'RECHARGE' or p.request_no is null)))""",
    )


def channel_side_movements() -> Statement:
    """View `channel_side_movement`: recharges and withdrawals of book B that the channel must have.

    One that was reversed the same date nets to zero with its reversal, and both are left out; a reversal of another date stands
    alone (`kind` ``RECHARGE/REVERSAL``, B18).
    """
    return Statement(
        "channel_side_movement",
        """
        with undone as (
          select r.platform_id, r.business_date, r.movement_id, r.reversal_of
          from ledger_movement r join ledger_movement o on o.platform_id = r.platform_id and o.business_date = r.business_date
            and o.movement_id = r.reversal_of and o.amount_minor = r.amount_minor
          where r.reversal_of is not null)
        select m.*, case when m.reversal_of is null then m.movement_type else m.movement_type || '/REVERSAL' end as kind
        from ledger_movement m
        left join undone u on u.platform_id = m.platform_id and u.business_date = m.business_date
          and u.movement_id = m.movement_id
        left join undone w on w.platform_id = m.platform_id and w.business_date = m.business_date
          and w.reversal_of = m.movement_id
        where m.movement_type in ('RECHARGE', 'WITHDRAW') and u.movement_id is null and w.movement_id is null""",
    )


def failed_withdrawals() -> list[Statement]:
    """Views `booked_withdrawal` and `failed_withdrawal`: what the channel could not pay although custody had taken the money.

    Custody took it on the same or an earlier date: then the customer must have it back by a BACKROLL.
    """
    pending = ", ".join(f"'{word}'" for word in PENDING_STATUSES)
    booked = """
        select m.platform_id, m.currency, m.request_no, m.business_date as booked_on
        from channel_side_movement m
        join complete_date d on d.platform_id = m.platform_id and d.business_date = m.business_date where m.kind = 'WITHDRAW'
        union all
        select platform_id, currency, match_key, matched_on from match_history where recon_id = 'R4'
        union all
        select platform_id, currency, match_key, business_date from carried_record
        where recon_id = 'R4' and side = 'L' and kind = 'WITHDRAW'"""
    failed = f"""
        with line as (
          select * from channel_order where order_type = 'WITHDRAW' and channel_status not in ('SUCCESS', {pending})),
        taken as (
          select l.platform_id, l.currency, l.request_no, min(b.booked_on) as booked_on
          from booked_withdrawal b
          join (select distinct platform_id, currency, request_no from line) l on l.platform_id = b.platform_id
            and l.currency = b.currency and l.request_no = b.request_no
          group by l.platform_id, l.currency, l.request_no)
        select l.* from line l join taken t on t.platform_id = l.platform_id and t.currency = l.currency
          and t.request_no = l.request_no and t.booked_on <= l.business_date"""
    return [Statement("booked_withdrawal", booked), Statement("failed_withdrawal", failed)]
