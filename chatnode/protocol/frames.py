"""Frames of protocol v1: what clients send (commands) and what nodes answer.

Every frame is one JSON object with ``type``. Every command has an ``id`` and gets exactly one reply with that id:
``welcome`` for ``connect``, else ``ack`` or ``error``. Unknown fields and types are refused by name.
Times are integers, milliseconds since 1970 UTC.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from chatnode.protocol import limits
from chatnode.protocol.cursors import CursorText
from chatnode.protocol.ids import Id

Epoch = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seq = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Text = Annotated[str, Meta(min_length=1, max_length=limits.TEXT_BYTES)]
"""At most 16 KiB of UTF-8, which the codec checks."""
Emoji = Annotated[str, Meta(min_length=1, max_length=limits.EMOJI_LENGTH, pattern=r"^[^\x00-\x20\x7f]+$(?!\n)")]
Mentions = Annotated[tuple[Id, ...], Meta(max_length=limits.MENTIONS)]
TraceParent = Annotated[str, Meta(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$(?!\n)", max_length=55)]
"""W3C Trace Context, level 1, ``traceparent``."""
Limit = Annotated[int, Meta(ge=1, le=limits.PAGE_MAX)]


class Position(Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """The place of an event in its room's order; positions of one room compare as (epoch, seq)."""

    epoch: Epoch
    seq: Seq


class _Command(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    id: Id


class Connect(_Command, tag="connect", frozen=True, kw_only=True):
    """First frame of a connection, within 5 s. ``token`` may come as an Authorization header instead."""

    token: Annotated[str, Meta(min_length=1, max_length=limits.TOKEN_BYTES)] | UnsetType = UNSET
    cursors: Annotated[dict[Id, CursorText], Meta(max_length=limits.CURSORS)] = {}


class Subscribe(_Command, tag="subscribe", frozen=True, kw_only=True):
    """Follow a room: from ``cursor`` on where that is possible, else from a page of its last ``limit`` messages."""

    room: Id
    cursor: CursorText | UnsetType = UNSET
    limit: Limit = limits.PAGE


class Unsubscribe(_Command, tag="unsubscribe", frozen=True, kw_only=True):
    room: Id


class _Stored(_Command, frozen=True, kw_only=True):
    """A command whose effect is one stored event. ``again`` is true on every attempt but the first."""

    room: Id
    again: bool = False
    traceparent: TraceParent | UnsetType = UNSET


class Send(_Stored, tag="send", frozen=True, kw_only=True):
    text: Text
    reply_to: Position | UnsetType = UNSET
    mentions: Mentions = ()


class Edit(_Stored, tag="edit", frozen=True, kw_only=True):
    target: Position
    text: Text
    mentions: Mentions = ()


class Delete(_Stored, tag="delete", frozen=True, kw_only=True):
    target: Position


class React(_Stored, tag="react", frozen=True, kw_only=True):
    target: Position
    emoji: Emoji
    on: bool = True


class Read(_Command, tag="read", frozen=True, kw_only=True):
    """Everything up to ``at`` has been read by this user."""

    room: Id
    at: Position


class Typing(_Command, tag="typing", frozen=True, kw_only=True):
    """This user is typing; it expires by itself after 6 s, or at once with ``active`` false."""

    room: Id
    active: bool = True


class History(_Command, tag="history", frozen=True, kw_only=True):
    """A page of messages: before, after or around a position (at most one of them), else the last ones."""

    room: Id
    before: Position | UnsetType = UNSET
    after: Position | UnsetType = UNSET
    around: Position | UnsetType = UNSET
    limit: Limit = limits.PAGE


class Presence(_Command, tag="presence", frozen=True, kw_only=True):
    room: Id


class Refresh(_Command, tag="refresh", frozen=True, kw_only=True):
    """A new token for the same user, before the old one expires."""

    token: Annotated[str, Meta(min_length=1, max_length=limits.TOKEN_BYTES)]


class Ping(_Command, tag="ping", frozen=True, kw_only=True):
    pass


StoredCommand = Send | Edit | Delete | React
Command = (
    Connect
    | Subscribe
    | Unsubscribe
    | Send
    | Edit
    | Delete
    | React
    | Read
    | Typing
    | History
    | Presence
    | Refresh
    | Ping
)


class _Reply(Struct, frozen=True, tag_field="type", kw_only=True):
    pass


class Limits(Struct, frozen=True, kw_only=True):
    frame_bytes: int = limits.FRAME_BYTES
    text_bytes: int = limits.TEXT_BYTES
    mentions: int = limits.MENTIONS
    page: int = limits.PAGE_MAX
    cursors: int = limits.CURSORS


class Welcome(_Reply, tag="welcome", frozen=True, kw_only=True):
    id: str
    user: str
    name: str
    node: str
    session: str
    version: str
    heartbeat_ms: int
    """The client sends something (``ping`` at least) this often, and takes the connection for dead when a ping has no
    answer within 10 s; the node closes with 4003 after two silent intervals."""
    expires_at: int
    """When the token ends; ``refresh`` before that."""
    limits: Limits


class Deletion(Struct, frozen=True):
    by: str
    ts: int


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message as it stands now, all edits, deletes and reactions folded in. ``text`` is empty once deleted."""

    room: str
    epoch: int
    seq: int
    id: str
    """The id of the command that made it: with ``sender``, unique."""
    sender: str
    ts: int
    text: str = ""
    reply_to: Position | None = None
    mentions: tuple[str, ...] = ()
    edited: int | None = None
    """Time of the last edit."""
    rev: int = 0
    """``seq`` of the last edit or delete that was applied."""
    rev_epoch: int = 0
    """Epoch of ``rev``, where that is not the message's own: after a restore numbers may come again."""
    deleted: Deletion | None = None
    reactions: dict[str, tuple[str, ...]] = {}
    """Emoji → users, in sorted order."""
    notice: "MemberChange | None" = None
    """Set on entries that are not messages: somebody joined, left or changed role."""

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.seq)


class MemberChange(Struct, frozen=True, omit_defaults=True):
    user: str
    role: str | None
    """The new role; null: no longer a member."""
    name: str = ""


class Receipt(Struct, frozen=True):
    user: str
    at: Position


class Ack(_Reply, tag="ack", frozen=True, kw_only=True):
    """The one good answer to a command; the fields that are set depend on the command (``docs/protocol.md``)."""

    id: str
    room: str | UnsetType = UNSET
    epoch: int | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    ts: int | UnsetType = UNSET
    cursor: str | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET
    messages: tuple[Message, ...] | UnsetType = UNSET
    more_before: bool | UnsetType = UNSET
    more_after: bool | UnsetType = UNSET
    partial: bool | UnsetType = UNSET
    """True: MongoDB is away, and ``messages`` is only what the stream still holds."""
    receipts: tuple[Receipt, ...] | UnsetType = UNSET
    online: tuple[str, ...] | UnsetType = UNSET
    count: int | UnsetType = UNSET
    expires_at: int | UnsetType = UNSET


class Error(_Reply, tag="error", frozen=True, kw_only=True):
    """The one refusing answer; without ``id`` only where the frame had none that could be read."""

    code: str
    message: str
    retryable: bool
    id: str | UnsetType = UNSET
    field: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET
    """Seconds."""


class Reconnect(_Reply, tag="reconnect", frozen=True, kw_only=True):
    """This node goes away: close and connect again after ``after_ms``, with cursors. Until then all works."""

    after_ms: int
    reason: Literal["drain", "rebalance", "shutdown"] = "drain"
