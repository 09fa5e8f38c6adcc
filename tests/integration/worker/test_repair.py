"""``chatcluster repair`` against real servers: what is missing is found, said, and put right from where it still is."""

import pytest

from chatnode.broker.event_stream import EnvelopePublisher
from chatnode.history.schema import COMMANDS, MESSAGES, REACTIONS
from chatnode.protocol.envelope import Envelope
from chatnode.protocol.frames import Position
from chatnode.worker.mending import LACKING, run_repair
from tests.integration.worker_bench import QUICK, ROOM, STREAM, Bench, message, until, working


async def repair(bench: Bench, *, apply: bool = False) -> tuple[int, str]:
    said: list[str] = []
    code = await run_repair(bench.settings, apply=apply, say=said.append, rhythm=QUICK)
    return code, "\n".join(said)


def amend(kind: str, target: int, text: str = "") -> Envelope:
    plain = message(text)
    return Envelope(
        kind=kind,  # type: ignore[arg-type]
        room=ROOM,
        user="ann",
        id=plain.id,
        ts=2,
        digest="d",
        body=plain.body if kind == "edit" else None,
        target=Position(1, target),
        emoji="+" if kind == "reaction" else None,
    )


async def test_where_nothing_lacks_nothing_is_changed(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("one", "two")
        await bench.shows("one", "two")
        code, said = await repair(bench)
    assert code == 0, said
    assert f"{STREAM}: the stream holds 1 to 2, epoch 1; history everything up to 2 of epoch 1" in said
    assert (await repair(bench, apply=True))[0] == 0


async def test_what_was_removed_from_mongodb_is_found_and_comes_back_as_it_was(bench: Bench) -> None:
    """A message that was edited, one that was deleted, one with a reaction, and the record of a command."""
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("edited", "deleted", "liked", "kept")
        for event in (amend("edit", 1, "better"), amend("delete", 2), amend("reaction", 3)):
            await EnvelopePublisher(bench.nats).publish(event)
        await bench.has_watermark(1, 7)
        before = (await bench.history.page(ROOM, limit=100)).messages
        assert [each.text for each in before] == ["better", "", "liked", "kept"]
        rows = bench.mongo.database
        for seq in (1, 2, 3):
            await rows[MESSAGES].delete_one({"_id": {"room": ROOM, "epoch": 1, "seq": seq}})
        await rows[REACTIONS].delete_many({})
        await rows[COMMANDS].delete_one({"at.seq": 4})
        code, said = await repair(bench)
        assert code == LACKING
        assert "history lacks 4 events that the stream holds: 1 to 4" in said
        assert [each.text for each in (await bench.history.page(ROOM, limit=100)).messages] == ["kept"]
        code, said = await repair(bench, apply=True)
        assert code == 0, said
        assert "stream and history hold the same now" in said
        assert (await bench.history.page(ROOM, limit=100)).messages == before
        assert (await repair(bench))[0] == 0


@pytest.mark.parametrize("running", [False, True], ids=["without a worker", "while a worker runs"])
async def test_a_lost_stream_begins_anew_above_history_and_nothing_that_history_had_is_lost(
    bench: Bench, running: bool
) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("one", "two", "three")
        await bench.shows("one", "two", "three")
    await bench.nats.jetstream().delete_stream(STREAM)
    code, said = await repair(bench)
    assert code == LACKING
    assert "the stream was lost; it has to begin at 4, epoch 2" in said
    assert "nowhere any more" in said
    if running:
        async with working(bench.settings):
            code, said = await repair(bench, apply=True)
    else:
        code, said = await repair(bench, apply=True)
    assert code == 0, said
    found = await bench.streams.find(STREAM)
    assert found is not None
    assert (found.epoch, found.state.first_seq) == (2, 4)
    async with working(bench.settings):
        await bench.send("four")
        await bench.shows("one", "two", "three", "four")


async def test_a_stream_that_went_back_is_emptied_into_history_and_goes_on_above(bench: Bench) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("one", "two", "three")
        await bench.shows("one", "two", "three")
    config = (await bench.nats.jetstream().stream_info(STREAM)).config
    await bench.nats.jetstream().delete_stream(STREAM)
    config.first_seq = None
    await bench.nats.jetstream().add_stream(config)
    await bench.send("since")
    assert (await repair(bench))[0] == LACKING
    code, said = await repair(bench, apply=True)
    assert code == 0, said

    async def all_there() -> bool:
        return sorted(await bench.texts()) == ["one", "since", "three", "two"]

    await until(all_there)
