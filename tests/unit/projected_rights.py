"""Control events, and the projections of them as a worker writes them and a node reads them."""

import asyncio
import random
from dataclasses import dataclass

from hypothesis import strategies as st

from chatnode.protocol.control import ControlEvent, EpochRaised, Heartbeat, Member, MemberPut, Revoked, Role, RoomPut
from chatnode.rooms.ports import RoomRecord, Unavailable, UserRoom

ROOMS = ("python", "reseau")


USERS = ("amina", "hugo", "claire")


@dataclass
class Slot:
    value: object
    seq: int


class Projection:
    """The projections as a worker writes them: each value by itself, in any order, the highest sequence decides."""

    def __init__(self) -> None:
        self.applied = 0
        self.rooms: dict[str, Slot] = {}
        self.members: dict[tuple[str, str], Slot] = {}
        self.revoked: dict[str, int] = {}

    def write(self, seq: int, event: ControlEvent, parts: random.Random | None = None) -> None:
        """One event; with ``parts`` only some of its writes, as if the worker were in the middle of it."""
        match event:
            case RoomPut():
                values = (event.room_kind, event.title, event.closed)
                self._put(self.rooms, event.room, Slot(values, seq))
                for member in event.members:
                    if parts is None or parts.random() < 0.5:
                        self._put(self.members, (event.room, member.user), Slot(member, seq))
            case MemberPut():
                member = None if event.role is None else Member(event.user, event.role, event.name)
                self._put(self.members, (event.room, event.user), Slot(member, seq))
            case Revoked():
                self.revoked[event.user] = max(event.before, self.revoked.get(event.user, 0))
            case _:
                pass

    @staticmethod
    def _put(slots: dict, key: object, slot: Slot) -> None:
        held = slots.get(key)
        if held is None or held.seq < slot.seq:
            slots[key] = slot

    def record(self, room: str) -> RoomRecord | None:
        if room not in self.rooms:
            return None
        kind, title, closed = self.rooms[room].value
        slots = [(user, slot) for (name, user), slot in sorted(self.members.items()) if name == room]
        members = tuple(slot.value for _, slot in slots if slot.value is not None)
        return RoomRecord(room, kind, title, closed, members, max(self.rooms[room].seq, *(s.seq for _, s in slots), 0))


class Reader:
    """Reads of a :class:`Projection` that answer when they are let go, with what was there when they were asked or
    when they were let go."""

    def __init__(self, projection: Projection, *, at_once: bool = False) -> None:
        self.projection = projection
        self.at_once = at_once
        self.waiting: list[asyncio.Future[None]] = []
        self.reads = 0
        self.away = False

    async def _pass(self) -> None:
        self.reads += 1
        if self.away:
            raise Unavailable("MongoDB is away")
        if not self.at_once:
            gate = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            await gate

    def let_go(self, index: int) -> None:
        self.waiting.pop(index % len(self.waiting)).set_result(None)

    async def control_applied(self) -> int:
        value = self.projection.applied
        await self._pass()
        return value

    async def room(self, room: str) -> RoomRecord | None:
        value = self.projection.record(room)
        await self._pass()
        return value

    async def rooms_of(self, user: str) -> tuple[UserRoom, ...]:
        lines = []
        for room in self.projection.rooms:
            record = self.projection.record(room)
            assert record is not None
            lines.extend(
                UserRoom(room, record.kind, record.title, record.closed, member.role, unread=3)
                for member in record.members
                if member.user == user
            )
        await self._pass()
        return tuple(lines)

    async def revoked_before(self, user: str) -> int:
        value = self.projection.revoked.get(user, 0)
        await self._pass()
        return value


def put(room: str = "python", *members: Member, title: str = "Python", closed: bool = False) -> RoomPut:
    return RoomPut(
        id="r", actor="platform", ts=0, room=room, room_kind="course", title=title, closed=closed, members=members
    )


def member(user: str, role: Role | None, room: str = "python", name: str = "") -> MemberPut:
    return MemberPut(id="m", actor="claire", ts=0, room=room, user=user, role=role, name=name)


roles = st.sampled_from(("learner", "trainer", "moderator"))


changes = st.one_of(
    st.builds(
        put,
        st.sampled_from(ROOMS),
        st.builds(Member, st.sampled_from(USERS[:1]), roles),
        st.builds(Member, st.sampled_from(USERS[1:]), roles),
        title=st.sampled_from(("A", "B")),
        closed=st.booleans(),
    ),
    st.builds(member, st.sampled_from(USERS), st.none() | roles, st.sampled_from(ROOMS)),
    st.builds(
        Revoked,
        id=st.just("x"),
        actor=st.just("p"),
        ts=st.just(0),
        user=st.sampled_from(USERS),
        before=st.integers(1, 99),
    ),
    st.just(Heartbeat(id="hb-1", actor="n1", ts=0)),
    st.just(EpochRaised(id="e", actor="w", ts=0, partition=1, epoch=2)),
)
