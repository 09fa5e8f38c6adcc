"""The HTTP interface for the platform's backend and for people's clients (``docs/protocol.md``, "HTTP").

A change is stored in the control stream before it is answered, and the answering node has applied it by then, so that
it reads what it wrote. Who asks and what they may do is told by :mod:`chatnode.transports.callers`.
"""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatnode.access.rules import Action, decide_direct
from chatnode.access.scopes import is_service
from chatnode.identity.tokens import Identity, Verifier
from chatnode.protocol import limits
from chatnode.protocol.control import ControlEvent, Member, MemberPut, Revoked, RoomPut
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.frames import Position
from chatnode.protocol.ids import direct_room
from chatnode.protocol.rest import (
    IDEMPOTENCY_KEY,
    Changed,
    ListedRoom,
    Me,
    MessagePage,
    NewMember,
    OpenDirect,
    PutMember,
    PutRoom,
    Revoke,
    RoomList,
    ShownMember,
    ShownRoom,
)
from chatnode.rooms.ports import ControlPublisher, Page, Unavailable, UserRoom
from chatnode.rooms.rights import RoomRights, fold_room
from chatnode.transports import parameters
from chatnode.transports.callers import Callers, RightsReader, check_change, check_service
from chatnode.transports.http import Handler, answer, answering, body_of, unavailable

_APPLIED_S: Final = 2.0
"""Longest wait for a stored change to be applied on this node."""
_AHEAD_MS: Final = 10_000
"""How far ``before`` of a revocation may lie ahead of this node's clock."""
_DIRECT_ROOM: Final = re.compile(r"d-[A-Za-z0-9_-]{22}")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")
_PLACES: Final = ("before", "after", "around")


class RoomRightsReader(RightsReader, Protocol):
    """What is asked of :class:`chatnode.rooms.rights.Rights`, here and for who asks."""

    async def rooms_of(self, user: str) -> tuple[UserRoom, ...]: ...


class PageReader(Protocol):
    """Messages of a room from MongoDB and the stream's tail."""

    async def __call__(
        self,
        room: str,
        *,
        before: Position | None = None,
        after: Position | None = None,
        around: Position | None = None,
        limit: int = limits.PAGE,
    ) -> Page: ...


@dataclass(frozen=True, slots=True)
class RestServices:
    verifier: Verifier
    rights: RoomRightsReader
    control: ControlPublisher
    reach: Callable[[int, float], Awaitable[bool]]
    """Wait until this node has applied a control sequence, for at most so many seconds."""
    hear: Callable[[], Awaitable[None]]
    """Returns when this node has applied every control event that was stored before, or after a while."""
    page: PageReader
    suspended: Callable[[], bool]
    wait: Callable[[str], float]
    """Seconds until this user may ask; 0.0: now (:class:`chatnode.transports.rates.Rates`)."""
    now_ms: Callable[[], int]
    draw_id: Callable[[], str]


def routes(services: RestServices) -> list[Route]:
    rest = _Rest(services)

    def route(path: str, method: str, handler: Handler) -> Route:
        return Route(path, answering(handler), methods=[method])

    return [
        route("/v1/me", "GET", rest.me),
        route("/v1/rooms", "GET", rest.rooms),
        *_by_method("/v1/rooms/{room}", {"GET": rest.room, "PUT": rest.put_room}),
        *_by_method("/v1/rooms/{room}/members/{user}", {"PUT": rest.put_member, "DELETE": rest.remove_member}),
        route("/v1/rooms/{room}/messages", "GET", rest.messages),
        route("/v1/direct", "POST", rest.open_direct),
        route("/v1/users/{user}/revoke", "POST", rest.revoke),
    ]


def _by_method(path: str, handlers: Mapping[str, Handler]) -> list[Route]:
    """One route, so that 405 names all methods."""

    async def dispatch(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return [Route(path, answering(dispatch), methods=list(handlers))]


class _Rest:
    def __init__(self, services: RestServices) -> None:
        self._callers = Callers(
            services.verifier,
            services.rights,
            hear=services.hear,
            suspended=services.suspended,
            wait=services.wait,
        )
        self._rights = services.rights
        self._control = services.control
        self._reach = services.reach
        self._page = services.page
        self._now_ms = services.now_ms
        self._draw_id = services.draw_id

    async def me(self, request: Request) -> Response:
        caller = await self._callers.identify(request)
        return answer(Me(caller.user, caller.name, caller.expires_at))

    async def rooms(self, request: Request) -> Response:
        caller = await self._callers.identify(request)
        parameters.only(request, ())
        return answer(RoomList(tuple(_listed(room) for room in await self._rights.rooms_of(caller.user))))

    async def room(self, request: Request) -> Response:
        caller = await self._callers.identify(request)
        rights = await self._callers.allowed(caller, parameters.path_id(request, "room"), Action.READ)
        return answer(_shown(rights))

    async def messages(self, request: Request) -> Response:
        caller = await self._callers.identify(request)
        room = parameters.path_id(request, "room")
        parameters.only(request, (*_PLACES, "limit"))
        places = {
            name: parameters.position(request.query_params[name], name)
            for name in _PLACES
            if name in request.query_params
        }
        if len(places) > 1:
            raise ProtocolError(ErrorCode.INVALID, "at most one of before, after, around", field=sorted(places)[1])
        limit = parameters.limit(request.query_params.get("limit"))
        await self._callers.allowed(caller, room, Action.READ)
        page = await self._page(
            room, before=places.get("before"), after=places.get("after"), around=places.get("around"), limit=limit
        )
        # What was fetched may not be shown to somebody who was removed meanwhile.
        await self._callers.allowed(caller, room, Action.READ)
        return answer(MessagePage(page.messages, page.more_before, page.more_after, page.partial or UNSET))

    async def put_room(self, request: Request) -> Response:
        caller = await self._callers.identify(request)
        check_service(caller)
        room = parameters.path_id(request, "room")
        body = await body_of(request, PutRoom)
        if _DIRECT_ROOM.fullmatch(room):
            raise ProtocolError(ErrorCode.INVALID, "this id is kept for a direct room", field="room")
        _check_unique(body.members)
        before = await self._rights.load(room)
        if before is not None and before.kind != body.kind:
            raise ProtocolError(ErrorCode.CONFLICT, f"{room} is a {before.kind} room and stays one", field="kind")
        event = RoomPut(
            id=self._event_id(request, caller),
            actor=caller.user,
            ts=self._now_ms(),
            room=room,
            room_kind=body.kind,
            title=body.title,
            closed=body.closed if body.closed is not None else before is not None and before.closed,
            members=tuple(Member(each.user, each.role, _name(each.name, before, each.user)) for each in body.members),
        )
        seq = await self._store(event)
        return answer(_shown(await self._after(before, seq, event)))

    async def put_member(self, request: Request) -> Response:
        caller = await self._callers.identify(request)
        room, user = parameters.path_id(request, "room"), parameters.path_id(request, "user")
        body = await body_of(request, PutMember)
        rights = await self._callers.known(caller, room)
        action = Action.SET_ROLE if user in rights.members else Action.ADD_MEMBER
        check_change(caller, rights, user, body.role, action)
        member = Member(user, body.role, _name(body.name, rights, user))
        return await self._change(request, caller, room, user, member)

    async def remove_member(self, request: Request) -> Response:
        caller = await self._callers.identify(request)
        room, user = parameters.path_id(request, "room"), parameters.path_id(request, "user")
        rights = await self._callers.known(caller, room)
        action = Action.LEAVE if user == caller.user and not is_service(caller.scopes) else Action.REMOVE_MEMBER
        check_change(caller, rights, user, None, action)
        return await self._change(request, caller, room, user, None)

    async def open_direct(self, request: Request) -> Response:
        caller = await self._callers.identify(request)
        body = await body_of(request, OpenDirect)
        if body.user == caller.user:
            raise ProtocolError(ErrorCode.INVALID, "a direct room needs somebody else", field="user")
        room = direct_room(caller.user, body.user)
        held = await self._rights.load(room)
        if held is not None:
            if held.role_of(caller.user) is None:
                raise ProtocolError(ErrorCode.FORBIDDEN, "this conversation is not yours any more")
            return answer(_shown(held))
        return await self._create_direct(caller, body.user, room)

    async def revoke(self, request: Request) -> Response:
        caller = await self._callers.identify(request)
        check_service(caller)
        user = parameters.path_id(request, "user")
        body = await body_of(request, Revoke)
        now = self._now_ms()
        before = now if body.before is None else body.before
        if before > now + _AHEAD_MS:
            raise ProtocolError(ErrorCode.INVALID, "before lies in the future", field="before")
        event = Revoked(id=self._event_id(request, caller), actor=caller.user, ts=now, user=user, before=before)
        return answer(Changed(await self._store(event)))

    async def _create_direct(self, caller: Identity, other: str, room: str) -> Response:
        shared = await self._shared_courses(caller.user, other)
        code = decide_direct([(mine.role, theirs.role) for mine, theirs in shared])
        if code is ErrorCode.NOT_FOUND:
            raise ProtocolError(code, f"{other} is in none of your open courses", field="user")
        if code is not None:
            raise ProtocolError(code, "learners write to trainers and moderators of their courses", field="user")
        # The pair that gave the right says who is who in the new room.
        mine, theirs = next(pair for pair in shared if decide_direct([(pair[0].role, pair[1].role)]) is None)
        people = sorted((Member(caller.user, mine.role, mine.name or caller.name), theirs), key=lambda who: who.user)
        event = RoomPut(
            id=room,
            actor=caller.user,
            ts=self._now_ms(),
            room=room,
            room_kind="direct",
            title="",
            members=tuple(people),
        )
        try:
            seq = await self._store(event)
        except ProtocolError as error:
            if error.code is not ErrorCode.ID_REUSED:
                raise
            # Both opened it at the same moment, and the other's request made the room.
            return answer(_shown(await self._after(None, 0, event)))
        return answer(_shown(await self._after(None, seq, event)), 201)

    async def _shared_courses(self, user: str, other: str) -> list[tuple[Member, Member]]:
        """Both as members of each open course that they share, in the order of the rooms' ids."""
        shared = []
        for line in sorted(await self._rights.rooms_of(user), key=lambda line: line.room):
            if line.kind != "course" or line.closed:
                continue
            rights = await self._rights.load(line.room)
            if rights is None or rights.closed:
                continue
            mine, theirs = rights.members.get(user), rights.members.get(other)
            if mine is not None and theirs is not None:
                shared.append((mine, theirs))
        return shared

    async def _change(
        self, request: Request, caller: Identity, room: str, user: str, member: Member | None
    ) -> Response:
        """``member`` is what ``user`` is from now on; None: no member."""
        event = MemberPut(
            id=self._event_id(request, caller),
            actor=caller.user,
            ts=self._now_ms(),
            room=room,
            user=user,
            role=member.role if member else None,
            name=member.name if member else "",
        )
        return answer(Changed(await self._store(event)))

    async def _after(self, before: RoomRights | None, seq: int, event: RoomPut) -> RoomRights:
        """The room as the change left it, also where it cannot be read now or was not applied in time."""
        try:
            rights = await self._rights.load(event.room)
        except Unavailable:
            rights = before
        if rights is None or rights.applied < seq:
            rights = fold_room(rights, seq, event)
        if rights is None:
            raise unavailable("the room was stored; read it again")
        return rights

    async def _store(self, event: ControlEvent) -> int:
        """Stored when it returns, and applied on this node unless that takes unusually long."""
        self._callers.check_suspended()
        seq = await self._control.publish_control(event)
        await self._reach(seq, _APPLIED_S)
        return seq

    def _event_id(self, request: Request, caller: Identity) -> str:
        """Of the caller and their key, so that keys of different callers never meet."""
        key = request.headers.get(IDEMPOTENCY_KEY)
        if key is None:
            return self._draw_id()
        if not _KEY.fullmatch(key):
            raise ProtocolError(ErrorCode.INVALID, "1 to 200 visible ASCII characters", field=IDEMPOTENCY_KEY)
        name = f"{caller.user}\n{key}".encode()
        return "k-" + base64.urlsafe_b64encode(hashlib.sha256(name).digest()[:24]).decode()


def _check_unique(members: Sequence[NewMember]) -> None:
    seen: set[str] = set()
    for number, member in enumerate(members):
        if member.user in seen:
            raise ProtocolError(ErrorCode.INVALID, f"{member.user} is named twice", field=f"members[{number}].user")
        seen.add(member.user)


def _name(given: str | None, rights: RoomRights | None, user: str) -> str:
    if given is not None:
        return given
    known = rights.members.get(user) if rights is not None else None
    return known.name if known is not None else ""


def _shown(rights: RoomRights) -> ShownRoom:
    members = sorted(rights.members.values(), key=lambda member: member.user)
    return ShownRoom(
        rights.room, rights.kind, rights.title, rights.closed, tuple(ShownMember.of(member) for member in members)
    )


def _listed(line: UserRoom) -> ListedRoom:
    return ListedRoom(
        room=line.room,
        kind=line.kind,
        title=line.title,
        closed=line.closed,
        role=line.role,
        last_ts=line.last_ts,
        unread=line.unread,
        last=line.last or UNSET,
        read=line.read or UNSET,
        peer=line.peer or UNSET,
        peer_name=line.peer_name if line.peer else UNSET,
    )
