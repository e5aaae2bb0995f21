"""Balances and statements begin at the last closed day and say to the cent what the plain sum of all entries says."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

LENDER, CHANNEL = "P01-L-000001", "P01-X-CHANNEL-PC01"
START = datetime(2026, 8, 1, 2, 0, tzinfo=UTC)
DAYS = 8
PLAIN = """SELECT coalesce(sum(e.amount_minor), 0)::bigint FROM ledger.entry e JOIN ledger.movement m USING (movement_id)
  JOIN registry.account a USING (account_id) WHERE a.account_no = %s AND m.effective_at {} %s AND m.recorded_at <= %s"""


def _history(api: Any, chance: random.Random) -> list[datetime]:
    """A week of recharges and withdrawals, some back-dated into days that are still open; most days are closed in the end."""
    moments = [START]
    closed_until = START - timedelta(days=2)
    for day in range(DAYS):
        for turn in range(chance.randrange(1, 5)):
            at = START + timedelta(days=day, minutes=10 * turn + chance.randrange(10))
            amount = chance.randrange(1, 1_000)
            more: dict[str, Any] = {"simulated_at": at.isoformat()}
            if chance.random() < 0.4:
                earliest = max(closed_until + timedelta(days=1), START - timedelta(days=1))
                back = max(earliest, at - timedelta(hours=chance.randrange(1, 60)))
                more["effective_at"] = min(back, at).isoformat()
            legs = ("RECHARGE", CHANNEL, LENDER, amount)
            answer = api.post(api.order("RECHARGE", legs, **more))
            assert answer.status_code == 201, answer.text
            moments.append(at)
        end = START.replace(hour=15, minute=30) + timedelta(days=day)
        assert api.client.post("/v1/clock", json={"now": end.isoformat()}).status_code == 200
        api.rows("SELECT ledger.seal_pending(10)")
        if day >= 2 and chance.random() < 0.7:
            with psycopg.connect(api.admin_url) as connection:
                (first,) = connection.execute("SELECT ledger.next_open_day()").fetchone() or (None,)
                last = (START + timedelta(days=day - 1)).date()
                while first <= last:
                    connection.execute("SELECT ledger.close_day(%s, 'Asia/Shanghai', '23:00', 'test')", [first])
                    first += timedelta(days=1)
            closed_until = START + timedelta(days=day - 1)
    return moments


def _plain(api: Any, comparison: str, effective: datetime, known: datetime) -> int:
    with psycopg.connect(api.admin_url) as connection:
        (found,) = connection.execute(PLAIN.format(comparison).encode(), [LENDER, effective, known]).fetchone() or (0,)
        return int(found)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_back_dated_and_closed_both_times_mean_what_they_meant(api: Any, seed: int) -> None:
    chance = random.Random(seed)
    moments = _history(api, chance)
    assert api.rows("SELECT count(*) > 0 FROM ledger.day_close") == [(True,)]
    end = START + timedelta(days=DAYS - 1, hours=13)
    for _ in range(60):
        effective, known = (chance.choice(moments) + timedelta(seconds=chance.randrange(-90_000, 90_000)) for _ in range(2))
        effective, known = max(effective, START), min(max(known, START + timedelta(hours=1)), end)
        asked = {"effective_as_of": effective.isoformat(), "known_as_of": known.isoformat()}
        assert api.balance(LENDER, **asked)["balance_minor"] == _plain(api, "<=", effective, known), asked
    for _ in range(12):
        first = chance.randrange(DAYS - 1)
        span = {"from": str((START + timedelta(days=first)).date()), "to": str((START + timedelta(days=DAYS - 1)).date())}
        known = min(chance.choice(moments) + timedelta(days=1), end)
        path = f"/v1/accounts/{LENDER}/statement"
        found = api.client.get(path, params={**span, "known_as_of": known.isoformat(), "limit": 1000}).json()
        begin = datetime(2026, 7, 31, 15, 0, tzinfo=UTC) + timedelta(days=first)
        assert found["opening_minor"] == _plain(api, "<", begin, known)
        balance = found["opening_minor"]
        for row in found["rows"]:
            balance += row["amount_minor"]
            assert row["balance_after_minor"] == balance
        assert balance == found["closing_minor"] == _plain(api, "<", begin + timedelta(days=DAYS - first), known)
