"""What the run and its crowds say to each other: one JSON object a line."""

from typing import Final

import msgspec
from msgspec import Struct


class Seat(Struct, frozen=True):
    """One person: in one room, by one way, over reconnections the nodes in turn from ``node`` on."""

    user: str
    token: str
    transports: tuple[str, ...]
    node: int
    pace_s: float
    """Between two commands, on average."""


class SeatedRoom(Struct, frozen=True):
    name: str
    journal: str
    """Path of the file that gets the room's log."""
    seats: tuple[Seat, ...]


class Crowd(Struct, frozen=True):
    """The first line that a crowd is given."""

    seed: str
    socket_urls: tuple[str, ...]
    rooms: tuple[SeatedRoom, ...]
    readers: tuple[str, ...]
    """For each node the token of somebody who is in every room, and reads through that node afterwards."""
    under_way: int
    """Commands that one person gives at once, at most; the next ones follow when all have their outcome."""


class Talk(Struct, frozen=True, tag="talk"):
    """Begin to talk."""


class Hush(Struct, frozen=True, tag="hush"):
    """Say nothing more, wait for all outcomes, and until everybody has everything."""

    within_s: float


class Judge(Struct, frozen=True, tag="judge"):
    """Leave, read everything back through every node, and judge."""

    deaths: tuple[tuple[float, tuple[int, ...]], ...]
    """When leaders died alone, and of which partitions."""


Order = Talk | Hush | Judge


class Ready(Struct, frozen=True, tag="ready"):
    """Everybody has a seat."""


class Talking(Struct, frozen=True, tag="talking"):
    """So many commands are acked so far, and so many wait for their outcome; said every second."""

    acked: int
    waiting: int


class Hushed(Struct, frozen=True, tag="hushed"):
    missing: tuple[str, ...]
    """Who has no outcome, or lacks something."""


class Finding(Struct, frozen=True):
    rule: str
    room: str
    what: str


class Judged(Struct, frozen=True, tag="judged", kw_only=True):
    """Of one room."""

    room: str
    sent: int
    acked: int
    messages: int
    """Of those that are acked: sends. The others are edits, deletes and reactions."""
    refused: int
    unknown: int
    delivered: int
    found: dict[str, int]
    """Broken promises by rule."""
    findings: tuple[Finding, ...]
    """The first of each."""
    differences: tuple[str, ...]
    """Nodes that tell another history."""
    resumed: dict[int, float]
    """By the index of a death, see :func:`tests.chaos.resumed.first_acks_s`."""
    waited_s: float | None


class Left(Struct, frozen=True, tag="left"):
    """All rooms are judged."""


Reply = Ready | Talking | Hushed | Judged | Left

encode: Final = msgspec.json.Encoder().encode
crowd_of: Final = msgspec.json.Decoder(Crowd).decode
order_of: Final = msgspec.json.Decoder(Order).decode
reply_of: Final = msgspec.json.Decoder(Reply).decode
