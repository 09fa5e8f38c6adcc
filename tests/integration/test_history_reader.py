"""Reads of history and rights from a real MongoDB."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatnode.history.client import Mongo
from chatnode.history.folds import message_key
from chatnode.history.progress import CONTROL, Ledger
from chatnode.history.projection import ControlProjection
from chatnode.history.reader import MongoHistory, whole_room
from chatnode.history.receipts import MongoReceipts
from chatnode.history.rights import MongoRights, _count
from chatnode.history.schema import MEMBERS, MESSAGES
from chatnode.protocol.control import Member, MemberPut, RoomPut
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.envelope import Sealed
from chatnode.protocol.frames import Deletion, MemberChange, Message, Position, Receipt
from chatnode.protocol.ids import event_hash
from chatnode.protocol.sealing import BodyErased, PlainSealer
from chatnode.rooms.ports import CommandRecord, HistoryAway, Page, RoomRecord, UserRoom, Watermark
from tests.integration.conftest import MongoAddress
from tests.integration.history_bench import SEALER, event, migrated, write

SHARED = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
async def mongodb(mongo: MongoAddress, database: str) -> AsyncIterator[Mongo]:
    async with migrated(mongo.uri, database) as opened:
        yield opened


@pytest.fixture
def reader(mongodb: Mongo) -> MongoHistory:
    return MongoHistory(mongodb.database, SEALER)


@pytest.fixture
def rights(mongodb: Mongo) -> MongoRights:
    return MongoRights(mongodb.database)


async def test_a_message_is_read_as_it_stands(mongodb: Mongo, reader: MongoHistory) -> None:
    first, second = Position(1, 3), Position(1, 4)
    await write(mongodb, 1, [
        (3, event("message", "r", id_="one", ts=10, text="hello", mentions=("bob",))),
        (4, event("message", "r", user="bob", id_="two", ts=11, text="secret", reply_to=first)),
        (5, event("edit", "r", id_="e", ts=12, text="hello!", target=first)),
        (6, event("delete", "r", user="eve", id_="d", ts=13, target=second)),
        (7, event("reaction", "r", user="eve", id_="x", ts=14, target=first, emoji="+1")),
        (8, event("reaction", "r", user="bob", id_="y", ts=15, target=first, emoji="+1")),
        (9, event("reaction", "r", user="bob", id_="z", ts=16, target=first, emoji="$where")),
        (10, event("member", "r", user="-", id_="ctl-1", ts=17, actor="eve", change=MemberChange("bob", None))),
    ])  # fmt: skip
    assert await reader.page("r", limit=10) == Page((
        Message(room="r", epoch=1, seq=3, id="one", sender="ann", ts=10, text="hello!", edited=12, rev=5,
                reactions={"$where": ("bob",), "+1": ("bob", "eve")}),
        Message(room="r", epoch=1, seq=4, id="two", sender="bob", ts=11, reply_to=first, rev=6,
                deleted=Deletion("eve", 13)),
        Message(room="r", epoch=1, seq=10, id="ctl-1", sender="eve", ts=17, rev=10, notice=MemberChange("bob", None)),
    ), more_before=False)  # fmt: skip
    assert await reader.message("r", second) == (await reader.page("r", limit=10)).messages[1]
    assert await reader.message("r", Position(1, 5)) is None
    assert await reader.message("other", first) is None


async def test_nothing_is_kept_of_what_was_deleted(mongodb: Mongo) -> None:
    at = Position(1, 1)
    await write(mongodb, 1, [(1, event("message", "r", text="secret")), (2, event("delete", "r", target=at))])
    await write(mongodb, 1, [(1, event("message", "r", text="secret"))])
    found = await mongodb.database[MESSAGES].find_one({"_id": message_key("r", at)})
    assert found is not None
    assert "body" not in found


async def test_a_body_whose_key_was_destroyed_reads_as_empty(mongodb: Mongo) -> None:
    class Forgetful(PlainSealer):
        def open(self, sealed: Sealed) -> str:
            raise BodyErased(sealed.kid)

    await write(mongodb, 1, [(1, event("message", "r", text="secret"))])
    page = await MongoHistory(mongodb.database, Forgetful()).page("r", limit=5)
    assert [message.text for message in page.messages] == [""]


async def test_rooms_whose_names_begin_alike_are_kept_apart(mongodb: Mongo, reader: MongoHistory) -> None:
    for seq, room in enumerate(("a", "aa", "a-", "A"), start=1):
        await write(mongodb, 1, [(seq, event("message", room, text=room))])
    for room in ("a", "aa", "a-", "A"):
        assert [message.text for message in (await reader.page(room, limit=5)).messages] == [room]


POSITIONS = st.lists(
    st.builds(Position, st.integers(1, 3), st.integers(1, 12)), min_size=0, max_size=14, unique=True
).map(sorted)
ANCHORS = st.builds(Position, st.integers(0, 4), st.integers(0, 14))


@SHARED
@given(positions=POSITIONS, anchor=ANCHORS, limit=st.integers(1, 6))
async def test_pages_are_cuts_of_the_room_in_its_order(
    mongodb: Mongo, reader: MongoHistory, positions: list[Position], anchor: Position, limit: int
) -> None:
    room = uuid.uuid4().hex
    for at in positions:
        await write(mongodb, at.epoch, [(at.seq, event("message", room, text="x"))])

    def cut(page: Page) -> tuple[list[Position], bool, bool]:
        return [message.position for message in page.messages], page.more_before, page.more_after

    earlier = [at for at in positions if at < anchor]
    later = [at for at in positions if at > anchor]
    assert cut(await reader.page(room, limit=limit)) == (positions[-limit:], len(positions) > limit, False)
    assert cut(await reader.page(room, before=anchor, limit=limit)) == (
        earlier[-limit:], len(earlier) > limit, len(positions) > len(earlier),
    )  # fmt: skip
    assert cut(await reader.page(room, after=anchor, limit=limit)) == (
        later[:limit], len(positions) > len(later), len(later) > limit,
    )  # fmt: skip
    around, more_before, more_after = cut(await reader.page(room, around=anchor, limit=limit))
    assert len(around) == min(limit, len(positions))
    assert anchor in around or anchor not in positions
    if around:
        start = positions.index(around[0])
        assert around == positions[start : start + len(around)]
        assert (more_before, more_after) == (start > 0, start + len(around) < len(positions))
        on_both_sides = sum(at <= anchor for at in positions), len(later)
        if min(on_both_sides) >= limit:
            assert abs(sum(at <= anchor for at in around) - sum(at > anchor for at in around)) <= 1


async def test_pages_and_counts_go_along_the_index(mongodb: Mongo) -> None:
    for start in range(0, 2000, 500):
        await write(mongodb, 1, [(start + n, event("message", f"r{n % 10}", text="x")) for n in range(1, 501)])
    messages = mongodb.database[MESSAGES]
    keys = {**whole_room("r3"), "$lt": message_key("r3", Position(1, 1500))}
    plan = await messages.find({"_id": keys, "kind": {"$exists": True}}).sort("_id", -1).limit(51).explain()
    assert plan["executionStats"]["totalDocsExamined"] <= 51
    explained = await mongodb.database.command(
        "explain",
        {"aggregate": MESSAGES, "pipeline": _count("bob", "r3", Position(1, 1000)), "cursor": {}},
        verbosity="executionStats",
    )
    stages = str(explained)
    assert "COLLSCAN" not in stages
    assert "IXSCAN" in stages


async def test_commands_are_found_by_user_and_id(mongodb: Mongo, reader: MongoHistory) -> None:
    await write(mongodb, 2, [
        (7, event("message", "r", id_="m", ts=5, text="x")),
        (8, event("reaction", "r", id_="x", ts=6, target=Position(2, 7), emoji="+1")),
        (9, event("message", "r", user="bob", id_="m", ts=7, text="x")),
    ])  # fmt: skip
    found = await reader.commands([("ann", "m"), ("ann", "x"), ("ann", "nothing"), ("an", "m"), ("ann", "m")])
    assert found == {
        ("ann", "m"): CommandRecord("r", 2, 7, "message", "digest of m", 5),
        ("ann", "x"): CommandRecord("r", 2, 8, "reaction", "digest of x", 6),
    }
    assert await reader.commands([]) == {}


async def test_an_id_that_was_used_in_two_rooms_hides_neither_message_and_is_recorded_as_the_earlier(
    mongodb: Mongo, reader: MongoHistory
) -> None:
    await write(mongodb, 1, [(50, event("message", "r", id_="m", ts=5, text="first"))])
    await write(mongodb, 1, [(3, event("message", "s", id_="m", ts=6, text="second"))])
    assert [message.text for message in (await reader.page("r", limit=5)).messages] == ["first"]
    assert [message.text for message in (await reader.page("s", limit=5)).messages] == ["second"]
    assert (await reader.commands([("ann", "m")]))["ann", "m"].room == "r"


async def test_the_head_is_the_last_event_of_whatever_kind(mongodb: Mongo, reader: MongoHistory) -> None:
    assert await reader.head("r") is None
    await write(mongodb, 1, [
        (1, event("message", "r", id_="m", text="x")), (2, event("delete", "r", id_="d", target=Position(1, 1))),
    ])  # fmt: skip
    assert await reader.head("r") == Cursor(1, 2, event_hash("ann", "d"))


async def test_a_watermark_moves_forward_only(mongodb: Mongo, reader: MongoHistory) -> None:
    ledger = Ledger(mongodb.database)
    assert await reader.watermark(3) is None
    for mark, expected in [
        (Watermark(1, 10, "aaaaaaaa"), Watermark(1, 10, "aaaaaaaa")),
        (Watermark(1, 9, "bbbbbbbb"), Watermark(1, 10, "aaaaaaaa")),
        (Watermark(2, 4), Watermark(2, 4)),
        (Watermark(1, 50, "cccccccc"), Watermark(2, 4)),
    ]:
        await ledger.advance("CHAT_3", mark)
        assert await reader.watermark(3) == expected
    progress = await ledger.progress("CHAT_3")
    assert progress is not None
    assert progress.highest == 50


async def test_receipts_never_move_back(mongodb: Mongo, reader: MongoHistory) -> None:
    receipts = MongoReceipts(mongodb.database)
    await receipts.write_receipts([])
    await receipts.write_receipts(
        [("bob", "r", Position(1, 5)), ("ann", "r", Position(1, 2)), ("bob", "r", Position(1, 3))]
    )
    await receipts.write_receipts(
        [("bob", "r", Position(1, 4)), ("ann", "r", Position(2, 1)), ("ann", "s", Position(1, 1))]
    )
    assert await reader.receipts("r") == (Receipt("ann", Position(2, 1)), Receipt("bob", Position(1, 5)))
    assert await reader.receipts("nothing") == ()


async def put_room(mongodb: Mongo, seq: int, room: str, kind: str, *members: Member, closed: bool = False) -> None:
    put = RoomPut(
        id=f"p{seq}",
        actor="p",
        ts=1,
        room=room,
        room_kind=kind,
        title=room.upper(),
        closed=closed,
        members=members,  # type: ignore[arg-type]
    )
    await ControlProjection(mongodb.database).apply(seq, put)


async def test_a_room_is_read_with_its_members(mongodb: Mongo, rights: MongoRights) -> None:
    assert await rights.room("r") is None
    await put_room(mongodb, 4, "r", "course", Member("bob", "learner", "Bob"), Member("ann", "trainer", "Ann"))
    await ControlProjection(mongodb.database).apply(
        7, MemberPut(id="m", actor="p", ts=1, room="r", user="bob", role=None)
    )
    assert await rights.room("r") == RoomRecord("r", "course", "R", False, (Member("ann", "trainer", "Ann"),), 7)


async def test_how_far_control_events_are_applied_is_their_watermark(mongodb: Mongo, rights: MongoRights) -> None:
    assert await rights.control_applied() == 0
    await Ledger(mongodb.database).advance(CONTROL, Watermark(1, 12))
    assert await rights.control_applied() == 12


async def test_the_rooms_of_a_user(mongodb: Mongo, rights: MongoRights) -> None:
    ann, bob, eve = Member("ann", "learner", "Ann"), Member("bob", "trainer", "Bob"), Member("eve", "learner", "Eve")
    await put_room(mongodb, 1, "quiet", "course", ann, bob)
    await put_room(mongodb, 2, "busy", "course", ann, bob, closed=True)
    await put_room(mongodb, 3, "two", "direct", ann, bob)
    await put_room(mongodb, 4, "left", "course", ann, bob)
    await put_room(mongodb, 5, "others", "course", bob, eve)
    await ControlProjection(mongodb.database).apply(
        6, MemberPut(id="m", actor="p", ts=1, room="left", user="ann", role=None)
    )
    gone = Position(1, 22)
    await write(mongodb, 1, [
        *((n, event("message", "busy", user="bob", ts=n, text="x")) for n in range(10, 20)),
        (20, event("message", "busy", user="ann", ts=20, text="mine")),
        (21, event("member", "busy", user="-", ts=21, change=MemberChange("x", None))),
        (22, event("message", "busy", user="bob", ts=22, text="gone")),
        (23, event("delete", "busy", user="bob", ts=23, target=gone)),
        *((n, event("message", "two", user="bob", ts=n, text="x")) for n in range(100, 250)),
        (300, event("message", "others", user="bob", ts=300, text="x")),
    ])  # fmt: skip
    await MongoReceipts(mongodb.database).write_receipts(
        [("ann", "busy", Position(1, 14)), ("bob", "busy", Position(1, 1))]
    )
    assert await rights.rooms_of("ann") == (
        UserRoom("two", "direct", "TWO", False, "learner", last=Position(1, 249), last_ts=249, unread=100,
                 peer="bob", peer_name="Bob"),
        UserRoom("busy", "course", "BUSY", True, "learner", last=gone, last_ts=22, unread=5, read=Position(1, 14)),
        UserRoom("quiet", "course", "QUIET", False, "learner"),
    )  # fmt: skip
    assert await rights.rooms_of("nobody") == ()


async def test_a_user_of_many_rooms_gets_them_all(mongodb: Mongo, rights: MongoRights) -> None:
    for number in range(120):
        room = f"r{number:03}"
        await put_room(mongodb, number + 1, room, "course", Member("ann", "learner"))
        await write(mongodb, 1, [(n, event("message", room, user="bob", text="x")) for n in range(1, number % 4 + 1)])
    found = await rights.rooms_of("ann")
    assert {line.room: line.unread for line in found} == {f"r{number:03}": number % 4 for number in range(120)}


async def test_the_members_index_serves_the_list_of_rooms(mongodb: Mongo) -> None:
    await put_room(mongodb, 1, "r", "course", Member("ann", "learner"))
    plan = await mongodb.database[MEMBERS].find({"_id.user": "ann", "role": {"$ne": None}}).explain()
    assert "rooms_of_user" in str(plan["queryPlanner"]["winningPlan"])


async def test_who_reads_while_mongodb_is_away_is_told_so_within_the_deadline() -> None:
    absent = Mongo("mongodb://127.0.0.1:1/?replicaSet=chat", "chat", name="test")
    reader, rights = MongoHistory(absent.database, SEALER), MongoRights(absent.database)
    receipts = MongoReceipts(absent.database)
    calls = [
        reader.watermark(0), reader.page("r", limit=5), reader.message("r", Position(1, 1)),
        reader.commands([("ann", "m")]), reader.head("r"), reader.receipts("r"), rights.control_applied(),
        rights.room("r"), rights.rooms_of("ann"), rights.revoked_before("ann"),
        receipts.write_receipts([("ann", "r", Position(1, 1))]), Ledger(absent.database).progress("CHAT_0"),
    ]  # fmt: skip
    async with asyncio.timeout(15):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    await absent.close()
    assert [type(outcome) for outcome in outcomes] == [HistoryAway] * len(calls)
    assert all(str(outcome).startswith("MongoDB: ") for outcome in outcomes)
