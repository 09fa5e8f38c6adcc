"""A hub and a publisher, each test's own, over real servers."""

from collections.abc import AsyncIterator

import pytest

from chatnode.local.servers import NatsServer
from chatnode.rooms.hub import HubSettings
from tests.integration.conftest import MongoAddress
from tests.integration.rooms.bench import Bench, bench_on


@pytest.fixture
async def bench(nats_server: NatsServer, mongo: MongoAddress, database: str) -> AsyncIterator[Bench]:
    settings = HubSettings(linger_s=0.3, verify_soon_s=0.2, verify_s=0.5)
    async with bench_on(nats_server, mongo, database, settings) as made:
        yield made
