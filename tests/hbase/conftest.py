"""Tables of a module and a client of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fundwatch.settings import Settings
from hbase_schema import apply
from hbase_schema.client import HistoryClient


@pytest.fixture(scope="module")
def tables(hbase: Settings, hbase_prefix: str) -> Settings:
    """Settings of a running HBase with the declared tables under this module's prefix."""
    apply.apply(hbase)
    return hbase


@pytest.fixture
def client(tables: Settings) -> Iterator[HistoryClient]:
    """A client of this module's tables."""
    with HistoryClient.of(tables) as opened:
        yield opened
