"""What the actions of a plan do to a world: commands of clients, and faults."""

import asyncio
import random
from typing import Any, Final

import msgspec
from msgspec import Struct

from chatnode.broker.subjects import CONTROL_STREAM, partition_of, stream_name
from chatnode.history.schema import COMMANDS as COMMANDS_COLLECTION
from chatnode.history.schema import EPOCHS, HEADS, WATERMARKS
from chatnode.protocol.control import MemberPut, control_subject, encode_control
from chatnode.protocol.cursors import parse_cursor
from chatnode.protocol.frames import Delete, Edit, Position, React, Send
from chatnode.protocol.ids import event_hash
from tests.oracle.log import Acked, Invoked, Log
from tests.simulation.broker import Nats
from tests.simulation.connection import Connection
from tests.simulation.database import Database
from tests.simulation.nodes import NodeMember
from tests.simulation.people import Person
from tests.simulation.plan import Action, Plan
from tests.simulation.streams import Staged, Stream
from tests.simulation.virtual_time import Clock
from tests.simulation.workers import WorkerMember


class _Head(Struct):
    """As much of a frame as is needed to know a stored event."""

    type: str = ""
    room: str = ""
    seq: int = 0


_HEADS: Final = msgspec.json.Decoder(_Head)


class Acts:
    """The part of a world that carries actions out."""

    plan: Plan
    chance: random.Random
    clock: Clock
    nats: Nats
    database: Database
    log: Log
    failures: list[str]
    rooms: tuple[str, ...]
    nodes: list[NodeMember]
    workers: list[WorkerMember]
    people: list[Person]
    disturbed_until: float
    removed: dict[tuple[str, str], float]
    readmitted: list[tuple[Person, str]]
    removal_s: float
    control_seq: int
    reused: set[str]

    def draw_id(self) -> str:
        raise NotImplementedError

    def wall_ms(self) -> int:
        raise NotImplementedError

    def _disturb(self, seconds: float) -> None:
        self.disturbed_until = max(self.disturbed_until, self.clock.now + seconds)

    def _person(self, action: Action) -> Person:
        return self.people[action.who % len(self.people)]

    def _room(self, action: Action) -> str:
        return self.rooms[action.what % 10 % len(self.rooms)]

    def _do_send(self, action: Action) -> None:
        command = self.draw_id()
        self._person(action).store(Send(id=command, room=self._room(action), text=f"text {command}"))

    def _do_burst(self, action: Action) -> None:
        for _ in range(action.what // 10):
            self._do_send(action)

    def _target(self, action: Action, person: Person, *, own: bool) -> Position | None:
        room = self._room(action)
        sends = self._sends
        acked = [
            record.position
            for record in self.log.records
            if isinstance(record, Acked)
            and record.room == room
            and record.command in sends
            and (not own or record.user == person.user)
        ]
        return acked[action.what // 10 % len(acked)] if acked else None

    @property
    def _sends(self) -> set[str]:
        return {
            record.command.id
            for record in self.log.records
            if isinstance(record, Invoked) and isinstance(record.command, Send)
        }

    def _do_edit(self, action: Action) -> None:
        person = self._person(action)
        target = self._target(action, person, own=True)
        if target is None:
            self._do_send(action)
            return
        command = self.draw_id()
        person.store(Edit(id=command, room=self._room(action), target=target, text=f"edited {command}"))

    def _do_delete(self, action: Action) -> None:
        person = self._person(action)
        target = self._target(action, person, own=True)
        if target is None:
            self._do_send(action)
        else:
            person.store(Delete(id=self.draw_id(), room=self._room(action), target=target))

    def _do_react(self, action: Action) -> None:
        person = self._person(action)
        target = self._target(action, person, own=False)
        if target is None:
            self._do_send(action)
        else:
            on = action.what // 10 % 2 == 0
            person.store(React(id=self.draw_id(), room=self._room(action), target=target, emoji="+1", on=on))

    def _do_reuse(self, action: Action) -> None:
        """Something else under an id that was acknowledged: it has to be refused."""
        person, sends = self._person(action), self._sends
        acked = [record for record in self.log.records if isinstance(record, Acked) and record.command in sends]
        own = [record for record in acked if record.user == person.user]
        if own:
            self.reused.add(own[-1].command)
            person.store(Send(id=own[-1].command, room=own[-1].room, text=f"not text {own[-1].command}"))

    def _do_look(self, action: Action) -> None:
        self._person(action).look(self._room(action))

    # Faults.

    def _stream(self, action: Action) -> Any:
        return self.nats.stream(stream_name(partition_of(self._room(action))))

    def _do_elect(self, action: Action) -> None:
        self._stream(action).lose_leader(action.seconds)
        self._disturb(action.seconds + 0.5)

    def _do_lose_live(self, action: Action) -> None:
        self._stream(Action(0, "")).lose_republishes += action.what
        self._disturb(0.0)

    def _do_lose_acks(self, action: Action) -> None:
        self._stream(Action(0, "")).lose_acks += action.what

    def _do_stall(self, action: Action) -> None:
        connection = self.nodes[action.who % len(self.nodes)].connection
        if connection is not None:
            connection.stall(action.seconds)
            self._disturb(action.seconds)

    def _do_pause_server(self, action: Action) -> None:
        self.nats.pause(action.who, action.seconds)
        self._disturb(action.seconds)

    def _do_freeze_server(self, action: Action) -> None:
        self.nats.freeze(action.who, action.seconds)
        self._disturb(action.seconds)

    def _do_short_answers(self, action: Action) -> None:
        self.nats.short_answers_until = self.clock.now + action.seconds

    def _do_damage(self, action: Action) -> None:
        self._stream(action).damage(action.who, max(1, action.what // 10))

    def _do_slow_interest(self, action: Action) -> None:
        self.nats.slow_interest_until = self.clock.now + action.seconds
        self._disturb(action.seconds)

    def _do_slow_routes(self, action: Action) -> None:
        self.nats.slow_routes_until = self.clock.now + action.seconds
        self._disturb(action.seconds)

    def _do_cut_node(self, action: Action) -> None:
        connection = self.nodes[action.who % len(self.nodes)].connection
        if connection is not None:
            connection.cut(action.seconds)
            self._disturb(action.seconds)

    def _do_refuse_batches(self, action: Action) -> None:
        self._stream(action).batches_refused_until = self.clock.now + action.seconds

    def _do_full(self, action: Action) -> None:
        self._stream(action).full_until = self.clock.now + action.seconds
        self._disturb(action.seconds)

    def _do_deaf(self, action: Action) -> None:
        connection = self.nodes[action.who % len(self.nodes)].connection
        if connection is not None:
            connection.deaf_until = self.clock.now + action.seconds
            self._disturb(action.seconds)

    def _do_kill_node(self, action: Action) -> None:
        member = self.nodes[action.who % len(self.nodes)]
        if not member.up:
            return
        member.kill()
        for person in self.people:
            if person.link is not None and person.link.member is member:
                self.clock.later(self.chance.random() * 0.5, self._lost, person, person.link)
        self.clock.later(action.seconds, member.start)
        self._disturb(action.seconds + 1.0)

    def _lost(self, person: Person, link: object) -> None:
        if person.link is link and person.link is not None:
            person.link.open = False
            person.closed(None, "")

    def _do_pause_node(self, action: Action) -> None:
        self.nodes[action.who % len(self.nodes)].pause(action.seconds)
        self._disturb(action.seconds)

    def _do_drop(self, action: Action) -> None:
        self._person(action).drop()

    def _do_half_open(self, action: Action) -> None:
        """The client's network is another one now; the node is not told."""
        self._person(action).drop(unnoticed_s=action.seconds)

    def _do_offline(self, action: Action) -> None:
        self._person(action).go_offline(action.seconds)
        self._disturb(action.seconds)

    def _do_online_at_raise(self, action: Action) -> None:
        """Offline until the worker gives out a new epoch, and back soon after that: rooms are opened as it is told."""
        person = self._person(action)
        person.go_offline(10.0)
        self._disturb(10.0)

        def wrote(collection: str, document: dict[str, Any]) -> None:
            if collection == EPOCHS and document["epoch"] > 1:
                self.database.wrote = None
                self.clock.later(action.seconds, person.come_online)

        self.database.wrote = wrote

    def _do_crash_client(self, action: Action) -> None:
        self._person(action).crash()

    def _do_subscribe(self, action: Action) -> None:
        person = self._person(action)
        room = self._room(action)
        if room in person.rooms:
            person.follow(room, person.rooms[room] if self.chance.random() < 0.5 else None)

    def _do_kill_worker(self, action: Action) -> None:
        member = self.workers[action.who % len(self.workers)]
        if member.up:
            member.kill()
            self.clock.later(action.seconds, member.start)
            self._disturb(action.seconds)

    def _do_pause_worker(self, action: Action) -> None:
        self.workers[action.who % len(self.workers)].pause(action.seconds)
        self._disturb(action.seconds)

    def _do_mongo_away(self, action: Action) -> None:
        self.database.away_until = self.clock.now + action.seconds
        self._disturb(action.seconds)

    def _do_mongo_unsure(self, action: Action) -> None:
        self.database.unsure += action.what

    def _do_pause_at_look_up(self, action: Action) -> None:
        """The node is stopped in the middle of its next look-up: commands were read, the room's end was answered."""
        member = self.nodes[action.who % len(self.nodes)]

        def asked(collection: str) -> None:
            if collection == COMMANDS_COLLECTION and asyncio.get_running_loop() is member.process:
                self.database.asked = None
                self.nats.looked = looked

        def looked(asker: Connection) -> None:
            if asker is member.connection:
                self.nats.looked = None
                member.pause(action.seconds)
                self._disturb(action.seconds)

        self.database.asked = asked

    def _recovered(self, person: Person, room: str, text: str) -> None:
        """A node has told somebody that nothing was lost since a cursor."""
        cursor = parse_cursor(text)
        stream = self.nats.stream(stream_name(partition_of(room)))
        if not stream.exists:
            return  # Nobody knows yet that it was lost.
        found = stream.at(cursor.seq)
        member = None if person.link is None else person.link.member
        if member is None or member.node is None or member.node.epochs._epochs[partition_of(room)] != stream.epoch:
            return  # It has not heard of the new epoch yet.
        head = self.database[HEADS].documents.get(room)
        if head is not None and (head["at"]["epoch"], head["at"]["seq"]) == (cursor.epoch, cursor.seq):
            return
        if member.started_at < stream.went_back_at:
            return  # What is open goes on until the worker has raised the epoch (docs/simulation.md).
        if cursor.epoch != stream.epoch or cursor.seq > stream.last_seq:
            self.failures.append(f"{person.name} recovered from {text} in epoch {stream.epoch} up to {stream.last_seq}")
        elif found is not None and found.message_id is not None:
            user, _, command = found.message_id.partition(":")
            if event_hash(user, command) != cursor.hash:
                self.failures.append(f"{person.name} recovered from {text}, where {found.message_id} is")

    def _do_purge(self, action: Action) -> None:
        """A plan that names it has a worker that keeps events for a second only."""

    def _applied(self, stream: Stream) -> bool:
        """Whether history has all of it, and nothing is on its way."""
        mark = self.database[WATERMARKS].documents.get(stream.name)
        return mark is not None and mark["at"]["seq"] == stream.last_seq and not stream.staged_subjects

    def _do_lose_stream(self, action: Action) -> None:
        stream = self._stream(action)
        if stream.exists and self._applied(stream):
            stream.lose()
        self._disturb(15.0)

    def _do_go_back(self, action: Action) -> None:
        stream = self._stream(action)
        if stream.exists and self._applied(stream) and stream.last_seq > 1:
            stream.go_back(max(1, stream.last_seq - 1 - action.what // 10))
        self._disturb(15.0)

    def _do_revoke(self, action: Action) -> None:
        person, room = self._person(action), self._room(action)
        event = MemberPut(id=self.draw_id(), actor="u0", ts=self.wall_ms(), room=room, user=person.user, role=None)
        stream = self.nats.stream(CONTROL_STREAM)
        if stream.leaderless:
            self.clock.later(0.5, self._do_revoke, action)
            self._disturb(3.0)
            return
        self.removed.setdefault((person.user, room), self.clock.now)
        self.control_seq = stream.last_seq + 1
        for each in self.people:
            each.watch = self._watch
        stream._commit([Staged(control_subject(event), encode_control(event), {}, None)])

    def _do_readmit(self, action: Action) -> None:
        """Back into the room, which is asked for at once, through whichever node."""
        person, room = self._person(action), self._room(action)
        stream = self.nats.stream(CONTROL_STREAM)
        if (person.user, room) not in self.removed:
            return
        if stream.leaderless:
            self.clock.later(0.5, self._do_readmit, action)
            self._disturb(3.0)
            return
        event = MemberPut(
            id=self.draw_id(), actor="u0", ts=self.wall_ms(), room=room, user=person.user, role="learner", name="back"
        )
        del self.removed[person.user, room]
        self.control_seq = stream.last_seq + 1
        stream._commit([Staged(control_subject(event), encode_control(event), {}, None)])
        for each in self.people:
            if each.user == person.user:
                self.readmitted.append((each, room))
                each.follow(room)

    def _watch(self, person: Person, payload: bytes) -> None:
        """What a node writes to somebody who was removed from a room."""
        head = _HEADS.decode(payload)
        if head.type != "event" or head.seq == 0:
            return
        at = self.removed.get((person.user, head.room))
        if at is not None and self.clock.now > at + self.removal_s:
            self.failures.append(
                f"{person.name} got {head.seq} of {head.room}, removed {self.clock.now - at:.1f} s ago"
            )
