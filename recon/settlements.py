"""What the payment company settles: batches against the orders they list (B22) and fees against its terms (B15, spec 07, R5)."""

from __future__ import annotations

from collections.abc import Sequence

from domain.channel_fees import BILLION, FeeTerm
from recon.engine import Statement
from recon.records import quoted

NAMED_MAX = 10
"""So many orders are named for one batch."""


def fee_terms(terms: Sequence[FeeTerm]) -> Statement:
    """View `fee_term`: terms of payment companies by platform and validity; without any it has no row."""
    rows = ", ".join(
        f"({quoted(one.platform_id)}, {quoted(one.paycom_id)}, date '{one.valid_from}', date '{one.valid_to}', "
        f"cast({one.rate_ppb} as bigint), cast({one.each_minor} as bigint))"
        for one in terms
    )
    none = "('', '', date '1970-01-01', date '1970-01-01', cast(0 as bigint), cast(0 as bigint))"
    columns = "platform_id, paycom_id, valid_from, valid_to, rate_ppb, each_minor"
    return Statement("fee_term", f"select * from (values {rows or none}) as t({columns}) where platform_id <> ''")


def batch_orders() -> Statement:
    """View `batch_order`: what the channel's own list puts into a batch, one row a batch and date, without failed orders."""
    return Statement(
        "batch_order",
        """
        select platform_id, currency, business_date, settlement_batch_no, min(file_name) as file_name,
          min(line_no) as first_line, max(line_no) as last_line, cast(count(*) as string) || ' orders' as kind,
          cast(sum(amount_minor) as bigint) as amount_minor
        from channel_order
        where settlement_batch_no is not null and settlement_batch_no <> '' and channel_status = 'SUCCESS'
        group by platform_id, currency, business_date, settlement_batch_no""",
    )


def scheduled_fees() -> Statement:
    """View `scheduled_fee`: the fee of each batch by the terms that hold on its date, the share rounded half up once.

    Division by whole billions first: each product stays below 2⁶³, and quotients are exact as floating numbers.
    """

    def whole(dividend: str) -> str:
        return f"cast(round(({dividend} - {dividend} % {BILLION}) / {BILLION}) as bigint)"

    rest = f"(s.gross_minor % {BILLION} * t.rate_ppb + {BILLION // 2})"
    return Statement(
        "scheduled_fee",
        f"""
        select s.platform_id, s.currency, s.business_date, s.settlement_batch_no, s.fee_minor, s.file_name, s.line_no,
          t.paycom_id || ' from ' || cast(t.valid_from as string) as terms,
          cast({whole("s.gross_minor")} * t.rate_ppb + {whole(rest)} + s.order_count * t.each_minor as bigint) as amount_minor
        from channel_settlement s
        join fee_term t on t.platform_id = s.platform_id and t.paycom_id = s.sender_id
          and s.settled_on between t.valid_from and t.valid_to""",
    )


def batch_candidates() -> Statement:
    """View `batch_candidate`: orders of a batch that make up its difference by themselves, named for the item (at most ten)."""
    columns = "platform_id, currency, settlement_batch_no, channel_order_no, amount_minor, channel_status"
    return Statement(
        "batch_candidate",
        f"""
        with one as (
          select item_id, business_date, platform_id, currency, match_key, abs(left_minor - right_minor) as delta_minor
          from item_day where recon_id = 'R5B' and n_left > 0 and n_right > 0),
        fitting as (
          select distinct i.item_id, i.business_date, o.channel_order_no, o.amount_minor
          from one i
          join (select {columns} from channel_order union all select {columns} from channel_history) o
            on o.platform_id = i.platform_id and o.currency = i.currency and o.settlement_batch_no = i.match_key
            and o.amount_minor = i.delta_minor and o.channel_status = 'SUCCESS'),
        placed as (
          select fitting.*, row_number() over (partition by item_id, business_date order by channel_order_no) as place
          from fitting)
        select item_id, business_date, array_join(array_sort(array_agg(channel_order_no || ' ('
            || cast(amount_minor as string) || ')')), '; ') || ': of the batch, and exactly the difference' as label
        from placed where place <= {NAMED_MAX} group by item_id, business_date""",
    )
