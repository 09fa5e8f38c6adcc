"""What the worker needs from below; :mod:`chatnode.broker` and :mod:`chatnode.history` implement it.

Every call has a deadline of its own and raises :class:`chatnode.rooms.ports.Unavailable` when the source is away.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from chatnode.protocol.control import ControlEvent
from chatnode.protocol.envelope import Envelope
from chatnode.protocol.frames import MemberChange, Position
from chatnode.rooms.ports import Stored, Watermark


class StreamView(Protocol):
    """A stream as its leader tells it."""

    @property
    def epoch(self) -> int:
        """0 where its metadata name none."""
        ...

    @property
    def first_seq(self) -> int: ...
    @property
    def last_seq(self) -> int: ...
    @property
    def size(self) -> int:
        """Bytes, of one copy."""
        ...

    @property
    def max_bytes(self) -> int:
        """0 or less: no limit."""
        ...

    @property
    def closed(self) -> bool:
        """Takes nothing in."""
        ...

    @property
    def replicated(self) -> bool:
        """Whether its leader is elected, and may not have applied yet what a quorum has stored."""
        ...


class Arrival(Protocol):
    """One message out of a stream."""

    @property
    def stored(self) -> Stored: ...
    @property
    def pending(self) -> int:
        """How many messages of the stream come after it."""
        ...


class Feed(Protocol):
    """Messages of a stream in its order, each once. Where it can no longer vouch for that it raises
    :class:`chatnode.rooms.ports.Unavailable`; another one has to be started at the watermark then."""

    async def next(self, wait: float) -> Sequence[Arrival]:
        """A bounded batch; empty after ``wait`` seconds without any."""
        ...

    async def acknowledge(self) -> None:
        """All that :meth:`next` has given is applied."""
        ...


class EventStream(Protocol):
    """One stream, whose configuration the adapter knows."""

    @property
    def name(self) -> str: ...

    async def view(self) -> StreamView | None:
        """None where there is none."""
        ...

    async def at(self, seq: int) -> Stored | None: ...

    async def rescued(self, missing: range) -> Sequence[Stored]:
        """What any server holds of these sequences, which the one that feeds this worker has lost, or all; a bounded
        number, in order."""
        ...

    async def open(self, *, epoch: int, first_seq: int) -> None:
        """Create it where it is missing, from ``first_seq`` on; else bring its configuration and epoch up to date."""
        ...

    async def close(self) -> None:
        """Take nothing in until :meth:`open`; publishers try again."""
        ...

    async def drop_below(self, seq: int, *, subject: str | None = None) -> int:
        """Drop everything (of ``subject``) below ``seq``; above the end it empties the stream, whose next message then
        gets ``seq``. How many messages that were."""
        ...

    async def first_since(self, ts: int) -> int | None:
        """Sequence of the first message stored at ``ts`` (milliseconds) or later; None where all are older."""
        ...

    def feed(self, start: int, repeated: Callable[[int], None]) -> AbstractAsyncContextManager[Feed]:
        """Everything from ``start`` on. Whoever else had a feed of this stream may lose it. ``repeated`` is told how
        many messages NATS sent again."""
        ...


class Progress(Protocol):
    @property
    def watermark(self) -> Watermark: ...
    @property
    def highest(self) -> int: ...
    @property
    def ts(self) -> int: ...


class Ledger(Protocol):
    """Where it is written down how far streams are applied; see :class:`chatnode.history.progress.Ledger`."""

    async def progress(self, stream: str) -> Progress | None: ...
    async def advance(self, stream: str, watermark: Watermark, ts: int) -> None: ...
    async def epoch(self, stream: str) -> int: ...
    async def raise_epoch(self, stream: str, epoch: int) -> None: ...
    async def reject(self, stream: str, at: Position, reason: str, data: bytes) -> None: ...


class Leases(Protocol):
    async def take(self, name: str) -> bool: ...
    async def release(self, name: str) -> None: ...


class Written(Protocol):
    @property
    def void(self) -> int: ...
    @property
    def refused(self) -> Sequence[tuple[int, str]]:
        """(seq, reason) of events that can never be written."""
        ...


class HistorySink(Protocol):
    async def write(self, epoch: int, events: Sequence[tuple[int, Envelope]]) -> Written: ...


class MembersChanged(Protocol):
    @property
    def changes(self) -> Sequence[MemberChange]: ...


class Projection(Protocol):
    async def apply(self, seq: int, event: ControlEvent) -> MembersChanged | None: ...


class EventSink(Protocol):
    async def publish(self, envelope: Envelope) -> None:
        """Store it in its room's stream; once, however often it is asked."""
        ...
