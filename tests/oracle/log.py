"""The log of a run: one record for everything that clients asked and saw, in the order in which it happened.

Records are values that can be written to a file, one JSON object a line, so that several processes may each keep a
log; :func:`merge` brings logs of one machine together by their times.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec
from msgspec import Struct

from chatnode.protocol.events import StoredEvent
from chatnode.protocol.frames import Message, Position, StoredCommand


class _Record(Struct, frozen=True, tag_field="record", kw_only=True):
    at: float
    """Monotonic seconds."""
    client: str
    """A client's name; a client is one user's, and a user may have several."""


class Invoked(_Record, tag="invoked", frozen=True):
    """A stored command was handed to a client: from now on its effect may be seen."""

    user: str
    command: StoredCommand


class Acked(_Record, tag="acked", frozen=True):
    user: str
    command: str
    room: str
    position: Position


class Refused(_Record, tag="refused", frozen=True):
    """Refused for good: it must have no effect."""

    user: str
    command: str
    code: str


class Unknown(_Record, tag="unknown", frozen=True):
    """The client gave up; the command may have had its effect, once, or none."""

    user: str
    command: str


class Subscribed(_Record, tag="subscribed", frozen=True):
    """A subscription begins. Unless recovered, its page replaces what was held, and events after ``since`` follow.

    Recovered, what was missed since ``since`` follows.
    """

    room: str
    recovered: bool
    since: Position
    messages: tuple[Message, ...] = ()
    asked_at: float | None = None
    """When a subscribe was called; None where the client resumed by itself, and what it held goes on."""


class Delivered(_Record, tag="delivered", frozen=True):
    event: StoredEvent


class HistoryRead(_Record, tag="history_read", frozen=True):
    """A page of the newest messages, or one before or after a position."""

    room: str
    messages: tuple[Message, ...]
    newest: bool
    """Whether the page ends with the room's newest message."""
    oldest: bool
    """Whether it begins with the room's first."""
    asked_at: float


class Settled(_Record, tag="settled", frozen=True):
    """The test has waited: this client has to have all of the room up to this place by now."""

    room: str
    upto: Position


Record = Invoked | Acked | Refused | Unknown | Subscribed | Delivered | HistoryRead | Settled

_ENCODER = msgspec.json.Encoder()


def encode_record(record: Record) -> bytes:
    return _ENCODER.encode(record)


def decode_records(lines: Iterable[bytes]) -> Iterator[Record]:
    decoder = msgspec.json.Decoder(Record)
    return (decoder.decode(line) for line in lines if line.strip())


def merge(*logs: Iterable[Record]) -> list[Record]:
    """One log out of several of one machine's; the sort is stable, each log's own order is kept."""
    return sorted((record for log in logs for record in log), key=lambda record: record.at)


class Keeper(Protocol):
    """Where records go."""

    def add(self, record: Record) -> None: ...


class Log:
    """The growing log of one process."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        self.records.append(record)
