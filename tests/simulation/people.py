"""Clients: :class:`chatclient.machine.Machine` with an outbox that survives it."""

import random
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from chatclient.errors import Ended, Refused
from chatclient.machine import Machine, State, Timing
from chatclient.outputs import Dial, FetchToken, Finish, HangUp, Output, Reject, Settle, Write
from chatnode.protocol.cursors import parse_cursor
from chatnode.protocol.events import StoredEvent, SubscribedEvent, UnsubscribedEvent
from chatnode.protocol.frames import Ack, History, Position, StoredCommand
from tests.oracle.log import Acked, HistoryRead, Invoked, Log, Subscribed
from tests.oracle.log import Refused as RefusedRecord
from tests.oracle.recording import EventRecorder
from tests.simulation.links import Link
from tests.simulation.nodes import NodeMember
from tests.simulation.streams import WALL_0
from tests.simulation.virtual_time import GRID_S, Call, Clock

TIMING = Timing(reply_s=15.0, ping_s=10.0)


class Person:
    """One client of ``user``. What it was given to store survives :meth:`crash`, as an outbox does."""

    def __init__(
        self,
        clock: Clock,
        chance: random.Random,
        log: Log,
        name: str,
        user: str,
        nodes: Sequence[NodeMember],
        ids: Callable[[], str],
    ) -> None:
        self.clock = clock
        self.chance = chance
        self.name = name
        self.user = user
        self.watch: Callable[[Person, bytes], None] | None = None
        self.link: Link | None = None
        self.offline_until = -1.0
        self.outbox: dict[str, StoredCommand] = {}
        self.rooms: dict[str, str | None] = {}
        """What is followed, and the cursor up to which its events were taken."""
        self.places: dict[str, Position] = {}
        self.live_since: dict[str, float] = {}
        """Since when a room is followed without a break."""
        self.recovered: Callable[[Person, str, str], None] | None = None
        """Told of each room that goes on from a cursor."""
        self._log = log
        self._nodes = nodes
        self._ids = ids
        self._asked: dict[str, tuple[str, float]] = {}
        self._armed: Call | None = None
        self._armed_at = 0.0
        self._partial = False
        """What comes now says of itself that it is not all."""
        self._begin()

    def _begin(self) -> None:
        self.machine = Machine(TIMING, ids=self._ids, draw=self.chance.random, wall=self._wall, renewable=True)
        self._recorder = EventRecorder(self.name)
        self.machine.start(self.clock.now)

    def _wall(self) -> float:
        return WALL_0 + self.clock.now

    # What the owner does.

    def begin(self) -> None:
        self._work()

    def store(self, command: StoredCommand) -> None:
        self._log.add(Invoked(at=self.clock.now, client=self.name, user=self.user, command=command))
        self.outbox[command.id] = command
        self.machine.store(self.clock.now, command)
        self._work()

    def follow(self, room: str, cursor: str | None = None) -> None:
        self.rooms[room] = cursor
        self._recorder.asked(room, self.clock.now, cursor)
        self.machine.subscribe(self.clock.now, self._ids(), room, cursor, None)
        self._work()

    def look(self, room: str) -> None:
        query = History(id=self._ids(), room=room, limit=100)
        self._asked[query.id] = (room, self.clock.now)
        self.machine.query(self.clock.now, query)
        self._work()

    def drop(self, unnoticed_s: float = 0.0) -> None:
        """The connection breaks; the node learns of it within 2 s, or after ``unnoticed_s``."""
        if self.link is not None and self.link.open:
            self.link.hang_up(unnoticed_s or self.chance.random() * 2.0)
            self.closed(None, "")

    def go_offline(self, seconds: float) -> None:
        self.offline_until = max(self.offline_until, self.clock.now + seconds)
        self.drop()

    def come_online(self) -> None:
        """The device says that there is a network again."""
        self.offline_until = self.clock.now
        self.machine.network(self.clock.now, online=True)
        self._work()

    def crash(self) -> None:
        """And start again from what was kept: commands, cursors."""
        if self.link is not None:
            self.link.hang_up(self.chance.random() * 2.0)
            self.link = None
        attempted = {
            entry.command.id
            for outbox in self.machine._conversation.outboxes.values()
            for entry in outbox._entries.values()
            if entry.attempted
        }
        self.machine.close()
        self.machine.outputs()
        self._asked.clear()
        self.live_since.clear()
        self._begin()
        kept = self.chance.random() < 0.7
        for room, cursor in self.rooms.items():
            given = cursor if kept else None
            self.rooms[room] = given
            self._recorder.asked(room, self.clock.now, given)
            self.machine.subscribe(self.clock.now, self._ids(), room, given, None)
        for command in self.outbox.values():
            self.machine.store(self.clock.now, replace(command, again=command.id in attempted or command.again))
            if command.id in attempted:
                self.outbox[command.id] = replace(command, again=True)
        self._work()

    # What the link brings.

    def received(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self._partial = b'"partial":true' in frame
            self.machine.received(self.clock.now, frame)
            self._work()
        self._partial = False

    def closed(self, code: int | None, reason: str) -> None:
        self.link = None
        self.live_since.clear()
        self.machine.closed(self.clock.now, code, reason)
        self._work()

    def _tick(self) -> None:
        self._armed = None
        self.machine.tick(self.clock.now)
        self._work()

    def _work(self) -> None:
        machine = self.machine
        while True:
            for output in machine.outputs():
                self._do(output)
            event = machine.take(self.clock.now)
            if event is None:
                break
            self._take(event)
        deadline = machine.deadline
        if deadline is None or (self._armed is not None and self._armed_at <= deadline):
            return
        if self._armed is not None:
            self._armed.cancel()
        self._armed_at = max(deadline, self.clock.now + GRID_S)
        self._armed = self.clock.at(self._armed_at, None, self._tick)

    def _take(self, event: object) -> None:
        record = self._recorder.record(event, self.clock.now)  # type: ignore[arg-type]
        if isinstance(record, Subscribed) and self._partial:
            # It says itself that its page is not all of it; what follows has to be whole.
            record = replace(record, recovered=True, messages=(), asked_at=self.clock.now)
        if record is not None:
            self._log.add(record)
        if isinstance(event, StoredEvent):
            self.rooms[event.room] = event.cursor
            self.places[event.room] = Position(event.epoch, event.seq)
        elif isinstance(event, SubscribedEvent):
            self.live_since[event.room] = self.clock.now
            presented = self.rooms.get(event.room)
            if event.recovered and presented is not None and self.recovered is not None:
                self.recovered(self, event.room, presented)
            if not event.recovered or self.rooms.get(event.room) is None:
                cursor = parse_cursor(event.cursor)
                self.rooms[event.room] = event.cursor
                self.places[event.room] = Position(cursor.epoch, cursor.seq)
        elif isinstance(event, UnsubscribedEvent):
            self.rooms.pop(event.room, None)
            self.live_since.pop(event.room, None)

    def _do(self, output: Output) -> None:
        match output:
            case Write(data):
                if self.link is not None and self.link.open:
                    self.link.say(data)
            case Dial():
                self.clock.later(0.001 + 0.004 * self.chance.random(), self._dial, self.machine)
            case HangUp():
                if self.link is not None:
                    self.link.hang_up(0.002)
                    self.link = None
                self.live_since.clear()
            case FetchToken():
                self.clock.later(0.005, self._renew, self.machine)
            case Settle(call, answer):
                self._settled(call, answer)
            case Reject(call, error):
                self._rejected(call, error)
            case Finish():
                pass
            case _:
                pass

    def _settled(self, call: str, answer: object) -> None:
        if call in self.outbox and isinstance(answer, Ack):
            del self.outbox[call]
            assert isinstance(answer.room, str)
            assert isinstance(answer.epoch, int)
            assert isinstance(answer.seq, int)
            at = Position(answer.epoch, answer.seq)
            self._log.add(
                Acked(at=self.clock.now, client=self.name, user=self.user, command=call, room=answer.room, position=at)
            )
        elif call in self._asked and isinstance(answer, Ack) and isinstance(answer.messages, tuple):
            room, asked_at = self._asked.pop(call)
            if self._partial:
                return
            self._log.add(
                HistoryRead(
                    at=self.clock.now,
                    client=self.name,
                    room=room,
                    messages=answer.messages,
                    newest=True,
                    oldest=answer.more_before is not True,
                    asked_at=asked_at,
                )
            )

    def _rejected(self, call: str, error: Exception) -> None:
        self._asked.pop(call, None)
        if call in self.outbox and isinstance(error, Refused):
            del self.outbox[call]
            self._log.add(
                RefusedRecord(at=self.clock.now, client=self.name, user=self.user, command=call, code=error.code)
            )
        elif isinstance(error, Ended) and call in self.outbox:
            raise AssertionError(f"{self.name} has ended: {error}")

    def _dial(self, machine: Machine) -> None:
        if machine is not self.machine or machine.state is not State.DIALLING:
            return
        up = [member for member in self._nodes if member.up and member.ready]
        if self.clock.now < self.offline_until or not up:
            self.closed(None, "")
            return
        member = self.chance.choice(up)
        process = member.process
        assert process is not None
        link = Link(self, member)
        link._up_at = self.clock.now
        self.clock.post(link._arrival(), process, self._accept, link, machine)
        self.clock.later(10.0, self._unopened, link, machine)
        self._dialled = link

    def _accept(self, link: Link, machine: Machine) -> None:
        """At the node."""
        node = link.member.node
        assert node is not None
        refused = node.admit()
        if refused is None:
            link.driver = node.accept(link)
        self.clock.post(link._arrival(), None, self._opened, link, machine)

    def _opened(self, link: Link, machine: Machine) -> None:
        if machine is not self.machine or self._dialled is not link or machine.state is not State.DIALLING:
            link.hang_up(0.002)
        elif link.driver is None or self.clock.now < self.offline_until:
            link.hang_up(0.002)
            self.closed(None, "")
        else:
            self.link = link
            machine.opened(self.clock.now, self._token())
            self._work()

    def _unopened(self, link: Link, machine: Machine) -> None:
        if machine is self.machine and self._dialled is link and machine.state is State.DIALLING:
            self.closed(None, "")

    def _renew(self, machine: Machine) -> None:
        machine.token(self.clock.now, self._token())
        self._work()

    def _token(self) -> str:
        return f"{self.user}@{round(self._wall() * 1000)}"
