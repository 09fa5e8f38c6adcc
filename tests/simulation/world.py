"""One history: a plan is carried out, everything heals, and the oracle judges what clients saw and history holds."""

import random
from typing import Final

from chatnode.broker.subjects import CONTROL_STREAM, partition_of, room_subject, stream_name
from chatnode.history.folds import position_document
from chatnode.history.schema import MEMBERS, ROOMS, WATERMARKS
from chatnode.protocol.control import Member, RoomPut, control_subject, encode_control
from chatnode.protocol.frames import Position
from tests.oracle.log import Log
from tests.simulation.acts import Acts
from tests.simulation.broker import Nats
from tests.simulation.database import Database
from tests.simulation.nodes import NodeMember
from tests.simulation.people import Person
from tests.simulation.plan import COMMANDS, Action, Plan
from tests.simulation.streams import WALL_0, Staged
from tests.simulation.virtual_time import Clock
from tests.simulation.workers import WorkerMember

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
_HEARD: Final = frozenset(
    {*COMMANDS, "reuse", "revoke", "readmit", "drop", "half_open", "offline", "crash_client", "subscribe", "lose_acks"}
)
"""Actions that leave control heard."""


class World(Acts):
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
        self.reused: set[str] = set()
        """Commands of which another one was given the id."""
        unheard = any(action.kind not in _HEARD for action in plan.actions)
        self.removal_s = 6.0 if unheard else 2.0
        self._ids = 0
        epochs = any(action.kind in ("lose_stream", "go_back") for action in plan.actions)
        outages = any(action.kind in ("mongo_away", "mongo_unsure") for action in plan.actions)
        purges = any(action.kind == "purge" for action in plan.actions)
        for partition in self.partitions:
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
            self.clock.post(action.at, None, self._act, action)
        for person in self.people:
            person.recovered = self._recovered
        end = self.plan.actions[-1].at if self.plan.actions else 1.0
        self.clock.run(end + 0.01)
        self._rest()

    def _act(self, action: Action) -> None:
        getattr(self, f"_do_{action.kind}")(action)

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
                last = self.last(room)
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

    def last(self, room: str) -> Position:
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
