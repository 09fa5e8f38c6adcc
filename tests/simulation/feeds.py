"""What a worker has of a stream: :class:`chatnode.worker.ports.EventStream` at its port, one level above the broker."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from chatnode.broker.event_stream import View
from chatnode.rooms.ports import Stored, Unavailable
from tests.simulation.members import Member
from tests.simulation.streams import HEARD_S, SERVERS, WALL_0, Entry, Stream
from tests.simulation.virtual_time import wake


class Arrived:
    __slots__ = ("pending", "stored")

    def __init__(self, stored: Stored, pending: int) -> None:
        self.stored = stored
        self.pending = pending


def stored(entry: Entry) -> Stored:
    return Stored(entry.subject, entry.seq, round((WALL_0 + entry.at) * 1000), {}, entry.data)


class StreamPort:
    """:class:`chatnode.worker.ports.EventStream` over a simulated stream, for one worker."""

    def __init__(self, member: Member, stream: Stream) -> None:
        self.name = stream.name
        self._member = member
        self._stream = stream

    async def _reach(self) -> None:
        connection = self._member.connection
        assert connection is not None
        await asyncio.sleep(self._member.nats.draw(0.001, 0.005))
        if not connection.is_connected or self._stream.leaderless:
            await asyncio.sleep(0.5)
            raise Unavailable(f"{self.name}: NATS does not answer")

    async def view(self) -> View | None:
        await self._reach()
        stream = self._stream
        if not stream.exists:
            return None
        return View(stream.epoch, stream.first_seq, stream.last_seq, stream.closed, 0, 0, replicated=False)

    async def at(self, seq: int) -> Stored | None:
        await self._reach()
        found = self._stream.at(seq)
        return None if found is None else stored(found)

    async def open(self, *, epoch: int, first_seq: int) -> None:
        await self._reach()
        stream = self._stream
        if not stream.exists:
            stream.exists = True
            stream.first_seq = max(1, first_seq)
            stream.last_seq = stream.first_seq - 1
        if epoch != stream.epoch:
            # Where it was not closed meanwhile, nobody waited until all had heard.
            stream.raised_at = self._member.nats.clock.now + (0.0 if stream.closed else HEARD_S)
        stream.metadata = {"chat-epoch": str(epoch)}
        stream.closed = False

    async def close(self) -> None:
        await self._reach()
        self._stream.closed = True

    async def rescued(self, missing: range) -> Sequence[Stored]:
        await self._reach()
        return [stored(entry) for entry in self._stream.entries if entry.seq in missing]

    async def drop_below(self, seq: int, *, subject: str | None = None) -> int:
        await self._reach()
        return 0 if subject is not None else self._stream.purge_below(seq)

    async def first_since(self, ts: int) -> int | None:
        await self._reach()
        return next((entry.seq for entry in self._stream.entries if (WALL_0 + entry.at) * 1000 >= ts), None)

    def feed(self, start: int, repeated: Callable[[int], None]) -> "Feed":
        return Feed(self._member, self, self._stream, start)


class Feed:
    """Whoever begins a feed ends all others of the stream; one that was paused may still hold a batch."""

    def __init__(self, member: Member, port: StreamPort, stream: Stream, start: int) -> None:
        self._member = member
        self._port = port
        self._stream = stream
        self._next = start
        self._waiting: asyncio.Future[None] | None = None
        self._came = False
        self._server: int | None = None
        """Which one feeds it; drawn once that makes a difference."""

    async def __aenter__(self) -> Self:
        await self._port._reach()
        self._stream.watchers[:] = [self._wake]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._wake in self._stream.watchers:
            self._stream.watchers.remove(self._wake)

    def _wake(self) -> None:
        process = self._member.process
        assert process is not None
        process.clock.post(self._member.nats.arrival(), process, self._come)

    def _come(self) -> None:
        self._came = True
        if self._waiting is not None:
            wake(self._waiting)

    async def next(self, wait: float) -> list[Arrived]:
        if self._wake not in self._stream.watchers:
            raise Unavailable(f"{self._stream.name}: another feed has begun")
        found = self._found()
        if not found:
            process = self._member.process
            assert process is not None
            self._came = False
            waiting = self._waiting = process.create_future()
            over = process.call_later(wait, wake, waiting)
            await waiting
            over.cancel()
            self._waiting = None
            if not self._came:
                return []
            found = self._found()
        connection = self._member.connection
        if connection is None or not connection.is_connected:
            raise Unavailable(f"{self._stream.name}: NATS is away")
        if found:
            self._next = found[-1].seq + 1
        last = self._stream.last_seq
        return [Arrived(stored(entry), last - entry.seq) for entry in found]

    def _found(self) -> list[Entry]:
        found = [entry for entry in self._stream.entries if entry.seq >= self._next]
        if not self._stream.holes:
            return found
        if self._server is None:
            self._server = self._member.nats.chance.randrange(SERVERS)
        return self._stream.held_by(self._server, found)

    async def acknowledge(self) -> None:
        return None
