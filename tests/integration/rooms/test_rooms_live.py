"""Rooms kept whole over a real nats-server: what live delivery loses is found and fetched."""

import asyncio
import random
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from msgspec import UNSET

from chatnode.broker.subjects import partition_of, room_subject
from chatnode.local.servers import NatsServer
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.envelope import Envelope, decode_envelope
from chatnode.protocol.events import MessageEvent
from chatnode.protocol.ids import event_hash
from chatnode.rooms.catchup import _Asked
from chatnode.rooms.copies import LATE_MS, is_late
from chatnode.rooms.hub import HubSettings
from chatnode.transports import joining
from chatnode.transports.desk import Services
from tests.integration.conftest import MongoAddress
from tests.integration.rooms.bench import ROOM, Bench, Follower, bench_on, numbers, until


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


async def test_a_message_that_cannot_be_read_is_passed_over_and_breaks_nothing(bench: Bench) -> None:
    room = await bench.hub.open(ROOM)
    follower = Follower()
    bench.hub.follow(room, follower)
    await bench.store(range(1))
    await bench.client.request(room_subject(ROOM), b"rubbish", timeout=2)
    await bench.store(range(1, 2))
    await until(lambda: len(follower.texts) == 2)
    assert follower.places == [(0, 1), (1, 3)]


async def test_a_page_waits_for_a_suspended_hub_to_resume_and_is_not_behind_then(bench: Bench) -> None:
    """Found by a long chaos run: the hub resumed while the page was being cut, as of where it had been suspended."""
    room = await bench.hub.open(ROOM)
    bench.hub.suspend()
    await bench.store(range(5))
    services = cast("Services", SimpleNamespace(hub=bench.hub, catch_up=bench.catch_up))
    wanted = joining.Wanted(ROOM, None, 10, lambda _joined: None)
    asked = asyncio.create_task(joining._prepare(services, wanted, room, ()))
    done, _ = await asyncio.wait({asked}, timeout=0.3)
    bench.hub.resume()
    joined = await asked
    assert not done
    assert joined is not None
    assert joined.messages is not UNSET
    assert [message.text for message in joined.messages] == numbers(5)


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
