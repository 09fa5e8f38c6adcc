"""What somebody who follows a room is given first: what was missed since a cursor, or the newest page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType

from chatnode.protocol.cursors import Cursor
from chatnode.protocol.frames import Message, Receipt
from chatnode.rooms.room import Room
from chatnode.transports.desk import Services

_REPLAY_BYTES: Final = 128 * 1024
"""More than this is not replayed event by event: a page is smaller and a slow reader is not closed over it."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What a subscription came to; ``frames`` are to be written right after it was told."""

    cursor: Cursor
    receipts: tuple[Receipt, ...]
    frames: list[bytes]
    messages: tuple[Message, ...] | UnsetType = UNSET
    more_before: bool | UnsetType = UNSET

    @property
    def recovered(self) -> bool:
        return self.messages is UNSET


Tell = Callable[[Joined], None]
"""How a join is told: by an ack, or by an event after ``connect``."""


async def prepare(
    services: Services, room: Room, cursor: Cursor | None, limit: int, receipts: tuple[Receipt, ...]
) -> Joined | None:
    """What reaches exactly to where ``room`` has been delivered when this returns; None: it moved on, try again.

    The caller tells, writes and follows without another await, so that nothing lies in between.
    """
    if cursor is not None:
        if cursor.epoch == room.epoch and cursor.seq > room.last:
            await services.hub.settle(room)
        missed = await services.catch_up.recover(room, cursor)
        if missed is not None and sum(map(len, missed)) <= _REPLAY_BYTES:
            return Joined(cursor, receipts, missed)
    boundary = room.cursor
    page = await services.catch_up.newest(room.name, limit, boundary)
    since = room.replay(boundary.seq)
    return None if since is None else Joined(boundary, receipts, since, page.messages, page.more_before)
