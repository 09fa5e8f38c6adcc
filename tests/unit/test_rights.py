"""What a node holds of rights is the fold of the control log, whatever happens in which order."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatnode.protocol.control import ControlEvent, EpochRaised, Heartbeat, Member, MemberPut, Revoked, Role, RoomPut
from chatnode.rooms.control_log import ControlLog
from chatnode.rooms.ports import RoomRecord, Unavailable, UserRoom
from chatnode.rooms.rights import Rights, RoomRights, fold_room

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


def fold(events: list[ControlEvent], room: str) -> RoomRights | None:
    rights = None
    for seq, event in enumerate(events, start=1):
        if isinstance(event, RoomPut | MemberPut) and event.room == room:
            rights = fold_room(rights, seq, event)
    return rights


def same(one: RoomRights | None, other: RoomRights | None) -> bool:
    if one is None or other is None:
        return one is other
    return replace(one, applied=0) == replace(other, applied=0)


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


def valid(events: list[ControlEvent]) -> Iterator[ControlEvent]:
    """Without members' events before their room: nothing writes those."""
    known = set()
    for event in events:
        if isinstance(event, RoomPut):
            known.add(event.room)
        if not isinstance(event, MemberPut) or event.room in known:
            yield event


steps = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "hear",
                "hear",
                "write",
                "advance",
                "prune",
                "project",
                "load",
                "load",
                "answer",
                "answer",
                "pin",
                "unpin",
                "list",
            )
        ),
        st.integers(0, 9),
    ),
    max_size=60,
)


@settings(max_examples=400)
@given(st.lists(changes, max_size=25), steps, st.integers(), st.integers(0, 3), st.integers(1, 2))
def test_any_interleaving_ends_in_the_fold_of_the_whole_log(
    drawn: list[ControlEvent], moves: list[tuple[str, int]], seed: int, head_start: int, idle_max: int
) -> None:
    events = list(valid(drawn))
    chance = random.Random(seed)
    asyncio.run(_interleave(events, moves, chance, min(head_start, len(events)), idle_max))


async def _interleave(  # noqa: PLR0912  one branch per move
    events: list[ControlEvent], moves: list[tuple[str, int]], chance: random.Random, head_start: int, idle_max: int
) -> None:
    projection = Projection()
    for seq, event in enumerate(events[:head_start], start=1):
        projection.write(seq, event)
    projection.applied = head_start
    reader = Reader(projection)
    rights = Rights(reader, idle_max=idle_max)
    rights.projected(head_start)
    heard = head_start
    pins: list[str] = []
    loads: list[asyncio.Task] = []

    async def turn() -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    def hear() -> None:
        nonlocal heard
        heard += 1
        rights.apply(heard, events[heard - 1])

    def advance(to: int) -> None:
        for seq in range(projection.applied + 1, to + 1):
            projection.write(seq, events[seq - 1])
        projection.applied = max(projection.applied, to)

    for move, number in moves:
        room = ROOMS[number % len(ROOMS)]
        match move:
            case "hear" if heard < len(events):
                hear()
            case "write" if projection.applied + number < len(events):
                seq = projection.applied + number + 1
                projection.write(seq, events[seq - 1], chance)
            case "advance":
                advance(min(projection.applied + number, len(events)))
            case "project":
                advance(heard)
                rights.projected(projection.applied)
            case "prune":
                rights.projected(projection.applied)
            case "load":
                loads.append(asyncio.create_task(rights.load(room)))
            case "list":
                loads.append(asyncio.create_task(rights.rooms_of(USERS[number % len(USERS)])))
            case "answer" if reader.waiting:
                reader.let_go(number)
            case "pin":
                rights.pin(room)
                pins.append(room)
            case "unpin" if room in pins:
                rights.unpin(room)
                pins.remove(room)
            case _:
                pass
        await turn()
        for name in ROOMS:
            held = rights.held(name)
            # What no event beyond the position has touched is exactly the fold up to there.
            if held is not None and projection.applied <= heard and not _written_beyond(projection, heard):
                assert same(held, fold(events[:heard], name))

    while heard < len(events):
        hear()
        await turn()
    for _ in range(200):
        while reader.waiting:
            reader.let_go(0)
        await turn()
        if all(load.done() for load in loads):
            break
        await asyncio.sleep(0.001)
    assert all(load.done() for load in loads)
    reader.at_once = True
    for name in ROOMS:
        expected = fold(events, name)
        held = rights.held(name)
        assert held is None or same(held, expected)
        assert same(await rights.load(name), expected)
    await rights.reload_all()
    for user in USERS:
        lines = {line.room: (line.role, line.title, line.closed) for line in await rights.rooms_of(user)}
        assert lines == _lines(events, user)
        revocations = [event.before for event in events if isinstance(event, Revoked) and event.user == user]
        assert await rights.revoked_before(user) == max(revocations, default=0)
    await rights.aclose()


def _written_beyond(projection: Projection, heard: int) -> bool:
    slots = (*projection.rooms.values(), *projection.members.values())
    return any(slot.seq > heard for slot in slots)


def _lines(events: list[ControlEvent], user: str) -> dict[str, tuple[str, str, bool]]:
    lines = {}
    for room in ROOMS:
        rights = fold(events, room)
        if rights is not None and (role := rights.role_of(user)) is not None:
            lines[room] = (role, rights.title, rights.closed)
    return lines


def ready(*events: ControlEvent) -> tuple[Rights, Reader]:
    """A node whose projection is complete up to the given events."""
    projection = Projection()
    for seq, event in enumerate(events, start=1):
        projection.write(seq, event)
    projection.applied = len(events)
    reader = Reader(projection, at_once=True)
    rights = Rights(reader)
    rights.projected(len(events))
    return rights, reader


async def test_a_removal_is_held_before_the_listeners_are_told() -> None:
    rights, _ = ready(put("python", Member("amina", "learner", "Amina"), Member("claire", "trainer")))
    await rights.load("python")
    told: list[tuple[ControlEvent | None, RoomRights | None, RoomRights | None]] = []

    def listener(event: ControlEvent | None, before: RoomRights | None, after: RoomRights | None) -> None:
        assert rights.held("python") is after
        told.append((event, before, after))

    rights.listen(listener)
    removal = member("amina", None)
    rights.apply(2, removal)
    [(event, before, after)] = told
    assert event is removal
    assert before is not None
    assert before.role_of("amina") == "learner"
    assert after is not None
    assert after.role_of("amina") is None
    assert after.role_of("claire") == "trainer"


async def test_listeners_hear_of_rooms_that_are_not_held_and_of_revocations_but_not_of_heartbeats() -> None:
    rights, _ = ready()
    told: list[ControlEvent | None] = []
    rights.listen(lambda event, before, after: told.append(event))
    revoked = Revoked(id="x", actor="platform", ts=0, user="hugo", before=5)
    created = put()
    rights.apply(1, revoked)
    rights.apply(2, Heartbeat(id="hb-1", actor="n1", ts=0))
    rights.apply(3, created)
    assert told == [revoked, created]


async def test_one_read_serves_all_who_ask_for_a_room() -> None:
    rights, reader = ready(put())
    reader.at_once = False
    asked = [asyncio.create_task(rights.load("python")) for _ in range(5)]
    for _ in range(2):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reader.let_go(0)
    found = await asyncio.gather(*asked)
    assert all(each is found[0] for each in found)
    assert reader.reads == 2


async def test_who_stops_waiting_does_not_take_the_read_from_others() -> None:
    rights, reader = ready(put())
    reader.at_once = False
    impatient, patient = (asyncio.create_task(rights.load("python")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    for _ in range(2):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reader.let_go(0)
    assert (await patient) is not None
    assert impatient.cancelled()


async def test_a_room_that_does_not_exist_is_none_until_it_is_created() -> None:
    rights, _ = ready()
    assert await rights.load("python") is None
    rights.apply(1, put("python", Member("amina", "learner")))
    created = await rights.load("python")
    assert created is not None
    assert created.role_of("amina") == "learner"


async def test_mongodb_away_is_told_and_the_next_ask_tries_again() -> None:
    rights, reader = ready(put())
    reader.away = True
    with pytest.raises(Unavailable):
        await rights.load("python")
    reader.away = False
    assert await rights.load("python") is not None


async def test_a_projection_further_behind_than_the_log_reaches_is_not_guessed_over() -> None:
    projection = Projection()
    rights = Rights(Reader(projection, at_once=True), log=ControlLog(limit=2))
    for seq in range(1, 5):
        rights.apply(seq, put("python", title=f"Title {seq}"))
    with pytest.raises(Unavailable, match="too far behind"):
        await rights.load("python")
    with pytest.raises(Unavailable, match="too far behind"):
        await rights.rooms_of("amina")
    with pytest.raises(Unavailable, match="too far behind"):
        await rights.revoked_before("amina")


async def test_rooms_that_nobody_uses_make_place_and_pinned_ones_stay() -> None:
    rights, _ = ready(*(put(room) for room in ("a", "b", "c")))
    rights._idle_max = 1
    rights.pin("a")
    for room in ("a", "b", "c"):
        await rights.load(room)
    assert [room for room in ("a", "b", "c") if rights.held(room)] == ["a", "c"]
    rights.unpin("a")
    assert [room for room in ("a", "b", "c") if rights.held(room)] == ["a"]


async def test_a_room_pinned_twice_stays_until_it_is_unpinned_twice() -> None:
    rights, _ = ready(put("a"), put("b"))
    rights._idle_max = 0
    rights.pin("a")
    rights.pin("a")
    await rights.load("a")
    rights.unpin("a")
    assert rights.held("a") is not None
    rights.unpin("a")
    assert rights.held("a") is None


async def test_reading_again_tells_what_was_missed() -> None:
    rights, reader = ready(put("python", Member("amina", "learner"), Member("hugo", "learner")), put("reseau"))
    rights.pin("python")
    await rights.load("python")
    await rights.load("reseau")
    told: list[tuple[ControlEvent | None, RoomRights | None, RoomRights | None]] = []
    rights.listen(lambda *change: told.append(change))
    reader.projection.write(3, member("hugo", None))
    reader.projection.applied = 3
    await rights.reload_all()
    [(event, before, after)] = told
    assert event is None
    assert before is not None
    assert before.role_of("hugo") == "learner"
    assert after is not None
    assert after.role_of("hugo") is None
    assert rights.held("python") is after
    assert rights.held("reseau") is None


async def test_reading_again_without_mongodb_says_so() -> None:
    rights, reader = ready(put())
    rights.pin("python")
    await rights.load("python")
    reader.away = True
    with pytest.raises(Unavailable, match="reading rights again"):
        await rights.reload_all()


async def test_reading_again_forgets_a_room_that_is_gone() -> None:
    rights, reader = ready(put())
    rights.pin("python")
    await rights.load("python")
    told: list[RoomRights | None] = []
    rights.listen(lambda event, before, after: told.append(after))
    reader.projection.rooms.clear()
    await rights.reload_all()
    assert told == [None]
    assert rights.held("python") is None


async def test_the_list_keeps_what_the_projection_counted_and_adds_what_is_new() -> None:
    rights, _ = ready(put("python", Member("amina", "learner")))
    direct = RoomPut(
        id="d",
        actor="amina",
        ts=0,
        room="d-1",
        room_kind="direct",
        title="",
        members=(Member("amina", "learner", "Amina"), Member("claire", "trainer", "Claire")),
    )
    rights.apply(2, direct)
    rights.apply(3, put("python", title="Python avancé"))
    python, private = await rights.rooms_of("amina")
    assert (python.title, python.unread) == ("Python avancé", 3)
    assert (private.room, private.peer, private.peer_name, private.unread) == ("d-1", "claire", "Claire", 0)


@given(st.lists(changes, max_size=20), st.integers(0, 20), st.integers(1, 5))
def test_the_log_finds_by_room_and_user_what_it_still_holds(events: list[ControlEvent], upto: int, limit: int) -> None:
    log = ControlLog(limit)
    for seq, event in enumerate(events, start=1):
        log.append(seq, event)
    log.prune(upto)
    numbered = [
        (seq, event) for seq, event in enumerate(events, start=1) if isinstance(event, RoomPut | MemberPut | Revoked)
    ][-limit:]
    kept = [(seq, event) for seq, event in numbered if seq > upto]
    assert len(log) == len(kept)
    assert log.floor >= upto
    assert all(seq > log.floor for seq, _ in kept)
    for room in ROOMS:
        mine = tuple((s, e) for s, e in kept if isinstance(e, RoomPut | MemberPut) and e.room == room)
        assert log.of_room(room) == mine
        assert log.touches(room) is bool(mine)
    for user in USERS:
        revoked = [e.before for _, e in kept if isinstance(e, Revoked) and e.user == user]
        assert log.revoked_before(user) == max(revoked, default=0)
        named = {
            e.room
            for _, e in kept
            if (isinstance(e, MemberPut) and e.user == user)
            or (isinstance(e, RoomPut) and user in {m.user for m in e.members})
        }
        assert log.rooms_naming(user) == named


async def until_asked(reader: Reader) -> None:
    async with asyncio.timeout(1.0):
        while not reader.waiting:
            await asyncio.sleep(0)


@pytest.mark.parametrize("what", ["room", "list", "revocation"])
async def test_what_leaves_the_log_while_a_read_is_under_way_is_not_lost(what: str) -> None:
    """The row was read before the event was projected, and the event was pruned before the row arrived."""
    rights, reader = ready(put("python", Member("amina", "learner")))
    reader.at_once = False
    asking = {
        "room": lambda: rights.load("python"),
        "list": lambda: rights.rooms_of("amina"),
        "revocation": lambda: rights.revoked_before("amina"),
    }[what]()
    asked = asyncio.create_task(asking)
    await until_asked(reader)
    reader.let_go(0)
    await until_asked(reader)
    events = (member("amina", None), Revoked(id="x", actor="p", ts=0, user="amina", before=9))
    for seq, event in enumerate(events, start=2):
        rights.apply(seq, event)
        reader.projection.write(seq, event)
    reader.projection.applied = 3
    rights.projected(3)
    while not asked.done():
        if reader.waiting:
            reader.let_go(0)
        await asyncio.sleep(0)
    found = await asked
    if isinstance(found, RoomRights):
        assert found.role_of("amina") is None
    else:
        assert found == (() if what == "list" else 9)


async def test_a_revocation_is_read_once_for_each_user_and_kept_up_by_events() -> None:
    projection = Projection()
    projection.revoked["hugo"] = 3
    reader = Reader(projection, at_once=True)
    rights = Rights(reader)
    assert await rights.revoked_before("hugo") == 3
    reader.away = True
    rights.apply(1, Revoked(id="x", actor="platform", ts=0, user="hugo", before=9))
    assert await rights.revoked_before("hugo") == 9
    with pytest.raises(Unavailable):
        await rights.revoked_before("amina")
    await rights.reload_all()
    with pytest.raises(Unavailable):
        await rights.revoked_before("hugo")
