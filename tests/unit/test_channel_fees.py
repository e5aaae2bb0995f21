"""Fees of payment companies: the night's SQL agrees with exact arithmetic, terms follow one another, strange ones are none."""

from datetime import date, timedelta
from fractions import Fraction

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.channel_fees import FeeTerm, priced
from domain.errors import BadInput
from lake.channel_fees import FOR_EVER, in_force
from recon.settlements import fee_terms, scheduled_fees

DAY = date(2026, 8, 3)
batches = st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**9), st.integers(0, 999), st.integers(0, 99)), min_size=1)


@settings(max_examples=25, deadline=None)
@given(batches)
def test_the_fee_in_sql_is_the_share_rounded_half_up_once_and_so_much_an_order(found: list[tuple[int, int, int, int]]) -> None:
    terms = [FeeTerm(f"P{n}", "PC01", DAY, DAY, rate, each) for n, (_, rate, _, each) in enumerate(found)]
    rows = ", ".join(
        f"('P{n}', 'CNY', date '{DAY}', 'PC01', date '{DAY}', 'B{n}', {gross}::bigint, {count}::bigint, 0, 'f', 1)"
        for n, (gross, _, count, _) in enumerate(found)
    )
    with duckdb.connect() as connection:
        connection.execute(
            f"""create table channel_settlement as from (values {rows}) t(platform_id, currency, business_date, sender_id,
            settled_on, settlement_batch_no, gross_minor, order_count, fee_minor, file_name, line_no)"""
        )
        connection.execute("create macro fee_term() as table " + fee_terms(terms).sql)
        query = scheduled_fees().sql.replace("join fee_term t", "join fee_term() t")
        by_batch = dict(connection.execute(f"select settlement_batch_no, amount_minor from ({query})").fetchall())
    for number, (gross, rate, count, each) in enumerate(found):
        exact = int(Fraction(gross * rate, 10**9) + Fraction(1, 2)) + count * each
        assert by_batch[f"B{number}"] == exact == terms[number].fee_minor(gross, count)


def test_terms_hold_until_later_ones_count_and_strange_ones_leave_no_schedule() -> None:
    share, each = {"basis": "VOLUME_RECHARGE", "rate": "0.00025"}, {"basis": "COUNT_TXN", "unit_minor": 10}
    first, second, third = date(1900, 1, 1), DAY, DAY + timedelta(days=9)
    found = in_force("P01", "PC01", [(first, [share]), (third, [{"basis": "FIXED", "rate": "1"}]), (second, [share, each])])
    assert [(one.valid_from, one.valid_to, one.rate_ppb, one.each_minor) for one in found] == [
        (first, DAY - timedelta(days=1), 250_000, 0),
        # a later decision about an earlier date stands above what was decided before it
        (second, third - timedelta(days=1), 250_000, 10),
        (third, FOR_EVER, 250_000, 10),
    ]
    assert priced([]) is None and priced([{"basis": "FIXED", "rate": "1"}]) is None
    assert in_force("P01", "PC01", [(first, [])]) == []
    with pytest.raises(BadInput, match="nine places"):
        priced([{"basis": "VOLUME_RECHARGE", "rate": "0.0000000001"}])
    with pytest.raises(BadInput, match="not a rate"):
        priced([{"basis": "VOLUME_RECHARGE", "rate": "little"}])
