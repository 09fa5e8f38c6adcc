"""From stored envelopes to the events that clients get. Pure but for opening the body."""

from typing import TypedDict

from msgspec import UNSET, UnsetType

from chatnode.protocol.cursors import Cursor
from chatnode.protocol.envelope import Envelope
from chatnode.protocol.events import (
    DeleteEvent,
    EditEvent,
    MemberEvent,
    MessageEvent,
    ReactionEvent,
    StoredEvent,
)
from chatnode.protocol.frames import MemberChange, Position
from chatnode.protocol.ids import event_hash
from chatnode.protocol.sealing import BodyErased, Sealer

_NOWHERE = Position(0, 0)


def text_of(envelope: Envelope, sealer: Sealer) -> str:
    """The body; empty when there is none or its key was destroyed."""
    if envelope.body is None:
        return ""
    try:
        return sealer.open(envelope.body)
    except BodyErased:
        return ""


def cursor_of(envelope: Envelope, epoch: int, seq: int) -> Cursor:
    return Cursor(epoch, seq, event_hash(envelope.user, envelope.id))


class _Place(TypedDict):
    """What every stored event has."""

    room: str
    epoch: int
    seq: int
    prev: int
    cursor: str
    ts: int
    sender: str
    id: str
    traceparent: str | UnsetType


def event_of(envelope: Envelope, *, epoch: int, seq: int, prev: int, sealer: Sealer) -> StoredEvent:
    """The event at ``seq``; an erased message becomes a delete of itself, which is what clients are to make of it."""
    sender = envelope.actor or envelope.user
    place: _Place = {
        "room": envelope.room,
        "epoch": epoch,
        "seq": seq,
        "prev": prev,
        "cursor": str(cursor_of(envelope, epoch, seq)),
        "ts": envelope.ts,
        "sender": sender,
        "id": envelope.id,
        "traceparent": UNSET if envelope.traceparent is None else envelope.traceparent,
    }
    target = envelope.target or _NOWHERE
    match envelope.kind:
        case "message":
            return MessageEvent(
                **place,
                text=text_of(envelope, sealer),
                reply_to=UNSET if envelope.reply_to is None else envelope.reply_to,
                mentions=envelope.mentions or UNSET,
            )
        case "edit":
            return EditEvent(
                **place,
                target=target,
                text=text_of(envelope, sealer),
                mentions=envelope.mentions or UNSET,
            )
        case "delete" | "erased":
            return DeleteEvent(**place, target=target)
        case "reaction":
            return ReactionEvent(**place, target=target, emoji=envelope.emoji or "", on=envelope.on)
        case "member":
            return MemberEvent(**place, change=envelope.change or MemberChange(user=sender, role=None))
