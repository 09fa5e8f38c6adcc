"""What somebody who follows a room is given first: what was missed since a cursor, or the newest page."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType

from chatnode.protocol import limits
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.frames import Message, Receipt
from chatnode.rooms.ports import Unavailable
from chatnode.rooms.rights import RoomRights
from chatnode.rooms.room import Room
from chatnode.transports.desk import Services

logger = logging.getLogger(__name__)

_RECEIPTS_S: Final = 1.0
_REPLAY_BYTES: Final = 128 * 1024
"""More than this is not replayed event by event: a page is smaller and a slow reader is not closed over it."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What a subscription came to; ``frames`` are to be written right after it was told."""

    cursor: Cursor
    receipts: tuple[Receipt, ...] | UnsetType
    """UNSET where they cannot be told now: a conversation goes on without."""
    frames: list[bytes]
    messages: tuple[Message, ...] | UnsetType = UNSET
    more_before: bool | UnsetType = UNSET
    partial: bool | UnsetType = UNSET

    @property
    def recovered(self) -> bool:
        return self.messages is UNSET


Tell = Callable[[Joined], None]
"""How a join is told: by an ack, or by an event after ``connect``."""


async def receipts_of(services: Services, rights: RoomRights) -> tuple[Receipt, ...] | UnsetType:
    """How far each member has read, in rooms that are not large; not waited for where MongoDB is away."""
    if len(rights.members) > limits.PRESENCE_NAMES_MAX:
        return ()
    try:
        async with asyncio.timeout(_RECEIPTS_S):
            return await services.history.receipts(rights.room)
    except (TimeoutError, Unavailable) as error:
        logger.info("receipts of %s are not told: %s", rights.room, error)
        return UNSET


async def prepare(
    services: Services, room: Room, cursor: Cursor | None, limit: int, receipts: tuple[Receipt, ...] | UnsetType
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
    # A room that was open already may be a moment behind the leader: a page must not be.
    await services.hub.settle(room)
    boundary, page = await services.catch_up.newest(room, limit)
    since = room.replay(boundary.seq)
    if since is None:
        return None
    return Joined(boundary, receipts, since, page.messages, page.more_before, page.partial or UNSET)
