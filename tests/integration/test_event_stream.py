"""Streams and ordered feeds of them, against a real nats-server."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from chatnode.broker.connection import connect
from chatnode.broker.consume import BATCH_MAX, Puller
from chatnode.broker.event_stream import NatsEventStream
from chatnode.broker.streams import StreamConfig, Streams, chat_stream
from chatnode.local.servers import NatsServer
from chatnode.rooms.ports import StreamConflict, Unavailable

NAME = "CHAT_0"


def configure(epoch: int, first_seq: int, *, max_bytes: int = 64 * 1024**2) -> StreamConfig:
    return chat_stream(0, epoch=epoch, first_seq=first_seq, replicas=1, max_bytes=max_bytes)


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    opened = await connect(nats_server.url, name="test")
    yield opened
    await opened.close()


@pytest.fixture
async def stream(client: Client) -> NatsEventStream:
    opened = NatsEventStream(client, NAME, "history", configure)
    await opened.open(epoch=1, first_seq=1)
    return opened


async def publish(client: Client, *texts: str, room: str = "a") -> None:
    js = client.jetstream()
    for text in texts:
        await js.publish(f"chat.0.room.{room}", text.encode())


async def take(puller: Puller, count: int) -> list[tuple[int, bytes]]:
    taken: list[tuple[int, bytes]] = []
    async with asyncio.timeout(10):
        while len(taken) < count:
            taken += [(arrival.stored.seq, arrival.stored.data) for arrival in await puller.next(1)]
            await puller.acknowledge()
    return taken


async def test_a_missing_stream_has_no_view(client: Client) -> None:
    assert await NatsEventStream(client, NAME, "history", configure).view() is None


async def test_a_stream_is_created_from_the_sequence_and_epoch_asked_for(client: Client) -> None:
    stream = NatsEventStream(client, NAME, "history", configure)
    await stream.open(epoch=4, first_seq=101)
    await publish(client, "x")
    view = await stream.view()
    assert view is not None
    assert (view.epoch, view.first_seq, view.last_seq) == (4, 101, 101)


async def test_opening_what_is_as_it_should_be_asks_for_no_change(
    stream: NatsEventStream, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "chatnode.broker.streams"):
        await stream.open(epoch=1, first_seq=1)
    assert caplog.records == []


async def test_opening_raises_the_epoch_and_keeps_what_is_stored(client: Client, stream: NatsEventStream) -> None:
    await publish(client, "x")
    await stream.open(epoch=2, first_seq=1)
    view = await stream.view()
    assert view is not None
    assert (view.epoch, view.last_seq) == (2, 1)


async def test_two_workers_may_open_at_once(client: Client) -> None:
    both = [NatsEventStream(client, NAME, "history", configure) for _ in range(2)]
    await asyncio.gather(*(each.open(epoch=1, first_seq=1) for each in both))
    assert await both[0].view() is not None


async def test_a_stream_in_memory_is_left_to_people(client: Client) -> None:
    await client.jetstream().add_stream(name=NAME, subjects=["chat.0.room.*"], storage="memory")
    with pytest.raises(StreamConflict, match="storage is 'memory'"):
        await Streams(client).ensure(configure(1, 1))


async def test_a_closed_stream_takes_nothing_in_until_it_is_opened(client: Client, stream: NatsEventStream) -> None:
    await publish(client, "before")
    await stream.close()
    with pytest.raises(Exception, match="no response from stream"):
        await publish(client, "meanwhile")
    await stream.drop_below(501)
    await stream.open(epoch=2, first_seq=1)
    await publish(client, "after")
    view = await stream.view()
    assert view is not None
    assert (view.epoch, view.first_seq, view.last_seq) == (2, 501, 501)


async def test_a_feed_begins_where_it_is_asked_to_and_tells_how_much_is_left(
    client: Client, stream: NatsEventStream
) -> None:
    await publish(client, *"abcde")
    async with stream.feed(3) as feed:
        arrivals = await feed.next(5)
        assert [(each.stored.seq, each.stored.data, each.pending) for each in arrivals] == [
            (3, b"c", 2), (4, b"d", 1), (5, b"e", 0),
        ]  # fmt: skip
        assert arrivals[0].stored.subject == "chat.0.room.a"
        await publish(client, "f")
        assert await take(feed, 1) == [(6, b"f")]


async def test_a_feed_of_nothing_waits_as_long_as_it_is_told(stream: NatsEventStream) -> None:
    async with stream.feed(1) as feed:
        started = asyncio.get_running_loop().time()
        assert await feed.next(0.3) == []
        assert 0.25 < asyncio.get_running_loop().time() - started < 3


async def test_a_feed_brings_more_than_a_batch_in_order(client: Client, stream: NatsEventStream) -> None:
    js = client.jetstream()
    count = 2 * BATCH_MAX + 7
    for start in range(0, count, 100):
        await asyncio.gather(*(js.publish("chat.0.room.a", b"") for _ in range(start, min(start + 100, count))))
    async with stream.feed(1) as feed:
        assert [seq for seq, _ in await take(feed, count)] == list(range(1, count + 1))


async def test_a_feed_brings_large_messages_in_batches_of_bounded_size(client: Client, stream: NatsEventStream) -> None:
    large, count = "x" * 90_000, 200
    await publish(client, *[large] * count)
    async with stream.feed(1) as feed:
        first = await feed.next(5)
        assert sum(len(each.stored.data) for each in first) <= 8 * 1024**2
        await feed.acknowledge()
        rest = await take(feed, count - len(first))
        assert rest[-1][0] == count


async def ack_floor(client: Client) -> int:
    info = await client.jetstream().consumer_info(NAME, "history")
    assert info.ack_floor is not None
    return info.ack_floor.stream_seq


async def test_what_was_not_acknowledged_comes_again_to_the_next_feed(client: Client, stream: NatsEventStream) -> None:
    await publish(client, *"abc")
    async with stream.feed(1) as feed:
        assert len(await feed.next(5)) == 3
    async with stream.feed(1) as feed:
        assert len(await take(feed, 3)) == 3
    async with asyncio.timeout(5):
        while await ack_floor(client) != 3:
            await asyncio.sleep(0.01)


async def follow(stream: NatsEventStream, start: int, end: int, wait: float = 0.2) -> list[int]:
    """What one reader sees that begins anew, where it was, whenever its feed cannot go on."""
    seen: list[int] = []
    while not seen or seen[-1] < end:
        try:
            async with stream.feed((seen[-1] if seen else start - 1) + 1) as feed:
                while not seen or seen[-1] < end:
                    arrivals = await feed.next(wait)
                    if not arrivals:
                        break
                    seen += [each.stored.seq for each in arrivals if not seen or each.stored.seq > seen[-1]]
                    await feed.acknowledge()
        except Unavailable:
            continue
    return seen


async def test_two_readers_that_take_the_consumer_from_each_other_both_see_everything_in_order(
    client: Client, stream: NatsEventStream
) -> None:
    async def produce() -> None:
        for _ in range(20):
            await publish(client, *"abcde")
            await asyncio.sleep(0.01)

    async with asyncio.timeout(60):
        one, other, _ = await asyncio.gather(follow(stream, 1, 100), follow(stream, 1, 100), produce())
    assert one == list(range(1, 101))
    assert other == list(range(1, 101))


async def test_a_deleted_consumer_ends_the_feed(client: Client, stream: NatsEventStream) -> None:
    async with stream.feed(1) as feed:
        waiting = asyncio.create_task(take(feed, 1))
        await asyncio.sleep(0.1)
        await client.jetstream().delete_consumer(NAME, "history")
        with pytest.raises(Unavailable, match="Consumer Deleted"):
            await waiting


async def test_a_feed_of_a_missing_stream_is_unavailable(client: Client) -> None:
    with pytest.raises(Unavailable, match="stream not found"):
        async with NatsEventStream(client, NAME, "history", configure).feed(1):
            pass


async def test_after_the_server_was_killed_the_next_feed_misses_nothing(
    client: Client, stream: NatsEventStream, nats_server: NatsServer
) -> None:
    await publish(client, *"abc")
    async with stream.feed(1) as feed:
        await take(feed, 2)
        await nats_server.kill()
        with pytest.raises(Unavailable):
            await take(feed, 100)
    await nats_server.start()
    async with asyncio.timeout(10):
        while not client.is_connected:
            await asyncio.sleep(0.02)
    await publish(client, "d")
    async with stream.feed(4) as feed:
        assert await take(feed, 1) == [(4, b"d")]


async def test_the_first_message_since_a_moment_is_found(client: Client, stream: NatsEventStream) -> None:
    await publish(client, "old")
    await asyncio.sleep(0.05)
    await publish(client, "young")
    stored = await stream.at(2)
    assert stored is not None
    assert await stream.first_since(stored.ts) == 2
    assert await stream.first_since(0) == 1
    assert await stream.first_since(stored.ts + 60_000) is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), restarts=st.lists(st.integers(0, 60), max_size=3))
async def test_whoever_starts_anew_where_they_were_sees_every_event_once_and_in_order(
    client: Client, stream: NatsEventStream, sizes: Sequence[int], restarts: Sequence[int]
) -> None:
    view = await stream.view()
    assert view is not None
    seen = view.last_seq
    end = seen + sum(sizes)

    async def produce() -> None:
        for size in sizes:
            await publish(client, *("x" for _ in range(size)))

    producing = asyncio.create_task(produce())
    pending = list(restarts)
    while seen < end:
        stop_at = seen + pending.pop() if pending else end
        async with stream.feed(seen + 1) as feed:
            while seen < min(stop_at, end):
                for arrival in await feed.next(1):
                    assert arrival.stored.seq == seen + 1
                    seen += 1
                await feed.acknowledge()
    await producing


async def test_what_is_held_of_a_range_is_rescued_in_order_and_what_is_gone_is_left_out(
    client: Client, stream: NatsEventStream
) -> None:
    await publish(client, *"012345")
    await client.jetstream().delete_msg(NAME, 3)
    held = await stream.rescued(range(2, 6))
    assert [(message.seq, message.data) for message in held] == [(2, b"1"), (4, b"3"), (5, b"4")]
    assert await stream.rescued(range(7, 9)) == []
