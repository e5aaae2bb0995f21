"""Seconds and rows of every step of one night over the default world, on the Connect server, through the command line."""

from __future__ import annotations

from pathlib import Path

from bench import result
from fundwatch.demo import World, command
from fundwatch.services import spark_connect
from fundwatch.settings import load

NAME = "one_night"


def main(folder: Path) -> None:
    """Make the default world in `folder`, load it into the running services, run the night once, keep its figures."""
    world = World()
    command(["simulate", *world.arguments, "--out", str(folder)])
    loaded = command(["load", str(folder)])
    night = command(["nightly", "--to", world.end], {"FUNDWATCH_SPARK_REMOTE": spark_connect.remote_url(load())})
    figures = {
        "what": "one night over the default world, cold: all its dates in one pass, Spark Connect server on the same machine",
        "world": vars(world),
        "orders": loaded["orders"],
        "movements": loaded["movements"],
        "first_date": night["first_date"],
        "last_date": night["last_date"],
        "total_seconds": night["total_seconds"],
        "steps": [{key: step[key] for key in ("step", "rows_in", "rows_out", "seconds")} for step in night["steps"]],
    }
    result.write(NAME, figures, load())
