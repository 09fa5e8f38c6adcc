"""Following a room: what is given first (what was missed since a cursor, or the newest page), then all that comes."""

import asyncio
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec import UNSET, UnsetType

from chatnode.access.rules import Action
from chatnode.protocol import limits
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.frames import Message, Receipt
from chatnode.rooms.ports import Unavailable
from chatnode.rooms.rights import RoomRights
from chatnode.rooms.room import Follower, Phase, Room
from chatnode.transports.desk import Services
from chatnode.transports.permission import Asker, allowed, check

logger = logging.getLogger(__name__)

_ATTEMPTS: Final = 5
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants to follow, and from where."""

    room: str
    cursor: Cursor | None
    limit: int
    """Of the page that it is given without a cursor, and where the cursor's events are not at hand."""
    tell: Tell


class Joiner(Asker, Follower, Hashable, Protocol):
    """A connection, as far as it joins rooms."""

    def claim(self, room: str) -> None:
        """Count a room as followed, from before it is; :class:`ProtocolError` where there are too many."""
        ...

    def claimed(self, room: str) -> bool:
        """False once it was given up, also while it is being joined."""
        ...

    def forget(self, room: str) -> None:
        """Follow a room no longer; nothing where it was not followed."""
        ...


async def join(services: Services, joiner: Joiner, wanted: Wanted) -> None:
    """Follow a room and tell from where; nothing lies between what is told and what follows.

    Raises the refusal, and :class:`chatnode.rooms.ports.Unavailable` where a source is away; the room is then not
    followed any more.
    """
    name = wanted.room
    joiner.claim(name)
    try:
        rights = await allowed(services, joiner, name, Action.READ)
        services.hub.leave(name, joiner)
        receipts = await _receipts_of(services, rights)
        async with services.joining.entered(joiner):
            for _ in range(_ATTEMPTS):
                room = await services.hub.open(name)
                if await _join_once(services, joiner, wanted, room, receipts):
                    return
        raise Unavailable(f"room {name} moves faster than it can be joined")
    except BaseException:
        joiner.forget(name)
        raise


async def _join_once(
    services: Services, joiner: Joiner, wanted: Wanted, room: Room, receipts: tuple[Receipt, ...] | UnsetType
) -> bool:
    """One attempt; the last awaited call is followed by check, reply and effect without another."""
    joined = await _prepare(services, wanted, room, receipts)
    if joined is None or room.phase not in (Phase.LIVE, Phase.FILLING):
        return False
    check(joiner, services.rights.held(room.name), Action.READ)
    if not joiner.claimed(room.name):
        raise ProtocolError(ErrorCode.CONFLICT, "unsubscribed while subscribing")
    if wanted.cursor is not None:
        services.recovered(joined.recovered)
    wanted.tell(joined)
    for framed in joined.frames:
        joiner.sink.write(framed)
    services.hub.follow(room, joiner)
    return True


async def _receipts_of(services: Services, rights: RoomRights) -> tuple[Receipt, ...] | UnsetType:
    """How far each member has read, in rooms that are not large; not waited for where MongoDB is away."""
    if len(rights.members) > limits.PRESENCE_NAMES_MAX:
        return ()
    try:
        async with asyncio.timeout(_RECEIPTS_S):
            return await services.history.receipts(rights.room)
    except (TimeoutError, Unavailable) as error:
        logger.info("receipts of %s are not told: %s", rights.room, error)
        return UNSET


async def _prepare(
    services: Services, wanted: Wanted, room: Room, receipts: tuple[Receipt, ...] | UnsetType
) -> Joined | None:
    """What reaches exactly to where ``room`` has been delivered when this returns; None: it moved on, try again.

    The caller tells, writes and follows without another await, so that nothing lies in between.
    """
    cursor = wanted.cursor
    if cursor is not None:
        if cursor.epoch == room.epoch and cursor.seq > room.last:
            await services.hub.settle(room)
        missed = await services.catch_up.recover(room, cursor)
        if missed is not None and sum(map(len, missed)) <= _REPLAY_BYTES:
            return Joined(cursor, receipts, missed)
    # A room that was open already may be a moment behind the leader: a page must not be.
    await services.hub.settle(room)
    boundary, page = await services.catch_up.newest(room, wanted.limit)
    since = room.replay(boundary.seq)
    if since is None:
        return None
    return Joined(boundary, receipts, since, page.messages, page.more_before, page.partial or UNSET)
