"""Folding events into messages: the same rules for a node's tail, clients, the oracle and the history writer.

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
            if message.deleted or (event.epoch, event.seq) <= (message.rev_epoch or message.epoch, message.rev):
                return message
            mentions = () if event.mentions is UNSET else event.mentions
            revised = _revised(message, event)
            return replace(revised, text=event.text, mentions=mentions, edited=event.ts)
        case DeleteEvent():
            if message.deleted:
                return message
            gone = Deletion(by=event.sender, ts=event.ts)
            return replace(_revised(message, event), text="", mentions=(), edited=None, reactions={}, deleted=gone)


def _revised(message: Message, event: EditEvent | DeleteEvent) -> Message:
    return replace(message, rev=event.seq, rev_epoch=0 if event.epoch == message.epoch else event.epoch)


class Timeline:
    """Messages of one room by position, kept up to date by :meth:`apply`.

    Of two stored events with the same sender and id the first counts, whatever their kind. A page tells the ids of the
    messages in it but not those of the edits, deletes and reactions: their second copies are known by what was applied.
    """

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._messages = {message.position: message for message in messages}
        self._origin = {(message.sender, message.id): message.position for message in self._messages.values()}

    def apply(self, event: StoredEvent) -> Message | None:
        """Fold one event; returns the message that it made or changed, None where it changed nothing that is held."""
        at = Position(event.epoch, event.seq)
        if self._origin.setdefault((event.sender, event.id), at) != at:
            return None
        if isinstance(event, MessageEvent | MemberEvent):
            if at in self._messages:
                return None
            self._messages[at] = message_of(event)
            return self._messages[at]
        held = self._messages.get(event.target)
        if held is None:
            return None
        changed = amend(held, event)
        if changed == held:
            return None
        self._messages[event.target] = changed
        return changed

    def messages(self) -> tuple[Message, ...]:
        """In the room's order."""
        return tuple(self._messages[position] for position in sorted(self._messages))
