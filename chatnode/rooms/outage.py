"""Whether MongoDB can be asked, and whose readers were given less than everything while it could not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from chatnode.protocol.cursors import Cursor
from chatnode.protocol.frames import Message, Position, Receipt
from chatnode.rooms.ports import CommandRecord, HistoryAway, HistoryReader, Page, Watermark

_ROOMS_MAX: Final = 100_000


class HistoryOutage:
    """While :attr:`away` is set nobody waits for MongoDB: pages come from the stream's tail, and say so."""

    def __init__(self) -> None:
        self._away = False
        self._partial: set[str] = set()

    @property
    def away(self) -> bool:
        return self._away

    def began(self) -> None:
        self._away = True

    def ended(self) -> frozenset[str]:
        """MongoDB answers. Rooms of which a partial page was given since the last time; each is told once."""
        self._away = False
        told, self._partial = frozenset(self._partial), set()
        return told

    def gave_partial(self, room: str) -> None:
        """Beyond a hundred thousand rooms the rest is not remembered: their readers ask again by themselves."""
        if len(self._partial) < _ROOMS_MAX:
            self._partial.add(room)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around a read of MongoDB: :class:`HistoryAway` at once while it is away; whoever finds out, tells."""
        if self._away:
            raise HistoryAway("MongoDB is away")
        try:
            yield
        except HistoryAway:
            self._away = True
            raise


class WatchedHistory:
    """A :class:`HistoryReader` that nobody waits for while it is known to be away."""

    def __init__(self, history: HistoryReader, outage: HistoryOutage) -> None:
        self._history = history
        self._outage = outage

    async def watermark(self, partition: int) -> Watermark | None:
        with self._outage.asking():
            return await self._history.watermark(partition)

    async def page(
        self,
        room: str,
        *,
        before: Position | None = None,
        after: Position | None = None,
        around: Position | None = None,
        limit: int,
    ) -> Page:
        with self._outage.asking():
            return await self._history.page(room, before=before, after=after, around=around, limit=limit)

    async def message(self, room: str, position: Position) -> Message | None:
        with self._outage.asking():
            return await self._history.message(room, position)

    async def commands(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], CommandRecord]:
        with self._outage.asking():
            return await self._history.commands(keys)

    async def head(self, room: str) -> Cursor | None:
        with self._outage.asking():
            return await self._history.head(room)

    async def receipts(self, room: str) -> tuple[Receipt, ...]:
        with self._outage.asking():
            return await self._history.receipts(room)
