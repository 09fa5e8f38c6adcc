"""What leaves the streams: what is old and applied, and nothing that anybody may still want."""

import asyncio
import dataclasses

import pytest
from nats.js.errors import APIError

from chatnode.broker.event_stream import NatsEventStream
from chatnode.broker.subjects import CONTROL_STREAM
from chatnode.protocol.control import Heartbeat, MemberPut, Revoked
from chatnode.worker.main import wall_ms
from chatnode.worker.retention import HEARTBEATS_KEPT, Retention
from tests.integration.worker_bench import ROOM, STREAM, Bench, message, until, working


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
