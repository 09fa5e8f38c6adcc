"""What rooms need from below, as small protocols; :mod:`chatnode.broker` and :mod:`chatnode.history` implement them.

Every call has a deadline of its own and raises :class:`Unavailable` when the source is away or too slow.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from chatnode.protocol.control import ControlEvent, Member, RoomKind
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.envelope import EventKind
from chatnode.protocol.errors import ProtocolError
from chatnode.protocol.frames import Message, Position, Receipt


class Unavailable(Exception):
    """A source (NATS or MongoDB) is away; what was asked for may be retried. The message names source and operation."""


class HistoryAway(Unavailable):
    """MongoDB is away; what the streams hold can be had all the same."""


class Stored(Struct, frozen=True):
    """One stored message as the stream holds it."""

    subject: str
    seq: int
    ts: int
    """Milliseconds, the server's clock when it was stored."""
    headers: dict[str, str]
    data: bytes


class StreamState(Struct, frozen=True):
    first: int
    last: int
    metadata: dict[str, str]


class StreamConflict(Exception):
    """A stream exists that cannot be changed into what is needed; somebody has to look at it."""


class StreamMissing(Exception):
    """The stream does not exist; a worker has to create it."""


class Watermark(Struct, frozen=True):
    """Everything of a partition up to ``seq`` of ``epoch`` is in MongoDB."""

    epoch: int
    seq: int
    hash: str = "0"
    """Event hash of the event at ``seq``."""


class Page(Struct, frozen=True):
    messages: tuple[Message, ...]
    """In the room's order."""
    more_before: bool
    more_after: bool = False
    partial: bool = False
    """Only what the stream holds: older messages may be missing."""


class CommandRecord(Struct, frozen=True):
    """What a command came to, found by its user and id; survives the erasure of its body."""

    room: str
    epoch: int
    seq: int
    kind: EventKind
    digest: str
    ts: int


class RoomRecord(Struct, frozen=True):
    """A room as the projection of control events holds it; ``applied`` is the CTRL sequence of its last change."""

    room: str
    kind: RoomKind
    title: str
    closed: bool
    members: tuple[Member, ...]
    applied: int


class UserRoom(Struct, frozen=True):
    """One line of a user's list of rooms."""

    room: str
    kind: RoomKind
    title: str
    closed: bool
    role: str
    last: Position | None = None
    last_ts: int = 0
    unread: int = 0
    """Messages of others after the read receipt, counted up to 100."""
    read: Position | None = None
    peer: str | None = None
    """The other person of a direct room."""
    peer_name: str = ""


class HistoryReader(Protocol):
    async def watermark(self, partition: int) -> Watermark | None:
        """None before the partition's first event was written."""
        ...

    async def page(
        self,
        room: str,
        *,
        before: Position | None = None,
        after: Position | None = None,
        around: Position | None = None,
        limit: int,
    ) -> Page:
        """Messages and notices from MongoDB (primary, majority); without a position the last ``limit``."""
        ...

    async def message(self, room: str, position: Position) -> Message | None: ...

    async def commands(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], CommandRecord]:
        """What is recorded of these (user, command id) pairs; one round trip."""
        ...

    async def head(self, room: str) -> Cursor | None:
        """The last event of the room that is in MongoDB."""
        ...

    async def receipts(self, room: str) -> tuple[Receipt, ...]: ...


class RightsReader(Protocol):
    async def control_applied(self) -> int:
        """CTRL sequence up to which the projections are complete."""
        ...

    async def room(self, room: str) -> RoomRecord | None: ...

    async def rooms_of(self, user: str) -> tuple[UserRoom, ...]: ...

    async def revoked_before(self, user: str) -> int:
        """Milliseconds; 0 when nothing was revoked."""
        ...


class ReceiptWriter(Protocol):
    async def write_receipts(self, receipts: Sequence[tuple[str, str, Position]]) -> None:
        """(user, room, position) each; a receipt never moves back."""
        ...


class ControlPublisher(Protocol):
    async def publish_control(self, event: ControlEvent) -> int:
        """Store it in CTRL; the sequence under which it is stored, the same one again for the same ``event.id``."""
        ...


class RoomLog(Protocol):
    """The stored events of rooms, as the stream's leader holds them."""

    def partition_of(self, room: str) -> int: ...

    async def last(self, room: str) -> Stored | None:
        """The room's last event; None when the stream holds none (any more)."""
        ...

    async def at(self, room: str, seq: int) -> Stored | None:
        """The event at ``seq`` if it is this room's."""
        ...

    async def upto(self, room: str, seq: int, end: int, limit: int) -> list[Stored] | None:
        """All events in ``(seq, end]``, where the leader is known to hold one at ``end``; None: more than ``limit``."""
        ...

    async def whole(
        self, room: str, seq: int, end: int, limit: int, *, checked: int | None = None
    ) -> list[Stored] | None:
        """:meth:`upto`, checked with the leader: a damaged replica leaves out what it has lost. Dearer, by one question
        for each event, or for each of the last ``checked``."""
        ...

    async def newest(self, room: str, end: int, limit: int) -> tuple[int, list[Stored]]:
        """The last events up to ``end``, at most ``limit`` and, where there are more, at least half as many; with the
        sequence after which that is all that the stream holds of the room."""
        ...


class Accepted(Struct, frozen=True):
    """The stream holds it under ``seq``; ``duplicate``: since an earlier attempt, whose content has to be compared."""

    seq: int
    duplicate: bool = False


class NotStored(Exception):
    """NATS said no: it is certainly not stored. ``moved``: the subject has moved past the expected last sequence."""

    def __init__(self, message: str, *, moved: bool = False) -> None:
        super().__init__(message)
        self.moved = moved


class Unknown(Exception):
    """No answer: it may have been stored, or may be yet."""


Outcome = Accepted | NotStored | Unknown | ProtocolError


class Publication(Protocol):
    """One event on its way; the publisher calls back, nothing is awaited per event."""

    @property
    def room(self) -> str: ...
    @property
    def message_id(self) -> str: ...
    @property
    def expected_last(self) -> int | None:
        """On a resend: the room's last seq as of the look-up; stored only if it still is."""
        ...

    @property
    def traceparent(self) -> str | None: ...

    def payload(self) -> bytes | ProtocolError:
        """Called synchronously right before the publish, with no await between: decides for the last time whether
        this may be stored, and encodes it. A refusal is its outcome."""
        ...

    async def look_again(self) -> "int | Accepted | None":
        """Asked where ``expected_last`` was not the room's last any more, while nothing else of this node is stored in
        its partition: the last seq by now, or where the command was found; None: the outcome is that it moved."""
        ...

    def resolved(self, outcome: Outcome) -> None:
        """Called exactly once, synchronously; must not raise."""
        ...


class EventPublisher(Protocol):
    def submit(self, publication: Publication) -> None: ...


class LiveMessage(Struct, frozen=True):
    """From a room's live subject: a stored event with its place, or (``seq`` 0) a passing one, ready to send."""

    data: bytes
    seq: int = 0
    prev: int = 0


class LiveSubscription(Protocol):
    async def close(self) -> None: ...


class LiveFeed(Protocol):
    async def follow(self, room: str, receive: Callable[[LiveMessage], None]) -> LiveSubscription:
        """Calls ``receive`` for each message in the order of arrival; interest is registered at this node's server
        when it returns, and takes a moment to reach the others."""
        ...

    async def pass_on(self, room: str, payload: bytes) -> None:
        """Send a passing event to every node that follows the room; at most once."""
        ...
