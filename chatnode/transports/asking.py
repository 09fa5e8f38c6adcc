"""What a client asks of a room without adding an event to it: a page of history, a receipt, typing, who is there."""

from typing import Final, Protocol

from msgspec import UNSET

from chatnode.access.rules import Action
from chatnode.protocol import limits
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.events import TypingEvent
from chatnode.protocol.frames import Ack, History, Presence, Read, Typing
from chatnode.transports import permission
from chatnode.transports.desk import Desk, Services

_TYPED_AGAIN_S: Final = 1.0
"""Typing that goes on is passed on once in so long."""
_NEVER: Final = -10.0

Question = History | Read | Typing | Presence


class Asker(permission.Asker, Protocol):
    @property
    def typed_at(self) -> dict[str, float]:
        """Room → when its typing was last passed on, in monotonic seconds."""
        ...

    async def writable(self) -> None:
        """Returns when most of what waits for this client has been sent, or after a while."""
        ...


async def answer(desk: Desk, asker: Asker, question: Question) -> Ack:
    """Raises the refusal, and :class:`chatnode.rooms.ports.Unavailable` where a source is away."""
    match question:
        case History():
            return await _history(desk.services, asker, question)
        case Read():
            return await _read(desk.services, asker, question)
        case Typing():
            return await _typing(desk.services, asker, question)
        case Presence():
            return await _presence(desk, asker, question)


async def _history(services: Services, asker: Asker, command: History) -> Ack:
    given = [name for name in ("before", "after", "around") if getattr(command, name) is not UNSET]
    if len(given) > 1:
        raise ProtocolError(ErrorCode.INVALID, f"{' and '.join(given)} exclude each other; give one", field=given[1])
    await permission.allowed(services, asker, command.room, Action.READ)
    await asker.writable()
    page = await services.catch_up.page(
        command.room,
        before=None if command.before is UNSET else command.before,
        after=None if command.after is UNSET else command.after,
        around=None if command.around is UNSET else command.around,
        limit=command.limit,
    )
    permission.check(asker, await services.rights.load(command.room), Action.READ)
    return Ack(
        id=command.id,
        room=command.room,
        messages=page.messages,
        more_before=page.more_before,
        more_after=page.more_after,
        partial=page.partial or UNSET,
    )


async def _read(services: Services, asker: Asker, command: Read) -> Ack:
    await permission.allowed(services, asker, command.room, Action.MARK_READ)
    if not services.receipts.note(asker.user, command.room, command.at):
        raise ProtocolError(ErrorCode.UNAVAILABLE, "too many receipts wait", retry_after=1.0)
    return Ack(id=command.id, room=command.room)


async def _typing(services: Services, asker: Asker, command: Typing) -> Ack:
    await permission.allowed(services, asker, command.room, Action.TYPE)
    now = services.clocks.monotonic()
    if not command.active or now - asker.typed_at.get(command.room, _NEVER) >= _TYPED_AGAIN_S:
        asker.typed_at[command.room] = now
        event = TypingEvent(
            room=command.room,
            sender=asker.user,
            active=command.active,
            expires_ms=round(limits.TYPING_TTL_S * 1000),
        )
        await services.live.pass_on(command.room, encode_frame(event))
    return Ack(id=command.id, room=command.room)


async def _presence(desk: Desk, asker: Asker, command: Presence) -> Ack:
    rights = await permission.allowed(desk.services, asker, command.room, Action.SEE_PRESENCE)
    if len(rights.members) > limits.PRESENCE_NAMES_MAX:
        return Ack(id=command.id, room=command.room, count=desk.online_count(rights))
    presence = desk.services.presence
    online = tuple(sorted(user for user in rights.members if presence.online(user)))
    return Ack(id=command.id, room=command.room, online=online, count=len(online))
