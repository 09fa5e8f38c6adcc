"""Bodies and answers of the HTTP interface (``docs/protocol.md``, "HTTP"). Unknown fields of requests are refused."""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from chatnode.protocol import limits
from chatnode.protocol.control import Member, Role, RoomKind
from chatnode.protocol.cursors import CursorText
from chatnode.protocol.frames import Message, Position
from chatnode.protocol.ids import Id

POSITION_PATTERN: Final = r"^[0-9]{1,10}-[0-9]{1,16}$(?!\n)"
"""A position in a query: ``<epoch>-<seq>``."""
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
"""Header of PUT, POST and DELETE: at most 200 visible ASCII characters, unique per caller. The same request under the
same key within two minutes is stored once; another request under it is refused with ``id_reused``."""

Title = Annotated[str, Meta(min_length=1, max_length=limits.TITLE_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
Name = Annotated[str, Meta(max_length=limits.NAME_LENGTH, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]


class NewMember(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    user: Id
    role: Role
    name: Name | None = None
    """null or absent: as it is, else none."""


class PutRoom(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    kind: Literal["course"]
    title: Title
    closed: bool | None = None
    """Absent: as it is, a new room open."""
    members: tuple[NewMember, ...] = ()
    """Added to those that there are; nobody is removed."""


class PutMember(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    role: Role
    name: Name | None = None


class OpenDirect(Struct, frozen=True, forbid_unknown_fields=True):
    user: Id


class Revoke(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    before: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None
    """Milliseconds; absent: now."""


class DemoSignIn(Struct, frozen=True, forbid_unknown_fields=True):
    user: Id


class Poll(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was missed since these cursors, at once; else what comes next, within ``wait_s``."""

    cursors: Annotated[dict[Id, CursorText | None], Meta(max_length=limits.CURSORS)] = {}
    """Rooms to follow; null where the client has no cursor yet."""
    wait_s: Annotated[float, Meta(ge=0, le=limits.POLL_WAIT_S)] = limits.POLL_WAIT_S
    welcome: bool = False
    """Answer at once, with ``welcome`` and the state of every room first."""


class Polled(Struct, frozen=True):
    frames: tuple[Raw, ...]
    """Frames as on a socket, in order; none when nothing came."""
    cursors: dict[str, str | None]
    """For the next poll; without the rooms that are not followed any more."""
    delayed: bool | UnsetType = UNSET
    """True while this node does not hear what is stored: messages come later, none is lost."""


class Me(Struct, frozen=True):
    user: str
    name: str
    expires_at: int


class ListedRoom(Struct, frozen=True, kw_only=True):
    room: str
    kind: RoomKind
    title: str
    closed: bool
    role: str
    last_ts: int
    unread: int
    last: Position | UnsetType = UNSET
    read: Position | UnsetType = UNSET
    peer: str | UnsetType = UNSET
    peer_name: str | UnsetType = UNSET


class RoomList(Struct, frozen=True):
    rooms: tuple[ListedRoom, ...]


class ShownMember(Struct, frozen=True):
    user: str
    role: Role
    name: str

    @classmethod
    def of(cls, member: Member) -> "ShownMember":
        return cls(member.user, member.role, member.name)


class ShownRoom(Struct, frozen=True):
    room: str
    kind: RoomKind
    title: str
    closed: bool
    members: tuple[ShownMember, ...]


class Changed(Struct, frozen=True):
    seq: int
    """Where in the control stream the change is stored."""


class MessagePage(Struct, frozen=True):
    messages: tuple[Message, ...]
    more_before: bool
    more_after: bool
    partial: bool | UnsetType = UNSET
    """True: MongoDB is away, and ``messages`` is only what the stream still holds."""


class ShownDemoUser(Struct, frozen=True):
    user: str
    name: str
    role: Role


class DemoUsers(Struct, frozen=True):
    users: tuple[ShownDemoUser, ...]


class DemoToken(Struct, frozen=True):
    token: str
    user: str
    name: str
    expires_at: int


class Refused(Struct, frozen=True):
    code: str
    message: str
    retryable: bool
    field: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET
    """Seconds; rounded up in the header ``Retry-After``."""


class ErrorAnswer(Struct, frozen=True):
    error: Refused
