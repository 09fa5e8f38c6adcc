"""Who asks over HTTP, and what they may do: the platform's backend by its scope, a person by their role in the room."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.requests import Request

from chatnode.access.rules import Action, decide, decide_rank, decide_service
from chatnode.access.scopes import is_service
from chatnode.identity.tokens import Identity, Verifier
from chatnode.protocol.control import Role
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.rooms.rights import RoomRights
from chatnode.session.bucket import told
from chatnode.transports.http import unavailable


class RightsReader(Protocol):
    """What is asked of :class:`chatnode.rooms.rights.Rights`."""

    async def load(self, room: str) -> RoomRights | None: ...
    async def revoked_before(self, user: str) -> int: ...


class Callers:
    """``hear``, ``suspended`` and ``wait`` are as in :class:`chatnode.transports.rest.RestServices`."""

    def __init__(
        self,
        verifier: Verifier,
        rights: RightsReader,
        *,
        hear: Callable[[], Awaitable[None]],
        suspended: Callable[[], bool],
        wait: Callable[[str], float],
    ) -> None:
        self._verifier = verifier
        self._rights = rights
        self._hear = hear
        self._suspended = suspended
        self._wait = wait

    async def identify(self, request: Request) -> Identity:
        """Who asks; every request begins with it. Refuses while this node may not know of a right that ended."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ProtocolError(ErrorCode.UNAUTHENTICATED, "send the token as Authorization: Bearer <token>")
        identity = await self._verifier.verify(token.strip())
        wait = 0.0 if is_service(identity.scopes) else self._wait(identity.user)
        if wait:
            raise ProtocolError(ErrorCode.RATE_LIMITED, "too many requests; slow down", retry_after=told(wait))
        self.check_suspended()
        if identity.issued_at < await self._rights.revoked_before(identity.user):
            raise ProtocolError(ErrorCode.UNAUTHENTICATED, "this token was revoked; sign in again")
        return identity

    def check_suspended(self) -> None:
        """Refuses while this node may not know of a right that ended."""
        if self._suspended():
            raise unavailable("this node is cut off from the others; try again")

    async def known(self, caller: Identity, room: str) -> RoomRights:
        """The room, if the caller may know of it."""
        service = is_service(caller.scopes)
        rights = await self._rights.load(room)
        if rights is None or (rights.role_of(caller.user) is None and not service):
            # Another node may have stored a moment ago that there is such a room, or that the caller is in it.
            await self._hear()
            rights = await self._rights.load(room)
        if rights is None or (rights.role_of(caller.user) is None and not service):
            raise ProtocolError(ErrorCode.NOT_FOUND, "this room does not exist, or you are not in it")
        return rights

    async def allowed(self, caller: Identity, room: str, action: Action) -> RoomRights:
        """The room, if the caller may do that in it now."""
        rights = await self.known(caller, room)
        _check(caller, rights, action)
        return rights


def check_change(caller: Identity, rights: RoomRights, user: str, role: Role | None, action: Action) -> None:
    """Refuses what the caller may not make of ``user``; ``role`` is what they are to be, None: no member."""
    _check(caller, rights, action)
    own = rights.role_of(caller.user)
    if own is None or is_service(caller.scopes) or action is Action.LEAVE:
        return
    if decide_rank(own, rights.role_of(user), role) is not None:
        raise ProtocolError(ErrorCode.FORBIDDEN, "nobody gives or takes away a role above their own", field="role")


def check_service(caller: Identity) -> None:
    """Refuses everybody but the platform's backend."""
    if not is_service(caller.scopes):
        raise ProtocolError(ErrorCode.FORBIDDEN, "this is for the platform's backend: scope chat:admin")


def _check(caller: Identity, rights: RoomRights, action: Action) -> None:
    code = (
        decide_service(rights.kind, action)
        if is_service(caller.scopes)
        else decide(rights.kind, rights.role_of(caller.user), action, closed=rights.closed)
    )
    if code is None:
        return
    words = {
        ErrorCode.NOT_FOUND: "this room does not exist, or you are not in it",
        ErrorCode.ROOM_CLOSED: "this room is closed; it can be read, not changed",
    }
    raise ProtocolError(code, words.get(code, "you may not do this in this room"))
