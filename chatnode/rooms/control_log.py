"""Control events that the projections in MongoDB may not hold yet, found by room and by user. Pure, bounded.

Heartbeats are not kept. :attr:`ControlLog.floor` says how far back the log reaches: together with a projection that is
complete up to ``floor`` or beyond, it is the whole truth.
"""

from collections import deque
from typing import Final, TypeVar

from chatnode.protocol.control import ControlEvent, MemberPut, Revoked, RoomPut

RoomEvent = RoomPut | MemberPut

_Entry = TypeVar("_Entry")
_LIMIT: Final = 100_000


class ControlLog:
    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._floor = 0
        self._events: deque[tuple[int, RoomEvent | Revoked]] = deque()
        self._rooms: dict[str, deque[tuple[int, RoomEvent]]] = {}
        self._users: dict[str, deque[tuple[int, str]]] = {}
        self._revoked: dict[str, deque[tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self._events)

    @property
    def floor(self) -> int:
        """Events up to this sequence are not here (any more)."""
        return self._floor

    def append(self, seq: int, event: ControlEvent) -> None:
        """The next event in order; the oldest one falls out when the log is full, and :attr:`floor` rises."""
        match event:
            case RoomPut() | MemberPut():
                self._events.append((seq, event))
                self._rooms.setdefault(event.room, deque()).append((seq, event))
                for user in users_named(event):
                    self._users.setdefault(user, deque()).append((seq, event.room))
            case Revoked():
                self._events.append((seq, event))
                self._revoked.setdefault(event.user, deque()).append((seq, event.before))
            case _:
                return
        if len(self._events) > self._limit:
            self._drop()

    def prune(self, upto: int) -> None:
        """The projections are complete up to ``upto``: what they hold need not be here."""
        while self._events and self._events[0][0] <= upto:
            self._drop()
        self._floor = max(self._floor, upto)

    def of_room(self, room: str) -> tuple[tuple[int, RoomEvent], ...]:
        return tuple(self._rooms.get(room, ()))

    def touches(self, room: str) -> bool:
        return room in self._rooms

    def rooms_naming(self, user: str) -> frozenset[str]:
        """Rooms with an event that adds, changes or removes this user."""
        return frozenset(room for _, room in self._users.get(user, ()))

    def revoked_before(self, user: str) -> int:
        """Milliseconds; 0 when the log holds no revocation of this user."""
        return max((before for _, before in self._revoked.get(user, ())), default=0)

    def _drop(self) -> None:
        seq, event = self._events.popleft()
        self._floor = max(self._floor, seq)
        if isinstance(event, Revoked):
            _drop_first(self._revoked, event.user)
            return
        _drop_first(self._rooms, event.room)
        for user in users_named(event):
            _drop_first(self._users, user)


def users_named(event: RoomEvent) -> frozenset[str]:
    if isinstance(event, MemberPut):
        return frozenset((event.user,))
    return frozenset(member.user for member in event.members)


def _drop_first(index: dict[str, deque[_Entry]], key: str) -> None:
    entries = index[key]
    entries.popleft()
    if not entries:
        del index[key]
