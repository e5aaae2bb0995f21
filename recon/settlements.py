"""What the payment company settles: batches against the orders they list (B22) and fees against its terms (B15, spec 07, R5)."""

from __future__ import annotations

from collections.abc import Sequence

from domain.channel_fees import BILLION, FeeTerm
from recon.engine import Statement
from recon.records import quoted


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
