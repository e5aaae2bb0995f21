"""A simulated world reconciled on DuckDB as a bank lives it: one run a date, each knowing of the past what the runs published."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import duckdb

from bench.world_books import insert, landed_rows, ledger_rows, position_rows
from recon.on_duckdb import EARLIER, create_inputs, reconciled
from recon.pipeline import INPUTS, Scope
from recon.rules import load_rules
from simulator.channel_fee import terms_of
from simulator.world import World

ZONE = ZoneInfo("Asia/Shanghai")
PUBLISHED = ("recon_carry", "match_group", "open_item")
Items = list[tuple[str, str, date, str]]
Ages = list[tuple[date, date, int]]
_COMPLETE = "select distinct platform_id, business_date from published_recon_carry where business_date < date '{day}'"
_HISTORY = {
    "carried": f"""select c.* from published_recon_carry c join (
        select platform_id, max(business_date) as business_date from ({_COMPLETE}) group by platform_id) l
        using (platform_id, business_date)""",
    "match_history": "select * from published_match_group where business_date between date '{since}' and date '{day}' - 1",
    "channel_history": f"select o.* from all_channel_order o join ({_COMPLETE}) d using (platform_id, business_date)",
}


@dataclass
class Nights:
    """The runs of a world until now; `connection` holds its books as `all_TABLE`, `compared` counts records of both sides."""

    world: World
    connection: duckdb.DuckDBPyConnection
    is_new: bool = field(default=True, init=False)
    compared: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        create_inputs(self.connection)
        self._terms = tuple(map(terms_of, self.world.parameters.platform_ids))
        rows = landed_rows(self.world) | ledger_rows(self.world) | position_rows(self.world)
        for table in list(rows):
            insert(self.connection, table, rows.pop(table))
        for table in INPUTS:
            self.connection.execute(f"create table all_{table} as from {table}")

    def run(self, first: date, last: date) -> None:
        """One run over some dates; what an earlier one published of them is replaced."""
        words = {"day": first, "since": first - timedelta(days=load_rules().match_memory_days)}
        for table in INPUTS:
            dates = f"business_date between date '{first}' and date '{last}'"
            self.connection.execute(f"create or replace table {table} as from all_{table} where {dates}")
        for name in EARLIER if not self.is_new else ():
            self.connection.execute(f"create or replace table {name} as {_HISTORY[name].format(**words)}")
        oldest = self.connection.execute("select min(opened_on) from carried").fetchone()
        start = min(first, (oldest and oldest[0]) or first)
        with reconciled(self.connection, Scope(1, first, last, start, ZONE, fee_terms=self._terms)) as views:
            counted = self.connection.execute("select coalesce(sum(n_left + n_right), 0) from key_group").fetchone()
            self.compared += int(counted[0]) if counted else 0
            for table in PUBLISHED:
                if self.is_new:
                    self.connection.execute(f"create table published_{table} as from {views[table]} limit 0")
                self.connection.execute(f"delete from published_{table} where business_date >= date '{first}'")
                self.connection.execute(f"insert into published_{table} from {views[table]}")
        self.is_new = False

    def resend(self) -> date:
        """Every file that had not been accepted comes again, correct; gives the first of their dates."""
        broken = [feed for feed in self.world.feeds if feed.damage]
        for feed in broken:
            feed.damage = None
        for table, rows in landed_rows(self.world).items():
            self.connection.execute(f"truncate {table}")
            insert(self.connection, table, rows)
            self.connection.execute(f"create or replace table all_{table} as from {table}")
        return min(feed.business_date for feed in broken)

    def items(self) -> Items:
        """What is or was open: code when opened, platform, date of opening, key."""
        query = "select distinct opened_code, platform_id, opened_on, match_key from published_open_item"
        found: Items = self.connection.execute(query).fetchall()
        return found

    def ages(self) -> Ages:
        """Every date of opening with the dates on which its items are shown, and their ages."""
        query = "select distinct opened_on, business_date, age_working_days from published_open_item"
        found: Ages = self.connection.execute(query).fetchall()
        return found
