"""While clients of a Connect server work, garbage is collected between steps only: a finaliser may call the server."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from fundwatch import night
from fundwatch.settings import load
from lake import session, store
from lake.session import collected_by_hand


class Checkpoint:
    """Like PySpark's, in a cycle: only a collection ends it, and then its finaliser runs wherever that is."""

    ended = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Checkpoint.ended += 1


def make_garbage() -> None:
    Checkpoint()
    for _ in range(5):
        _ = [[] for _ in range(gc.get_threshold()[0] * 20)]


def test_a_checkpoint_is_let_go_between_steps_and_never_in_the_midst_of_them() -> None:
    gc.collect()
    Checkpoint.ended = 0
    make_garbage()
    assert Checkpoint.ended == 1, "this test makes enough garbage for a collection to begin by itself"
    with collected_by_hand():
        make_garbage()
        assert Checkpoint.ended == 1
        gc.collect()
        assert Checkpoint.ended == 2
    assert gc.isenabled()


class Closed:
    """Stands in for a session: nothing is asked of it."""

    def stop(self) -> None:
        """Nothing to stop."""


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(session, "spark_session", lambda *_: Closed())
    monkeypatch.setattr(store, "ensure_tables", lambda _: None)
    yield


@pytest.mark.parametrize(("remote", "by_itself"), [("sc://localhost:1", False), ("", True)], ids=["Connect", "classic"])
def test_a_night_over_connect_collects_no_garbage_by_itself(
    no_server: None, monkeypatch: pytest.MonkeyPatch, remote: str, by_itself: bool
) -> None:
    monkeypatch.setenv("FUNDWATCH_SPARK_REMOTE", remote)
    with night.spark_session(load(), "a test"):
        assert gc.isenabled() is by_itself
    assert gc.isenabled()
