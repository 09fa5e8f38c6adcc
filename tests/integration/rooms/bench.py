"""What a node has for its rooms, over real servers, with a feed that can be made to lose what it should bring."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from nats.aio.client import Client

from chatnode.broker.connection import connect
from chatnode.broker.direct import DirectReader
from chatnode.broker.live import CoreLiveFeed
from chatnode.broker.publish import Publisher
from chatnode.broker.room_log import StreamRoomLog
from chatnode.broker.streams import Streams, chat_stream
from chatnode.broker.subjects import partition_of
from chatnode.history.client import Mongo
from chatnode.history.reader import MongoHistory
from chatnode.history.schema import migrate
from chatnode.local.servers import NatsServer
from chatnode.protocol.envelope import Envelope, Sealed, encode_envelope
from chatnode.protocol.errors import ProtocolError
from chatnode.protocol.events import MessageEvent
from chatnode.protocol.sealing import PlainSealer
from chatnode.rooms.catchup import CatchUp
from chatnode.rooms.hub import Hub, HubReport, HubSettings
from chatnode.rooms.ports import Accepted, LiveMessage, LiveSubscription, Outcome
from chatnode.telemetry.traces import Tracing
from tests.integration.conftest import MongoAddress

ROOM = "algebra"


class Event:
    """A publication that remembers what came of it."""

    def __init__(self, number: int, room: str = ROOM, expected_last: int | None = None, user: str = "ada") -> None:
        self.room = room
        self.message_id = f"{user}:{number}"
        self.expected_last = expected_last
        self.traceparent = None
        self.number = number
        self.user = user
        self.refusal: ProtocolError | None = None
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def payload(self) -> bytes | ProtocolError:
        if self.refusal is not None:
            return self.refusal
        body = Sealed("plain", str(self.number).encode())
        return encode_envelope(
            Envelope(
                kind="message",
                room=self.room,
                user=self.user,
                id=str(self.number),
                ts=self.number,
                digest="d",
                body=body,
            )
        )

    async def look_again(self) -> int | Accepted | None:
        return None

    def resolved(self, outcome: Outcome) -> None:
        self.outcome.set_result(outcome)


class Follower:
    def __init__(self, user: str = "bob") -> None:
        self.user = user
        self.texts: list[str] = []
        self.places: list[tuple[int, int]] = []
        self.over: list[str] = []

    @property
    def sink(self) -> "Follower":
        return self

    def write_all(self, frames: Sequence[bytes], joined: bytes) -> None:
        assert joined == b"".join(frames)
        for framed in frames:
            self.write(framed)

    def write(self, framed: bytes) -> None:
        event = msgspec.json.decode(framed, type=MessageEvent)
        self.texts.append(event.text)
        self.places.append((event.prev, event.seq))

    def ended(self, room: str, code: str, message: str, *, retryable: bool) -> None:
        assert retryable
        self.over.append(room)


class LossyFeed(CoreLiveFeed):
    """Drops what ``lose`` says, as a server without a leader does: without a word."""

    lose: Callable[[LiveMessage], bool] = staticmethod(lambda _message: False)

    async def follow(self, room: str, receive: Callable[[LiveMessage], None]) -> LiveSubscription:
        def filtered(message: LiveMessage) -> None:
            if not self.lose(message):
                receive(message)

        return await super().follow(room, filtered)


class Bench:
    def __init__(self, client: Client, history: MongoHistory, settings: HubSettings) -> None:
        self.client = client
        self.reader = DirectReader(client)
        self.log = StreamRoomLog(self.reader)
        self.feed = LossyFeed(client)
        self.publisher = Publisher(
            client, batch_max=50, queue_max=5000, draw_id=lambda: f"{random.getrandbits(64):x}", timeout=2.0
        )
        self.epoch = 1
        self.wall_ms = 0
        """Events here are as old as their number; at 0 none of them is late."""
        common = {
            "log": self.log,
            "history": history,
            "sealer": PlainSealer(),
            "epoch_of": lambda _partition: self.epoch,
            "frame": lambda payload: payload,
        }
        self.hub = Hub(
            **common,  # type: ignore[arg-type]
            live=self.feed,
            monotonic=asyncio.get_running_loop().time,
            wall_ms=lambda: self.wall_ms,
            settings=settings,
            report=HubReport(),
            tracing=Tracing(None),
        )
        self.catch_up = CatchUp(**common)  # type: ignore[arg-type]

    def send(self, numbers: range, room: str = ROOM) -> list[Event]:
        events = [Event(number, room) for number in numbers]
        for event in events:
            self.publisher.submit(event)
        return events

    async def store(self, numbers: range, room: str = ROOM) -> list[int]:
        outcomes = await asyncio.gather(*(event.outcome for event in self.send(numbers, room)))
        assert all(isinstance(outcome, Accepted) for outcome in outcomes), outcomes
        return [outcome.seq for outcome in outcomes if isinstance(outcome, Accepted)]


@asynccontextmanager
async def bench_on(nats: NatsServer, mongo: MongoAddress, database: str, settings: HubSettings) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        client = await connect(nats.url, name="test")
        stack.push_async_callback(client.close)
        found = Mongo(mongo.uri, database, name="test")
        stack.push_async_callback(found.close)
        await migrate(found.database)
        config = chat_stream(partition_of(ROOM), epoch=1, first_seq=1, replicas=1, max_bytes=2**26)
        await Streams(client).ensure(config)
        bench = Bench(client, MongoHistory(found.database, PlainSealer()), settings)
        await bench.reader.start()
        bench.publisher.start()
        bench.hub.start()
        stack.push_async_callback(bench.reader.stop)
        stack.push_async_callback(bench.hub.stop)
        stack.push_async_callback(bench.publisher.stop, 1.0)
        yield bench


async def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]
