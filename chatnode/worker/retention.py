"""Takes out of the streams what is in MongoDB and old, or in MongoDB and in the way."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import Final

from chatnode.protocol.control import HEARTBEAT_SUBJECT
from chatnode.rooms.ports import Unavailable
from chatnode.worker.ports import EventStream, Ledger, StreamView

log = logging.getLogger(__name__)

HEARTBEATS_KEPT: Final = 300
"""Sequences below the projections' watermark in which heartbeats stay: who is a little behind sees no holes."""


PRESSURE: Final = 0.75
"""Share of a stream's size above which what is applied goes before its time: full, it would refuse every send."""
RELIEF: Final = 0.5
"""Share of its size that a stream under pressure is brought to."""


def purge_point(watermark: int, first_young: int | None) -> int:
    """Everything below may go. The event at the watermark stays: it shows that the stream is still the same one."""
    return watermark if first_young is None else min(watermark, first_young)


def relief_point(watermark: int, view: StreamView) -> int | None:
    """Below which events go although they are young, as if all were of one size; None without need."""
    if view.max_bytes <= 0 or view.size < PRESSURE * view.max_bytes:
        return None
    excess = 1 - RELIEF * view.max_bytes / view.size
    return min(watermark, view.first_seq + math.ceil(excess * (view.last_seq + 1 - view.first_seq)))


class Retention:
    """``wall`` gives milliseconds since 1970; ``keep`` and ``every`` are seconds; ``mine`` tells which streams this
    worker holds, so that one worker tidies each."""

    def __init__(
        self,
        chats: Sequence[EventStream],
        control: EventStream,
        *,
        ledger: Ledger,
        mine: Callable[[str], bool],
        wall: Callable[[], int],
        keep: float,
        every: float = 60.0,
    ) -> None:
        self._chats = chats
        self._control = control
        self._ledger = ledger
        self._mine = mine
        self._wall = wall
        self._keep_ms = round(keep * 1000)
        self._every = every

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.tidy()
            except Unavailable as error:
                log.info("retention: %s", error)
            try:
                async with asyncio.timeout(self._every):
                    await stop.wait()
            except TimeoutError:
                continue

    async def tidy(self) -> None:
        for stream in self._chats:
            if self._mine(stream.name):
                await self._tidy_chat(stream)
        if self._mine(self._control.name):
            progress = await self._ledger.progress(self._control.name)
            if progress is not None and progress.watermark.seq > HEARTBEATS_KEPT:
                below = progress.watermark.seq - HEARTBEATS_KEPT
                await self._control.drop_below(below, subject=HEARTBEAT_SUBJECT)

    async def _tidy_chat(self, stream: EventStream) -> None:
        progress = await self._ledger.progress(stream.name)
        view = await stream.view()
        if progress is None or view is None or progress.watermark.epoch != view.epoch:
            return
        young = await stream.first_since(self._wall() - self._keep_ms)
        point = purge_point(progress.watermark.seq, young)
        relief = relief_point(progress.watermark.seq, view)
        if relief is not None and relief > point:
            log.warning(
                "%s: %d of %d bytes are used; events younger than %d h go, all of them are in MongoDB",
                *(stream.name, view.size, view.max_bytes, self._keep_ms // 3_600_000),
            )
            point = relief
        if point > view.first_seq:
            dropped = await stream.drop_below(point)
            log.info("%s: %d events dropped", stream.name, dropped)
