"""The worker against real servers: what the streams hold comes to be in MongoDB, once and in order."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from msgspec import structs
from nats.js.errors import APIError, NoStreamResponseError

from chatnode.broker.event_stream import NatsEventStream
from chatnode.broker.streams import chat_stream, control_stream, is_closed
from chatnode.broker.subjects import CONTROL_STREAM, PARTITIONS, stream_name
from chatnode.history.leases import Leases
from chatnode.history.schema import REJECTED
from chatnode.local.children import free_port
from chatnode.local.servers import NatsServer
from chatnode.protocol.control import EpochRaised, Heartbeat, Member, MemberPut, Revoked, RoomPut, decode_control
from chatnode.protocol.envelope import Envelope, encode_envelope
from chatnode.protocol.frames import MemberChange, Position
from chatnode.rooms.ports import Watermark
from chatnode.worker.main import wall_ms
from chatnode.worker.retention import HEARTBEATS_KEPT, Retention
from tests.integration.conftest import MongoAddress
from tests.integration.worker_bench import PARTITION, ROOM, SEALER, STREAM, Bench, bench_on, message, until, working


@pytest.fixture
async def bench(nats_server: NatsServer, mongo: MongoAddress, database: str) -> AsyncIterator[Bench]:
    async with bench_on(nats_server.url, mongo.uri, database) as opened:
        yield opened


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


async def test_a_deleted_stream_comes_again_above_the_history_in_a_new_epoch(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("one", "two", "three")
        await bench.shows("one", "two", "three")
        await bench.nats.jetstream().delete_stream(STREAM)
        await bench.has_epoch(2)
        await bench.send("four")
        await bench.shows("one", "two", "three", "four")
    assert (await bench.positions())[-1] == Position(2, 4)
    raised = await bench.reader.last(CONTROL_STREAM, f"ctl.epoch.{PARTITION}")
    assert raised is not None
    event = decode_control(raised.data)
    assert isinstance(event, EpochRaised)
    assert (event.partition, event.epoch) == (PARTITION, 2)
    assert await bench.ledger.epoch(STREAM) == 2


async def stands_again(bench: Bench, stored: list[Envelope]) -> None:
    """The stream as a restored backup has it: the same metadata, other content."""
    await bench.nats.jetstream().delete_stream(STREAM)
    await bench.streams.ensure(chat_stream(PARTITION, epoch=1, first_seq=1, replicas=1, max_bytes=64 * 1024**2))
    for envelope in stored:
        await bench.store_copy(envelope)


async def test_a_stream_that_went_back_in_time_loses_nothing_and_goes_on_above_what_was(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    sent = [message(text, id_=text) for text in ("a", "b", "c", "d", "e")]
    async with working(bench.settings):
        await bench.has_streams()
        for envelope in sent:
            await bench.store_copy(envelope)
        await bench.shows("a", "b", "c", "d", "e")
    await stands_again(bench, [*sent[:2], message("since", id_="since")])
    async with working(bench.settings):
        await bench.has_epoch(2)
        await bench.send("next")
        await bench.shows("a", "b", "c", "d", "e", "since", "next")
    assert (await bench.positions())[-2:] == [Position(2, 3), Position(2, 6)]
    await bench.has_watermark(2, 6)
    async with working(bench.settings):
        await bench.send("again")
        await bench.shows("a", "b", "c", "d", "e", "since", "next", "again")
    assert "history_gap" not in caplog.text
    assert (await bench.found()).epoch == 2


async def test_a_stream_that_went_back_and_grew_past_the_watermark_is_noticed(bench: Bench) -> None:
    sent = [message(text, id_=text) for text in ("a", "b", "c")]
    async with working(bench.settings):
        await bench.has_streams()
        for envelope in sent:
            await bench.store_copy(envelope)
        await bench.shows("a", "b", "c")
    await stands_again(bench, [sent[0], message("x", id_="x"), message("y", id_="y"), message("z", id_="z")])
    async with working(bench.settings):
        await bench.has_epoch(2)
        await bench.shows("a", "b", "c", "x", "y", "z")
    assert (await bench.positions())[3:] == [Position(2, 2), Position(2, 3), Position(2, 4)]


async def test_a_stream_that_went_back_while_the_worker_runs_is_noticed(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("a", "b", "c")
        await bench.shows("a", "b", "c")
        await bench.streams.purge_below(STREAM, 100)
        # The watermark's event is gone, which is no sign of anything; the sequences go on.
        await bench.send("d")
        await bench.shows("a", "b", "c", "d")
        # Who is first to make it anew, this test or the worker, is open; so is whether "e" comes before it is noticed.
        await stands_again(bench, [])
        await bench.send("e")
        await bench.shows("a", "b", "c", "d", "e")

        async def above() -> bool:
            found = await bench.found()
            return found.epoch >= 2 and found.state.last_seq >= 100 and not is_closed(found)

        await until(above)
        await bench.send("f")
        await bench.shows("a", "b", "c", "d", "e", "f")
    before, _, last = (await bench.positions())[-3:]
    assert before == Position(1, 100)
    assert last.epoch >= 2
    assert last.seq > 100


async def test_control_events_that_went_back_in_time_are_taken_up_and_undo_nothing(bench: Bench) -> None:
    def put(number: int, user: str, role: str | None) -> MemberPut:
        return MemberPut(id=f"m{number}", actor="p", ts=number, room=ROOM, user=user, role=role)  # type: ignore[arg-type]

    room = RoomPut(id="r", actor="p", ts=1, room=ROOM, room_kind="course", title="Maths")
    before = [room, put(1, "ann", "learner"), put(2, "bob", "learner")]
    lost = [put(3, "ann", "trainer"), put(4, "bob", None)]

    async def has_members(*members: Member) -> None:
        async def there() -> bool:
            found = await bench.rights.room(ROOM)
            return found is not None and found.members == members

        await until(there)

    async with working(bench.settings):
        await bench.has_streams()
        for event in [*before, *lost]:
            applied = await bench.control.publish_control(event)
        await has_members(Member("ann", "trainer"))

        async def all_applied() -> bool:
            return await bench.rights.control_applied() == applied

        await until(all_applied)
    # As a backup has it: without what came last, and all of it stored before the watermark's event was.
    await bench.nats.jetstream().delete_stream(CONTROL_STREAM)
    await bench.streams.ensure(control_stream(epoch=1, first_seq=1, replicas=1, max_bytes=64 * 1024**2))
    for event in before:
        await bench.control.publish_control(event)
    await bench.ledger.advance(CONTROL_STREAM, Watermark(1, applied + 1, "feedfeed"), ts=2**45)
    async with working(bench.settings):

        async def went_on() -> bool:
            found = await bench.found(CONTROL_STREAM)
            return found.epoch == 2 and not is_closed(found)

        await until(went_on)
        await has_members(Member("ann", "trainer"))


async def test_control_events_since_the_stream_went_back_count(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
    await bench.nats.jetstream().delete_stream(CONTROL_STREAM)
    await bench.streams.ensure(control_stream(epoch=1, first_seq=1, replicas=1, max_bytes=64 * 1024**2))
    await bench.ledger.advance(CONTROL_STREAM, Watermark(1, 50, "feedfeed"), ts=1)
    put = MemberPut(id="m", actor="p", ts=9, room=ROOM, user="eve", role="learner")
    await bench.control.publish_control(RoomPut(id="r", actor="p", ts=1, room=ROOM, room_kind="course", title="M"))
    await bench.control.publish_control(put)
    async with working(bench.settings):

        async def applied() -> bool:
            found = await bench.rights.room(ROOM)
            return found is not None and found.members == (Member("eve", "learner"),) and found.applied == 52

        await until(applied)

        async def moved_on() -> bool:
            return await bench.rights.control_applied() >= 52

        await until(moved_on)

        async def opened() -> bool:
            found = await bench.streams.find(CONTROL_STREAM)
            return found is not None and found.epoch == 2 and found.subjects == ("ctl.>",)

        await until(opened)
        assert await bench.control.publish_control(structs.replace(put, id="n")) == 53


async def test_a_watermark_moves_into_the_epoch_that_the_stream_is_in(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("a", "b")
        await bench.has_watermark(1, 2)
    await bench.streams.ensure(chat_stream(PARTITION, epoch=4, first_seq=1, replicas=1, max_bytes=64 * 1024**2))
    async with working(bench.settings):
        await bench.has_watermark(4, 2)
        await bench.send("c")
        await bench.has_watermark(4, 3)
        assert await bench.texts() == ["a", "b", "c"]


async def test_while_a_stream_is_put_right_it_takes_nothing_in(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
    await bench.streams.close(chat_stream(PARTITION, epoch=1, first_seq=1, replicas=1, max_bytes=64 * 1024**2))
    with pytest.raises(NoStreamResponseError):
        await bench.store_copy(message("refused"))
    async with working(bench.settings):
        await bench.send("taken")
        await bench.shows("taken")


async def test_an_empty_mongodb_is_filled_from_the_stream_in_the_same_epoch(
    bench: Bench, mongo: MongoAddress, database: str
) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("a", "b")
        await bench.shows("a", "b")
    async with bench_on(bench.settings.nats_url, mongo.uri, f"{database}-2") as anew:
        async with working(anew.settings):
            await anew.shows("a", "b")
            assert (await anew.found()).epoch == 1
        await anew.mongo.database.client.drop_database(f"{database}-2")


async def test_events_that_were_purged_before_they_were_applied_are_an_alarm(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("a")
        await bench.shows("a")
    await bench.send("b", "c", "d")
    await bench.streams.purge_below(STREAM, 4)
    async with working(bench.settings):
        await bench.shows("a", "d")
    alarms = [record.message for record in caplog.records if "history_gap" in record.message]
    assert alarms == [f"{STREAM}: history_gap: 2 to 3 were gone before they were applied"]


async def test_retention_takes_what_is_old_and_applied_and_nothing_else(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        for text in ("a", "b", "c"):
            await bench.send(text)
            await asyncio.sleep(0.005)
        await bench.shows("a", "b", "c")
    await bench.send("d")
    stored = await bench.reader.at(STREAM, 2)
    assert stored is not None
    stream = NatsEventStream(bench.nats, STREAM, "history", lambda *_: pytest.fail("nothing is configured"))
    control = NatsEventStream(bench.nats, CONTROL_STREAM, "projection", lambda *_: pytest.fail("nothing is configured"))

    async def tidy(keep: float, *, mine: bool = True) -> int:
        await Retention(
            [stream], control, ledger=bench.ledger, mine=lambda _: mine, wall=lambda: stored.ts, keep=keep
        ).tidy()
        return (await bench.found()).state.first_seq

    assert await tidy(3600) == 1
    assert await tidy(0, mine=False) == 1
    assert await tidy(0) == 2
    assert await tidy(-3600) == 3
    async with working(bench.settings):
        await bench.shows("a", "b", "c", "d")
    assert (await bench.found()).epoch == 1


async def test_a_full_stream_takes_new_events_once_the_applied_ones_have_gone(bench: Bench) -> None:
    small = dataclasses.replace(bench.settings, stream_max_bytes=1024**2)
    async with working(small):
        await bench.has_streams()
        sent = 0

        async def fill() -> None:
            nonlocal sent
            while True:
                await bench.store_copy(message("x" * 16_000))
                sent += 1

        with pytest.raises(APIError, match="maximum bytes exceeded"):
            await fill()
        await bench.has_watermark(1, sent)
        stream = NatsEventStream(bench.nats, STREAM, "history", lambda *_: pytest.fail("nothing is configured"))
        retention = Retention([stream], stream, ledger=bench.ledger, mine=lambda _: True, wall=wall_ms, keep=3600)
        await retention.tidy()
        found = await bench.found()
        assert 0.4 < found.state.bytes / 1024**2 < 0.6
        await bench.send("again")
        await bench.has_watermark(1, sent + 1)
    assert len((await bench.history.page(ROOM, limit=100)).messages) == sent + 1


async def test_old_heartbeats_go_and_what_readers_may_still_want_stays(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        for number in range(HEARTBEATS_KEPT + 20):
            last = await bench.control.publish_control(Heartbeat(id=f"hb-{number}", actor="n", ts=number))
            if number == 3:
                kept = await bench.control.publish_control(Revoked(id="v", actor="p", ts=1, user="ann", before=1))

        async def applied() -> bool:
            return await bench.rights.control_applied() >= last

        await until(applied)
    control = NatsEventStream(bench.nats, CONTROL_STREAM, "projection", lambda *_: pytest.fail("nothing is configured"))
    await Retention([], control, ledger=bench.ledger, mine=lambda _: True, wall=lambda: 0, keep=1).tidy()
    found = await bench.found(CONTROL_STREAM)
    assert found.state.messages == HEARTBEATS_KEPT + 2
    assert (await bench.reader.at(CONTROL_STREAM, kept)) is not None
    async with working(bench.settings):
        put = MemberPut(id="m", actor="p", ts=1, room=ROOM, user="bob", role="learner")
        last = await bench.control.publish_control(put)
        await until(applied)


async def test_a_stream_that_somebody_closed_is_opened_again(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("before")
        await bench.shows("before")
        await bench.streams.close(chat_stream(PARTITION, epoch=1, first_seq=1, replicas=1, max_bytes=64 * 1024**2))
        await bench.send("after")
        await bench.shows("before", "after")
        assert (await bench.found()).epoch == 1


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
