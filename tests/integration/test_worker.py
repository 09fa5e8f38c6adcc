"""The worker against real servers: what the streams hold comes to be in MongoDB, once, whatever happens on the way."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from nats.aio.client import Client

from chatnode.broker.connection import connect
from chatnode.broker.control import ControlStore
from chatnode.broker.direct import DirectReader
from chatnode.broker.event_stream import EnvelopePublisher
from chatnode.broker.streams import Streams
from chatnode.broker.subjects import CONTROL_STREAM, PARTITIONS, partition_of, stream_name
from chatnode.history.client import Mongo
from chatnode.history.reader import MongoHistory
from chatnode.history.rights import MongoRights
from chatnode.local.servers import NatsServer
from chatnode.protocol.control import Member, MemberPut, Revoked, RoomPut
from chatnode.protocol.envelope import Envelope
from chatnode.protocol.frames import MemberChange
from chatnode.protocol.sealing import PlainSealer
from chatnode.settings import Settings
from chatnode.worker.main import run_worker
from chatnode.worker.stream import Rhythm
from tests.integration.conftest import MongoAddress

SEALER = PlainSealer()
QUICK = Rhythm(renew=0.5, check=0.5, idle=0.1)


async def until(condition: Callable[[], Awaitable[bool]], within: float = 20.0) -> None:
    """Asks MongoDB or NATS again until it is so; nobody would tell."""
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(0.02)


@dataclass
class Cluster:
    """Servers, and readers of what a worker makes of them."""

    settings: Settings
    nats: Client
    mongo: Mongo

    @property
    def history(self) -> MongoHistory:
        return MongoHistory(self.mongo.database, SEALER)

    @property
    def rights(self) -> MongoRights:
        return MongoRights(self.mongo.database)

    @property
    def control(self) -> ControlStore:
        return ControlStore(self.nats, DirectReader(self.nats), clock=asyncio.get_running_loop().time)

    async def send(self, room: str, text: str, *, user: str = "ann", id_: str | None = None) -> None:
        envelope = Envelope(
            kind="message",
            room=room,
            user=user,
            id=id_ or uuid.uuid4().hex,
            ts=1,
            digest="d",
            body=SEALER.seal(user, text),
        )
        await EnvelopePublisher(self.nats).publish(envelope)

    async def texts(self, room: str) -> list[str]:
        return [each.text for each in (await self.history.page(room, limit=100)).messages if each.notice is None]

    async def shows(self, room: str, *texts: str) -> None:
        async def shown() -> bool:
            return await self.texts(room) == list(texts)

        await until(shown)

    async def has_streams(self) -> None:
        streams = Streams(self.nats)

        async def there() -> bool:
            names = [CONTROL_STREAM, *map(stream_name, range(PARTITIONS))]
            return all([await streams.find(name) is not None for name in names])

        await until(there)


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_worker(settings, stop, lease=2.0, rhythm=QUICK))
    try:
        yield task
    finally:
        stop.set()
        await task


@pytest.fixture
async def cluster(nats_server: NatsServer, mongo: MongoAddress, database: str) -> AsyncIterator[Cluster]:
    settings = Settings(
        nats_url=nats_server.url,
        mongodb_uri=mongo.uri,
        mongodb_database=database,
        node_id="worker",
        admin_port=0,
        stream_max_bytes=64 * 1024**2,
    )
    client = await connect(nats_server.url, name="test")
    opened = Mongo(mongo.uri, database, name="test")
    yield Cluster(settings, client, opened)
    await opened.close()
    await client.close()


async def test_what_is_stored_comes_into_history_in_order(cluster: Cluster) -> None:
    async with working(cluster.settings):
        await cluster.has_streams()
        for number in range(30):
            await cluster.send("maths", str(number))
        await cluster.shows("maths", *map(str, range(30)))
        mark = await cluster.history.watermark(partition_of("maths"))
        assert mark is not None
        assert (mark.epoch, mark.seq) == (1, 30)


async def test_a_worker_goes_on_where_the_last_one_stopped(cluster: Cluster) -> None:
    async with working(cluster.settings):
        await cluster.has_streams()
        await cluster.send("maths", "before")
        await cluster.shows("maths", "before")
    await cluster.send("maths", "between")
    async with working(cluster.settings):
        await cluster.shows("maths", "before", "between")


async def test_control_events_are_projected_and_told_to_the_room(cluster: Cluster) -> None:
    async with working(cluster.settings):
        await cluster.has_streams()
        room = RoomPut(
            id="r1", actor="platform", ts=5, room="maths", room_kind="course", title="Maths",
            members=(Member("ann", "trainer", "Ann"), Member("bob", "learner", "Bob")),
        )  # fmt: skip
        await cluster.control.publish_control(room)
        await cluster.control.publish_control(
            MemberPut(id="m1", actor="ann", ts=6, room="maths", user="bob", role="moderator", name="Bob")
        )
        last = await cluster.control.publish_control(
            MemberPut(id="m2", actor="bob", ts=7, room="maths", user="ann", role=None)
        )
        await cluster.control.publish_control(Revoked(id="v1", actor="platform", ts=8, user="ann", before=1234))

        async def told() -> bool:
            return len((await cluster.history.page("maths", limit=100)).messages) == 4

        await until(told)
        notices = (await cluster.history.page("maths", limit=100)).messages
        assert {(each.notice, each.sender) for each in notices[:2]} == {
            (MemberChange("ann", "trainer", "Ann"), "platform"),
            (MemberChange("bob", "learner", "Bob"), "platform"),
        }
        assert [(each.notice, each.sender) for each in notices[2:]] == [
            (MemberChange("bob", "moderator", "Bob"), "ann"),
            (MemberChange("ann", None), "bob"),
        ]

        async def revoked() -> bool:
            return await cluster.rights.revoked_before("ann") == 1234

        await until(revoked)
        found = await cluster.rights.room("maths")
        assert found is not None
        assert (found.title, found.members, found.applied) == ("Maths", (Member("bob", "moderator", "Bob"),), last)
