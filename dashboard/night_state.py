"""What the operations page shows of the night: its last runs with their steps, and what the forms may name."""

from __future__ import annotations

from typing import Any

from dashboard.published import Database

RUNS_SHOWN = 15


def last_runs(database: Database) -> list[dict[str, Any]]:
    """The newest runs: `run_id, first_date, last_date, platform_id, state, opened_at, closed_at, steps, failed, why`.

    `steps` counts the steps done; `failed` and `why` name the step that failed and its reason, where one did.
    """
    return database.execute(
        """SELECT run_id, first_date, last_date, platform_id, run.state, opened_at, closed_at, done.steps, failed.step AS failed,
             failed.why
           FROM run.run
           CROSS JOIN LATERAL (
             SELECT count(*) AS steps FROM run.step WHERE step.run_id = run.run_id AND step.state = 'DONE') done
           LEFT JOIN LATERAL (
             SELECT step, detail ->> 'error' AS why FROM run.step WHERE step.run_id = run.run_id AND step.state = 'FAILED'
             ORDER BY step LIMIT 1) failed ON true
           ORDER BY run_id DESC LIMIT %s""",
        [RUNS_SHOWN],
    ).fetchall()


def platforms(database: Database) -> list[str]:
    """Ids of the registered platforms."""
    return [row["platform_id"] for row in database.execute("SELECT platform_id FROM registry.platform ORDER BY 1").fetchall()]


def payment_companies(database: Database) -> list[str]:
    """Ids of the registered payment companies."""
    return [row["paycom_id"] for row in database.execute("SELECT paycom_id FROM registry.payment_company ORDER BY 1").fetchall()]
