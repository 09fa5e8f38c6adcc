"""Second copies of stored events, and how the few that may be one are told from the rest.

A publish that was stuck in a paused server comes out beyond the duplicate window of two minutes (measured), under a
higher sequence; the first copy counts, the later one is void. Within the window the server refuses it, so only an event
that was stored long after it was sent can be one. Those are looked up, all others cost a comparison.
"""

from collections.abc import Sequence
from typing import Final

from chatnode.protocol.envelope import Envelope
from chatnode.protocol.frames import Position
from chatnode.rooms.ports import HistoryReader

LATE_MS: Final = 60_000
"""Half the duplicate window: the other half is for clocks that differ."""
_AT_ONCE: Final = 200


def is_late(envelope: Envelope, stored_ms: int) -> bool:
    """Whether it was stored so long after it was sent that it may be a second copy."""
    return stored_ms - envelope.ts > LATE_MS


async def find_void(history: HistoryReader, room: str, events: Sequence[tuple[Position, Envelope]]) -> set[Position]:
    """Which of these are second copies of what history has recorded at a lower place."""
    void: set[Position] = set()
    for start in range(0, len(events), _AT_ONCE):
        some = events[start : start + _AT_ONCE]
        recorded = await history.commands([(envelope.user, envelope.id) for _, envelope in some])
        for place, envelope in some:
            first = recorded.get((envelope.user, envelope.id))
            if first is not None and first.room == room and Position(first.epoch, first.seq) < place:
                void.add(place)
    return void
