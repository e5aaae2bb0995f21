"""Book O beside books V and B, request by request: what R1 compares, and orders that stay unanswered (spec 07 section 7.1)."""

from __future__ import annotations

from domain.vocabulary import CONTROL_ROLES, ORDERS_OF_THE_BANK, MovementType, OrderType
from recon.engine import Statement

PENDING_STATUSES = ("ACCEPT", "ACCEPTED", "PENDING", "PROCESSING", "REMITING", "REMITTING")
"""Words of an order that has no answer yet; SUCCESS is done, any other word is an end without money moved."""
FEES = (MovementType.COMMISSION, MovementType.BACKROLL_COMMISSION)
"""Movements beside what the order is about: its amount does not count them."""
HOLDING = (OrderType.TENDER,)
"""Orders whose money book B sets aside; book V has no line of them."""
NOT_MOVING = (OrderType.FREEZE, OrderType.APPEND_FREEZE, OrderType.UNFREEZE, OrderType.CANCEL_PRE_TRANSACTION)
OF_THE_BANK = ORDERS_OF_THE_BANK | {OrderType.OPENING}
"""Orders that no platform asks for, whether it lists them or not."""
_REQUEST = "platform_id, currency, business_date, request_no"


def _listed(words: object) -> str:
    return ", ".join(f"'{word}'" for word in sorted(map(str, words)))  # type: ignore[call-overload]


def request_parts() -> Statement:
    """View `request_part`: per request and date what V and B hold of it; `agrees` = both hold the same lines.

    A request on which V and B differ has an item of R3, which explains what R1 would see: R1 leaves it alone.
    """
    fees, control = _listed(FEES), _listed(CONTROL_ROLES)
    return Statement(
        "request_part",
        f"""
        with line as (
          select {_REQUEST}, 'V' as book, cast(null as string) as order_type, amount_minor,
            case when movement_type in ({fees}) then 0 else amount_minor end as principal_minor
          from virtual_posting
          union all
          select {_REQUEST}, 'B', order_type, amount_minor,
            case when movement_type in ({fees}) then 0 else amount_minor end
          from ledger_movement where not (debit_role in ({control}) and credit_role in ({control}))),
        part as (
          select {_REQUEST}, max(order_type) as order_type, count(*) filter (where book = 'V') as v_lines,
            count(*) filter (where book = 'B') as b_lines,
            coalesce(sum(amount_minor) filter (where book = 'V'), 0) as v_minor,
            coalesce(sum(amount_minor) filter (where book = 'B'), 0) as b_minor,
            coalesce(sum(principal_minor) filter (where book = 'V'), 0) as v_principal_minor,
            coalesce(sum(principal_minor) filter (where book = 'B'), 0) as b_principal_minor
          from line group by {_REQUEST})
        select {_REQUEST}, order_type, cast(b_principal_minor as bigint) as principal_minor,
          v_lines = b_lines and v_minor = b_minor and v_principal_minor = b_principal_minor as agrees
        from part
        union all
        select o.platform_id, o.currency, o.business_date, o.request_no, o.order_type, cast(o.amount_minor as bigint), true
        from ledger_order o where o.order_type in ({_listed(HOLDING)})""",
        keep=True,
    )


def order_records() -> Statement:
    """View `order_record`: finished orders of O that R1 compares, `kind` = type and status (``RECHARGE/SUCCESS``).

    A successful one when V and B agree on it or neither has it; one without success only when both moved its money.
    """
    left_out = _listed({*NOT_MOVING, *OF_THE_BANK})
    return Statement(
        "order_record",
        f"""
        select o.platform_id, o.currency, o.business_date, o.request_no, o.order_type || '/' || o.order_status as kind,
          o.amount_minor, o.created_at, o.file_name, o.line_no
        from platform_order o
        left join request_part p on p.platform_id = o.platform_id and p.currency = o.currency
          and p.business_date = o.business_date and p.request_no = o.request_no
        where o.order_status not in ({_listed(PENDING_STATUSES)}) and o.order_type not in ({left_out}) and o.amount_minor > 0
          and ((o.order_status = 'SUCCESS' and p.request_no is null) or coalesce(p.agrees, false))""",
    )


def request_records() -> Statement:
    """View `request_record`: requests of platforms on which V and B agree, one row each: what O must have."""
    return Statement(
        "request_record",
        f"""
        select {_REQUEST}, order_type || '/SUCCESS' as kind, principal_minor as amount_minor from request_part
        where agrees and order_type not in ({_listed(OF_THE_BANK)}) and principal_minor > 0""",
    )


def pending_records() -> list[Statement]:
    """Views `pending_record`, the first time O lists an order without an answer, and `answer_record`, its first answer."""
    pending = _listed(PENDING_STATUSES)
    known = "select platform_id, currency, match_key as request_no from carried_key where recon_id = 'R1P'"

    def first(condition: str, where: str) -> str:
        return f"""
        select * from (
          select o.*, row_number() over (partition by o.platform_id, o.currency, o.request_no
            order by o.business_date, o.line_no) as place
          from platform_order o
          left join ({known}) k on k.platform_id = o.platform_id and k.currency = o.currency and k.request_no = o.request_no
          where {condition} and {where}) f where f.place = 1"""

    asked = f"select platform_id, currency, request_no from platform_order where order_status in ({pending})"
    return [
        Statement("pending_record", first(f"o.order_status in ({pending})", "k.request_no is null")),
        Statement(
            "answer_record",
            first(
                f"o.order_status not in ({pending})",
                f"(k.request_no is not null or (o.platform_id, o.currency, o.request_no) in ({asked}))",
            ),
        ),
    ]
