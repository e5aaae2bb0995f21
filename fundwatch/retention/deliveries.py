"""Deliveries to the outside that are settled: the row with its content goes, the record of every try stays."""

from __future__ import annotations

from collections.abc import Sequence

from fundwatch.retention.plan import Item, Site
from fundwatch.retention.policy import Policy
from lake.postgres import connection

BATCH = 10_000


class SettledDeliveries:
    """Rows of `outside.delivery`, by target and batches of ids."""

    def plan(self, site: Site, policy: Policy) -> list[Item]:
        """What was delivered or passed over before the cut of the machine's clock."""
        with connection(site.settings) as database:
            rows = database.execute(
                """select target, delivery_id from outside.delivery
                    where state in ('DELIVERED', 'SKIPPED') and settled_at < %s order by target, delivery_id""",
                (site.cut(policy),),
            ).fetchall()
        by_target: dict[str, list[int]] = {}
        for target, delivery_id in rows:
            by_target.setdefault(target, []).append(delivery_id)
        return [
            Item("settled_deliveries", f"deliveries to {target} from {part[0]} on", len(part), "rows", {"delivery_ids": part})
            for target, ids in by_target.items()
            for part in (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
        ]

    def delete(self, site: Site, items: Sequence[Item]) -> None:
        """Delete them; one that was replayed meanwhile and waits again is left alone."""
        with connection(site.settings) as database:
            for item in items:
                database.execute("select outside.forget(%s::bigint[])", (item.key["delivery_ids"],))

    def left(self, site: Site, items: Sequence[Item]) -> list[str]:
        """Items of which a settled row is still there."""
        query = "select from outside.delivery where delivery_id = any(%s::bigint[]) and state in ('DELIVERED', 'SKIPPED') limit 1"
        with connection(site.settings) as database:
            # a row without columns is an empty tuple: only None says that there is none
            found = [(item, database.execute(query, (item.key["delivery_ids"],)).fetchone()) for item in items]
        return [item.what for item, row in found if row is not None]
