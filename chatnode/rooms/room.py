"""One room on this node: who follows it here, how far it has been delivered, and its last few events, framed."""

import enum
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from chatnode.protocol.cursors import Cursor
from chatnode.rooms.chain import Verdict, judge
from chatnode.rooms.ports import LiveMessage, LiveSubscription

RING_EVENTS: Final = 64
RING_BYTES: Final = 128 * 1024
HELD_MAX: Final = 4096


class Follower(Protocol):
    """A connection that follows rooms. ``write`` takes framed bytes and never blocks."""

    @property
    def user(self) -> str: ...

    def write(self, framed: bytes) -> None: ...

    def ended(self, room: str, code: str, message: str, *, retryable: bool) -> None:
        """The room no longer delivers to this follower."""
        ...


class Delivered(Struct, frozen=True):
    """One event of the ring."""

    cursor: Cursor
    prev: int
    framed: bytes


class Phase(enum.Enum):
    OPENING = "opening"
    LIVE = "live"
    FILLING = "filling"
    """A gap is being fetched; what arrives meanwhile is held."""
    SUSPENDED = "suspended"
    """Control is not heard: nothing is delivered until rights were read again."""
    ENDED = "ended"


class TooFarBehind(Exception):
    """More is held back than a node keeps; followers have to subscribe again."""


class Room:
    """State and its transitions, synchronous throughout; :class:`chatnode.rooms.hub.Hub` does what is awaited."""

    __slots__ = (
        "_ring",
        "_ring_bytes",
        "cursor",
        "epoch",
        "followers",
        "held",
        "idle_since",
        "late",
        "name",
        "partition",
        "phase",
        "reached",
        "subscription",
        "verify_at",
    )

    def __init__(self, name: str, partition: int) -> None:
        self.name = name
        self.partition = partition
        self.epoch = 0
        self.phase = Phase.OPENING
        self.cursor = Cursor(0, 0)
        """The last event that was delivered."""
        self.reached = 0
        """Everything up to here is accounted for; above ``cursor.seq`` only where an event could not be read."""
        self.followers: dict[Follower, None] = {}
        self.held: deque[LiveMessage] = deque()
        self.late: dict[int, bool] = {}
        """Events that were stored late, by seq: whether they were found to be void."""
        self.subscription: LiveSubscription | None = None
        self.idle_since: float | None = None
        self.verify_at = 0.0
        self._ring: deque[Delivered] = deque()
        self._ring_bytes = 0

    @property
    def last(self) -> int:
        return self.cursor.seq

    @property
    def filling(self) -> bool:
        return self.phase is Phase.FILLING

    def begin(self, epoch: int, cursor: Cursor) -> None:
        """Start of delivery: everything after ``cursor`` will be delivered."""
        self.epoch = epoch
        self.cursor = cursor
        self.reached = cursor.seq

    def hold(self, message: LiveMessage) -> None:
        if len(self.held) >= HELD_MAX:
            raise TooFarBehind(f"{self.name}: {HELD_MAX} events wait behind seq {self.reached}")
        self.held.append(message)

    def judge(self, message: LiveMessage) -> Verdict:
        return judge(self.reached, message.prev, message.seq)

    def deliver(self, cursor: Cursor, framed: bytes, report: Callable[[int], None]) -> None:
        """Write one event to every follower and remember it. ``report`` gets the number of writes."""
        entry = Delivered(cursor, self.last, framed)
        self.cursor = cursor
        self.reached = cursor.seq
        self._ring.append(entry)
        self._ring_bytes += len(framed)
        while len(self._ring) > RING_EVENTS or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= len(self._ring.popleft().framed)
        for follower in tuple(self.followers):
            follower.write(framed)
        report(len(self.followers))

    def pass_on(self, framed: bytes) -> None:
        for follower in tuple(self.followers):
            follower.write(framed)

    def replay(self, seq: int) -> list[bytes] | None:
        """Frames of everything delivered after ``seq``; None when the ring does not reach back that far."""
        if seq == self.last:
            return []
        frames = [entry.framed for entry in self._ring if entry.cursor.seq > seq]
        first = next((entry for entry in self._ring if entry.cursor.seq > seq), None)
        if first is None or first.prev > seq:
            return None
        return frames

    def knows(self, cursor: Cursor) -> bool | None:
        """Whether the event at ``cursor.seq`` is the one that the cursor means; None where the ring cannot tell."""
        if cursor.seq == self.cursor.seq:
            return cursor.hash == self.cursor.hash
        for entry in self._ring:
            if entry.cursor.seq == cursor.seq:
                return entry.cursor.hash == cursor.hash
        return None
