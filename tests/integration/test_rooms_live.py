"""Rooms kept whole over a real nats-server: what live delivery loses is found and fetched."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from msgspec import UNSET
from nats.aio.client import Client

from chatnode.broker.connection import connect
from chatnode.broker.direct import DirectReader
from chatnode.broker.live import CoreLiveFeed
from chatnode.broker.publish import Publisher
from chatnode.broker.room_log import StreamRoomLog
from chatnode.broker.streams import Streams, chat_stream
from chatnode.broker.subjects import partition_of, room_subject
from chatnode.history.client import Mongo
from chatnode.history.reader import MongoHistory
from chatnode.history.schema import migrate
from chatnode.local.servers import NatsServer
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.envelope import Envelope, Sealed, decode_envelope, encode_envelope
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.events import MessageEvent
from chatnode.protocol.ids import event_hash
from chatnode.protocol.sealing import PlainSealer
from chatnode.rooms.catchup import CatchUp, _Asked
from chatnode.rooms.copies import LATE_MS, is_late
from chatnode.rooms.hub import Hub, HubReport, HubSettings
from chatnode.rooms.ports import Accepted, LiveMessage, LiveSubscription, NotStored, Outcome, Unknown
from chatnode.telemetry.traces import Tracing
from chatnode.transports import joining
from chatnode.transports.desk import Services
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


@pytest.fixture
async def bench(nats_server: NatsServer, mongo: MongoAddress, database: str) -> AsyncIterator[Bench]:
    settings = HubSettings(linger_s=0.3, verify_soon_s=0.2, verify_s=0.5)
    async with bench_on(nats_server, mongo, database, settings) as made:
        yield made


async def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def test_followers_get_everything_once_and_in_order(bench: Bench) -> None:
    room = await bench.hub.open(ROOM)
    one, two = Follower(), Follower()
    bench.hub.follow(room, one)
    bench.hub.follow(room, two)
    await bench.store(range(500))
    await until(lambda: len(one.texts) >= 500)
    assert one.texts == two.texts == numbers(500)
    assert all(prev == before for (prev, _), (_, before) in zip(one.places[1:], one.places, strict=False))


@pytest.mark.parametrize("seed", range(3))
async def test_what_live_delivery_loses_is_fetched_before_anything_later_is_delivered(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    bench.feed.lose = lambda message: message.seq > 0 and chance.random() < 0.3  # type: ignore[method-assign]
    room = await bench.hub.open(ROOM)
    follower = Follower()
    bench.hub.follow(room, follower)
    for start in range(0, 300, 20):
        await bench.store(range(start, start + 20))
    await until(lambda: len(follower.texts) >= 300)
    assert follower.texts == numbers(300)


async def test_a_lost_last_message_is_found_by_the_periodic_check(bench: Bench) -> None:
    room = await bench.hub.open(ROOM)
    follower = Follower()
    bench.hub.follow(room, follower)
    bench.feed.lose = lambda message: message.seq > 0  # type: ignore[method-assign]
    await bench.store(range(3))
    await until(lambda: len(follower.texts) == 3)


async def test_a_room_that_nobody_follows_is_closed_and_opens_again_where_it_stands(bench: Bench) -> None:
    room = await bench.hub.open(ROOM)
    follower = Follower()
    bench.hub.follow(room, follower)
    await bench.store(range(2))
    await until(lambda: len(follower.texts) == 2)
    bench.hub.leave(ROOM, follower)
    await until(lambda: bench.hub.room(ROOM) is None)
    await bench.store(range(2, 4))
    again = await bench.hub.open(ROOM)
    assert again is not room
    assert again.last == 4
    assert follower.texts == numbers(2)


async def test_joining_in_the_middle_of_a_storm_loses_nothing_and_repeats_nothing(bench: Bench) -> None:
    chance = random.Random(7)
    bench.feed.lose = lambda message: message.seq > 0 and chance.random() < 0.1  # type: ignore[method-assign]
    first = await bench.hub.open(ROOM)
    start = first.cursor
    storm = bench.send(range(400))
    joined: list[tuple[list[str], Follower]] = []
    while not storm[-1].outcome.done():
        await asyncio.sleep(0.002)
        room = await bench.hub.open(ROOM)
        boundary = room.cursor
        page = await bench.catch_up.page(ROOM, limit=100, upto=boundary)
        rest = room.replay(boundary.seq)
        if rest is None:
            continue
        follower = Follower()
        held = [message.text for message in page.messages]
        held += [msgspec.json.decode(frame, type=MessageEvent).text for frame in rest]
        bench.hub.follow(room, follower)
        joined.append((held, follower))
    assert start == Cursor(1, 0)
    await until(lambda: all(int((held + follower.texts or ["-1"])[-1]) == 399 for held, follower in joined))
    for held, follower in joined:
        seen = held + follower.texts
        assert seen == numbers(400)[-len(seen) :]
    assert len(joined) > 1


async def test_a_cursor_gets_exactly_what_it_missed_from_ring_or_stream(bench: Bench) -> None:
    await bench.store(range(300))
    room = await bench.hub.open(ROOM)
    follower = Follower()
    bench.hub.follow(room, follower)
    await bench.store(range(300, 310))
    await until(lambda: len(follower.texts) == 10)
    for seq in (100, 299, 300, 305, 310):
        stored = await bench.log.at(ROOM, seq)
        assert stored is not None
        envelope = msgspec.json.decode(stored.data, type=Envelope)
        cursor = Cursor(1, seq, msgspec.json.decode(b'"%s"' % _hash(envelope).encode()))
        frames = await bench.catch_up.recover(room, cursor)
        assert frames is not None
        texts = [msgspec.json.decode(frame, type=MessageEvent).text for frame in frames]
        assert texts == numbers(310)[seq:]


def _hash(envelope: Envelope) -> str:
    from chatnode.protocol.ids import event_hash

    return event_hash(envelope.user, envelope.id)


@pytest.mark.parametrize(
    "cursor",
    [
        Cursor(2, 5, "00000000"),
        Cursor(0, 5, "00000000"),
        Cursor(1, 5, "deadbeef"),
        Cursor(1, 99, "00000000"),
        Cursor(1, 0),
    ],
    ids=["later epoch", "earlier epoch", "another event", "beyond the end", "before a start that is gone"],
)
async def test_a_cursor_that_cannot_be_trusted_gets_nothing_partial(bench: Bench, cursor: Cursor) -> None:
    await bench.store(range(10))
    room = await bench.hub.open(ROOM)
    assert await bench.catch_up.recover(room, cursor) is None


async def test_a_node_that_slept_through_too_much_says_so(bench: Bench) -> None:
    room = await bench.hub.open(ROOM)
    follower = Follower()
    bench.hub.follow(room, follower)
    bench.hub.end_partition(room.partition)
    assert follower.over == [ROOM]
    assert bench.hub.room(ROOM) is None


async def test_a_suspended_hub_delivers_nothing_and_everything_once_it_resumes(bench: Bench) -> None:
    room = await bench.hub.open(ROOM)
    follower = Follower()
    bench.hub.follow(room, follower)
    bench.hub.suspend()
    await bench.store(range(5))
    await asyncio.sleep(0)
    assert follower.texts == []
    bench.hub.resume()
    await until(lambda: len(follower.texts) == 5)
    assert follower.texts == numbers(5)


async def test_batches_keep_the_order_of_submission(bench: Bench) -> None:
    seqs = await bench.store(range(1000))
    assert seqs == sorted(seqs)
    state = await bench.reader.state(f"CHAT_{partition_of(ROOM)}")
    assert state.last == 1000


async def test_one_duplicate_in_a_batch_costs_the_others_nothing(bench: Bench) -> None:
    first = await bench.store(range(5))
    outcomes = await asyncio.gather(*(event.outcome for event in bench.send(range(10))))
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    assert [outcome.duplicate for outcome in accepted] == [True] * 5 + [False] * 5
    assert [outcome.seq for outcome in accepted] == [*first, 6, 7, 8, 9, 10]


async def test_an_event_that_lost_its_right_while_it_waited_is_not_stored(bench: Bench) -> None:
    events = [Event(number) for number in range(4)]
    events[2].refusal = ProtocolError(ErrorCode.FORBIDDEN, "removed")
    for event in events:
        bench.publisher.submit(event)
    outcomes = await asyncio.gather(*(event.outcome for event in events))
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, ProtocolError, Accepted]
    assert (await bench.reader.state(f"CHAT_{partition_of(ROOM)}")).last == 3


async def test_a_resend_is_stored_only_where_the_room_stands_as_it_was_looked_up(bench: Bench) -> None:
    await bench.store(range(3))
    moved, right = Event(10, expected_last=2), Event(11, expected_last=3)
    bench.publisher.submit(moved)
    bench.publisher.submit(right)
    outcome = await moved.outcome
    assert isinstance(outcome, NotStored)
    assert outcome.moved
    assert await right.outcome == Accepted(4)


class Resend(Event):
    """Looks again where its room has moved on."""

    def __init__(self, number: int, bench: "Bench") -> None:
        super().__init__(number, expected_last=1)
        self.bench = bench
        self.looks = 0

    async def look_again(self) -> int | Accepted | None:
        self.looks += 1
        last = await StreamRoomLog(self.bench.reader).last(ROOM)
        assert last is not None
        return Accepted(last.seq, duplicate=True) if self.number < last.seq else last.seq


async def test_a_resend_looks_again_in_its_turn_where_others_talk_in_its_room(bench: Bench) -> None:
    await bench.store(range(3))
    missing, there = Resend(10, bench), Resend(2, bench)
    for event in (missing, there):
        bench.publisher.submit(event)
    assert await missing.outcome == Accepted(4)
    assert await there.outcome == Accepted(4, duplicate=True)
    assert (missing.looks, there.looks) == (1, 1)


async def test_a_resend_that_lost_its_right_while_it_looked_again_is_not_stored(bench: Bench) -> None:
    await bench.store(range(3))
    event = Resend(10, bench)
    bench.publisher.submit(event)
    look = event.look_again

    async def lose_it() -> int | Accepted | None:
        found = await look()
        event.refusal = ProtocolError(ErrorCode.FORBIDDEN, "removed")
        return found

    event.look_again = lose_it  # type: ignore[method-assign]
    assert isinstance(await event.outcome, ProtocolError)
    assert (await bench.reader.state(f"CHAT_{partition_of(ROOM)}")).last == 3


async def test_without_nats_nothing_is_acknowledged_and_nothing_comes_out_later(
    bench: Bench, nats_server: NatsServer
) -> None:
    await bench.store(range(3))
    await nats_server.kill()
    await until(lambda: not bench.client.is_connected)
    outcomes = await asyncio.gather(*(event.outcome for event in bench.send(range(3, 30))))
    assert all(isinstance(outcome, NotStored | Unknown) for outcome in outcomes)
    await nats_server.restart()
    await until(lambda: bench.client.is_connected)
    await bench.store(range(30, 33))
    subjects = [
        message.data for message in (await bench.reader.after(f"CHAT_{partition_of(ROOM)}", room_subject(ROOM), 0))[0]
    ]
    assert len(subjects) == 6


async def test_a_message_that_cannot_be_read_is_passed_over_and_breaks_nothing(bench: Bench) -> None:
    room = await bench.hub.open(ROOM)
    follower = Follower()
    bench.hub.follow(room, follower)
    await bench.store(range(1))
    await bench.client.request(room_subject(ROOM), b"rubbish", timeout=2)
    await bench.store(range(1, 2))
    await until(lambda: len(follower.texts) == 2)
    assert follower.places == [(0, 1), (1, 3)]


async def test_a_page_is_not_behind_the_leader_even_where_the_room_is(
    nats_server: NatsServer, mongo: MongoAddress, database: str
) -> None:
    seldom = HubSettings(verify_soon_s=60.0, verify_s=60.0)
    async with bench_on(nats_server, mongo, database, seldom) as bench:
        room = await bench.hub.open(ROOM)
        bench.feed.lose = lambda message: message.seq > 0  # type: ignore[method-assign]
        await bench.store(range(3))
        assert room.last == 0
        services = cast("Services", SimpleNamespace(hub=bench.hub, catch_up=bench.catch_up))
        wanted = joining.Wanted(ROOM, None, 10, lambda _joined: None)
        joined = await joining._prepare(services, wanted, room, ())
        assert joined is not None
        assert joined.messages is not UNSET
        assert [message.text for message in joined.messages] == numbers(3)
        assert joined.cursor == room.cursor


async def test_a_late_copy_is_void_also_while_history_lacks_the_first(bench: Bench) -> None:
    """No worker runs here: that it is a copy can be known from the stream alone."""
    room = await bench.hub.open(ROOM)
    follower = Follower()
    bench.hub.follow(room, follower)
    seqs = await bench.store(range(3))
    await until(lambda: len(follower.texts) == 3)
    cursor = Cursor(1, seqs[0], event_hash("ada", "0"))
    bench.wall_ms = 2 * LATE_MS
    first = await bench.log.at(ROOM, seqs[1])
    assert first is not None
    await bench.client.jetstream().publish(room_subject(ROOM), first.data)
    await bench.store(range(3, 4))
    await until(lambda: "3" in follower.texts)
    assert follower.texts == numbers(4)
    missed = await bench.catch_up._fetch(room, cursor, known=True)
    assert missed is not None
    assert len(missed) == 3


async def test_without_mongodb_a_page_has_what_is_late_and_no_copy_of_what_the_stream_holds(bench: Bench) -> None:
    """Late is also what a node stored whose clock is behind; found by clocks that jump while MongoDB is away."""
    seqs = await bench.store(range(3))
    first = await bench.log.at(ROOM, seqs[1])
    assert first is not None
    await bench.client.jetstream().publish(room_subject(ROOM), first.data)
    end = (await bench.store(range(3, 4)))[-1]
    assert is_late(decode_envelope(first.data), first.ts)
    page = await bench.catch_up._partial(ROOM, _Asked(limit=10), Cursor(1, end, ""))
    assert [message.text for message in page.messages] == numbers(4)
    assert page.partial


@pytest.mark.parametrize(("count", "limit"), [(0, 10), (10, 10), (40, 10), (300, 100), (700, 7)])
async def test_the_last_events_of_a_room_are_found_among_those_of_others(bench: Bench, count: int, limit: int) -> None:
    other = next(name for name in map(str, range(100)) if partition_of(name) == partition_of(ROOM))
    mine: list[int] = []
    for start in range(0, count, 20):
        mine += await bench.store(range(start, min(count, start + 20)))
        await bench.store(range(1000 + start, 1000 + start + start % 7), other)
    end = mine[-1] if mine else 0
    start, found = await bench.log.newest(ROOM, end, limit)
    seqs = [stored.seq for stored in found]
    assert seqs == [seq for seq in mine if seq > start]
    assert min(count, limit // 2) <= len(seqs) <= limit
