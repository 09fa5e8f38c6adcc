"""A channel whose frames are held until a request's answer takes them."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from chatnode.protocol.errors import CloseCode
from chatnode.transports.fallback.places import Places
from chatnode.transports.websocket.frames import payload_of
from chatnode.transports.websocket.host import SocketHost


class Outline(Struct, frozen=True):
    """As much of a frame as says where it belongs."""

    type: str
    kind: str = ""
    id: str = ""
    room: str = ""
    cursor: str = ""
    recovered: bool = False
    retryable: bool = False


class Held(Struct, frozen=True):
    payload: bytes
    outline: Outline


class Ending(Struct, frozen=True):
    code: CloseCode
    reason: str


_OUTLINES: Final = msgspec.json.Decoder(Outline)


class HeldChannel:
    """A :class:`chatnode.transports.websocket.channel.Channel` within the limits of a socket.

    What would exceed them is not taken any more and ends it as ``slow_reader``; what was taken before stays whole.
    """

    def __init__(
        self,
        host: SocketHost,
        places: Places,
        *,
        authorization: str | None,
        peer: str,
        transport: asyncio.Transport | None,
    ) -> None:
        self.authorization = authorization
        self.peer = peer
        self.ending: Ending | None = None
        self.places: Places = dict(places)
        """Rooms that are followed or to be followed still, with the cursor of what was taken."""
        self.untold: set[str] = set(places)
        """Rooms about which nothing that was taken says whether they are followed."""
        self._host = host
        self._transport = transport
        self._held: deque[Held] = deque()
        self._bytes = 0
        self._largest = 0
        self._wake = asyncio.Event()
        self._ends = asyncio.Event()

    @property
    def buffered(self) -> int:
        return self._bytes + (0 if self._transport is None else self._transport.get_write_buffer_size())

    def write(self, framed: bytes) -> None:
        self.send(payload_of(framed))

    def write_all(self, frames: Sequence[bytes], joined: bytes) -> None:  # noqa: ARG002  each is kept on its own
        for framed in frames:
            self.write(framed)

    def send(self, payload: bytes) -> None:
        if self.ending is not None:
            return
        limits = self._host.limits
        largest = max(self._largest, len(payload))
        if (
            self.buffered + len(payload) - largest > limits.send_buffer_bytes
            or len(self._held) >= limits.send_buffer_frames
        ):
            self.close(CloseCode.SLOW_READER, "too much waits to be sent to this client; come back with cursors")
            return
        self._largest = largest
        self._held.append(Held(payload, _OUTLINES.decode(payload)))
        self._bytes += len(payload)
        self._host.clog(self)
        self._rouse()

    def close(self, code: int, reason: str = "") -> None:
        if self.ending is not None:
            return
        self.ending = Ending(CloseCode(code), reason)
        self._ends.set()
        if self.ending.code is CloseCode.SLOW_READER:
            self._host.counts.slow_readers += 1
        self._rouse()

    def pause_reading(self) -> None:
        """Nothing is read: what the client says came with its request."""

    def resume_reading(self) -> None:
        """See :meth:`pause_reading`."""

    def flush(self) -> None:
        self._wake.set()

    def cut(self) -> None:
        self.close(CloseCode.SLOW_READER, "this node has too much to send; come back with cursors")
        self._held.clear()
        self._bytes = 0
        self._host.unclog(self)
        self.abort()

    def abort(self) -> None:
        """End the connection without sending what waits, where the server lets that be done."""
        if self._transport is not None:
            self._transport.abort()

    def gone(self) -> None:
        """Hold nothing any more."""
        self._host.unclog(self)
        self._held.clear()
        self._bytes = 0

    async def changed(self) -> None:
        """Wait until something is held or it has ended."""
        if self._held or self.ending is not None:
            return
        self._wake.clear()
        await self._wake.wait()

    async def ends(self) -> None:
        """Wait until nothing more will be held."""
        await self._ends.wait()

    def take(self, most: int) -> list[Held]:
        """What is held, in order, up to about ``most`` bytes; :attr:`places` are then as of the last one."""
        taken: list[Held] = []
        size = 0
        while self._held and size < most:
            held = self._held.popleft()
            size += len(held.payload)
            self._note(held.outline)
            taken.append(held)
        self._bytes -= size
        if not self._held:
            self._largest = 0
            self._host.unclog(self)
        return taken

    def _note(self, outline: Outline) -> None:
        if outline.type != "event":
            return
        if outline.kind == "unsubscribed":
            self.untold.discard(outline.room)
            if not outline.retryable:
                self.places.pop(outline.room, None)
        elif outline.cursor and outline.room in self.places:
            self.untold.discard(outline.room)
            self.places[outline.room] = outline.cursor

    def _rouse(self) -> None:
        """Once in the next turn of the loop, so that what is written together is taken together."""
        if not self._wake.is_set():
            self._host.mark(self)
