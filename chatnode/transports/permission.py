"""Whether a connection may do something in a room, by what this node knows of rights at that moment."""

from typing import Protocol

from chatnode.access.rules import Action, decide
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.rooms.refusals import refusal
from chatnode.rooms.rights import RoomRights
from chatnode.transports.desk import Services


class Asker(Protocol):
    """A connection that asks to do something in a room."""

    @property
    def user(self) -> str: ...

    def standing(self) -> ProtocolError | None:
        """Why this connection may do nothing now (suspended, revoked, closed); None: it may."""
        ...


async def allowed(services: Services, asker: Asker, room: str, action: Action) -> RoomRights:
    """The room's rights, if ``asker`` may do that in it now.

    Raises the refusal, and :class:`chatnode.rooms.ports.Unavailable` where rights cannot be read.
    """
    rights = await services.rights.load(room)
    if rights is None or rights.role_of(asker.user) is None:
        # Another node may have stored a moment ago that there is such a room, or that this user is in it.
        await services.hear_control()
        rights = await services.rights.load(room)
    return check(asker, rights, action)


def check(asker: Asker, rights: RoomRights | None, action: Action) -> RoomRights:
    """``rights``, if they allow it; None: there is no such room. Raises the refusal."""
    standing = asker.standing()
    if standing is not None:
        raise standing
    if rights is None:
        raise refusal(ErrorCode.NOT_FOUND)
    code = decide(rights.kind, rights.role_of(asker.user), action, closed=rights.closed)
    if code is not None:
        raise refusal(code)
    return rights
