"""What pages that begin a subscription lack: all up to their place has to be in them, from MongoDB or the stream alone.

A page may be ahead of its place, since history is written meanwhile. That a message is missing the gaps tell.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from chatnode.protocol.events import DeleteEvent, EditEvent, ReactionEvent, StoredEvent
from chatnode.protocol.frames import Message, Position
from tests.oracle.effects import place, spot
from tests.oracle.log import Subscribed
from tests.oracle.rules import Rule


@dataclass
class _Changes:
    """Of one message."""

    edits: list[Position] = field(default_factory=list)
    deleted: Position | None = None
    reactions: dict[tuple[str, str], ReactionEvent] = field(default_factory=dict)
    """The last one of each emoji and user."""


def lacking(pages: Iterable[Subscribed], events: Mapping[Position, StoredEvent]) -> Iterator[tuple[Rule, str]]:
    """``events``: all of the room that are known to be stored and are no copies, by place."""
    changes: dict[Position, _Changes] = defaultdict(_Changes)
    for at in sorted(events):
        match events[at]:
            case EditEvent(target=target):
                changes[target].edits.append(at)
            case DeleteEvent(target=target):
                changes[target].deleted = changes[target].deleted or at
            case ReactionEvent() as event:
                changes[event.target].reactions[event.emoji, event.sender] = event
            case _:
                pass
    for page in pages:
        for message in page.messages:
            if message.deleted is None and message.position in changes:
                for rule, what in _lacks(message, page.since, changes[message.position]):
                    yield rule, f"the page of {page.client} has {spot(message.position)} {what}"


def _lacks(message: Message, since: Position, changes: _Changes) -> Iterator[tuple[Rule, str]]:
    if changes.deleted is not None and changes.deleted <= since:
        yield Rule.RESURRECTED, f"that was deleted at {spot(changes.deleted)}"
        return
    before = bisect_right(changes.edits, since)
    if before and Position(message.rev_epoch or message.epoch, message.rev) < changes.edits[before - 1]:
        yield Rule.STALE, f"without the edit {spot(changes.edits[before - 1])}"
    for (emoji, user), event in changes.reactions.items():
        if place(event) <= since and (user in message.reactions.get(emoji, ())) is not event.on:
            yield Rule.STALE, f"without the reaction {spot(place(event))}"
