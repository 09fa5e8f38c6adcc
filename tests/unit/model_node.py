"""A node as a value: what protocol v1 promises, without a network, for the client's machine to talk to.

It keeps what real nodes keep (a command's second attempt is found by ``again``; behind a failed command everything is
``out_of_order``), and is told when to fail.
"""

from collections import deque
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from chatnode.protocol.codec import ServerFrame, decode_command, encode_frame
from chatnode.protocol.cursors import parse_cursor
from chatnode.protocol.errors import ErrorCode
from chatnode.protocol.events import MessageEvent, StoredEvent, SubscribedEvent, TypingEvent
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import (
    Ack,
    Command,
    Connect,
    Error,
    History,
    Limits,
    Message,
    Ping,
    Position,
    Presence,
    Read,
    Refresh,
    StoredCommand,
    Subscribe,
    Typing,
    Unsubscribe,
    Welcome,
)
from tests.oracle.effects import event_of, place


@dataclass
class Session:
    user: str
    rooms: set[str] = field(default_factory=set)
    blocked: dict[str, str] = field(default_factory=dict)
    """Room → the failed command behind which all is out of order."""
    out: deque[bytes] = field(default_factory=deque)
    """Frames on their way to the client."""
    incoming: deque[bytes] = field(default_factory=deque)
    """Frames on their way to the node."""


@dataclass
class ModelNode:
    stored: list[StoredEvent] = field(default_factory=list)
    done: dict[tuple[str, str], StoredEvent] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    epoch: int = 1
    refusals: int = 0
    """So many stored commands are to be refused for now."""
    stuck_copies: int = 0
    recover_max: int = 5
    expires_at: int = 10**15

    def connected(self, user: str) -> Session:
        session = Session(user)
        self.sessions.append(session)
        return session

    def cut(self, session: Session) -> None:
        if session in self.sessions:
            self.sessions.remove(session)

    def room(self, room: str) -> list[StoredEvent]:
        return [event for event in self.stored if event.room == room]

    def page(self, room: str) -> tuple[Message, ...]:
        timeline = Timeline()
        for event in self.room(room):
            timeline.apply(event)
        return timeline.messages()

    def step(self, session: Session) -> None:
        """Work on the next frame of this session."""
        command = decode_command(session.incoming.popleft())
        self._answer(session, self._perform(session, command))

    def _answer(self, session: Session, frame: ServerFrame | None) -> None:
        if frame is not None:
            session.out.append(encode_frame(frame))

    def _perform(self, session: Session, command: Command) -> ServerFrame | None:
        match command:
            case Connect():
                welcome = Welcome(
                    id=command.id,
                    user=session.user,
                    name=session.user,
                    node="n",
                    session="s",
                    version="0",
                    heartbeat_ms=25_000,
                    expires_at=self.expires_at,
                    limits=Limits(),
                )
                self._answer(session, welcome)
                for room, cursor in command.cursors.items():
                    self._subscribe(session, Subscribe(id="", room=room, cursor=cursor), by_connect=True)
                return None
            case Subscribe():
                self._subscribe(session, command)
                return None
            case Unsubscribe():
                session.rooms.discard(command.room)
                return Ack(id=command.id, room=command.room)
            case Ping():
                return Ack(id=command.id, ts=1)
            case Refresh():
                return Ack(id=command.id, expires_at=self.expires_at)
            case Read() | Typing():
                return Ack(id=command.id, room=command.room)
            case History():
                messages = self.page(command.room)[-command.limit :]
                return Ack(id=command.id, room=command.room, messages=messages, more_before=False, more_after=False)
            case Presence():
                return Ack(id=command.id, room=command.room, online=(session.user,), count=1)
            case command:
                return self._store(session, command)

    def _store(self, session: Session, command: StoredCommand) -> ServerFrame:
        blocked = session.blocked.get(command.room)
        if blocked not in (None, command.id):
            return Error(id=command.id, code=ErrorCode.OUT_OF_ORDER, message="behind", retryable=True)
        if self.refusals:
            self.refusals -= 1
            session.blocked[command.room] = command.id
            return Error(id=command.id, code=ErrorCode.UNAVAILABLE, message="away", retryable=True)
        session.blocked.pop(command.room, None)
        known = self.done.get((session.user, command.id)) if command.again else None
        event = known or self.append(session.user, command)
        self.done[session.user, command.id] = event
        return Ack(id=command.id, room=event.room, epoch=event.epoch, seq=event.seq, ts=event.ts)

    def append(self, user: str, command: StoredCommand) -> StoredEvent:
        seq = self.stored[-1].seq + 1 if self.stored else 1
        mine = self.room(command.room)
        event = event_of(command, user, Position(self.epoch, seq), ts=seq, prev=mine[-1].seq if mine else 0)
        self.stored.append(event)
        self._publish(event)
        return event

    def _publish(self, event: StoredEvent) -> None:
        for session in self.sessions:
            if event.room in session.rooms:
                session.out.append(encode_frame(event))

    def _subscribe(self, session: Session, command: Subscribe, *, by_connect: bool = False) -> None:
        events = self.room(command.room)
        missed: list[StoredEvent] = []
        recovered = False
        if command.cursor is not UNSET:
            cursor = parse_cursor(command.cursor)
            missed = [event for event in events if place(event) > Position(cursor.epoch, cursor.seq)]
            recovered = cursor.epoch == self.epoch and len(missed) <= self.recover_max
        head = place(events[-1]) if events else Position(self.epoch, 0)
        result = SubscribedEvent(
            room=command.room,
            recovered=recovered,
            cursor=command.cursor if recovered and command.cursor is not UNSET else f"{self.epoch}-{head.seq}-0",
            messages=UNSET if recovered else self.page(command.room),
            more_before=UNSET if recovered else False,
            receipts=(),
        )
        if by_connect:
            self._answer(session, result)
        else:
            fields = {name: getattr(result, name) for name in ("room", "recovered", "cursor", "messages", "receipts")}
            self._answer(session, Ack(id=command.id, more_before=result.more_before, **fields))
        for event in missed if recovered else []:
            session.out.append(encode_frame(event))
        session.rooms.add(command.room)

    def say_typing(self, room: str) -> None:
        for session in self.sessions:
            if room in session.rooms:
                self._answer(session, TypingEvent(room=room, sender="eve", active=True, expires_ms=6_000))

    def store_copy(self) -> None:
        """A publish that was stuck comes out again, beyond the duplicate window: a void second copy in the stream."""
        messages = [event for event in self.stored if isinstance(event, MessageEvent)]
        if messages:
            self.stuck_copies += 1
            seq, prev = self.stored[-1].seq + 1, self.room(messages[-1].room)[-1].seq
            copy = replace(messages[-1], epoch=self.epoch, seq=seq, prev=prev, cursor=f"{self.epoch}-{seq}-0")
            self.stored.append(copy)
            self._publish(copy)

    def copies(self) -> int:
        """Second copies in the stream, also because a client resent without saying so."""
        return len(self.stored) - len({(event.sender, event.id) for event in self.stored})


def kind_of(data: bytes) -> str:
    """The type of a frame, or the kind of an event."""
    fields = msgspec.json.decode(data, type=dict[str, object])
    return str(fields.get("kind") or fields["type"])
