"""What a node holds of rights: read once, kept up by events, told to whoever listens, and forgotten."""

import asyncio

import pytest

from chatnode.protocol.control import ControlEvent, Heartbeat, Member, Revoked, RoomPut
from chatnode.rooms.control_log import ControlLog
from chatnode.rooms.ports import Unavailable
from chatnode.rooms.rights import Rights, RoomRights
from tests.unit.projected_rights import Projection, Reader, member, put


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
