"""How people signed in: sessions that ended and attempts; what the access log names, and each person's last, stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from fundwatch.retention.plan import Item, Site
from fundwatch.retention.policy import Policy
from lake.postgres import connection

BATCH = 10_000


@dataclass(frozen=True)
class Logins:
    """Rows of one table of schema auth by batches of numbers; the database's own functions say which are old and delete them."""

    name: str
    table: str
    number: str
    old: str
    forget: str

    def plan(self, site: Site, policy: Policy) -> list[Item]:
        """What ended or was tried before the cut of the machine's clock."""
        query = sql.SQL("select {}(%s)").format(sql.Identifier("auth", self.old))
        with connection(site.settings) as database:
            numbers = [number for (number,) in database.execute(query, (site.cut(policy),)).fetchall()]
        parts = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
        return [
            Item(self.name, f"auth.{self.table} {part[0]} to {part[-1]}", len(part), "rows", {"numbers": part}) for part in parts
        ]

    def delete(self, site: Site, items: Sequence[Item]) -> None:
        """Delete them, as far as they are still old and named nowhere."""
        query = sql.SQL("select {}(%s::bigint[])").format(sql.Identifier("auth", self.forget))
        with connection(site.settings) as database:
            for item in items:
                database.execute(query, (item.key["numbers"],))

    def left(self, site: Site, items: Sequence[Item]) -> list[str]:
        """Items of which a row is still there."""
        query = sql.SQL("select from {} where {} = any(%s::bigint[]) limit 1").format(
            sql.Identifier("auth", self.table), sql.Identifier(self.number)
        )
        with connection(site.settings) as database:
            # a row without columns is an empty tuple: only None says that there is none
            found = [(item, database.execute(query, (item.key["numbers"],)).fetchone()) for item in items]
        return [item.what for item, row in found if row is not None]


SESSIONS = Logins("ended_sessions", "session", "session_id", "old_sessions", "forget_sessions")
ATTEMPTS = Logins("login_attempts", "login_attempt", "attempt_id", "old_attempts", "forget_attempts")
