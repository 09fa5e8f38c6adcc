"""Events that nodes send to clients: ``{type: "event", kind, room, …}``.

*Stored* events have a place in their room's order (``epoch``, ``seq``) and name their predecessor (``prev``): a client
that sees ``prev`` above the last ``seq`` that it has, has missed something. *Passing* events (typing, presence, read,
subscribed, unsubscribed, membership, whole, delayed) have no place and are never stored as events.
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from chatnode.protocol.frames import MemberChange, Message, Position, Receipt


class _Event(Struct, frozen=True, tag_field="kind", kw_only=True):
    type: Literal["event"] = "event"


class _StoredEvent(_Event, frozen=True, kw_only=True):
    room: str
    epoch: int
    seq: int
    prev: int
    """``seq`` of the event before this one in the room; 0 for the first."""
    cursor: str
    """What to present when subscribing again, once this event has been handled."""
    ts: int
    sender: str
    id: str
    """The command's id: with ``sender`` it recognises one's own message, and a second copy, which is void."""
    traceparent: str | UnsetType = UNSET


class MessageEvent(_StoredEvent, tag="message", frozen=True, kw_only=True):
    text: str
    reply_to: Position | UnsetType = UNSET
    mentions: tuple[str, ...] | UnsetType = UNSET


class EditEvent(_StoredEvent, tag="edit", frozen=True, kw_only=True):
    target: Position
    text: str
    mentions: tuple[str, ...] | UnsetType = UNSET


class DeleteEvent(_StoredEvent, tag="delete", frozen=True, kw_only=True):
    target: Position


class ReactionEvent(_StoredEvent, tag="reaction", frozen=True, kw_only=True):
    target: Position
    emoji: str
    on: bool


class MemberEvent(_StoredEvent, tag="member", frozen=True, kw_only=True):
    """Somebody joined, left or changed role; ``sender`` did it."""

    change: MemberChange


class TypingEvent(_Event, tag="typing", frozen=True, kw_only=True):
    room: str
    sender: str
    active: bool
    expires_ms: int


class ReadEvent(_Event, tag="read", frozen=True, kw_only=True):
    room: str
    sender: str
    at: Position


class PresenceEvent(_Event, tag="presence", frozen=True, kw_only=True):
    """Who of the room's members came or went; rooms above 200 members get ``count`` alone."""

    room: str
    online: tuple[str, ...] | UnsetType = UNSET
    offline: tuple[str, ...] | UnsetType = UNSET
    count: int | UnsetType = UNSET


class SubscribedEvent(_Event, tag="subscribed", frozen=True, kw_only=True):
    """Result for one room of ``connect.cursors``: the same fields as the ack of ``subscribe``."""

    room: str
    cursor: str
    recovered: bool
    messages: tuple[Message, ...] | UnsetType = UNSET
    more_before: bool | UnsetType = UNSET
    partial: bool | UnsetType = UNSET
    receipts: tuple[Receipt, ...] | UnsetType = UNSET


class UnsubscribedEvent(_Event, tag="unsubscribed", frozen=True, kw_only=True):
    """The node ends a subscription, or could not begin one of ``connect.cursors``."""

    room: str
    code: str
    message: str
    retryable: bool


class MembershipEvent(_Event, tag="membership", frozen=True, kw_only=True):
    """This user's own list of rooms changed: added to a room, removed (``role`` null), or the room itself changed."""

    room: str
    role: str | None
    room_kind: str
    title: str
    closed: bool


class WholeEvent(_Event, tag="whole", frozen=True, kw_only=True):
    """History can be read in full again: what came as ``partial`` may be asked for once more."""

    room: str


class DelayedEvent(_Event, tag="delayed", frozen=True, kw_only=True):
    """This node does not hear what is stored now: messages of all rooms come later, none is lost. ``on`` false: it is
    over, and everything that was missed has been sent."""

    on: bool


StoredEvent = MessageEvent | EditEvent | DeleteEvent | ReactionEvent | MemberEvent
PassingEvent = (
    TypingEvent
    | ReadEvent
    | PresenceEvent
    | SubscribedEvent
    | UnsubscribedEvent
    | MembershipEvent
    | WholeEvent
    | DelayedEvent
)
Event = StoredEvent | PassingEvent
