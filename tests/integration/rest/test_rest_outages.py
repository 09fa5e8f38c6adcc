"""Over HTTP while MongoDB or NATS is away."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from chatnode.local.servers import Mongod, NatsServer
from tests.integration.conftest import MongoAddress
from tests.integration.rest.site import Site, eventually, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def own_site(tmp_path: Path, mongo: MongoAddress) -> AsyncIterator[Site]:
    """For a test that takes something away."""
    async with (
        NatsServer(tmp_path / "nats") as server,
        running(server, mongo.uri, suspend_after_s=1.5) as found,
    ):
        yield found


async def test_while_mongodb_is_away_what_needs_it_is_retryable_and_comes_back(tmp_path: Path) -> None:
    async with (
        NatsServer(tmp_path / "nats") as server,
        Mongod(tmp_path / "mongod") as mongod,
        running(server, mongod.uri) as site,
    ):
        await site.course("python", amina="learner")
        await mongod.stop()
        reply = await site.ask("GET", "/v1/rooms", by="amina")
        assert (reply.status, reply.code, reply.body["error"]["retryable"]) == (503, "unavailable", True)
        assert int(reply.headers["retry-after"]) >= 1
        await mongod.start()

        async def back() -> bool:
            return (await site.ask("GET", "/v1/rooms", by="amina")).status == 200

        await eventually(back, within=30.0)


async def test_while_nats_is_away_everything_is_retryable_and_comes_back(own_site: Site) -> None:
    await own_site.course("python", amina="learner")
    await own_site.server.stop()
    reply = await own_site.ask("PUT", "/v1/rooms/python", {"kind": "course", "title": "Python"})
    assert (reply.status, reply.code, reply.body["error"]["retryable"]) == (503, "unavailable", True)
    assert int(reply.headers["retry-after"]) >= 1

    async def suspended() -> bool:
        return (await own_site.ask("GET", "/v1/rooms/python", by="amina")).status == 503

    await eventually(suspended, within=5.0)
    await own_site.server.start()

    async def back() -> bool:
        reply = await own_site.ask("PUT", "/v1/rooms/python", {"kind": "course", "title": "Python"})
        return reply.status == 200

    await eventually(back, within=20.0)
    assert (await own_site.ask("GET", "/v1/rooms/python", by="amina")).body["title"] == "Python"
