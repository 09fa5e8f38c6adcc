"""The promises of the cluster about resends: within the duplicate window, beyond it, and of copies that come late."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from chatclient import Refused, new_id
from chatnode.broker.subjects import partition_of, room_subject, stream_name
from chatnode.local.cluster import LocalCluster
from chatnode.protocol.envelope import Envelope, command_digest, encode_envelope
from chatnode.protocol.events import MessageEvent
from chatnode.protocol.frames import Edit
from chatnode.protocol.sealing import PlainSealer
from tests.integration.lines import TRANSPORTS
from tests.integration.promises import Chatter, Talk, begin_talk, nats_of, shortened_window, until_written
from tests.oracle import Invoked

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", params=TRANSPORTS)
async def talk(cluster: LocalCluster, request: pytest.FixtureRequest) -> Talk:
    return await begin_talk(cluster, transport=request.param)


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
