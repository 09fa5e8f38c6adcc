"""What commands do, what events and messages have in common, and how they are named."""

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from chatnode.protocol.events import DeleteEvent, EditEvent, MessageEvent, ReactionEvent, StoredEvent
from chatnode.protocol.frames import Delete, Edit, Message, Position, React, Send, StoredCommand


def event_of(command: StoredCommand, user: str, position: Position, *, ts: int = 0, prev: int = 0) -> StoredEvent:
    """The event that a command makes when it is stored at ``position``."""
    fields: dict[str, Any] = {
        "room": command.room,
        "epoch": position.epoch,
        "seq": position.seq,
        "prev": prev,
        "cursor": f"{position.epoch}-{position.seq}-0",
        "ts": ts,
        "sender": user,
        "id": command.id,
    }
    match command:
        case Send():
            return MessageEvent(**fields, text=command.text, reply_to=command.reply_to, mentions=command.mentions)
        case Edit():
            return EditEvent(**fields, target=command.target, text=command.text, mentions=command.mentions)
        case Delete():
            return DeleteEvent(**fields, target=command.target)
        case React():
            return ReactionEvent(**fields, target=command.target, emoji=command.emoji, on=command.on)


def caused(command: StoredCommand, event: StoredEvent) -> bool:
    made = event_of(command, event.sender, place(event))
    return essence(made) == essence(event)


def made_message(command: StoredCommand, message: Message) -> bool:
    return (
        isinstance(command, Send)
        and command.room == message.room
        and command.text == message.text
        and (None if command.reply_to is UNSET else command.reply_to) == message.reply_to
        and tuple(command.mentions) == tuple(message.mentions)
    )


def essence(event: StoredEvent) -> StoredEvent:
    """Without what may differ between two deliveries of one event: chain, cursor, time, trace."""
    plain = replace(event, prev=0, cursor="", ts=0, traceparent=UNSET)
    if isinstance(plain, MessageEvent | EditEvent) and not plain.mentions:
        return replace(plain, mentions=UNSET)
    return plain


def shown(message: Message) -> Message:
    return replace(message, rev=0, rev_epoch=0)


def timeless(message: Message) -> Message:
    deleted = replace(message.deleted, ts=0) if message.deleted else None
    edited = None if message.edited is None else 0
    return replace(message, ts=0, rev=0, rev_epoch=0, edited=edited, deleted=deleted)


def place(event: StoredEvent) -> Position:
    return Position(event.epoch, event.seq)


def spot(position: Position) -> str:
    return f"{position.epoch}-{position.seq}"


def spots(positions: Iterable[Position]) -> str:
    return ", ".join(spot(position) for position in sorted(positions)) or "no place"


def name(event: StoredEvent) -> str:
    return f"{event.sender}'s {event.id} ({type(event).__name__}) at {spot(place(event))}"
