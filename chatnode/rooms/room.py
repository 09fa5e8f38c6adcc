"""One room on this node: who follows it here, how far it has been delivered, and its last few events, framed."""

import enum
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct

from chatnode.protocol.cursors import Cursor
from chatnode.rooms.chain import Verdict, judge
from chatnode.rooms.ports import LiveMessage, LiveSubscription

RING_EVENTS: Final = 64
RING_BYTES: Final = 128 * 1024
HELD_MAX: Final = 4096
BURST_BYTES: Final = 64 * 1024
"""What is gathered before it is written, at most, and one event."""


class Sink(Protocol):
    """Takes framed bytes. Never blocks, never raises, never calls back."""

    def write(self, framed: bytes) -> None: ...

    def write_all(self, frames: Sequence[bytes], joined: bytes) -> None:
        """Write frames that follow each other; ``joined`` is all of them, made once for all who get them."""
        ...


class Follower(Protocol):
    """A connection that follows rooms."""

    @property
    def user(self) -> str: ...

    @property
    def sink(self) -> Sink:
        """Where the room's events are written, the same one for as long as the room is followed."""
        ...

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
        "_burst",
        "_burst_bytes",
        "_ring",
        "_ring_bytes",
        "cursor",
        "epoch",
        "followers",
        "headless",
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
        self.followers: dict[Follower, Sink] = {}
        self.held: deque[LiveMessage] = deque()
        self.late: dict[int, bool] = {}
        """Events that were stored late, by seq: whether they were found to be void."""
        self.headless = False
        """The stream holds nothing of the room, and where it ends in history could not be read."""
        self.subscription: LiveSubscription | None = None
        self.idle_since: float | None = None
        self.verify_at = 0.0
        self._burst: list[bytes] = []
        self._burst_bytes = 0
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

    def deliver(self, cursor: Cursor, framed: bytes) -> bool:
        """Remember one event, to be written to every follower by :meth:`flush`. True for the first one since then:
        whoever calls has to see to it that ``flush`` is called in the loop's next iteration."""
        entry = Delivered(cursor, self.last, framed)
        self.cursor = cursor
        self.reached = cursor.seq
        self._ring.append(entry)
        self._ring_bytes += len(framed)
        while len(self._ring) > RING_EVENTS or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= len(self._ring.popleft().framed)
        self._burst.append(framed)
        self._burst_bytes += len(framed)
        return len(self._burst) == 1

    @property
    def brimming(self) -> bool:
        """More is gathered than should wait."""
        return self._burst_bytes > BURST_BYTES

    def flush(self) -> int:
        """Write what was gathered, joined once for everybody; how many events were written to how many, multiplied.

        One pass over the followers and one write each, however many events there are: what a follower costs is mostly
        the memory that has to be looked at, and the write.
        """
        burst = self._burst
        if not burst:
            return 0
        self._burst = []
        self._burst_bytes = 0
        joined = burst[0] if len(burst) == 1 else b"".join(burst)
        for sink in self.followers.values():
            sink.write_all(burst, joined)
        return len(burst) * len(self.followers)

    def pass_on(self, framed: bytes) -> None:
        """Write an event that is not stored; nothing overtakes it."""
        for sink in self.followers.values():
            sink.write(framed)

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
