"""Whether a stream went back, where its leader may have been elected a moment ago."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from chatnode.broker.event_stream import View
from chatnode.rooms.ports import Stored, Unavailable, Watermark
from chatnode.worker.epochs import Keep, Raise
from chatnode.worker.ports import EventStream, Leases, Ledger
from chatnode.worker.stream import Gauges, Job, Rhythm, StreamWorker

MARK = Watermark(1, 6027, "aaaaaaaa")


class Stream:
    """Tells one view after the other, the last one for ever."""

    name = "CHAT_3"

    def __init__(self, *views: View) -> None:
        self._views = list(views)
        self.looks = 0

    async def view(self) -> View:
        self.looks += 1
        return self._views.pop(0) if len(self._views) > 1 else self._views[0]

    async def at(self, seq: int) -> Stored:
        return Stored("chat.3.room.maths", seq, 0, {}, b"")


def view(last_seq: int, *, closed: bool = False, replicated: bool = True) -> View:
    return View(1, 1, last_seq, closed, 0, 0, replicated)


def worker_of(stream: Stream, *, leases: Sequence[bool] = ()) -> StreamWorker:
    takes = list(leases)

    async def progress(_name: str) -> object:
        return SimpleNamespace(watermark=MARK, highest=MARK.seq, ts=0)

    async def epoch(_name: str) -> int:
        return 1

    async def take(_name: str) -> bool:
        return takes.pop(0) if takes else True

    return StreamWorker(
        cast("EventStream", stream),
        cast("Job", SimpleNamespace(hash_of=lambda _stored: MARK.hash)),
        ledger=cast("Ledger", SimpleNamespace(progress=progress, epoch=epoch)),
        leases=cast("Leases", SimpleNamespace(take=take)),
        gauges=cast("Gauges", SimpleNamespace(held=lambda _held: None)),
        clock=asyncio.get_running_loop().time,
        rhythm=Rhythm(doubt=0.1),
    )


async def test_a_leader_that_has_just_been_elected_is_not_believed_that_its_stream_went_back() -> None:
    """It told 5926 for 1.6 s, 6027 was applied, and 6160 were stored: a run of `make test` raised the epoch."""
    stream = Stream(view(5926), view(5926), view(6160))
    _, _, decision = await worker_of(stream)._make_sure(asyncio.Event())
    assert decision == Keep(1)


async def test_a_stream_that_went_back_is_believed_to_have_once_its_leader_goes_on_saying_so() -> None:
    stream = Stream(view(5926))
    _, _, decision = await worker_of(stream)._make_sure(asyncio.Event())
    assert isinstance(decision, Raise)
    assert stream.looks > 10


@pytest.mark.parametrize("told", [view(5926, replicated=False), view(5926, closed=True)], ids=["one server", "closed"])
async def test_what_is_certain_is_asked_for_once(told: View) -> None:
    stream = Stream(told)
    _, _, decision = await worker_of(stream)._make_sure(asyncio.Event())
    assert isinstance(decision, Raise)
    assert stream.looks == 1


async def test_who_loses_the_lease_meanwhile_decides_nothing() -> None:
    with pytest.raises(Unavailable):
        await worker_of(Stream(view(5926)), leases=[True, False])._make_sure(asyncio.Event())


async def test_who_is_told_to_stop_meanwhile_decides_nothing() -> None:
    stop = asyncio.Event()
    stop.set()
    stream = Stream(view(5926))
    with pytest.raises(Unavailable):
        await worker_of(stream)._make_sure(stop)
    assert stream.looks == 1
