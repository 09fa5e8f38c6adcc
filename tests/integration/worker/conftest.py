"""A worker's surroundings, each test's own: real streams, a real database."""

from collections.abc import AsyncIterator

import pytest

from chatnode.local.servers import NatsServer
from tests.integration.conftest import MongoAddress
from tests.integration.worker_bench import Bench, bench_on


@pytest.fixture
async def bench(nats_server: NatsServer, mongo: MongoAddress, database: str) -> AsyncIterator[Bench]:
    async with bench_on(nats_server.url, mongo.uri, database) as opened:
        yield opened
