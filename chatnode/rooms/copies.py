"""Second copies of stored events, and how the few that may be one are told from the rest.

A publish that was stuck in a paused server comes out beyond the duplicate window of two minutes (measured), under a
higher sequence; the first copy counts, the later one is void. Within the window the server refuses it, so only an event
that was stored long after it was sent can be one. Those are looked up, all others cost a comparison. Sent is when a
node's clock says: what a node stores whose clock is behind is looked up in vain, and is no copy.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from chatnode.protocol.envelope import Envelope, decode_envelope
from chatnode.protocol.frames import Position
from chatnode.rooms.ports import HistoryReader, RoomLog
from chatnode.rooms.tail import tail_of

LATE_MS: Final = 60_000
"""Half the duplicate window: the other half is for clocks that differ."""
_AT_ONCE: Final = 200


def is_late(envelope: Envelope, stored_ms: int) -> bool:
    """Whether it was stored so long after it was sent that it may be a second copy."""
    return stored_ms - envelope.ts > LATE_MS


async def find_void(
    history: HistoryReader, log: RoomLog, room: str, events: Sequence[tuple[Position, Envelope]]
) -> set[Position]:
    """Which of these are second copies: of what history has recorded at a lower place, or of what the stream holds
    there and history lacks still. :class:`Unavailable` where that cannot be told."""
    if not events:
        return set()
    written = await history.watermark(log.partition_of(room))
    firsts: dict[tuple[str, str], Position] = {}
    for start in range(0, len(events), _AT_ONCE):
        some = events[start : start + _AT_ONCE]
        for key, first in (await history.commands([(envelope.user, envelope.id) for _, envelope in some])).items():
            if first.room == room:
                firsts[key] = Position(first.epoch, first.seq)
    unknown = [(place, envelope) for place, envelope in events if (envelope.user, envelope.id) not in firsts]
    if unknown:
        last = max(place for place, _ in unknown)
        above = written.seq if written is not None and written.epoch == last.epoch else 0
        firsts |= await _firsts_in_tail(log, room, last, above)
    return {place for place, envelope in events if firsts.get((envelope.user, envelope.id), place) < place}


async def _firsts_in_tail(log: RoomLog, room: str, last: Position, above: int) -> dict[tuple[str, str], Position]:
    firsts: dict[tuple[str, str], Position] = {}
    for stored in await tail_of(log, room, above, last.seq):
        try:
            envelope = decode_envelope(stored.data)
        except msgspec.DecodeError:
            continue
        firsts.setdefault((envelope.user, envelope.id), Position(last.epoch, stored.seq))
    return firsts
