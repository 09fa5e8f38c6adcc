"""Which streams a worker takes when there are several workers: evenly, each at most its share.

The decisions are pure; :meth:`Share.keep` finds out how many workers there are. What is known of that is a moment old:
shares are about work, never about correctness.
"""

import asyncio
import logging
import math
from collections.abc import Collection
from typing import Protocol

from chatnode.rooms.ports import Unavailable

log = logging.getLogger(__name__)


def fair_share(streams: int, workers: int) -> int:
    """At most so many each; all together they can take every stream."""
    return math.ceil(streams / max(1, workers))


def surplus(held: Collection[str], share: int) -> frozenset[str]:
    """What a worker that holds these gives back, so that others have theirs."""
    return frozenset(sorted(held)[share:])


class Roll(Protocol):
    async def announce(self) -> int:
        """This worker lives; how many do."""
        ...


class Share:
    """The share of one worker, of ``streams`` in all; everything until it is known how many workers there are."""

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self._most = streams
        self._held: set[str] = set()

    def may_take(self, stream: str) -> bool:
        return stream in self._held or len(self._held) < self._most

    def gives_back(self, stream: str) -> bool:
        return stream in surplus(self._held, self._most)

    def holds(self, stream: str, *, held: bool) -> None:
        if held:
            self._held.add(stream)
        else:
            self._held.discard(stream)

    def workers(self, count: int) -> None:
        most = fair_share(self._streams, count)
        if most != self._most:
            log.info("%d workers: at most %d of %d streams each", count, most, self._streams)
        self._most = most

    async def keep(self, roll: Roll, stop: asyncio.Event, every: float) -> None:
        """Until ``stop``. While MongoDB is away the share stays as it is."""
        while not stop.is_set():
            try:
                self.workers(await roll.announce())
            except Unavailable as error:
                log.info("how many workers there are is not known: %s", error)
            try:
                async with asyncio.timeout(every):
                    await stop.wait()
            except TimeoutError:
                continue
