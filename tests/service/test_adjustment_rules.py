"""Random hands on the adjustments' functions, one after the other and at once: money never moves without the rules."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.adjusting import ACCOUNT, NIGHT, PUBLISHED, Desk
from transactional.verify import verify


@pytest.fixture
def desk(api: Any) -> Desk:
    """A desk with three people of finance and an officer; 100,000 on ACCOUNT."""
    desk = Desk(api)
    desk.clock(NIGHT)
    api.recharge(ACCOUNT, 100_000)
    desk.publish(1, PUBLISHED)
    for name in PEOPLE:
        desk.person(name, "officer" if name == "ann" else "finance")
    return desk


PEOPLE = ("fay", "flo", "gil", "ann")
actions = st.lists(
    st.tuples(
        st.sampled_from(
            ("create", "create", "submit", "decide", "decide", "reject", "withdraw", "post", "post", "ask", "answer", "assign")
        ),
        st.sampled_from(PEOPLE),
        st.integers(0, 5),
        st.integers(1, 700),
    ),
    min_size=8,
    max_size=30,
)


def breaks(desk: Desk) -> tuple[str, str]:
    """Two fresh breaks of ACCOUNT: book B lacks 500, book B has 500 too much."""
    lacking, too_much = uuid.uuid4().hex, uuid.uuid4().hex
    desk.open_break(1, PUBLISHED, lacking, ACCOUNT, 500)
    desk.open_break(1, PUBLISHED, too_much, ACCOUNT, -500)
    return lacking, too_much


class Hands:
    """Random hands on the desk's functions, as role service: what they may not do is refused."""

    def __init__(self, desk: Desk, lacking: str, too_much: str) -> None:
        self.lacking = lacking
        self.too_much = too_much
        self.made: list[int] = []
        self.connection = psycopg.connect(desk.api.service_url, autocommit=True)

    def act(self, kind: str, person: str, index: int, amount: int) -> None:
        """One action; a refusal is as good as any outcome."""
        target = self.made[index % len(self.made)] if self.made else 0
        try:
            self._do(kind, person, target, amount)
        except psycopg.Error as error:
            assert error.sqlstate == "FW422", error

    def _do(self, kind: str, person: str, target: int, amount: int) -> None:
        calls: dict[str, tuple[str, tuple[Any, ...]]] = {
            "submit": ("work.submit_adjustment(%s, 400, %s)", (target, person)),
            "decide": ("work.decide_adjustment(%s, true, '', %s)", (target, person)),
            "reject": ("work.decide_adjustment(%s, false, 'no', %s)", (target, person)),
            "withdraw": ("work.withdraw_adjustment(%s, 'no', %s)", (target, person)),
            "post": ("work.post_adjustment(%s, %s)", (target, person)),
            "ask": ("work.request_consent(%s, 'debit-1', %s)", (target, person)),
            "assign": ("work.assign_break(%s, %s, 'ann')", (self.lacking, person if amount < 100 else "ann")),
        }
        if kind == "create":
            item, direction = (self.lacking, "CREDIT") if amount % 2 else (self.too_much, "DEBIT")
            row = self.connection.execute(
                """SELECT work.create_adjustment(%s, 'P01', %s, %s, %s, 'CNY', 'OTHER', 'archive:x', sha256('x'), %s)""",
                [item, ACCOUNT, direction, amount, person],
            ).fetchone()
            assert row is not None
            self.made.append(row[0])
        elif kind == "answer":
            self.connection.execute(
                "SELECT work.issue_consent_token(%s, sha256(%s), 'key:P01')", [target, f"{target}-{amount}".encode()]
            )
            self.connection.execute(
                """SELECT work.answer_consent(%s, sha256(%s),
                     (SELECT amount_minor FROM work.adjustment WHERE adjustment_id = %s) + %s,
                     'debit-1', true, 'OTP', ledger.clock_now(), 'key:P01')""",
                [target, f"{target}-{amount}".encode(), target, int(amount % 5 == 0)],
            )
        else:
            function, values = calls[kind]
            self.connection.execute(f"SELECT {function}".encode(), values)


RULES = {
    "maker is a checker": """SELECT FROM work.adjustment a JOIN work.adjustment_event e USING (adjustment_id)
        WHERE e.detail ? 'checked' AND e.actor = a.maker""",
    "a checker without the role": """SELECT FROM work.adjustment_event e JOIN auth.person p ON p.login_name = e.actor
        WHERE e.detail ? 'checked' AND p.role <> 'finance'""",
    "an investigator checked": """SELECT FROM work.adjustment a JOIN work.adjustment_event e USING (adjustment_id)
        JOIN work.break_assignment b ON b.item_id = a.item_id AND b.person = e.actor
        JOIN audit.change c ON c.action = 'BREAK_ASSIGNED' AND c.subject = b.item_id AND c.after ->> 'person' = b.person
        WHERE e.detail ? 'checked' AND c.change_id < (
          SELECT min(x.change_id) FROM audit.change x WHERE x.subject_type = 'adjustment' AND x.subject = a.adjustment_id::text
            AND x.actor = e.actor AND x.after ? 'checked')""",
    "posted without its checkers": """SELECT FROM work.adjustment_state s WHERE s.posted_on IS NOT NULL AND
        (SELECT count(DISTINCT e.actor) FROM work.adjustment_event e
         WHERE e.adjustment_id = s.adjustment_id AND e.detail ? 'checked')
        < CASE WHEN s.amount_minor > 400 THEN 2 ELSE 1 END""",
    "a debit without consent": """SELECT FROM work.adjustment_state s LEFT JOIN work.consent_answer c USING (adjustment_id)
        WHERE s.posted_on IS NOT NULL AND s.direction = 'DEBIT'
          AND (c.is_given AND c.amount_minor = s.amount_minor) IS NOT TRUE""",
    "more than the break": """SELECT FROM work.adjustment_state s WHERE s.state NOT IN ('REJECTED', 'REFUSED', 'EXPIRED')
        GROUP BY s.item_id HAVING sum(s.amount_minor) > min(abs(s.residual_minor))""",
    "orders other than posted adjustments": """SELECT FROM work.adjustment_state s
        FULL JOIN (SELECT * FROM ledger.trade_order WHERE request_no LIKE 'ADJ-%') o ON o.request_no = 'ADJ-' || s.adjustment_id
        WHERE (s.posted_on IS NOT NULL) <> (o.order_id IS NOT NULL) OR o.amount_minor <> s.amount_minor""",
}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=actions)
def test_random_hands_never_move_money_without_the_rules(desk: Desk, plan: list[tuple[str, str, int, int]]) -> None:
    hands = Hands(desk, *breaks(desk))
    with hands.connection:
        for step in plan:
            hands.act(*step)
    for rule, query in RULES.items():
        assert desk.api.rows(query) == [], rule
    moved = desk.api.rows(
        """SELECT coalesce(sum(CASE direction WHEN 'CREDIT' THEN amount_minor ELSE -amount_minor END), 0)::int
           FROM work.adjustment_state WHERE posted_on IS NOT NULL"""
    )
    assert desk.balance() == 100_000 + moved[0][0]


def test_random_hands_at_once_never_take_more_than_the_break(desk: Desk) -> None:
    lacking, too_much = breaks(desk)
    start = threading.Barrier(4)

    def work(person: str, checker: str) -> None:
        hands = Hands(desk, lacking, too_much)
        start.wait(10)
        with hands.connection:
            for amount in range(1, 12):
                hands.act("create", person, 0, 4 * amount + 1)
                for kind, by in (("submit", person), ("decide", checker), ("post", person)):
                    hands.act(kind, by, len(hands.made) - 1, amount)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ("fay", "flo", "gil", "fay"), ("flo", "gil", "fay", "gil")))
    for rule, query in RULES.items():
        assert desk.api.rows(query) == [], rule
    assert desk.api.rows(
        "SELECT sum(amount_minor)::int <= 500, count(*) > 5 FROM work.adjustment_state WHERE posted_on IS NOT NULL"
    ) == [(True, True)]
    assert desk.api.rows("SELECT * FROM work.desk_faults()") == []
    assert verify(desk.api.service_url).faults == ()
