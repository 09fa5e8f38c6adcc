"""Streams that were lost, emptied, closed, or went back in time: the worker takes them up, and nothing is lost."""

import pytest
from msgspec import structs
from nats.js.errors import NoStreamResponseError

from chatnode.broker.event_stream import NatsEventStream
from chatnode.broker.streams import chat_stream, control_stream, is_closed
from chatnode.broker.subjects import CONTROL_STREAM
from chatnode.protocol.control import EpochRaised, Member, MemberPut, RoomPut, decode_control
from chatnode.protocol.envelope import Envelope
from chatnode.protocol.frames import Position
from chatnode.rooms.ports import Stored, Watermark
from tests.integration.conftest import MongoAddress
from tests.integration.worker_bench import PARTITION, ROOM, STREAM, Bench, bench_on, message, until, working


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
    assert alarms == [f"{STREAM}: history_gap: 2 of 2 to 3 were gone before they were applied"]


async def test_events_that_one_server_has_lost_and_another_holds_are_applied(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("a")
        await bench.shows("a")
    await bench.send("b", "c", "d")
    elsewhere = [stored for seq in (2, 3) if (stored := await bench.reader.at(STREAM, seq)) is not None]
    await bench.streams.purge_below(STREAM, 4)

    async def rescued(_: NatsEventStream, missing: range) -> list[Stored]:
        return [stored for stored in elsewhere if stored.seq in missing]

    monkeypatch.setattr(NatsEventStream, "rescued", rescued)
    async with working(bench.settings):
        await bench.shows("a", "b", "c", "d")
    assert [record.message for record in caplog.records if "history_gap" in record.message] == []


async def test_a_stream_that_somebody_closed_is_opened_again(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("before")
        await bench.shows("before")
        await bench.streams.close(chat_stream(PARTITION, epoch=1, first_seq=1, replicas=1, max_bytes=64 * 1024**2))
        await bench.send("after")
        await bench.shows("before", "after")
        assert (await bench.found()).epoch == 1
