"""A cluster that keeps its promises, as a value, for the tests of the oracle."""

from collections.abc import Callable
from dataclasses import dataclass, field

from chatnode.protocol.events import StoredEvent
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import Message, Position, Send, StoredCommand
from tests.oracle import (
    Acked,
    Delivered,
    HistoryRead,
    Invoked,
    Record,
    Refused,
    Rule,
    Settled,
    Subscribed,
    Unknown,
    judge,
)
from tests.oracle.effects import event_of, place

ROOM = "r"


CLIENTS = {"ana-1": "ana", "ana-2": "ana", "bob-1": "bob"}


@dataclass
class Run:
    """A cluster that keeps its promises, as a value: what it stored, and the log of what its clients saw."""

    stored: list[StoredEvent] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    delivered: dict[str, int] = field(default_factory=dict)
    """Client → how many of the stored events it has, or were in its page."""
    epoch: int = 1
    commands: int = 0

    def now(self) -> float:
        return float(len(self.records))

    def page(self, limit: int = 1_000) -> tuple[Message, ...]:
        timeline = Timeline()
        for event in self.stored:
            timeline.apply(event)
        return timeline.messages()[-limit:]

    def head(self) -> Position:
        return place(self.stored[-1]) if self.stored else Position(1, 0)

    def invoke(self, client: str, make: Callable[[str], StoredCommand]) -> StoredCommand:
        self.commands += 1
        command = make(f"c{self.commands}")
        self.records.append(Invoked(at=self.now(), client=client, user=CLIENTS[client], command=command))
        return command

    def begin(self, client: str, text: str) -> StoredCommand:
        return self.invoke(client, lambda new: Send(id=new, room=ROOM, text=text))

    def store(self, client: str, command: StoredCommand) -> Position:
        seq = self.stored[-1].seq if self.stored else 0
        event = event_of(command, CLIENTS[client], Position(self.epoch, seq + 2), ts=1_000 + seq, prev=seq)
        self.stored.append(event)
        return place(event)

    def ack(self, client: str, command: StoredCommand, at: Position) -> None:
        self.records.append(
            Acked(at=self.now(), client=client, user=CLIENTS[client], command=command.id, room=ROOM, position=at)
        )

    def refuse(self, client: str, command: StoredCommand) -> None:
        record = Refused(at=self.now(), client=client, user=CLIENTS[client], command=command.id, code="forbidden")
        self.records.append(record)

    def give_up(self, client: str, command: StoredCommand) -> None:
        self.records.append(Unknown(at=self.now(), client=client, user=CLIENTS[client], command=command.id))

    def send(self, client: str, text: str = "hello") -> Position:
        command = self.begin(client, text)
        at = self.store(client, command)
        self.ack(client, command, at)
        return at

    def subscribe(self, client: str, limit: int = 1_000, *, asked: bool = True) -> None:
        asked_at = self.now() + 0.5 if asked else None
        self.records.append(
            Subscribed(
                at=self.now() + 0.6,
                client=client,
                room=ROOM,
                recovered=False,
                since=self.head(),
                messages=self.page(limit),
                asked_at=asked_at,
            )
        )
        self.delivered[client] = len(self.stored)

    def resume(self, client: str) -> None:
        had = self.delivered[client]
        since = place(self.stored[had - 1]) if had else Position(1, 0)
        self.records.append(Subscribed(at=self.now(), client=client, room=ROOM, recovered=True, since=since))

    def deliver(self, client: str) -> None:
        if client in self.delivered and self.delivered[client] < len(self.stored):
            event = self.stored[self.delivered[client]]
            self.records.append(Delivered(at=self.now(), client=client, event=event))
            self.delivered[client] += 1

    def read(self, client: str, limit: int = 1_000) -> None:
        self.records.append(
            HistoryRead(
                at=self.now() + 0.6,
                client=client,
                room=ROOM,
                messages=self.page(limit),
                newest=True,
                oldest=False,
                asked_at=self.now() + 0.5,
            )
        )

    def settle(self) -> None:
        for client in self.delivered:
            while self.delivered[client] < len(self.stored):
                self.deliver(client)
            self.records.append(Settled(at=self.now(), client=client, room=ROOM, upto=self.head()))

    def judged(self) -> frozenset[Rule]:
        return judge(self.records, {ROOM: self.page()}).rules
