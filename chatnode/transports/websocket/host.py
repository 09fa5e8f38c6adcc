"""What the sockets of one node share: the flush that joins writes, the sum of what waits, and counters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from chatnode.transports.websocket.channel import SocketLimits
from chatnode.transports.websocket.timers import Timers


class Flushed(Protocol):
    """A socket as the host sees it."""

    @property
    def buffered(self) -> int: ...

    def flush(self) -> None:
        """Write what was queued since the last flush."""
        ...

    def cut(self) -> None:
        """Give back the memory of what waits at once."""
        ...


@dataclass(slots=True)
class SocketCounts:
    """Since the start, but for ``open``; read by metrics when they are scraped."""

    open: int = 0
    """Sockets, and requests that last as long: streams of events and polls."""
    opened: int = 0
    refused: int = 0
    writes: int = 0
    """Transport writes; frames divided by it tell how well writes are joined."""
    frames: int = 0
    bytes: int = 0
    slow_readers: int = 0
    silent: int = 0
    violations: int = 0
    cut_requests: int = 0
    """HTTP connections that took too long over a request's header or body."""

    def wrote(self, frames: int, size: int) -> None:
        """One transport write of so many frames and bytes."""
        self.writes += 1
        self.frames += frames
        self.bytes += size


class SocketHost:
    """One per node. Sockets with something to write are gathered and flushed together, once per loop iteration."""

    __slots__ = ("_clogged", "_dirty", "_loop", "_scheduled", "counts", "limits", "timers")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: SocketLimits, timers: Timers | None = None) -> None:
        self._loop = loop
        self.limits = limits
        self.timers = timers or Timers(loop)
        self.counts = SocketCounts()
        self._dirty: list[Flushed] = []
        self._clogged: set[Flushed] = set()
        self._scheduled = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    @property
    def waiting(self) -> int:
        """Bytes that the kernel did not take yet, over all sockets."""
        return sum(socket.buffered for socket in self._clogged)

    @property
    def clogged(self) -> int:
        """Sockets for which something waits."""
        return len(self._clogged)

    def mark(self, socket: Flushed) -> None:
        """``socket`` has begun to queue; it is flushed in the next loop iteration."""
        self._schedule()
        self._dirty.append(socket)

    def clog(self, socket: Flushed) -> None:
        """The kernel does not take all that was written to ``socket``; the sum of what waits is looked at soon."""
        self._schedule()
        self._clogged.add(socket)

    def unclog(self, socket: Flushed) -> None:
        self._clogged.discard(socket)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        dirty = iter(self._dirty)
        self._dirty = []
        try:
            for socket in dirty:
                socket.flush()
        finally:
            # Nothing is left unless one of them raised, which must not leave the others unsent for ever.
            for socket in dirty:
                self.mark(socket)
        if self._clogged:
            self._relieve()

    def _relieve(self) -> None:
        """Keep the sum of what waits below the node's limit: the worst readers go first."""
        excess = self.waiting - self.limits.node_buffer_bytes
        if excess <= 0:
            return
        for socket in sorted(self._clogged, key=lambda socket: socket.buffered, reverse=True):
            excess -= socket.buffered
            socket.cut()
            if excess <= 0:
                break
