"""Takes out of the streams what is old and in MongoDB."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from chatnode.protocol.control import HEARTBEAT_SUBJECT
from chatnode.rooms.ports import Unavailable
from chatnode.worker.ports import EventStream, Ledger

log = logging.getLogger(__name__)

HEARTBEATS_KEPT: Final = 300
"""Sequences below the projections' watermark in which heartbeats stay: who is a little behind sees no holes."""


def purge_point(watermark: int, first_young: int | None) -> int:
    """Everything below may go. The event at the watermark stays: it shows that the stream is still the same one."""
    return watermark if first_young is None else min(watermark, first_young)


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
        if point > view.first_seq:
            dropped = await stream.drop_below(point)
            log.info("%s: %d events older than %d h dropped", stream.name, dropped, self._keep_ms // 3_600_000)
