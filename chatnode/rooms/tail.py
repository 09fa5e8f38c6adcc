"""The end of a room that the stream holds and history lacks still: what a page, a look-up and a search for copies need
beside MongoDB (ARCHITECTURE §2.2, §3.6)."""

from typing import Final

from chatnode.rooms.ports import RoomLog, Stored, Unavailable

TAIL_MAX: Final = 5000
"""Events that the history writer may lag behind in one room before nothing can be told of it."""
_CHECKED: Final = 500
"""Last events that are checked with the leader; more are there only where the writer has been away."""


async def tail_of(log: RoomLog, room: str, start: int, end: int) -> list[Stored]:
    """All events in ``(start, end]``, where the leader is known to hold one at ``end``; :class:`Unavailable` where they
    are more than :data:`TAIL_MAX`. What a damaged replica has lost of the last ones is had from the leader."""
    if end <= start:
        return []
    tail = await log.whole(room, start, end, TAIL_MAX, checked=_CHECKED)
    if tail is None:
        raise Unavailable(f"history of {room} is more than {TAIL_MAX} events behind")
    return tail
