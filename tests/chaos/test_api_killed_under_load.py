"""kill -9 of the service under twenty clients: what was acknowledged is there once, and asking again gives the first answer."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(600)
def test_acknowledged_orders_survive_repeated_kills_of_the_service_and_are_there_once(
    database: Any, service: Any, under_load: Any, kills: int, orders_a_kill: int
) -> None:
    moments = random.Random(7)
    service.start()
    with under_load(service.url, database.settings.secret("api_admin_key")) as load:
        for _ in range(kills):
            load.wait_for_more(moments.randrange(orders_a_kill // 2, orders_a_kill))
            service.kill()
            service.start()
        load.wait_for_more(orders_a_kill)
    load.check(database.url("migrator"))
