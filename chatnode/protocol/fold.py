"""Folding events into messages: the same rules for a node's tail, clients, the oracle and (as updates) the history writer.

Promise: a page as of any event, plus all events from there on in order, equals the page as of the last of them, also
when the first few events were already in the page (the writer may be ahead of its watermark).
"""

from collections.abc import Iterable

from msgspec import UNSET
from msgspec.structs import replace

from chatnode.protocol.events import DeleteEvent, EditEvent, MemberEvent, MessageEvent, ReactionEvent, StoredEvent
from chatnode.protocol.frames import Deletion, Message, Position


def message_of(event: MessageEvent | MemberEvent) -> Message:
    """The message (or notice) that an event begins."""
    if isinstance(event, MemberEvent):
        return Message(
            room=event.room,
            epoch=event.epoch,
            seq=event.seq,
            id=event.id,
            sender=event.sender,
            ts=event.ts,
            rev=event.seq,
            notice=event.change,
        )
    return Message(
        room=event.room,
        epoch=event.epoch,
        seq=event.seq,
        id=event.id,
        sender=event.sender,
        ts=event.ts,
        rev=event.seq,
        text=event.text,
        reply_to=None if event.reply_to is UNSET else event.reply_to,
        mentions=() if event.mentions is UNSET else event.mentions,
    )


def amend(message: Message, event: EditEvent | DeleteEvent | ReactionEvent) -> Message:
    """The message after an event that targets it; what is deleted stays deleted, an older revision changes nothing."""
    match event:
        case ReactionEvent():
            if message.deleted:
                return message
            users = set(message.reactions.get(event.emoji, ()))
            users = users | {event.sender} if event.on else users - {event.sender}
            reactions = {**message.reactions, event.emoji: tuple(sorted(users))}
            return replace(message, reactions={emoji: by for emoji, by in sorted(reactions.items()) if by})
        case EditEvent():
            if message.deleted or event.seq <= message.rev:
                return message
            mentions = () if event.mentions is UNSET else event.mentions
            return replace(message, text=event.text, mentions=mentions, edited=event.ts, rev=event.seq)
        case DeleteEvent():
            if message.deleted:
                return message
            gone = Deletion(by=event.sender, ts=event.ts)
            return replace(message, text="", mentions=(), reactions={}, deleted=gone, rev=event.seq)


class Timeline:
    """Messages of one room by position, kept up to date by :meth:`apply`."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._messages = {message.position: message for message in messages}
        self._origin = {(message.sender, message.id): message.position for message in self._messages.values()}

    def apply(self, event: StoredEvent) -> Message | None:
        """Fold one event; returns the message that it made or changed, None where it changed nothing that is held."""
        if isinstance(event, MessageEvent | MemberEvent):
            fresh = message_of(event)
            first = self._origin.setdefault((event.sender, event.id), fresh.position)
            if first != fresh.position or first in self._messages:
                return None
            self._messages[first] = fresh
            return fresh
        held = self._messages.get(event.target)
        if held is None:
            return None
        changed = amend(held, event)
        if changed is held or changed == held:
            return None
        self._messages[event.target] = changed
        return changed

    def messages(self) -> tuple[Message, ...]:
        """In the room's order."""
        return tuple(self._messages[position] for position in sorted(self._messages))
