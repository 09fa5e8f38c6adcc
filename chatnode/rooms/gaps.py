"""What a room has missed: read from the log, and looked up where it may be a second copy, before it is delivered."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from chatnode.protocol.envelope import Envelope
from chatnode.protocol.frames import Position
from chatnode.rooms.copies import find_void, is_late
from chatnode.rooms.ports import HistoryReader, RoomLog, Stored
from chatnode.rooms.room import Room

GAP_MAX: Final = 5000
_FETCH_AT_ONCE: Final = 64
"""Rooms that fetch what they missed at the same time: after a suspension all of them do."""


class Gaps:
    """``decode`` gives the envelope of a room's event at a sequence; None where it cannot be read."""

    def __init__(
        self,
        log: RoomLog,
        history: HistoryReader,
        *,
        wall_ms: Callable[[], int],
        decode: Callable[[str, bytes, int], Envelope | None],
    ) -> None:
        self._log = log
        self._history = history
        self._wall_ms = wall_ms
        self._decode = decode
        self._fetching = asyncio.Semaphore(_FETCH_AT_ONCE)

    async def fetch(self, room: Room, end: int | None) -> tuple[Sequence[Stored] | None, int]:
        """Everything after what ``room`` has reached, up to ``end`` (None: the leader's last) and to the first event
        that it holds, and how far that is; None instead where it is more than ``GAP_MAX``. Afterwards ``room.late``
        says of all that comes next whether it is void. Raises :class:`chatnode.rooms.ports.Unavailable`."""
        async with self._fetching:
            goal = end
            if goal is None:
                last = await self._log.last(room.name)
                goal = room.reached if last is None else last.seq
            if room.held:
                goal = max(goal, room.held[0].prev)
            missing = await self._log.whole(room.name, room.reached, goal, GAP_MAX)
            await self._look_up_late(room, missing or ())
        return missing, goal

    async def _look_up_late(self, room: Room, missing: Sequence[Stored]) -> None:
        now = self._wall_ms()
        coming = [(stored.seq, stored.data, stored.ts) for stored in missing]
        coming += [(message.seq, message.data, now) for message in room.held]
        late = []
        for seq, data, stored_ms in coming:
            envelope = self._decode(room.name, data, seq)
            if envelope is not None and is_late(envelope, stored_ms):
                late.append((Position(room.epoch, seq), envelope))
        void = await find_void(self._history, self._log, room.name, late)
        room.late.update({place.seq: place in void for place, _ in late})
