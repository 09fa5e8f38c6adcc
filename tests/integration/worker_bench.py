"""A worker with real servers, and what is asked of them; shared by the worker's tests."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client

from chatnode.broker.connection import connect
from chatnode.broker.control import ControlStore
from chatnode.broker.direct import DirectReader
from chatnode.broker.event_stream import EnvelopePublisher
from chatnode.broker.streams import StreamFound, Streams
from chatnode.broker.subjects import CONTROL_STREAM, PARTITIONS, partition_of, room_subject, stream_name
from chatnode.history.client import Mongo
from chatnode.history.progress import Ledger
from chatnode.history.reader import MongoHistory
from chatnode.history.rights import MongoRights
from chatnode.protocol.envelope import Envelope, encode_envelope
from chatnode.protocol.frames import Position
from chatnode.protocol.sealing import PlainSealer
from chatnode.rooms.ports import Unavailable
from chatnode.settings import Settings
from chatnode.worker.main import run_worker
from chatnode.worker.stream import Rhythm

SEALER: Final = PlainSealer()
QUICK: Final = Rhythm(renew=0.5, check=0.5, idle=0.1, settle=0.5)
ROOM: Final = "maths"
PARTITION: Final = partition_of(ROOM)
STREAM: Final = stream_name(PARTITION)


async def until(condition: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    """Asks MongoDB or NATS again until it is so; nobody would tell."""
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(0.02)


def message(text: str, *, user: str = "ann", id_: str | None = None, room: str = ROOM) -> Envelope:
    return Envelope(
        kind="message",
        room=room,
        user=user,
        id=id_ or uuid.uuid4().hex,
        ts=1,
        digest="d",
        body=SEALER.seal(user, text),
    )


@dataclass
class Bench:
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
    def ledger(self) -> Ledger:
        return Ledger(self.mongo.database)

    @property
    def streams(self) -> Streams:
        return Streams(self.nats)

    @property
    def reader(self) -> DirectReader:
        return DirectReader(self.nats)

    @property
    def control(self) -> ControlStore:
        return ControlStore(self.nats, self.reader, clock=asyncio.get_running_loop().time)

    async def send(self, *texts: str) -> None:
        for text in texts:
            await self.store(message(text))

    async def store(self, envelope: Envelope) -> None:
        """Again and again until it is stored, as a client does."""
        async with asyncio.timeout(30):
            while True:
                try:
                    return await EnvelopePublisher(self.nats).publish(envelope)
                except Unavailable:
                    await asyncio.sleep(0.1)

    async def store_raw(self, data: bytes, room: str = ROOM) -> int:
        """Without a message id: NATS takes any number of copies."""
        return (await self.nats.jetstream().publish(room_subject(room), data)).seq

    async def store_copy(self, envelope: Envelope) -> int:
        return await self.store_raw(encode_envelope(envelope), envelope.room)

    async def texts(self, room: str = ROOM) -> list[str]:
        return [each.text for each in (await self.history.page(room, limit=100)).messages if each.notice is None]

    async def shows(self, *texts: str, room: str = ROOM) -> None:
        async def shown() -> bool:
            return await self.texts(room) == list(texts)

        try:
            await until(shown)
        except TimeoutError:
            assert await self.texts(room) == list(texts)

    async def positions(self, room: str = ROOM) -> list[Position]:
        return [each.position for each in (await self.history.page(room, limit=100)).messages]

    async def found(self, name: str = STREAM) -> StreamFound:
        found = await self.streams.find(name)
        assert found is not None
        return found

    async def has_streams(self) -> None:
        async def there() -> bool:
            names = [CONTROL_STREAM, *map(stream_name, range(PARTITIONS))]
            return all([await self.streams.find(name) is not None for name in names])

        await until(there)

    async def has_watermark(self, epoch: int, seq: int) -> None:
        async def reached() -> bool:
            mark = await self.history.watermark(PARTITION)
            return mark is not None and (mark.epoch, mark.seq) == (epoch, seq)

        await until(reached)

    async def has_epoch(self, epoch: int) -> None:
        async def raised() -> bool:
            found = await self.streams.find(STREAM)
            return found is not None and found.epoch == epoch and not found.subjects[0].startswith("closed")

        await until(raised)


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """A worker within this process; its errors are this block's."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_worker(settings, stop, lease=2.0, rhythm=QUICK))
    try:
        yield task
    finally:
        stop.set()
        await task


@asynccontextmanager
async def bench_on(nats_url: str, mongodb_uri: str, database: str) -> AsyncIterator[Bench]:
    settings = Settings(
        nats_url=nats_url,
        mongodb_uri=mongodb_uri,
        mongodb_database=database,
        node_id="worker",
        admin_port=0,
        stream_max_bytes=64 * 1024**2,
    )
    client = await connect(nats_url, name="test")
    mongo = Mongo(mongodb_uri, database, name="test")
    yield Bench(settings, client, mongo)
    await mongo.close()
    await client.close()
