"""The records of a run, sorted by what the rules ask for: what was invoked, what each client has without a break."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from chatnode.protocol.events import StoredEvent
from chatnode.protocol.frames import Message, Position
from tests.oracle.effects import name
from tests.oracle.log import Delivered, Invoked, Record, Settled, Subscribed
from tests.oracle.rules import Rule

R = TypeVar("R", bound=Record)

Author = tuple[str, str]
"""User and command id: what makes a command one."""


@dataclass(frozen=True)
class Problem:
    rule: Rule
    room: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule} in {self.room}: {self.what}"


@dataclass
class Segment:
    """What one client has of a room without a break: from ``since`` on, with the page that it began with, if any."""

    client: str
    room: str
    since: Position
    page: tuple[Message, ...] | None
    events: list[StoredEvent] = field(default_factory=list)
    settled: Position | None = None


@dataclass
class Case:
    """The records, sorted by what the rules ask for."""

    invoked: dict[Author, list[tuple[int, Invoked]]] = field(default_factory=lambda: defaultdict(list))
    delivered: list[tuple[int, Delivered]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def all(self, kind: type[R]) -> list[R]:
        return [record for record in self.records if isinstance(record, kind)]

    def rooms(self) -> set[str]:
        return {invoked.command.room for group in self.invoked.values() for _, invoked in group} | {
            segment.room for segment in self.segments
        }


def sort_out(records: Iterable[Record]) -> tuple[Case, list[Problem]]:
    case = Case()
    problems: list[Problem] = []
    current: dict[tuple[str, str], Segment] = {}
    for index, record in enumerate(records):
        case.records.append(record)
        match record:
            case Invoked(user=user, command=command):
                case.invoked[user, command.id].append((index, record))
            case Subscribed(client=client, room=room):
                if not (record.recovered and record.asked_at is None and (client, room) in current):
                    page = None if record.recovered else record.messages
                    current[client, room] = Segment(client, room, record.since, page)
                    case.segments.append(current[client, room])
            case Delivered(client=client, event=event):
                case.delivered.append((index, record))
                segment = current.get((client, event.room))
                if segment is None:
                    problems.append(Problem(Rule.PHANTOM, event.room, f"{client} got {name(event)} unsubscribed"))
                else:
                    segment.events.append(event)
            case Settled(client=client, room=room, upto=upto) if (client, room) in current:
                current[client, room].settled = upto
            case _:
                pass
    return case, problems
