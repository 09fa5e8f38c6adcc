"""The hot path does not silently grow: calls and allocations of one delivery, counted, not timed."""

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from chatnode.protocol.cursors import Cursor
from chatnode.rooms.room import Room
from chatnode.transports.websocket.channel import Channel, Refusal, SocketLimits
from chatnode.transports.websocket.frames import frame_text
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.protocol import ChatSocket, socket_protocol

SOCKETS = 50
REQUEST = (
    b"GET /v1/ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n"
)
FRAMED = frame_text(b"x" * 300)


class Wire:
    """A transport whose kernel takes everything; counts writes."""

    def __init__(self) -> None:
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Deaf:
    """A receiver, and a follower of rooms, that does nothing."""

    def __init__(self, channel: Channel) -> None:
        self.sink = channel
        self.user = "ann"

    def received(self, payload: bytes) -> None: ...
    def closed(self, code: int) -> None: ...
    def drained(self) -> None: ...
    def ended(self, room: str, code: str, message: str, *, retryable: bool) -> None: ...


class Everybody:
    def __init__(self) -> None:
        self.followers: list[Deaf] = []

    def admit(self) -> Refusal | None:
        return None

    def accept(self, channel: Channel) -> Deaf:
        self.followers.append(Deaf(channel))
        return self.followers[-1]


class Connections:
    """What uvicorn keeps of its sockets."""

    def __init__(self) -> None:
        self.connections: set[object] = set()


class Bench:
    """A room with followers on wires, and a host of their sockets."""

    def __init__(self) -> None:
        self.host = SocketHost(asyncio.get_running_loop(), SocketLimits())
        everybody = Everybody()
        make: Any = socket_protocol(self.host, everybody)
        state = Connections()
        self.wires = [Wire() for _ in range(SOCKETS)]
        for wire in self.wires:
            socket: ChatSocket = make(None, state, {})
            socket.connection_made(wire)  # type: ignore[arg-type]
            socket.data_received(REQUEST)
            wire.writes = 0
        self.room = Room("r", 0)
        self.room.begin(1, Cursor(1, 0))
        self.room.followers.update({follower: follower.sink for follower in everybody.followers})
        self.seq = 0

    def deliver(self, events: int = 1) -> None:
        for _ in range(events):
            self.seq += 1
            self.room.deliver(Cursor(1, self.seq), FRAMED)
        self.room.flush()

    def writes(self) -> set[int]:
        """How many writes each socket saw since it was asked last."""
        counts = {wire.writes for wire in self.wires}
        for wire in self.wires:
            wire.writes = 0
        return counts


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def calls(work: Callable[[], None]) -> int:
    """Python functions that ``work`` calls, and what they call, those of the bench's own wires not counted."""
    count = 0

    def count_calls(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        if event == "call" and frame.f_code.co_filename != __file__:
            count += 1

    sys.setprofile(count_calls)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


async def test_a_delivery_costs_two_calls_for_each_follower_and_one_write(bench: Bench) -> None:
    bench.deliver()
    bench.writes()
    assert calls(bench.deliver) <= 2 * SOCKETS + 12
    assert bench.writes() == {1}


async def test_ten_events_that_come_together_cost_a_follower_as_much_as_one(bench: Bench) -> None:
    bench.deliver()
    bench.writes()
    assert calls(lambda: bench.deliver(10)) <= 2 * SOCKETS + 60
    assert bench.writes() == {1}


async def test_a_delivery_leaves_nothing_behind_for_each_follower(bench: Bench) -> None:
    for _ in range(100):  # the room's ring and the interpreter's caches are full after these
        bench.deliver()
    before = sys.getallocatedblocks()
    for _ in range(20):
        bench.deliver()
    assert sys.getallocatedblocks() - before < SOCKETS
