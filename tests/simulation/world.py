"""One history: a plan is carried out, everything heals, and the oracle judges what clients saw and history holds."""

import asyncio
import contextlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Struct

import chatnode.node
import chatnode.rooms.copies
from chatnode.broker.subjects import CONTROL_STREAM, PARTITIONS, partition_of, room_subject, stream_name
from chatnode.history.folds import position_document
from chatnode.history.schema import COMMANDS as COMMANDS_COLLECTION
from chatnode.history.schema import HEADS, MEMBERS, ROOMS, WATERMARKS
from chatnode.protocol.control import Member, MemberPut, RoomPut, control_subject, encode_control
from chatnode.protocol.cursors import parse_cursor
from chatnode.protocol.frames import Delete, Edit, Message, Position, React, Send
from chatnode.protocol.ids import event_hash
from chatnode.rooms.tasks import TaskOwner
from tests.oracle.log import Acked, Delivered, Invoked, Log, Refused, Settled, Subscribed
from tests.oracle.verdict import Problem, Rule, Verdict, judge
from tests.simulation.broker import WALL_0, Connection, Nats, Staged, Stream
from tests.simulation.cluster import NodeMember, WorkerMember
from tests.simulation.database import Database
from tests.simulation.people import Person
from tests.simulation.plan import COMMANDS, Action, Plan
from tests.simulation.virtual_time import Clock, Stuck

_WORD: Final = re.compile(r"\w+")
REST_S: Final = 90.0
"""How long after the last fault everything may take to come to rest."""
_STEP_S: Final = 0.5
KEEP_S: Final = 30.0
"""How long events stay in a stream at least, where a plan purges: longer than a lost one takes to be noticed."""


def _room_names(partition: int) -> tuple[str, ...]:
    return tuple(f"room-{n}" for n in range(100) if partition_of(f"room-{n}") == partition)


ROOM_NAMES: Final = (_room_names(0)[0], _room_names(1)[0])
TOGETHER: Final = _room_names(0)[:2]
"""Two rooms of one partition."""
PROMPT_S: Final = 3.5
"""Whoever follows a room gets what is stored within so long: interest is checked again after 1 s, after an election
at once, both at the hub's next tick; and a fetch takes its moment."""
_QUICK: Final = frozenset(
    {
        *COMMANDS,
        "elect",
        "lose_live",
        "lose_acks",
        "short_answers",
        "slow_interest",
        "drop",
        "crash_client",
        "subscribe",
    }
    | {"offline", "half_open", "refuse_batches", "full", "kill_worker", "pause_worker"}
)
"""Actions after which what is stored still has to come soon."""


class _Head(Struct):
    """As much of a frame as is needed to know a stored event."""

    type: str = ""
    room: str = ""
    seq: int = 0


_HEADS: Final = msgspec.json.Decoder(_Head)
_HEARD: Final = frozenset(
    {*COMMANDS, "revoke", "readmit", "drop", "half_open", "offline", "crash_client", "subscribe", "lose_acks"}
)
"""Actions that leave control heard."""
_UNTIL_RAISED: Final = frozenset({Rule.STALE, Rule.WRONG_FOLD, Rule.GAP, Rule.RESURRECTED})
"""What a stream that went back breaks until its epoch is raised (docs/simulation.md)."""


@dataclass
class Outcome:
    """What a history came to. ``problems`` are the oracle's and the simulation's own, in words."""

    plan: Plan
    problems: list[str] = field(default_factory=list)
    rules: set[str] = field(default_factory=set)
    acked: int = 0
    delivered: int = 0
    stored: int = 0
    seconds: float = 0.0
    steps: int = 0
    log: Log | None = None

    @property
    def ok(self) -> bool:
        return not self.problems


class World:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.chance = random.Random(plan.seed * 2 + 1)
        self.clock = Clock()
        self.nats = Nats(self.clock, self.chance, plan.window)
        self.database = Database(self.clock, self.chance)
        self.log = Log()
        self.failures: list[str] = []
        self.rooms = (TOGETHER if plan.together else ROOM_NAMES)[: plan.rooms]
        self.partitions = sorted({partition_of(room) for room in self.rooms})
        self.disturbed_until = 0.0
        self.control_seq = 0
        """The last control event that the projections have to hold in the end."""
        self.readmitted: list[tuple[Person, str]] = []
        self.removed: dict[tuple[str, str], float] = {}
        unheard = any(action.kind not in _HEARD for action in plan.actions)
        self.removal_s = 6.0 if unheard else 2.0
        self._ids = 0
        epochs = any(action.kind in ("lose_stream", "go_back") for action in plan.actions)
        outages = any(action.kind in ("mongo_away", "mongo_unsure") for action in plan.actions)
        purges = any(action.kind == "purge" for action in plan.actions)
        for partition in range(PARTITIONS) if plan.full else self.partitions:
            self.nats.stream(stream_name(partition))
        self.nats.stream(CONTROL_STREAM)
        self.nodes = [
            NodeMember(
                self.clock,
                self.nats,
                self.database,
                number,
                partitions=self.partitions,
                full=plan.full,
                epochs=epochs,
                outages=outages,
                failed=self.failures.append,
            )
            for number in range(plan.nodes)
        ]
        self.workers = [
            WorkerMember(
                self.clock,
                self.nats,
                self.database,
                number,
                partitions=self.partitions,
                control=plan.full,
                keep_s=KEEP_S if purges else None,
                failed=self.failures.append,
            )
            for number in range(plan.workers)
        ]
        self.people = [
            Person(
                self.clock,
                self.chance,
                self.log,
                f"p{number}",
                f"u{number % plan.users}",
                self.nodes,
                self.draw_id,
            )
            for number in range(plan.people)
        ]
        self._put_rooms()

    def draw_id(self) -> str:
        self._ids += 1
        return f"i{self._ids}"

    def wall_ms(self) -> int:
        return round((WALL_0 + self.clock.now) * 1000)

    def _put_rooms(self) -> None:
        """As control events and their projection."""
        users = sorted({person.user for person in self.people})
        for seq, room in enumerate(self.rooms, start=1):
            members = tuple(Member(user, "moderator" if user == "u0" else "learner", user) for user in users)
            event = RoomPut(
                id=f"make-{room}",
                actor="-",
                ts=self.wall_ms(),
                room=room,
                room_kind="course",
                title=room,
                members=members,
            )
            stream = self.nats.stream(CONTROL_STREAM)
            stream._commit([Staged(control_subject(event), encode_control(event), {}, None)])
            self.database[ROOMS].documents[room] = {
                "_id": room,
                "kind": "course",
                "title": room,
                "closed": False,
                "seq": seq,
            }
            for member in members:
                self.database[MEMBERS].documents[room, member.user] = {
                    "_id": {"room": room, "user": member.user},
                    "role": member.role,
                    "name": member.name,
                    "seq": seq,
                }
        self.database[WATERMARKS].documents[CONTROL_STREAM] = {
            "_id": CONTROL_STREAM,
            "at": position_document(Position(1, len(self.rooms))),
            "hash": "0",
            "highest": len(self.rooms),
            "ts": 0,
        }

    # Carrying it out.

    def run(self) -> None:
        for member in (*self.workers, *self.nodes):
            member.start()
        self.clock.run(0.05)
        for person in self.people:
            for room in self.rooms:
                person.follow(room)
            person.begin()
        for action in self.plan.actions:
            self.clock.at(action.at, None, self._act, action)
        for person in self.people:
            person.recovered = self._recovered
        end = self.plan.actions[-1].at if self.plan.actions else 1.0
        self.clock.run(end + 0.01)
        self._rest()

    def _act(self, action: Action) -> None:
        getattr(self, f"_do_{action.kind}")(action)

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
        acked = [
            record.position
            for record in self.log.records
            if isinstance(record, Acked)
            and record.room == room
            and record.command in self._sends
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

    def _do_slow_interest(self, action: Action) -> None:
        self.nats.slow_interest_until = self.clock.now + action.seconds
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

    # Rest.

    def _rest(self) -> None:
        """Everything heals by itself at the time that its action names; then all has to come to rest."""
        self.clock.run(max(self.disturbed_until, self.clock.now))
        self.nats.streams[stream_name(self.partitions[0])].lose_republishes = 0
        deadline = self.clock.now + REST_S
        while True:
            self.clock.run(self.clock.now + _STEP_S)
            why = self._restless()
            if why is None:
                break
            if self.clock.now >= deadline:
                self.failures.append(f"stuck: {why}")
                break

    def _restless(self) -> str | None:  # noqa: PLR0912  one condition after the other
        for person, room in self.readmitted:
            if room not in person.rooms:
                self.failures.append(f"{person.name} was refused {room}, of which it is a member again")
                self.readmitted.clear()
                break
        for person in self.people:
            for user, room in self.removed:
                if user == person.user and room in person.rooms:
                    return f"{person.name} follows {room}, and was removed"
            if person.outbox:
                return f"{person.name} waits for {', '.join(person.outbox)}"
            if person._asked:
                return f"{person.name} waits for a page"
            for room in person.rooms:
                last = self._last(room)
                if person.places.get(room, Position(0, 0)) < last:
                    return f"{person.name} is at {person.places.get(room)} of {room}, the end is {last}"
                if room not in person.live_since:
                    return f"{person.name} does not follow {room}"
        applied = self.database[WATERMARKS].documents[CONTROL_STREAM]["at"]["seq"]
        if applied < self.control_seq:
            return f"control is applied up to {applied}, not to {self.control_seq}"
        for partition in self.partitions:
            stream = self.nats.stream(stream_name(partition))
            mark = self.database[WATERMARKS].documents.get(stream.name)
            if stream.entries and (mark is None or mark["at"]["seq"] < stream.last_seq):
                return f"the watermark of {stream.name} is {mark and mark['at']}, the end {stream.last_seq}"
        return None

    def _last(self, room: str) -> Position:
        """The last event of a room that is not a copy."""
        stream = self.nats.stream(stream_name(partition_of(room)))
        subject = room_subject(room)
        first: dict[str | None, Position] = {}
        last = Position(0, 0)
        for entry in stream.ever:
            if entry.subject == subject:
                place = Position(entry.epoch, entry.seq)
                if first.setdefault(entry.message_id, place) == place:
                    last = place
        return last

    # The verdict.

    def astray(self) -> set[str]:
        """Commands stored after a restore before the epoch was raised: their acks name a place of the old epoch. A
        known limit (docs/simulation.md)."""
        return {
            entry.message_id.partition(":")[2]
            for partition in self.partitions
            for entry in self.nats.stream(stream_name(partition)).ever
            if entry.astray and entry.message_id is not None
        }

    def late(self) -> Iterator[str]:
        """What somebody who followed all the time was given too late, where nothing excuses that."""
        if any(action.kind not in _QUICK for action in self.plan.actions):
            return
        due = {
            (entry.epoch, entry.seq, room): entry.due
            for room in self.rooms
            for entry in self.nats.stream(stream_name(partition_of(room))).ever
            if entry.subject == room_subject(room)
        }
        since: dict[tuple[str, str], float] = {}
        for record in self.log.records:
            match record:
                case Subscribed(client=client, room=room, at=at):
                    since[client, room] = at
                case Delivered(client=client, event=event, at=at):
                    begun = since.get((client, event.room), at)
                    begun = max(begun, due.get((event.epoch, event.seq, event.room), at))
                    if at > begun + PROMPT_S:
                        yield f"{client} got {event.seq} of {event.room} after {at - begun:.1f} s"

    def counts(self, problem: Problem, astray: set[str]) -> bool:
        """Whether a problem breaks a promise; what does not is a known limit (docs/simulation.md)."""
        went_back = any(stream.went_back_in is not None for stream in self.nats.streams.values())
        if went_back and problem.rule in _UNTIL_RAISED:
            return False
        if astray and (problem.rule is Rule.WRONG_FOLD or astray & set(_WORD.findall(problem.what))):
            return False
        if problem.rule is Rule.REFUSED_KEPT:
            # Published before the removal and stuck on its way: nobody can call it back.
            words = set(_WORD.findall(problem.what))
            refused = {r.command: r.at for r in self.log.records if isinstance(r, Refused) and r.command in words}
            return any(
                entry.message_id is not None
                and (command := entry.message_id.partition(":")[2]) in refused
                and entry.at < refused[command]
                for partition in self.partitions
                for entry in self.nats.stream(stream_name(partition)).ever
            )
        return True

    def history(self, room: str) -> list[Message]:
        """All of it, as :class:`chatnode.history.reader.MongoHistory` reads it."""
        from chatnode.history.reader import MongoHistory
        from chatnode.protocol.sealing import PlainSealer
        from tests.simulation.virtual_time import Process

        reader = MongoHistory(self.database, PlainSealer())  # type: ignore[arg-type]
        process = Process(self.clock, "reader", self.failures.append)
        self.database.away_until = -1.0
        found: list[Message] = []

        async def read() -> None:
            page = await reader.page(room, limit=1000)
            found.extend(page.messages)

        process.call_soon(lambda: process.create_task(read()))
        self.clock.run(self.clock.now + 0.1)
        return found

    def verdict(self) -> Verdict:
        for person in self.people:
            for room in person.rooms:
                self.log.add(Settled(at=self.clock.now, client=person.name, room=room, upto=self._last(room)))
        return judge(self.log.records, {room: self.history(room) for room in self.rooms})


@contextlib.contextmanager
def _in_virtual_time(world: World) -> Iterator[None]:
    """The few names that the code reads from its modules: the time of day, the duplicate window, failed tasks."""
    node, copies = chatnode.node, chatnode.rooms.copies
    before = (node.wall_ms, copies.LATE_MS, TaskOwner._done)

    def done(owner: TaskOwner, task: Any) -> None:
        owner._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            world.failures.append(f"task {task.get_name()} failed: {error!r}")

    node.wall_ms = world.wall_ms
    copies.LATE_MS = round(world.plan.window * 500)  # type: ignore[misc]
    TaskOwner._done = done  # type: ignore[method-assign]
    try:
        yield
    finally:
        node.wall_ms, copies.LATE_MS, TaskOwner._done = before  # type: ignore[misc, method-assign]


def run_plan(plan: Plan) -> Outcome:
    world = World(plan)
    outcome = Outcome(plan, log=world.log)
    with _in_virtual_time(world):
        try:
            world.run()
            verdict = world.verdict()
        except AssertionError as error:
            outcome.problems.append(f"assertion: {error}")
            outcome.rules.add("crash")
        except Stuck as error:
            world.failures.append(f"stuck: {error}")
        else:
            astray = world.astray()
            problems = [problem for problem in verdict.problems if world.counts(problem, astray)]
            outcome.problems.extend(map(str, problems))
            outcome.rules.update(problem.rule.value for problem in problems)
            late = list(world.late())
            outcome.problems.extend(late)
            outcome.rules.update(["late"] if late else [])
            outcome.acked = verdict.acked
            outcome.delivered = verdict.delivered
        finally:
            world.clock.end()
    outcome.problems.extend(world.failures)
    if world.failures:
        outcome.rules.add("stuck" if world.failures[-1].startswith("stuck") else "crash")
    outcome.stored = sum(len(world.nats.stream(stream_name(partition)).ever) for partition in world.partitions)
    outcome.seconds = world.clock.now
    outcome.steps = world.clock.steps
    return outcome
