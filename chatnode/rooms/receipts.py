"""Read receipts: told to the room and written to MongoDB at most once a second per user and room."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from chatnode.protocol.codec import encode_frame
from chatnode.protocol.events import ReadEvent
from chatnode.protocol.frames import Position
from chatnode.rooms.ports import ReceiptWriter, Unavailable

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0
WAITING_MAX: Final = 50_000


class Receipts:
    def __init__(self, writer: ReceiptWriter, pass_on: Callable[[str, bytes], Awaitable[None]]) -> None:
        self._writer = writer
        self._pass_on = pass_on
        self._waiting: dict[tuple[str, str], Position] = {}
        self._fresh: set[tuple[str, str]] = set()

    def note(self, user: str, room: str, at: Position) -> bool:
        """Remember how far a user has read; a receipt never moves back. False when too many wait to be written."""
        key = (user, room)
        known = self._waiting.get(key)
        if known is None and len(self._waiting) >= WAITING_MAX:
            return False
        if known is None or known < at:
            self._waiting[key] = at
            self._fresh.add(key)
        return True

    async def run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.flush()

    async def flush(self) -> None:
        """Tell and write what has come since the last time; what cannot be written waits for the next."""
        taken = self._waiting
        if not taken:
            return
        fresh, self._fresh, self._waiting = self._fresh, set(), {}
        for user, room in fresh:
            event = ReadEvent(room=room, sender=user, at=taken[user, room])
            try:
                await self._pass_on(room, encode_frame(event))
            except Unavailable as error:
                logger.debug("receipt was not passed on: %s", error)
        try:
            await self._writer.write_receipts([(user, room, at) for (user, room), at in taken.items()])
        except Unavailable as error:
            logger.warning("%d receipts wait: %s", len(taken), error)
            for key, at in taken.items():
                newer = self._waiting.get(key)
                self._waiting[key] = at if newer is None else max(newer, at)
