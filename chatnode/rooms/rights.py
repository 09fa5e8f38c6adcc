"""What this node knows of rooms' rights: the projection in MongoDB, overlaid with the control events after it.

Promise: once the control feed has delivered a sequence, every room read or held here is the fold of the control events
up to that sequence (for some members beyond it, where the projection was ahead), whatever the order of loads, events
and the projection's progress. :meth:`Rights.held` and :meth:`Rights.apply` are synchronous, so a rule can be checked
without an await between check and effect.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from msgspec import structs

from chatnode.protocol.control import ControlEvent, Heartbeat, Member, MemberPut, Revoked, Role, RoomKind, RoomPut
from chatnode.rooms.control_log import ControlLog, RoomEvent
from chatnode.rooms.ports import RightsReader, RoomRecord, Unavailable, UserRoom

_ATTEMPTS: Final = 5
_RETRY_S: Final = 0.05
_REVOCATIONS_MAX: Final = 100_000
_RELOADS: Final = 16
"""Rooms that are read at the same time when all are read again."""


@dataclass(frozen=True, slots=True)
class RoomRights:
    """Who may be what in one room: every control event up to sequence ``applied`` is in it."""

    room: str
    kind: RoomKind
    title: str
    closed: bool
    members: Mapping[str, Member]
    """By user."""
    applied: int

    def role_of(self, user: str) -> Role | None:
        member = self.members.get(user)
        return None if member is None else member.role


Listener = Callable[[ControlEvent | None, RoomRights | None, RoomRights | None], None]
"""``(event, before, after)``, called synchronously, in the order of control events, for every event but heartbeats.

``before`` and ``after`` are None for events that are about no room, and for rooms that are not held here. They may be
alike where the projection was read ahead of the feed: whoever enforces rights decides by ``after``, not by the
difference. ``event`` is None when reading all rooms again brought up a change."""


def fold_room(rights: RoomRights | None, seq: int, event: RoomEvent) -> RoomRights | None:
    """The room after one event: the last event decides, for title and closing and for each member alone.

    A member's event of a room that does not exist changes nothing.
    """
    match event:
        case RoomPut():
            members = {} if rights is None else dict(rights.members)
            members.update({member.user: member for member in event.members})
            return RoomRights(
                event.room, event.room_kind, event.title, event.closed, MappingProxyType(members), applied=seq
            )
        case MemberPut():
            if rights is None:
                return None
            members = dict(rights.members)
            if event.role is None:
                members.pop(event.user, None)
            else:
                members[event.user] = Member(event.user, event.role, event.name)
            return replace(rights, members=MappingProxyType(members), applied=seq)


def rights_of(record: RoomRecord, applied: int) -> RoomRights:
    members = MappingProxyType({member.user: member for member in record.members})
    return RoomRights(record.room, record.kind, record.title, record.closed, members, applied)


class Rights:
    """Rooms that somebody here uses are pinned and stay; of the others the ``idle_max`` most recently used are kept.

    Loads are shared: one read per room is under way, however many ask. :meth:`aclose` ends what is under way.
    """

    def __init__(self, reader: RightsReader, *, idle_max: int = 10_000, log: ControlLog | None = None) -> None:
        self._reader = reader
        self._idle_max = idle_max
        self._log = ControlLog() if log is None else log
        self._pins: Counter[str] = Counter()
        self._pinned: dict[str, RoomRights] = {}
        self._idle: OrderedDict[str, RoomRights] = OrderedDict()
        self._loads: dict[str, asyncio.Task[RoomRights | None]] = {}
        self._listeners: list[Listener] = []
        self._revocations: OrderedDict[str, int] = OrderedDict()
        self._generation = 0
        self._position = 0

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def held(self, room: str) -> RoomRights | None:
        """The room if it is in memory; None says nothing about whether it exists."""
        rights = self._pinned.get(room)
        if rights is None and room in self._idle:
            self._idle.move_to_end(room)
            rights = self._idle[room]
        return rights

    async def load(self, room: str) -> RoomRights | None:
        """The room, None when there is no such room; :class:`Unavailable` when MongoDB is away."""
        held = self.held(room)
        if held is not None:
            return held
        task = self._loads.get(room)
        if task is None:
            task = self._loads[room] = asyncio.create_task(self._load(room), name=f"rights of {room}")
            task.add_done_callback(lambda done: self._loaded(room, done))
        return await asyncio.shield(task)

    def pin(self, room: str) -> None:
        """Keep the room in memory, loaded now or later, until as many :meth:`unpin`."""
        self._pins[room] += 1
        rights = self._idle.pop(room, None)
        if rights is not None:
            self._pinned[room] = rights

    def unpin(self, room: str) -> None:
        self._pins[room] -= 1
        if self._pins[room] > 0:
            return
        del self._pins[room]
        rights = self._pinned.pop(room, None)
        if rights is not None:
            self._keep(rights)

    def apply(self, seq: int, event: ControlEvent) -> None:
        """The next control event; changes what is held and tells the listeners before it returns."""
        self._position = seq
        if isinstance(event, Heartbeat):
            return
        self._log.append(seq, event)
        if isinstance(event, Revoked) and event.user in self._revocations:
            self._revocations[event.user] = max(event.before, self._revocations[event.user])
        before = after = None
        if isinstance(event, RoomPut | MemberPut):
            before = self._pinned.get(event.room) or self._idle.get(event.room)
            after = before and fold_room(before, seq, event)
            if after is not None:
                self._keep(after)
        self._tell(event, before, after)

    def projected(self, seq: int) -> None:
        """The projections are complete up to ``seq``."""
        self._log.prune(seq)

    async def rooms_of(self, user: str) -> tuple[UserRoom, ...]:
        """The user's list of rooms; what the projection does not hold yet comes without unread counts."""
        for attempt in range(_ATTEMPTS):
            applied = await self._reader.control_applied()
            listed = {line.room: line for line in await self._reader.rooms_of(user)}
            if applied >= self._log.floor:
                break
            await self._wait(attempt, f"rooms of {user}")
        touched = self._log.rooms_naming(user) | {room for room in listed if self._log.touches(room)}
        for room in sorted(touched):
            line = _overlaid(listed.get(room), await self.load(room), user)
            if line is not None:
                listed[room] = line
            else:
                listed.pop(room, None)
        return tuple(listed.values())

    async def revoked_before(self, user: str) -> int:
        """Tokens of the user issued before this moment (milliseconds) are void; 0 when none are.

        Read once for each user and kept up by events, so that whoever was here comes back without MongoDB.
        """
        known = self._revocations.get(user)
        if known is not None:
            self._revocations.move_to_end(user)
            return known
        generation = self._generation
        for attempt in range(_ATTEMPTS):
            applied = await self._reader.control_applied()
            before = await self._reader.revoked_before(user)
            if applied >= self._log.floor:
                break
            await self._wait(attempt, f"revocations of {user}")
        before = max(before, self._log.revoked_before(user))
        if generation == self._generation:
            self._revocations[user] = before
            if len(self._revocations) > _REVOCATIONS_MAX:
                self._revocations.popitem(last=False)
        return before

    async def reload_all(self) -> None:
        """Read everything that is pinned again and forget the rest; listeners are told what turned out different.

        :class:`Unavailable` when it could not be done for every room: call it again.
        """
        self._generation += 1
        self._revocations.clear()
        self._idle.clear()
        waiting = sorted(self._pinned)

        async def reload_from(rooms: list[str]) -> None:
            while rooms:
                await self._reload(rooms.pop())

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_RELOADS, len(waiting))):
                    group.create_task(reload_from(waiting))
        except ExceptionGroup as errors:
            # Not ``except*``: before Python 3.11.4 what is raised in it comes out in another group.
            away, others = errors.split(Unavailable)
            if away is None or others is not None:
                raise
            raise Unavailable(f"reading rights again: {away.exceptions[0]}") from errors

    async def aclose(self) -> None:
        tasks = tuple(self._loads.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reload(self, room: str) -> None:
        fresh = await self._read(room)
        before = self._pinned.get(room)
        if before is None:
            return
        if fresh is None:
            del self._pinned[room]
        else:
            self._pinned[room] = fresh
        if fresh is None or replace(fresh, applied=before.applied) != before:
            self._tell(None, before, fresh)

    async def _load(self, room: str) -> RoomRights | None:
        rights = await self._read(room)
        if rights is not None:
            self._keep(rights)
        return rights

    def _loaded(self, room: str, task: asyncio.Task[RoomRights | None]) -> None:
        del self._loads[room]
        if not task.cancelled():
            # Whoever waits is told; where nobody waits any more, nobody misses it.
            task.exception()

    async def _read(self, room: str) -> RoomRights | None:
        """Projection and log, joined without an await after the last read.

        The watermark is read first: everything up to it is in the row that is read second. Of later events the row may
        hold any part (a worker writes room and members one by one), so all that the log has is folded in again; that
        ends in the same, because for each member the last event alone decides.
        """
        for attempt in range(_ATTEMPTS):
            applied = await self._reader.control_applied()
            record = await self._reader.room(room)
            if applied >= self._log.floor:
                break
            await self._wait(attempt, f"rights of {room}")
        rights = None if record is None else rights_of(record, self._position)
        for seq, event in self._log.of_room(room):
            rights = fold_room(rights, seq, event)
        return rights and replace(rights, applied=self._position)

    @staticmethod
    async def _wait(attempt: int, what: str) -> None:
        if attempt == _ATTEMPTS - 1:
            raise Unavailable(f"{what}: the projection of control events is too far behind")
        await asyncio.sleep(_RETRY_S * attempt)

    def _keep(self, rights: RoomRights) -> None:
        if rights.room in self._pins:
            self._pinned[rights.room] = rights
            return
        self._idle[rights.room] = rights
        if len(self._idle) > self._idle_max:
            self._idle.popitem(last=False)

    def _tell(self, event: ControlEvent | None, before: RoomRights | None, after: RoomRights | None) -> None:
        for listener in tuple(self._listeners):
            listener(event, before, after)


def _overlaid(line: UserRoom | None, rights: RoomRights | None, user: str) -> UserRoom | None:
    role = None if rights is None else rights.role_of(user)
    if rights is None or role is None:
        return None
    others = [member for member in rights.members.values() if member.user != user]
    peer = others[0] if rights.kind == "direct" and others else None
    base = line or UserRoom(rights.room, rights.kind, rights.title, rights.closed, role)
    return structs.replace(
        base,
        kind=rights.kind,
        title=rights.title,
        closed=rights.closed,
        role=role,
        peer=peer and peer.user,
        peer_name=peer.name if peer else "",
    )
