"""The projection of control events: whatever order and repetition they come in, the highest sequence decides."""

import random
import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatnode.history.client import Mongo
from chatnode.history.progress import Ledger
from chatnode.history.projection import ControlProjection, MembersChanged
from chatnode.history.rights import MongoRights
from chatnode.protocol.control import ControlEvent, EpochRaised, Heartbeat, Member, MemberPut, Revoked, RoomPut
from chatnode.protocol.frames import MemberChange
from tests.integration.conftest import MongoAddress
from tests.integration.history_bench import migrated


@pytest.fixture
async def mongodb(mongo: MongoAddress, database: str) -> AsyncIterator[Mongo]:
    async with migrated(mongo.uri, database) as opened:
        yield opened


ROLES = st.sampled_from(("learner", "trainer", "moderator"))
USERS = st.sampled_from(("ann", "bob", "$eve"))
NAMES = st.sampled_from(("", "Ann", "$title"))


@st.composite
def controls(draw: st.DrawFn) -> ControlEvent:
    match draw(st.sampled_from(("room", "member", "member", "revoked", "hb"))):
        case "room":
            members = draw(st.lists(st.builds(Member, USERS, ROLES, NAMES), max_size=3, unique_by=lambda m: m.user))
            return RoomPut(
                id="i", actor="p", ts=1, room="r", room_kind=draw(st.sampled_from(("course", "direct"))),
                title=draw(NAMES), closed=draw(st.booleans()), members=tuple(members),
            )  # fmt: skip
        case "member":
            role = draw(st.none() | ROLES)
            return MemberPut(id="i", actor="p", ts=1, room="r", user=draw(USERS), role=role, name=draw(NAMES))
        case "revoked":
            return Revoked(id="i", actor="p", ts=1, user=draw(USERS), before=draw(st.integers(0, 2**45)))
        case _:
            return Heartbeat(id="i", actor="p", ts=1)


def within(event: ControlEvent, run: str) -> ControlEvent:
    match event:
        case RoomPut():
            return RoomPut(
                id=event.id, actor="p", ts=1, room=run, room_kind=event.room_kind, title=event.title,
                closed=event.closed, members=event.members,
            )  # fmt: skip
        case MemberPut():
            return MemberPut(id=event.id, actor="p", ts=1, room=run, user=event.user, role=event.role, name=event.name)
        case Revoked():
            return Revoked(id=event.id, actor="p", ts=1, user=f"{run}{event.user}", before=event.before)
        case _:
            return event


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(controls(), max_size=12), order=st.randoms(use_true_random=False), repeats=st.integers(0, 6))
async def test_the_projection_is_the_last_word_on_each_thing(
    mongodb: Mongo, events: list[ControlEvent], order: random.Random, repeats: int
) -> None:
    run = uuid.uuid4().hex
    numbered = [(seq, within(event, run)) for seq, event in enumerate(events, start=1)]
    arriving = numbered + [order.choice(numbered) for _ in range(repeats) if numbered]
    order.shuffle(arriving)
    projection, rights = ControlProjection(mongodb.database), MongoRights(mongodb.database)
    for seq, event in arriving:
        await projection.apply(seq, event)

    rooms = [event for _, event in numbered if isinstance(event, RoomPut)]
    roles: dict[str, Member | None] = {}
    applied = 0
    before: dict[str, int] = {}
    for seq, event in numbered:
        match event:
            case RoomPut():
                roles |= {member.user: member for member in event.members}
                applied = seq
            case MemberPut():
                roles[event.user] = None if event.role is None else Member(event.user, event.role, event.name)
                applied = seq
            case Revoked():
                before[event.user] = max(before.get(event.user, 0), event.before)
            case _:
                pass
    found = await rights.room(run)
    if not rooms:
        assert found is None
    else:
        assert found is not None
        last = rooms[-1]
        assert (found.kind, found.title, found.closed) == (last.room_kind, last.title, last.closed)
        assert {member.user: member for member in found.members} == {u: m for u, m in roles.items() if m is not None}
        assert found.applied == applied
    for user, value in before.items():
        assert await rights.revoked_before(user) == value


async def test_it_tells_what_changed_and_tells_the_same_again(mongodb: Mongo) -> None:
    projection = ControlProjection(mongodb.database)
    put = RoomPut(
        id="i", actor="p", ts=1, room="r", room_kind="course", title="t",
        members=(Member("ann", "learner", "Ann"), Member("bob", "trainer")),
    )  # fmt: skip
    both = MembersChanged((MemberChange("ann", "learner", "Ann"), MemberChange("bob", "trainer")))
    assert await projection.apply(1, put) == both
    assert await projection.apply(1, put) == both
    assert await projection.apply(2, put) is None
    assert await projection.apply(2, put) is None


@pytest.mark.parametrize(
    ("role", "name", "told"),
    [
        ("learner", "Ann", False),
        ("trainer", "Ann", True),
        ("learner", "Anna", True),
        (None, "", True),
    ],
)
async def test_only_a_difference_is_told(mongodb: Mongo, role: str | None, name: str, told: bool) -> None:
    projection = ControlProjection(mongodb.database)
    await projection.apply(1, MemberPut(id="i", actor="p", ts=1, room="r", user="ann", role="learner", name="Ann"))
    changed = await projection.apply(2, MemberPut(id="j", actor="p", ts=1, room="r", user="ann", role=role, name=name))  # type: ignore[arg-type]
    assert (changed is not None) == told


async def test_removing_who_is_no_member_is_not_told(mongodb: Mongo) -> None:
    projection = ControlProjection(mongodb.database)
    removal = MemberPut(id="i", actor="p", ts=1, room="r", user="ann", role=None)
    assert await projection.apply(1, removal) is None
    assert await projection.apply(2, removal) is None


async def test_an_epoch_that_was_raised_is_remembered(mongodb: Mongo) -> None:
    await ControlProjection(mongodb.database).apply(1, EpochRaised(id="i", actor="-", ts=1, partition=3, epoch=4))
    assert await Ledger(mongodb.database).epoch("CHAT_3") == 4
