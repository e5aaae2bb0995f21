"""Carrying out approved controls: a platform is run again from a date, exactly once, whatever is killed in between.

A run that is opened for a control is put down in `ops.control_run` before its first step, and how it ended in `ops.control_done`,
one row a control. A later call goes on with the run that is put down, unless a night has abandoned it in the meantime.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from psycopg.rows import class_row

from domain.errors import BadInput
from fundwatch import night
from fundwatch.settings import Settings
from lake import operators, runs
from lake.lock import exclusive
from lake.manifest import versions
from lake.postgres import connection
from lake.steps import Run

# A RERUN runs once; going on without a file does too when its date was published before the approval and is INCOMPLETE:
# dates that are not published yet take the waiver by themselves.
_DUE = """
select s.control_id, s.kind, s.platform_id, s.business_date as first_date,
       (select max(p.business_date) from run.published p where p.platform_id = s.platform_id) as last_date
  from ops.control_state s
 where s.state = 'APPROVED' and (s.kind = 'RERUN' or (s.kind = 'WITHOUT_FILE' and exists (
         select from mart.newest n join run.published p using (business_date, platform_id, run_id)
          where n.platform_id = s.platform_id and n.business_date = s.business_date and p.state = 'INCOMPLETE'
            and p.run_id <= s.last_run_id)))
    or s.state = 'APPROVED' and exists (select from ops.control_run c where c.control_id = s.control_id)
 order by s.decided_at, s.control_id limit 1"""
_DONE = """insert into ops.control_done (control_id, run_id, outcome, detail) values (%s, %s, %s, %s)
    on conflict (control_id) do nothing"""


@dataclass(frozen=True)
class Due:
    """An approved control that is not carried out yet: which platform is run again, from and up to which date."""

    control_id: int
    kind: str
    platform_id: str
    first_date: date
    last_date: date


def run_approved(settings: Settings, say: night.Say) -> dict[str, Any]:
    """Carry out every approved control that is not done, oldest approval first.

    ``{"done": [{control_id, platform_id, from, to, run_id, outcome, detail}]}``, or ``{"skipped": true, "reason"}`` when there is
    none or the night is held. A control that no run can be opened for is done as REFUSED and raised as BadInput after the
    others; a step that fails raises and leaves the control to the next call.
    """
    done: list[dict[str, Any]] = []
    with exclusive(settings):
        with connection(settings) as database:
            hold = operators.hold(database)
        # asked anew each time: one run may settle several controls
        while not hold and (control := _next(settings)):
            say(f"control {control.control_id}: {control.platform_id} again from {control.first_date} to {control.last_date}")
            done.append(_carried_out(settings, control, say))
    if not done:
        return {"skipped": True, "reason": hold or "no approved control waits to be carried out"}
    refused = [entry for entry in done if entry["outcome"] == "REFUSED"]
    if refused:
        raise BadInput("; ".join(f"control {entry['control_id']} cannot be carried out: {entry['detail']}" for entry in refused))
    return {"done": done}


def _next(settings: Settings) -> Due | None:
    with connection(settings) as database, database.cursor(row_factory=class_row(Due)) as cursor:
        return cursor.execute(_DUE).fetchone()


def _carried_out(settings: Settings, control: Due, say: night.Say) -> dict[str, Any]:
    try:
        run = _begun(settings, control) or _opened(settings, control, say)
    except BadInput as error:
        return _close(settings, control, None, "REFUSED", str(error))
    night.carry_on(settings, run, say)
    incomplete = [
        f"{entry['business_date']}: {entry['reason']}"
        for entry in runs.show(settings, run.run_id)["published"]
        if entry["state"] != "COMPLETE"
    ]
    return _close(settings, control, run.run_id, "PUBLISHED", "; ".join(incomplete) or "every date is complete")


def _begun(settings: Settings, control: Due) -> Run | None:
    """The run that an earlier call opened for the control, unless it was abandoned or the code is another since."""
    with connection(settings) as database:
        query = """select run_id from ops.control_run join run.run using (run_id)
                    where control_id = %s and (state = 'PUBLISHED' or (state = 'OPEN' and code_version = %s))
                    order by run_id desc limit 1"""
        row = database.execute(query, [control.control_id, versions()["fundwatch"]]).fetchone()
    return None if row is None else runs.get(settings, row[0])


def _opened(settings: Settings, control: Due, say: night.Say) -> Run:
    run = runs.open_run(settings, control.last_date, control.first_date, control.platform_id, on_abandon=night.abandoned(say))
    if run is None:
        raise BadInput(f"there is nothing to run again for {control.platform_id} from {control.first_date}")
    with connection(settings) as database:
        database.execute("insert into ops.control_run (control_id, run_id) values (%s, %s)", [control.control_id, run.run_id])
    return run


def _close(settings: Settings, control: Due, run_id: int | None, outcome: str, detail: str) -> dict[str, Any]:
    with connection(settings) as database:
        database.execute(_DONE, [control.control_id, run_id, outcome, detail])
    return {
        "control_id": control.control_id,
        "platform_id": control.platform_id,
        "from": control.first_date.isoformat(),
        "to": control.last_date.isoformat(),
        "run_id": run_id,
        "outcome": outcome,
        "detail": detail,
    }
