"""Names that stand twice in an order's JSON are noticed however it is written, and none is seen where there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transactional.bodies import Order, canonical, check_names, parse
from transactional.problems import Problem

_OPTIONAL_OF_LEG = {"loan_no": "L1", "issue_no": 0, "component": "P", "claim_no": None}
_OPTIONAL = {
    "place_holds": [{"hold_no": "H1", "account": "A1", "amount_minor": 1}],
    "release_holds": ["H2"],
    "capture_holds": [{"hold_no": "H3", "final": False}, {"hold_no": "H4", "final": True, "amount_minor": None}],
    "reverses_request_no": None,
    "effective_at": "2026-01-02T03:04:05Z",
}
_SPACES = st.sampled_from(["", " ", "\n\t"])


@st.composite
def _orders(draw: st.DrawFn) -> dict[str, Any]:
    leg = {"movement_type": "RECHARGE", "debit_account": "A:1", "credit_account": "A2", "amount_minor": 7}
    legs = [
        leg | {name: _OPTIONAL_OF_LEG[name] for name in draw(st.sets(st.sampled_from(sorted(_OPTIONAL_OF_LEG))))}
        for _ in range(2)
    ]
    more = {name: _OPTIONAL[name] for name in draw(st.sets(st.sampled_from(sorted(_OPTIONAL))))}
    return {"platform_id": "P01", "request_no": "R1", "order_type": "RECHARGE", "currency": "CNY", "movements": legs, **more}


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(found for each in value.values() for found in _objects(each))]
    return [found for each in value for found in _objects(each)] if isinstance(value, list) else []


def _text(value: Any, twice: tuple[int, str] | None, space: str) -> str:
    """JSON of a value with `space` around every colon; the object with that id names its field a second time."""
    if isinstance(value, dict):
        pairs = [*value.items(), *([(twice[1], value[twice[1]])] if twice and twice[0] == id(value) else [])]
        return "{" + ",".join(f"{json.dumps(name)}{space}:{space}{_text(each, twice, space)}" for name, each in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(each, twice, space) for each in value) + "]"
    return json.dumps(value)


@given(_orders(), _SPACES, st.data())
def test_a_name_that_stands_twice_is_noticed_and_no_other(order: dict[str, Any], space: str, data: st.DataObject) -> None:
    once = _text(order, None, space).encode()
    check_names(once, canonical(parse(Order, once)))
    where = data.draw(st.sampled_from(_objects(order)))
    twice = _text(order, (id(where), data.draw(st.sampled_from(sorted(where)))), space).encode()
    with pytest.raises(Problem, match="twice"):
        check_names(twice, canonical(parse(Order, twice)))
