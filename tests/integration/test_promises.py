"""The promises of the cluster while nothing fails but clients: order, acks, cursors, slow readers, rights, epochs."""

import asyncio
import time

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection

from chatclient import Ended, Refused, new_id
from chatclient.lines.websocket import WebSocketLine
from chatnode.broker.subjects import partition_of, stream_name
from chatnode.local.cluster import LocalCluster
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.events import MessageEvent, SubscribedEvent, UnsubscribedEvent
from tests.integration.lines import TRANSPORTS
from tests.integration.promises import Chatter, Talk, begin_talk, metric, nats_of, rest, until_written
from tests.oracle import Log, Watched

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", params=TRANSPORTS)
async def talk(cluster: LocalCluster, request: pytest.FixtureRequest) -> Talk:
    return await begin_talk(cluster, transport=request.param)


# Order, acks, history.


async def test_everybody_on_every_node_has_everything_once_and_in_one_order(talk: Talk) -> None:
    async with talk.client("ana", 0) as ana, talk.client("bob", 1) as bob, talk.client("tom", 1) as tom:
        for watched in (ana, bob, tom):
            await watched.subscribe(talk.room)
        async with (
            Chatter(ana, talk.room) as one,
            Chatter(bob, talk.room) as two,
            Chatter(tom, talk.room) as three,
        ):
            for chatter in (one, two, three):
                await chatter.until_acked(60)
        verdict = await talk.keep(ana, bob, tom)
        assert verdict.acked == verdict.sent


async def test_whoever_joins_in_the_middle_has_a_page_and_everything_after_it(talk: Talk) -> None:
    async with talk.client("ana", 0) as ana, talk.client("bob", 1) as bob:
        await ana.subscribe(talk.room)
        async with Chatter(ana, talk.room) as chatter:
            for _ in range(4):
                await chatter.until_acked(15)
                async with talk.client("eve", 1, name=new_id()) as eve:
                    await eve.subscribe(talk.room, limit=5)
                    await chatter.until_acked(10)
                    await eve.until(lambda eve=eve: len(eve.stored(talk.room)) >= 5)
            await bob.subscribe(talk.room)
            await chatter.until_acked(15)
        await talk.keep(ana, bob)


async def test_what_is_acked_is_in_every_read_that_begins_afterwards(talk: Talk) -> None:
    async with talk.client("ana", 0) as ana, talk.client("bob", 1) as bob:
        await ana.subscribe(talk.room)
        async with Chatter(ana, talk.room) as chatter:
            for _ in range(10):
                await chatter.until_acked(5)
                await bob.history(talk.room)
        await bob.subscribe(talk.room)
        await talk.keep(ana, bob)


# Cursors.


@pytest.mark.parametrize("followed", [True, False], ids=["where others follow the room", "where nobody does"])
async def test_a_cursor_is_good_on_the_other_node(talk: Talk, followed: bool) -> None:
    async with talk.client("bob", 1) as bob:
        if followed:
            await bob.subscribe(talk.room)
        async with talk.client("ana", 0, name="ana-1") as ana:
            await ana.subscribe(talk.room)
            seen = await bob.send(talk.room, "seen")
            assert seen is not None
            await ana.until_at(talk.room, seen.position)
            cursor = ana.client.cursor(talk.room)
        missed = [await bob.send(talk.room, f"missed {number}") for number in range(30)]
        assert missed[-1] is not None
        async with talk.client("ana", 1, name="ana-2") as ana:
            room = await ana.subscribe(talk.room, cursor)
            assert (room.recovered, room.messages) == (True, ())
            await bob.send(talk.room, "live")
            await talk.keep(ana, *([bob] if followed else []))
            texts = [event.text for event in ana.stored(talk.room) if isinstance(event, MessageEvent)]
            assert texts == [*(f"missed {number}" for number in range(30)), "live"]


@pytest.mark.parametrize("cursor", ["1-999999999-0", "1-1-0badcafe", "7-1-0"])
async def test_a_cursor_of_nowhere_gets_the_page_and_is_told_so(talk: Talk, cursor: str) -> None:
    async with talk.client("ana", 0) as ana:
        for number in range(3):
            await ana.send(talk.room, f"{number}")
        room = await ana.subscribe(talk.room, cursor)
        assert not room.recovered
        assert [message.text for message in room.messages if message.notice is None] == ["0", "1", "2"]
        await talk.keep(ana)


async def test_whoever_missed_too_much_gets_a_page_and_nothing_partial(talk: Talk) -> None:
    async with talk.client("bob", 1) as bob, talk.client("ana", 0) as ana:
        room = await bob.subscribe(talk.room)
        await asyncio.gather(*(ana.send(talk.room, f"{number}") for number in range(520)))
        async with talk.client("bob", 0, name="bob-2") as late:
            again = await late.subscribe(talk.room, room.cursor, limit=20)
            assert (again.recovered, len(again.messages), again.more_before) == (False, 20, True)
            await talk.keep(bob, late)


# Slow readers.


@pytest.mark.parametrize("talk", ["websocket"], indirect=True)
async def test_a_slow_reader_is_closed_with_4001_and_loses_nothing(talk: Talk, cluster: LocalCluster) -> None:
    async with talk.client("ana", 0) as ana, talk.client("bob", 0) as slow:
        await ana.subscribe(talk.room)
        await slow.subscribe(talk.room)
        stall(slow)
        closed = asyncio.create_task(closed_by_node(slow))
        for number in range(100):
            await asyncio.gather(*(ana.send(talk.room, f"{number} {each} {'x' * 12_000}") for each in range(8)))
            if await metric(cluster, 0, "chat_send_buffer_bytes") > 180_000:
                break
        for number in range(2):  # how much waits is looked at before a write, and one write may join several events
            await asyncio.gather(*(ana.send(talk.room, f"over {number}{each} {'x' * 12_000}") for each in range(8)))
        resume(slow)
        assert await closed == CloseCode.SLOW_READER
        await talk.keep(ana, slow)


def stall(watched: Watched) -> None:
    """Stop reading from the socket, as a phone in a tunnel does."""
    transport(watched).pause_reading()


def resume(watched: Watched) -> None:
    transport(watched).resume_reading()


def transport(watched: Watched) -> asyncio.Transport:
    return socket(watched).transport


async def closed_by_node(watched: Watched) -> int | None:
    """The close code of the connection that the client has now."""
    closing = socket(watched)
    await closing.wait_closed()
    return closing.close_code


def socket(watched: Watched) -> ClientConnection:
    attempt = watched.client._driver._attempt
    assert attempt is not None
    assert isinstance(attempt.line, WebSocketLine)
    assert attempt.line.socket is not None
    return attempt.line.socket


# Rights.


async def test_a_removal_reaches_an_open_socket_within_two_seconds(talk: Talk, cluster: LocalCluster) -> None:
    async with talk.client("ana", 0) as ana, talk.client("bob", 1) as bob:
        await ana.subscribe(talk.room)
        await bob.subscribe(talk.room)
        began = time.monotonic()
        await rest(cluster, "DELETE", f"/v1/rooms/{talk.room}/members/bob")
        await bob.until(lambda: any(isinstance(event, UnsubscribedEvent) for event in bob.events), 2.0)
        assert time.monotonic() - began < 2.0
        with pytest.raises(Refused, match=r"forbidden|not_found"):
            await bob.send(talk.room, "still here?")
        await ana.send(talk.room, "he is gone")
        await talk.keep(ana)
        assert not any("gone" in getattr(event, "text", "") for event in bob.events)


async def test_a_revocation_ends_the_client_within_two_seconds(talk: Talk, cluster: LocalCluster) -> None:
    # A token of the second in which its user is revoked is void: somebody else for each transport.
    user = f"eve-{talk.transport}"
    await rest(cluster, "PUT", f"/v1/rooms/{talk.room}/members/{user}", {"role": "learner"})
    async with talk.client(user, 1) as eve:
        await eve.subscribe(talk.room)
        await rest(cluster, "POST", f"/v1/users/{user}/revoke", {})
        await eve.until(lambda: eve.ended is not None, 2.0)
        assert eve.ended is not None
        if talk.transport == "websocket":
            assert eve.ended.code == CloseCode.REVOKED
        assert await eve.send(talk.room, "still here?") is None


async def test_a_token_that_is_none_ends_the_client_at_once(talk: Talk) -> None:
    with pytest.raises(Ended, match="unauthenticated"):
        async with Watched(Log(), "ana", talk.urls(0), "no-token", transports=[talk.transport]):
            pass


# Epochs.


async def test_a_stream_that_was_made_anew_raises_the_epoch_and_everybody_reloads(
    talk: Talk, cluster: LocalCluster
) -> None:
    async with talk.client("ana", 0) as ana, talk.client("bob", 1) as bob:
        await ana.subscribe(talk.room)
        await bob.subscribe(talk.room)
        before = [await ana.send(talk.room, f"before {number}") for number in range(5)][-1]
        cursor = bob.client.cursor(talk.room)
        assert before is not None
        stream = stream_name(partition_of(talk.room))
        await until_written(cluster, "watermarks", {"_id": stream, "at.seq": {"$gte": before.seq}}, 1)
        client = await nats_of(cluster)
        await client.jetstream().delete_stream(stream)
        after = await ana.send(talk.room, "after")
        assert after is not None
        assert after.epoch == before.epoch + 1
        await client.close()
        reloaded = [lambda who=who: anew(who) for who in (ana, bob)]
        for watched, enough in zip((ana, bob), reloaded, strict=True):
            await watched.until(enough, 30.0)
        async with talk.client("eve", 1, name="late") as late:
            room = await late.subscribe(talk.room, cursor)
            assert not room.recovered
            await talk.keep(ana, bob, late)


def anew(watched: Watched) -> bool:
    return sum(isinstance(event, SubscribedEvent) and not event.recovered for event in watched.events) > 1
