"""The node's flush: together, once per iteration, and never stopped by one socket."""

import asyncio

from chatnode.transports.websocket.channel import SocketLimits
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.timers import Timers


class Marked:
    """A socket that notes what the host does with it."""

    def __init__(self, host: SocketHost, *, raises: bool = False, again: bool = False) -> None:
        self.host = host
        self.raises = raises
        self.again = again
        self.flushes = 0
        self.buffered = 0

    def flush(self) -> None:
        self.flushes += 1
        if self.again:
            self.again = False
            self.host.mark(self)
        if self.raises:
            raise RuntimeError("a socket's own fault")

    def cut(self) -> None:
        self.buffered = 0
        self.host.unclog(self)


def host() -> SocketHost:
    return SocketHost(asyncio.get_running_loop(), SocketLimits(node_buffer_bytes=1000))


async def test_sockets_are_flushed_in_the_next_iteration() -> None:
    node = host()
    sockets = [Marked(node) for _ in range(3)]
    for socket in sockets:
        node.mark(socket)
    assert [socket.flushes for socket in sockets] == [0, 0, 0]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [socket.flushes for socket in sockets] == [1, 1, 1]


async def test_what_is_marked_during_a_flush_waits_for_the_next() -> None:
    node = host()
    socket = Marked(node, again=True)
    node.mark(socket)
    for _ in range(3):
        await asyncio.sleep(0)
    assert socket.flushes == 2


async def test_a_socket_that_raises_does_not_keep_others_from_being_sent() -> None:
    node = host()
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    sockets = [Marked(node, raises=number in {0, 2}) for number in range(4)]
    for socket in sockets:
        node.mark(socket)
    for _ in range(5):
        await asyncio.sleep(0)
    assert [socket.flushes for socket in sockets] == [1, 1, 1, 1]
    assert len(told) == 2


async def test_as_few_as_possible_are_cut_and_the_worst_first() -> None:
    node = host()
    sockets = [Marked(node) for _ in range(4)]
    for socket, size in zip(sockets, (300, 900, 400, 200), strict=True):
        socket.buffered = size
        node.clog(socket)
    assert (node.waiting, node.clogged) == (1800, 4)
    node.mark(sockets[0])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [socket.buffered for socket in sockets] == [300, 0, 400, 200]


async def test_an_alarm_goes_off_once_and_a_cancelled_one_never() -> None:
    timers = Timers(asyncio.get_running_loop(), 0.01)
    rang = asyncio.Event()
    rings: list[str] = []
    timers.call_at(timers.time() + 0.02, lambda: rings.append("first"))
    timers.call_at(timers.time() + 0.01, lambda: rings.append("cancelled")).cancel()
    timers.call_at(timers.time() + 0.05, rang.set)
    await asyncio.wait_for(rang.wait(), 5)
    assert rings == ["first"]


async def test_timers_that_wait_for_nothing_do_not_wake_the_loop() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop, 0.01)
    rang = asyncio.Event()
    timers.call_at(timers.time(), rang.set)
    await asyncio.wait_for(rang.wait(), 5)
    await asyncio.sleep(0.05)
    assert timers._handle is None
    later = asyncio.Event()
    timers.call_at(timers.time(), later.set)
    await asyncio.wait_for(later.wait(), 5)


async def test_stopped_timers_call_nothing() -> None:
    timers = Timers(asyncio.get_running_loop(), 0.01)
    rings: list[str] = []
    timers.call_at(timers.time(), lambda: rings.append("late"))
    timers.stop()
    await asyncio.sleep(0.05)
    assert rings == []


async def test_a_timer_that_raises_does_not_stop_the_others() -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    timers = Timers(asyncio.get_running_loop(), 0.01)
    rang = asyncio.Event()

    def fail() -> None:
        raise RuntimeError("an alarm's own fault")

    timers.call_at(timers.time(), fail)
    timers.call_at(timers.time() + 0.03, rang.set)
    await asyncio.wait_for(rang.wait(), 5)
    assert len(told) == 1
