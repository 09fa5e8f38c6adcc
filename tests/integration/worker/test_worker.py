"""The worker against real servers: what the streams hold comes to be in MongoDB, once and in order."""

import asyncio
import dataclasses
from collections import Counter

import httpx
import pytest

from chatnode.broker.subjects import CONTROL_STREAM, PARTITIONS, stream_name
from chatnode.history.leases import Leases
from chatnode.history.schema import REJECTED
from chatnode.local.children import free_port
from chatnode.protocol.control import Member, MemberPut, Revoked, RoomPut
from chatnode.protocol.envelope import Envelope, encode_envelope
from chatnode.protocol.frames import MemberChange
from chatnode.rooms.ports import Watermark
from tests.integration.worker_bench import PARTITION, ROOM, SEALER, STREAM, Bench, message, until, working


async def test_what_is_stored_comes_into_history_in_order(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send(*map(str, range(30)))
        await bench.shows(*map(str, range(30)))
        await bench.has_watermark(1, 30)


async def test_a_worker_goes_on_where_the_last_one_stopped(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("before")
        await bench.shows("before")
    await bench.send("between")
    async with working(bench.settings):
        await bench.shows("before", "between")


async def test_a_worker_that_stops_gives_its_leases_back(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
    other = Leases(bench.mongo.database, holder="other", ttl=1)
    assert await other.take(STREAM)
    assert await other.take(CONTROL_STREAM)


async def test_while_another_holds_the_lease_a_worker_waits(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
    other = Leases(bench.mongo.database, holder="other", ttl=60)
    assert await other.take(STREAM)
    async with working(bench.settings):
        await bench.send("waits")
        control = MemberPut(id="m", actor="a", ts=1, room="elsewhere", user="bob", role="learner")
        applied = await bench.control.publish_control(control)

        async def projected() -> bool:
            return await bench.rights.control_applied() >= applied

        await until(projected)
        assert await bench.texts() == []
        await other.release(STREAM)
        await bench.shows("waits")


async def test_a_later_copy_of_a_command_has_no_effect(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        first = message("first", id_="again")
        copies = [
            await bench.store_copy(first),
            await bench.store_copy(message("other")),
            await bench.store_copy(first),
        ]
        await bench.shows("first", "other")
        (record,) = (await bench.history.commands([("ann", "again")])).values()
        assert (record.room, record.epoch, record.seq, record.kind) == (ROOM, 1, copies[0], "message")


async def test_what_cannot_be_read_is_recorded_and_passed_over(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("before")
        broken = await bench.store_raw(b"\xff{")
        strange = await bench.store_raw(encode_envelope(message("misplaced", room="elsewhere")))
        huge = await bench.store_raw(encode_envelope(Envelope(
            kind="message", room=ROOM, user="ann", id="huge", ts=2**70, digest="d", body=SEALER.seal("ann", "huge"),
        )))  # fmt: skip
        await bench.send("after")
        await bench.shows("before", "after")
        collection = bench.mongo.database[REJECTED]

        async def recorded() -> bool:
            return await collection.count_documents({}) == 3

        await until(recorded)
        rejected = {each["_id"]["seq"]: each["reason"] async for each in collection.find().sort("_id", 1)}  # type: ignore[index]
    assert list(rejected) == [broken, strange, huge]
    assert "no envelope" in rejected[broken]
    assert "elsewhere" in rejected[strange]
    assert "MongoDB refuses it" in rejected[huge]
    assert len([record for record in caplog.records if "passed over" in record.message]) == 3


async def test_a_stream_that_ends_with_what_cannot_be_read_is_still_the_same_one(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("before")
        last = await bench.store_raw(b"\xff{")

        async def applied() -> bool:
            return await bench.history.watermark(PARTITION) == Watermark(1, last, "0")

        await until(applied)
    async with working(bench.settings):
        await bench.send("after")
        await bench.shows("before", "after")
    assert (await bench.found()).epoch == 1


async def test_control_events_are_projected_and_told_to_the_room(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.control.publish_control(
            RoomPut(
                id="r1", actor="platform", ts=5, room=ROOM, room_kind="course", title="Maths",
                members=(Member("ann", "trainer", "Ann"), Member("bob", "learner", "Bob")),
            )
        )  # fmt: skip
        await bench.control.publish_control(
            MemberPut(id="m1", actor="ann", ts=6, room=ROOM, user="bob", role="moderator", name="Bob")
        )
        last = await bench.control.publish_control(
            MemberPut(id="m2", actor="bob", ts=7, room=ROOM, user="ann", role=None)
        )
        await bench.control.publish_control(Revoked(id="v1", actor="platform", ts=8, user="ann", before=1234))

        async def told() -> bool:
            return len((await bench.history.page(ROOM, limit=100)).messages) == 4

        await until(told)
        notices = (await bench.history.page(ROOM, limit=100)).messages
        assert {(each.notice, each.sender) for each in notices[:2]} == {
            (MemberChange("ann", "trainer", "Ann"), "platform"),
            (MemberChange("bob", "learner", "Bob"), "platform"),
        }
        assert [(each.notice, each.sender) for each in notices[2:]] == [
            (MemberChange("bob", "moderator", "Bob"), "ann"),
            (MemberChange("ann", None), "bob"),
        ]

        async def revoked() -> bool:
            return await bench.rights.revoked_before("ann") == 1234

        await until(revoked)
        found = await bench.rights.room(ROOM)
        assert found is not None
        assert (found.title, found.members, found.applied) == ("Maths", (Member("bob", "moderator", "Bob"),), last)


async def test_putting_the_same_members_again_tells_nobody(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        member = Member("ann", "trainer", "Ann")
        for number in range(3):
            last = await bench.control.publish_control(
                RoomPut(
                    id=f"r{number}", actor="p", ts=5, room=ROOM, room_kind="course", title="Maths", members=(member,)
                )
            )

        async def projected() -> bool:
            return await bench.rights.control_applied() >= last

        await until(projected)
        await bench.send("hello")
        await bench.shows("hello")
        assert len((await bench.history.page(ROOM, limit=100)).messages) == 2


async def test_the_admin_port_tells_of_the_work(bench: Bench) -> None:
    port = free_port()
    async with working(dataclasses.replace(bench.settings, admin_port=port)), httpx.AsyncClient() as http:
        await bench.has_streams()
        await bench.send("a", "b")
        await bench.has_watermark(1, 2)
        ready = await http.get(f"http://127.0.0.1:{port}/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})

        async def shown() -> bool:
            text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
            return all(
                f'chat_history_{name}{{partition="{PARTITION}"}} {value}' in text
                for name, value in [
                    ("watermark_seq", "2.0"), ("events_written_total", "2.0"), ("lease_held", "1.0"), ("epoch", "1.0"),
                    ("lag_events", "0.0"), ("gap", "0.0"),
                ]
            )  # fmt: skip

        await until(shown)


async def test_two_workers_share_the_work_and_write_everything_once(bench: Bench) -> None:
    other = dataclasses.replace(bench.settings, node_id="other")
    async with working(bench.settings), working(other):
        await bench.has_streams()
        for number in range(20):
            await bench.store(message(str(number)))
            await asyncio.sleep(0)
        await bench.shows(*map(str, range(20)))


async def test_two_workers_have_an_equal_part_of_the_streams_and_one_alone_all_of_them(bench: Bench) -> None:
    async def parts() -> list[int]:
        rows = bench.mongo.database["leases"].find(
            {"_id": {"$in": [*map(stream_name, range(PARTITIONS)), CONTROL_STREAM]}}
        )
        holders = Counter([str(row["holder"]).rpartition("-")[0] async for row in rows])
        return sorted(holders.values())

    async def shared(expected: list[int]) -> bool:
        return await parts() == expected

    other = dataclasses.replace(bench.settings, node_id="other")
    async with working(bench.settings):
        await until(lambda: shared([9]))
        async with working(other):
            await until(lambda: shared([4, 5]))
            await bench.send("by two")
            await bench.shows("by two")
        await until(lambda: shared([9]))
        await bench.send("by one")
        await bench.shows("by two", "by one")
