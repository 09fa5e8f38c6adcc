"""The promises of the cluster while nothing fails but clients and clocks: order, acks, resends, cursors, rights."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient
from websockets.asyncio.client import ClientConnection

from chatclient import Ended, Refused, new_id
from chatclient.lines.websocket import WebSocketLine
from chatnode.broker.subjects import partition_of, room_subject, stream_name
from chatnode.local.cluster import LocalCluster
from chatnode.local.servers import Mongod
from chatnode.protocol.envelope import Envelope, command_digest, encode_envelope
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.events import MessageEvent, SubscribedEvent, UnsubscribedEvent
from chatnode.protocol.frames import Edit
from chatnode.protocol.sealing import PlainSealer
from tests.integration.lines import TRANSPORTS
from tests.integration.promises import Chatter, Talk, begin_talk, metric, nats_of, rest, shortened_window
from tests.oracle import Invoked, Log, Watched

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


# Resends.


@pytest.fixture
async def short_window(cluster: LocalCluster, talk: Talk) -> AsyncIterator[float]:
    """The duplicate window of the room's stream, in seconds, made so short that a test can wait for its end."""
    async with shortened_window(talk) as seconds:
        yield seconds


@pytest.mark.parametrize("again", [True, False])
async def test_a_resend_within_the_window_has_the_first_ack_and_no_second_effect(talk: Talk, again: bool) -> None:
    async with talk.client("ana", 0) as ana, talk.client("ana", 1, name="ana-2") as other:
        await ana.subscribe(talk.room)
        command = new_id()
        first = await ana.send(talk.room, "once", command=command)
        second = await other.send(talk.room, "once", command=command, again=again)
        assert first == second
        await talk.keep(ana)


async def test_a_resend_beyond_the_window_has_the_first_ack_and_no_second_effect(
    talk: Talk, short_window: float
) -> None:
    async with talk.client("ana", 0) as ana, talk.client("ana", 1, name="ana-2") as other:
        await ana.subscribe(talk.room)
        command = new_id()
        first = await ana.send(talk.room, "once", command=command)
        assert first is not None
        await asyncio.sleep(5 * short_window)
        assert await other.send(talk.room, "once", command=command, again=True) == first
        await ana.send(talk.room, "after")
        await talk.keep(ana)


async def test_many_resends_at_once_where_others_talk_are_each_stored_once_and_in_order(
    talk: Talk, short_window: float
) -> None:
    async with (
        talk.client("ana", 0) as ana,
        talk.client("ana", 1, name="ana-2") as other,
        talk.client("bob", 1) as bob,
    ):
        await ana.subscribe(talk.room)
        commands = [(new_id(), f"number {number}") for number in range(16)]
        first = {text: await ana.send(talk.room, text, command=command) for command, text in commands[:9]}
        await asyncio.sleep(5 * short_window)
        async with Chatter(bob, talk.room) as chatter:
            await chatter.until_acked(5)
            resends = (other.send(talk.room, text, command=command, again=True) for command, text in commands)
            acks = await asyncio.gather(*resends)
        assert {text: ack for (_, text), ack in zip(commands[:9], acks, strict=False)} == first
        places = [ack.seq for ack in acks if ack is not None]
        assert len(places) == 16
        assert places == sorted(places)
        await talk.keep(ana)


async def test_a_copy_that_comes_out_beyond_the_window_is_void_for_everybody(
    talk: Talk, short_window: float, cluster: LocalCluster
) -> None:
    """A publish that was stuck in a paused server does this; here it is published again by hand."""
    async with talk.client("ana", 0) as ana, talk.client("bob", 1) as bob:
        await ana.subscribe(talk.room)
        await bob.subscribe(talk.room)
        first = await ana.send(talk.room, "once")
        assert first is not None
        await ana.edit(talk.room, first.position, "twice")
        await ana.edit(talk.room, first.position, "three times")
        await asyncio.sleep(5 * short_window)
        await publish_again(cluster, talk.room, [first.seq, first.seq + 1])
        await ana.send(talk.room, "after")
        async with talk.client("eve", 1) as eve:
            await eve.subscribe(talk.room)
            await talk.keep(ana, bob, eve)
            texts = [message.text for message in await talk.sent_history(eve)]
        assert texts == ["three times", "after"]


@pytest.mark.parametrize("live", [True, False], ids=["live", "missed"])
async def test_a_copy_of_an_edit_is_void_for_whoever_came_after_the_edit(
    talk: Talk, short_window: float, cluster: LocalCluster, live: bool
) -> None:
    """Their page tells the message as it stands, not what it was before; so the node has to know."""
    async with talk.client("ana", 0) as ana:
        first = await ana.send(talk.room, "once")
        assert first is not None
        edit = Edit(id=new_id(), room=talk.room, target=first.position, text="twice")
        talk.log.add(Invoked(at=time.monotonic(), client="ana, long ago", user="ana", command=edit))
        stuck = await publish_long_ago(cluster, "ana", edit)
        assert await ana.edit(talk.room, first.position, "three times")
        await until_written(cluster, "commands", {"_id.room": talk.room}, 3)
        await asyncio.sleep(5 * short_window)
        async with talk.client("eve", 1, name="eve-1") as eve:
            room = await eve.subscribe(talk.room)
            if live:
                await publish_again(cluster, talk.room, [stuck])
                await ana.send(talk.room, "after")
                await talk.keep(eve)
                return
        await publish_again(cluster, talk.room, [stuck])
        await ana.send(talk.room, "after")
        async with talk.client("eve", 1, name="eve-2") as eve:
            again = await eve.subscribe(talk.room, room.cursor)
            assert again.recovered
            await talk.keep(eve)
            assert [type(event) for event in eve.stored(talk.room)] == [MessageEvent]


async def publish_long_ago(cluster: LocalCluster, user: str, edit: Edit) -> int:
    """Store an edit as if it had been sent minutes before; its sequence."""
    envelope = Envelope(
        kind="edit",
        room=edit.room,
        user=user,
        id=edit.id,
        ts=time.time_ns() // 1_000_000 - 200_000,
        digest=command_digest(user, edit),
        body=PlainSealer().seal(user, edit.text),
        target=edit.target,
    )
    client = await nats_of(cluster)
    stored = await client.jetstream().publish(room_subject(edit.room), encode_envelope(envelope))
    await client.close()
    return stored.seq


@pytest.mark.parametrize("again", [True, False])
async def test_an_id_that_names_something_else_is_refused(talk: Talk, again: bool) -> None:
    async with talk.client("ana", 0) as ana:
        await ana.subscribe(talk.room)
        command = new_id()
        ack = await ana.send(talk.room, "one thing", command=command)
        assert ack is not None
        with pytest.raises(Refused, match="id_reused"):
            await ana.send(talk.room, "another thing", command=command, again=again)
        with pytest.raises(Refused, match="id_reused"):
            await ana.client.react(talk.room, ack.position, "+1", command=command, again=again)
        await ana.send(talk.room, "after")
        await talk.keep(ana)


async def test_an_id_is_one_users_alone(talk: Talk) -> None:
    async with talk.client("ana", 0) as ana, talk.client("bob", 1) as bob:
        await ana.subscribe(talk.room)
        command = new_id()
        one = await ana.send(talk.room, "hers", command=command)
        other = await bob.send(talk.room, "his", command=command)
        assert one != other
        verdict = await talk.keep(ana)
        assert verdict.acked == 2


async def publish_again(cluster: LocalCluster, room: str, seqs: Sequence[int]) -> None:
    client = await nats_of(cluster)
    stream = client.jetstream()
    for seq in seqs:
        stored = await stream.get_msg(stream_name(partition_of(room)), seq=seq)
        assert stored.data is not None
        await stream.publish(room_subject(room), stored.data)
    await client.close()


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


async def until_written(cluster: LocalCluster, collection: str, wanted: dict[str, object], count: int) -> None:
    """Wait until the worker has written so many documents."""
    mongod = cluster.servers["mongod"]
    assert isinstance(mongod, Mongod)
    async with AsyncMongoClient(mongod.uri) as client, asyncio.timeout(15):
        while await client["chat"][collection].count_documents(wanted) < count:
            await asyncio.sleep(0.05)
