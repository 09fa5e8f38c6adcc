"""What the connections of one node share: services, who is connected, reactions to control events."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from chatnode.access.rules import Action, decide
from chatnode.identity.tokens import Identity
from chatnode.protocol import limits
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.control import ControlEvent, EpochRaised, MemberPut, Revoked, RoomPut
from chatnode.protocol.errors import CloseCode, ErrorCode
from chatnode.protocol.events import MembershipEvent, PresenceEvent, UnsubscribedEvent
from chatnode.rooms.catchup import CatchUp
from chatnode.rooms.gate import Gate
from chatnode.rooms.hub import Hub
from chatnode.rooms.ports import HistoryReader, LiveFeed, Unavailable
from chatnode.rooms.posting import Poster
from chatnode.rooms.presence import PresenceBook
from chatnode.rooms.receipts import Receipts
from chatnode.rooms.refusals import refusal
from chatnode.rooms.rights import Rights, RoomRights
from chatnode.rooms.tasks import TaskOwner
from chatnode.session.core import SessionLimits
from chatnode.transports.websocket.timers import Timers

logger = logging.getLogger(__name__)


class TokenVerifier(Protocol):
    async def verify(self, token: str) -> Identity:
        """Who the token is for; :class:`chatnode.protocol.errors.ProtocolError` when it is not good."""
        ...


class Connection(Protocol):
    """An authenticated connection, as the desk sees it."""

    @property
    def user(self) -> str: ...
    @property
    def issued_at(self) -> int: ...
    @property
    def following(self) -> bool:
        """Whether it follows any room."""
        ...

    def send(self, payload: bytes) -> None: ...
    def shut(self, code: CloseCode, reason: str) -> None: ...
    def drop(self, room: str, notice: bytes) -> None:
        """Stop following a room and say so."""
        ...


@dataclass(frozen=True, slots=True)
class Clocks:
    monotonic: Callable[[], float]
    wall_ms: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Services:
    node: str
    version: str
    verifier: TokenVerifier
    rights: Rights
    hub: Hub
    catch_up: CatchUp
    history: HistoryReader
    poster: Poster
    receipts: Receipts
    presence: PresenceBook
    live: LiveFeed
    clocks: Clocks
    session_limits: SessionLimits
    suspended: Callable[[], bool]
    draw_id: Callable[[], str]
    raise_epoch: Callable[[int, int], None]
    hear_control: Callable[[], Awaitable[None]]
    """Returns when every control event that was stored before the call has been applied here, or after a while."""
    joining: Gate
    """Before catching up in a room."""
    delayed: Callable[[], bool] = lambda: False
    """Whether what is stored is not heard here now."""
    commanded: Callable[[str], None] = lambda _type: None
    """Told of each command's type."""
    recovered: Callable[[bool], None] = lambda _whole: None
    """Told of each subscription with a cursor: whether nothing had been lost."""


class Desk:
    def __init__(self, services: Services, timers: Timers) -> None:
        self.services = services
        self.timers = timers
        self.tasks = TaskOwner()
        self._connections: dict[str, set[Connection]] = {}
        self.count = 0
        services.rights.listen(self._on_rights)

    def __iter__(self) -> Iterator[Connection]:
        for connections in tuple(self._connections.values()):
            yield from tuple(connections)

    @property
    def users(self) -> int:
        """People who are connected here."""
        return len(self._connections)

    async def stop(self) -> None:
        await self.tasks.stop()

    def register(self, connection: Connection) -> None:
        self._connections.setdefault(connection.user, set()).add(connection)
        self.count += 1
        self.services.presence.came(connection.user, self.services.clocks.monotonic())

    def unregister(self, connection: Connection) -> None:
        connections = self._connections.get(connection.user)
        if connections is None or connection not in connections:
            return
        connections.discard(connection)
        if not connections:
            del self._connections[connection.user]
        self.count -= 1
        self.services.presence.went(connection.user, self.services.clocks.monotonic())

    def apply(self, seq: int, event: ControlEvent) -> None:
        """The next control event, from the feed."""
        if isinstance(event, EpochRaised):
            self.services.raise_epoch(event.partition, event.epoch)
        self.services.rights.apply(seq, event)

    def announce_presence(self) -> None:
        """Tell the rooms that are open here who came and who went."""
        services = self.services
        online, offline = services.presence.changes(services.clocks.monotonic())
        if not online and not offline:
            return
        for room in services.hub.rooms():
            rights = services.rights.held(room.name) if room.followers else None
            if rights is None:
                continue
            came = tuple(user for user in online if user in rights.members)
            gone = tuple(user for user in offline if user in rights.members)
            if not came and not gone:
                continue
            if len(rights.members) > limits.PRESENCE_NAMES_MAX:
                event = PresenceEvent(room=room.name, count=self.online_count(rights))
            else:
                event = PresenceEvent(room=room.name, online=came, offline=gone)
            services.hub.pass_on(room, encode_frame(event))

    def online_count(self, rights: RoomRights) -> int:
        return sum(1 for user in rights.members if self.services.presence.online(user))

    def _on_rights(self, event: ControlEvent | None, before: RoomRights | None, after: RoomRights | None) -> None:
        if isinstance(event, Revoked):
            for connection in tuple(self._connections.get(event.user, ())):
                if connection.issued_at < event.before:
                    connection.shut(CloseCode.REVOKED, "your access was revoked; sign in again")
            return
        rights = after or before
        if rights is not None:
            self._enforce(rights if after is not None else None, rights.room)
        if isinstance(event, MemberPut | RoomPut):
            self._spread(event, before, after)

    def _enforce(self, rights: RoomRights | None, name: str) -> None:
        """End the subscriptions of those who may no longer read the room."""
        room = self.services.hub.room(name)
        if room is None:
            return
        for follower in tuple(room.followers):
            code = (
                ErrorCode.NOT_FOUND
                if rights is None
                else decide(rights.kind, rights.role_of(follower.user), Action.READ, closed=rights.closed)
            )
            if code is not None:
                follower.ended(name, code, refusal(code).message, retryable=False)

    def _spread(self, event: MemberPut | RoomPut, before: RoomRights | None, after: RoomRights | None) -> None:
        users: set[str] = set()
        if isinstance(event, MemberPut):
            users.add(event.user)
        else:
            users.update(member.user for member in event.members)
            for rights in (before, after):
                users.update(rights.members if rights is not None else ())
            if after is None:
                users.update(self._connections)
        users &= self._connections.keys()
        if users:
            self.tasks.spawn(self._tell_membership(event.room, users), f"membership-{event.room}")

    async def _tell_membership(self, room: str, users: set[str]) -> None:
        try:
            rights = await self.services.rights.load(room)
        except Unavailable as error:
            logger.info("lists of rooms were not updated for %s: %s", room, error)
            return
        if rights is None:
            return
        for user in users:
            notice = encode_frame(
                MembershipEvent(
                    room=room,
                    role=rights.role_of(user),
                    room_kind=rights.kind,
                    title=rights.title,
                    closed=rights.closed,
                )
            )
            for connection in tuple(self._connections.get(user, ())):
                connection.send(notice)


def unsubscribed(room: str, code: str, message: str, *, retryable: bool) -> bytes:
    return encode_frame(UnsubscribedEvent(room=room, code=code, message=message, retryable=retryable))
