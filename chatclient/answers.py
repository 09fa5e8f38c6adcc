"""What the client's calls return: acks with the fields that each command's answer has."""

from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from chatclient.errors import Malformed
from chatnode.protocol import frames
from chatnode.protocol.events import SubscribedEvent
from chatnode.protocol.frames import Message, Position, Receipt


@dataclass(frozen=True)
class Ack:
    """A stored command: its event has this place in the room's order, at every recipient."""

    id: str
    room: str
    epoch: int
    seq: int
    ts: int
    """Milliseconds since 1970 UTC."""

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.seq)


@dataclass(frozen=True)
class Room:
    """The beginning of a subscription. Unless ``recovered``, ``messages`` is the page that replaces what was held."""

    id: str
    recovered: bool
    cursor: str
    messages: tuple[Message, ...]
    more_before: bool
    receipts: tuple[Receipt, ...]
    partial: bool = False
    """History is away: older messages may be missing, until the event ``whole`` says that it is back."""


@dataclass(frozen=True)
class Page:
    messages: tuple[Message, ...]
    more_before: bool
    more_after: bool
    partial: bool = False
    """As of a :class:`Room`."""


@dataclass(frozen=True)
class Presence:
    """``online`` is empty in large rooms, where only ``count`` is told."""

    online: tuple[str, ...]
    count: int


def stored(ack: frames.Ack) -> Ack:
    if ack.room is UNSET or ack.epoch is UNSET or ack.seq is UNSET or ack.ts is UNSET:
        raise Malformed(f"the ack of the stored command {ack.id} lacks room, epoch, seq or ts")
    return Ack(ack.id, ack.room, ack.epoch, ack.seq, ack.ts)


def room(result: SubscribedEvent) -> Room:
    messages: tuple[Message, ...] = () if result.messages is UNSET else result.messages
    receipts: tuple[Receipt, ...] = () if result.receipts is UNSET else result.receipts
    more_before, partial = _true(result.more_before), _true(result.partial)
    return Room(result.room, result.recovered, result.cursor, messages, more_before, receipts, partial)


def page(ack: frames.Ack) -> Page:
    if ack.messages is UNSET:
        raise Malformed(f"the ack of the history command {ack.id} lacks messages")
    return Page(ack.messages, _true(ack.more_before), _true(ack.more_after), _true(ack.partial))


def presence(ack: frames.Ack) -> Presence:
    online = () if ack.online is UNSET else ack.online
    return Presence(online, len(online) if ack.count is UNSET else ack.count)


def expiry(ack: frames.Ack) -> int:
    if ack.expires_at is UNSET:
        raise Malformed(f"the ack of the refresh {ack.id} lacks expires_at")
    return ack.expires_at


def _true(value: bool | UnsetType) -> bool:
    return value is not UNSET and value
