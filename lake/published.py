"""Which version of a date counts: `run.published` read as control data (architecture section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fundwatch.settings import Settings
from lake.postgres import connection
from lake.steps import Run

# the highest COMPLETE version wins; a date without one is read in its highest INCOMPLETE version
_WINNERS = """
select distinct on (business_date, platform_id) business_date, platform_id, run_id, version, state
  from run.published
 where business_date < %(before)s
   and (%(platform_id)s::text is null or platform_id = %(platform_id)s)
   and (%(known_as_of)s::timestamptz is null or published_at <= %(known_as_of)s)
 order by business_date, platform_id, (state = 'COMPLETE') desc, version desc
"""


@dataclass(frozen=True)
class Winner:
    """The run whose rows count for one date and platform."""

    business_date: date
    platform_id: str
    run_id: int
    version: int
    state: str


def winners_before(settings: Settings, run: Run, before: date) -> list[Winner]:
    """The winning version of every published date before `before` that `run` may read, one a date and platform.

    A run of one platform sees that platform only; a run with `known_as_of` sees what was published by then.
    """
    values = {"before": before, "platform_id": run.platform_id, "known_as_of": run.known_as_of}
    with connection(settings) as database:
        return [Winner(*row) for row in database.execute(_WINNERS, values)]
