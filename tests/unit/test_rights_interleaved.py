"""What a node holds of rights is the fold of the control log, in whatever order it hears, reads and forgets."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from chatnode.protocol.control import ControlEvent, MemberPut, Revoked, RoomPut
from chatnode.rooms.rights import Rights, RoomRights, fold_room
from tests.unit.projected_rights import ROOMS, USERS, Projection, Reader, changes


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
