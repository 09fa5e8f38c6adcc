"""Control events through a real nats-server: stored once, heard by every node once and in order, silence noticed."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import RePublish, StreamConfig

from chatnode.broker.connection import connect
from chatnode.broker.control import ControlFeed, ControlStore
from chatnode.broker.direct import DirectReader
from chatnode.broker.subjects import CONTROL_STREAM, CONTROL_SUBJECTS, LIVE_CONTROL_PREFIX
from chatnode.local.servers import NatsServer
from chatnode.protocol.control import ControlEvent, Heartbeat, MemberPut, RoomPut, control_subject, encode_control
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.rooms.ports import Unavailable


async def create_stream(client: Client) -> None:
    await client.jetstream().add_stream(
        StreamConfig(
            name=CONTROL_STREAM,
            subjects=[CONTROL_SUBJECTS],
            allow_direct=True,
            duplicate_window=120,
            republish=RePublish(src=">", dest=f"{LIVE_CONTROL_PREFIX}>"),
        )
    )


def wall() -> int:
    return time.time_ns() // 1_000_000


def member(number: int, *, name: str | None = None, user: str = "amina") -> MemberPut:
    return MemberPut(id=name or f"m{number}", actor="claire", ts=wall(), room="python", user=user, role="learner")


class Node:
    """One node's ear for control events, with its own connection."""

    def __init__(self, client: Client, name: str, wall: Callable[[], int], suspend_after: float) -> None:
        self.client = client
        self.applied = 0
        self.heard: list[tuple[int, ControlEvent]] = []
        self.projected: list[int] = []
        self.rereads = 0
        self.reader = DirectReader(client)
        self.store = ControlStore(client, self.reader, clock=time.monotonic, deadline_s=2.0)
        self.feed = ControlFeed(
            client,
            self.reader,
            self.store,
            node=name,
            applied=self._applied,
            deliver=lambda seq, event: self.heard.append((seq, event)),
            projected=self.projected.append,
            reread=self._reread,
            suspend_after=suspend_after,
            clock=time.monotonic,
            wall=wall,
        )

    async def _applied(self) -> int:
        return self.applied

    async def _reread(self) -> None:
        self.rereads += 1

    @property
    def changes(self) -> list[str]:
        return [event.id for _, event in self.heard if not isinstance(event, Heartbeat)]

    @property
    def sequences(self) -> list[int]:
        return [seq for seq, _ in self.heard]


async def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def listening(
    server: NatsServer,
    name: str = "n1",
    *,
    wall: Callable[[], int] = wall,
    applied: int = 0,
    suspend_after: float = 5.0,
) -> AsyncIterator[Node]:
    nodes: list[Node] = []

    async def on_reconnect() -> None:
        for known in nodes:
            known.feed.verify()

    client = await connect(server.url, name=name, on_reconnect=on_reconnect)
    node = Node(client, name, wall, suspend_after)
    node.applied = applied
    nodes.append(node)
    await node.reader.start()
    await node.feed.start()
    try:
        yield node
    finally:
        await node.feed.stop()
        await client.close()


@pytest.fixture
async def control(nats_server: NatsServer) -> AsyncIterator[Client]:
    """A connection beside the nodes, with the stream created."""
    client = await connect(nats_server.url, name="test")
    await create_stream(client)
    yield client
    await client.close()


async def deafen(node: Node) -> None:
    """Nothing that the server republishes reaches the node any more."""
    ear = node.feed._subscription
    assert ear is not None
    await ear.unsubscribe()
    node.feed._subscription = None


async def put(client: Client, event: ControlEvent) -> int:
    ack = await client.jetstream().publish(control_subject(event), encode_control(event))
    return ack.seq


async def test_a_change_is_heard_by_every_node_within_two_seconds(nats_server: NatsServer, control: Client) -> None:
    async with listening(nats_server, "n1") as one, listening(nats_server, "n2") as two:
        await until(lambda: not one.feed.suspended() and not two.feed.suspended())
        began = time.monotonic()
        seq = await one.store.publish_control(member(1))
        assert await one.feed.reach(seq, 2.0)
        assert await two.feed.reach(seq, 2.0)
        assert time.monotonic() - began < 2.0
        assert one.changes == two.changes == ["m1"]


async def test_nothing_is_decided_before_control_is_heard(nats_server: NatsServer, control: Client) -> None:
    await put(control, member(1))
    async with listening(nats_server) as node:
        assert node.feed.suspended()
        await until(lambda: not node.feed.suspended())
        assert node.changes == ["m1"]
        assert node.rereads == 1


async def test_what_is_projected_already_is_not_delivered_again(nats_server: NatsServer, control: Client) -> None:
    for number in range(5):
        await put(control, member(number))
    async with listening(nats_server, applied=3) as node:
        await until(lambda: not node.feed.suspended())
        assert node.changes == ["m3", "m4"]
        assert node.projected[0] == 3
        node.applied = 5
        await until(lambda: node.projected[-1] == 5)


async def test_a_lost_republish_is_fetched_from_the_stream(nats_server: NatsServer, control: Client) -> None:
    async with listening(nats_server) as node:
        await until(lambda: not node.feed.suspended())
        await deafen(node)
        for number in range(600):
            await put(control, member(number))
        last = await put(control, member(600))
        assert await node.feed.reach(last, 5.0)
        assert node.changes == [f"m{number}" for number in range(601)]
        assert node.sequences == sorted(set(node.sequences))


async def test_a_lost_last_event_is_found_without_anybody_asking(nats_server: NatsServer, control: Client) -> None:
    async with listening(nats_server) as node:
        await until(lambda: not node.feed.suspended())
        await deafen(node)
        await put(control, member(1))
        await until(lambda: node.changes == ["m1"], within=2.0)


async def test_many_nodes_store_one_heartbeat_a_second(nats_server: NatsServer, control: Client) -> None:
    async with listening(nats_server, "n1") as one, listening(nats_server, "n2"), listening(nats_server, "n3"):
        await until(lambda: not one.feed.suspended())
        began, first = wall(), (await control.jetstream().stream_info(CONTROL_STREAM)).state.last_seq
        await asyncio.sleep(3.2)
        state = (await control.jetstream().stream_info(CONTROL_STREAM)).state
        assert 2 <= state.last_seq - first <= (wall() - began) // 1000 + 1
        beats = [event.id for _, event in one.heard if isinstance(event, Heartbeat)]
        assert beats == [f"hb-{event}" for event in sorted({int(beat[3:]) for beat in beats})]


async def test_a_node_whose_clock_is_ahead_does_not_silence_the_others(
    nats_server: NatsServer, control: Client
) -> None:
    async with listening(nats_server, "ahead", wall=lambda: wall() + 4_000) as ahead:
        await until(lambda: not ahead.feed.suspended())
        await asyncio.sleep(5.0)
        async with listening(nats_server, "right", suspend_after=3.0) as right:
            await until(lambda: not right.feed.suspended())
            for _ in range(40):
                await asyncio.sleep(0.1)
                assert not right.feed.suspended()
                assert right.feed.silent_for < 3.0


async def test_silence_suspends_and_hearing_again_reads_rights_again(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "own") as server:
        setup = await connect(server.url, name="setup")
        await create_stream(setup)
        await setup.close()
        async with listening(server, suspend_after=1.5) as node:
            await until(lambda: not node.feed.suspended())
            assert node.rereads == 1
            position = node.feed.position
            await server.stop()
            await until(node.feed.suspended, within=4.0)
            with pytest.raises(Unavailable, match="NATS does not answer"):
                await node.store.publish_control(member(1))
            await server.start()
            await until(lambda: not node.feed.suspended(), within=15.0)
            assert node.rereads == 2
            assert node.feed.position > position
            assert node.sequences == list(range(1, node.feed.position + 1))


async def test_the_same_id_is_stored_once_and_answered_with_the_same_sequence(
    nats_server: NatsServer, control: Client
) -> None:
    async with listening(nats_server) as node:
        first = await node.store.publish_control(member(1))
        assert await node.store.publish_control(member(1)) == first
        assert await node.feed.reach(first, 2.0)
        assert node.changes == ["m1"]


async def test_an_id_that_names_another_change_is_refused(nats_server: NatsServer, control: Client) -> None:
    async with listening(nats_server) as node:
        await node.store.publish_control(member(1))
        with pytest.raises(ProtocolError) as refusal:
            await node.store.publish_control(member(1, user="hugo"))
        assert refusal.value.code is ErrorCode.ID_REUSED


async def test_an_event_that_cannot_be_read_is_passed_over(
    nats_server: NatsServer, control: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(nats_server) as node:
        await until(lambda: not node.feed.suspended())
        await control.jetstream().publish("ctl.room.python", b'{"kind":"from-the-future"}')
        seq = await put(control, member(1))
        assert await node.feed.reach(seq, 2.0)
        assert node.changes == ["m1"]
        assert "cannot be read" in caplog.text


async def test_events_that_were_deleted_in_between_do_not_stop_the_feed(
    nats_server: NatsServer, control: Client
) -> None:
    for number in range(4):
        await put(control, member(number))
    await control.jetstream().delete_msg(CONTROL_STREAM, 2)
    async with listening(nats_server) as node:
        await until(lambda: not node.feed.suspended())
        assert node.changes == ["m0", "m2", "m3"]


async def test_a_stream_that_was_purged_below_is_joined_where_it_begins(
    nats_server: NatsServer, control: Client
) -> None:
    for number in range(4):
        await put(control, member(number))
    await control.jetstream().purge_stream(CONTROL_STREAM)
    async with listening(nats_server) as node:
        await until(lambda: not node.feed.suspended())
        assert node.changes == []
        seq = await put(control, member(9))
        assert await node.feed.reach(seq, 2.0)
        assert node.changes == ["m9"]


async def test_a_stream_that_was_made_anew_is_followed_from_its_beginning(
    nats_server: NatsServer, control: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(20):
        await put(control, member(number))
    async with listening(nats_server) as node:
        await until(lambda: not node.feed.suspended())
        rereads = node.rereads
        await control.jetstream().delete_stream(CONTROL_STREAM)
        await create_stream(control)
        await until(lambda: "CTRL went back" in caplog.text)
        await until(lambda: not node.feed.suspended())
        assert node.rereads > rereads
        seq = await put(control, member(99))
        assert await node.feed.reach(seq, 2.0)
        assert node.changes[-1] == "m99"


async def test_a_room_change_arrives_as_it_was_stored(nats_server: NatsServer, control: Client) -> None:
    room = RoomPut(id="r1", actor="platform", ts=wall(), room="python", room_kind="course", title="Python")
    async with listening(nats_server) as node:
        seq = await node.store.publish_control(room)
        assert await node.feed.reach(seq, 2.0)
        assert (seq, room) in node.heard


async def test_waiting_for_what_never_comes_ends(nats_server: NatsServer, control: Client) -> None:
    async with listening(nats_server) as node:
        await until(lambda: not node.feed.suspended())
        assert not await node.feed.reach(node.feed.position + 1_000, 0.4)


async def test_a_listener_that_fails_costs_its_own_event_alone(nats_server: NatsServer, control: Client) -> None:
    heard: list[int] = []
    failures = itertools.count()

    def deliver(seq: int, event: ControlEvent) -> None:
        if next(failures) == 0:
            raise ValueError("a listener's mistake")
        heard.append(seq)

    async with listening(nats_server) as node:
        await until(lambda: not node.feed.suspended())
        node.feed._deliver = deliver
        first = await put(control, member(1))
        second = await put(control, member(2))
        await until(lambda: second in heard)
        assert first not in heard or node.feed.position >= second
