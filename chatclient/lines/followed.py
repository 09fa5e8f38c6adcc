"""A socket's frames about rooms, said by requests that carry rooms and cursors. Pure.

The machine speaks as if there were a socket. What it says about rooms and tokens changes what the next request (a
stream, a poll) presents, and is answered with what comes out of that request.
"""

from dataclasses import dataclass

from msgspec import UNSET
from msgspec.structs import replace

from chatnode.protocol.codec import decode_server_frame, encode_frame
from chatnode.protocol.cursors import CursorError, parse_cursor
from chatnode.protocol.events import StoredEvent, SubscribedEvent, UnsubscribedEvent
from chatnode.protocol.frames import (
    Ack,
    Connect,
    Error,
    Ping,
    Refresh,
    Subscribe,
    Unsubscribe,
    Welcome,
)

Elsewhere = Connect | Subscribe | Unsubscribe | Refresh | Ping
"""Commands that are never posted."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the next request presents. ``number`` grows; what an older one hears answers nothing that came later."""

    number: int
    token: str
    places: dict[str, str | None]
    news: bool
    """Something waits for the state of a room, or for the welcome."""


@dataclass(slots=True)
class _Asked:
    command: Subscribe
    request: int
    """The first request whose answer counts."""


class Followed:
    def __init__(self, token: str) -> None:
        self.changed = False
        """The next request has to be made now, and not when the one before is over."""
        self.token = token
        self._places: dict[str, str | None] = {}
        self._asked: dict[str, _Asked] = {}
        self._untold: set[str] = set()
        """Rooms that the client began with and was told nothing about yet: an answer may come before their turn."""
        self._connect: str | None = None
        self._refresh: str | None = None
        self._refresh_from = 0
        self._number = 0

    def begin(self) -> Request:
        self._number += 1
        self.changed = False
        news = bool(self._asked or self._untold) or self._connect is not None or self._refresh is not None
        return Request(self._number, self.token, dict(self._places), news)

    def say(self, command: Elsewhere) -> list[bytes]:
        """What the client says; the replies that there are without a node."""
        match command:
            case Connect():
                self._connect = command.id
                self._places = dict(command.cursors)
                self._untold = set(command.cursors)
                self.changed = True
            case Subscribe():
                self._places[command.room] = None if command.cursor is UNSET else command.cursor
                self._asked[command.room] = _Asked(command, self._number + 1)
                self._untold.discard(command.room)
                self.changed = True
            case Unsubscribe():
                self._places.pop(command.room, None)
                self._asked.pop(command.room, None)
                self._untold.discard(command.room)
                self.changed = True
                return [encode_frame(Ack(id=command.id, room=command.room))]
            case Refresh():
                self.token = command.token
                self._refresh, self._refresh_from = command.id, self._number + 1
                self.changed = True
            case Ping():
                return [encode_frame(Ack(id=command.id))]
        return []

    def hear(self, request: Request, data: bytes) -> list[bytes]:
        """A frame of this request's answer, as the frames of a socket.

        Raises :class:`msgspec.DecodeError` when it is malformed.
        """
        frame = decode_server_frame(data)
        match frame:
            case Welcome():
                return self._welcomed(request, frame)
            case SubscribedEvent():
                return self._subscribed(request, frame, data)
            case UnsubscribedEvent():
                return self._unsubscribed(request, frame, data)
            case _ if isinstance(frame, StoredEvent):
                if not self._later(frame.room, request):
                    self._come_to(frame.room, frame.cursor)
        return [data]

    def unanswered(self, request: Request, places: dict[str, str | None]) -> None:
        """The places of a poll's answer, for rooms about which it says nothing else."""
        for room, cursor in places.items():
            if cursor is not None and not self._later(room, request):
                self._come_to(room, cursor)

    def _welcomed(self, request: Request, welcome: Welcome) -> list[bytes]:
        said: list[bytes] = []
        if self._connect is not None:
            said.append(encode_frame(replace(welcome, id=self._connect)))
            self._connect = None
        if self._refresh is not None and self._refresh_from <= request.number:
            said.append(encode_frame(Ack(id=self._refresh, expires_at=welcome.expires_at)))
            self._refresh = None
        return said

    def _subscribed(self, request: Request, event: SubscribedEvent, data: bytes) -> list[bytes]:
        if event.room not in self._places or self._later(event.room, request):
            return []
        self._untold.discard(event.room)
        asked = self._asked.get(event.room)
        if not event.recovered or self._places[event.room] is None:
            self._places[event.room] = event.cursor
        if asked is None:
            return [data]
        del self._asked[event.room]
        messages, more_before = event.messages, event.more_before
        if messages is not UNSET and len(messages) > asked.command.limit:
            # Requests cannot say how long the page is to be.
            messages, more_before = messages[-asked.command.limit :], True
        return [
            encode_frame(
                Ack(
                    id=asked.command.id,
                    room=event.room,
                    recovered=event.recovered,
                    cursor=event.cursor,
                    messages=messages,
                    more_before=more_before,
                    partial=event.partial,
                    receipts=event.receipts,
                )
            )
        ]

    def _unsubscribed(self, request: Request, event: UnsubscribedEvent, data: bytes) -> list[bytes]:
        if self._later(event.room, request):
            return []
        self._untold.discard(event.room)
        asked = self._asked.get(event.room)
        # The client asks for it again, if it is to be had again.
        self._places.pop(event.room, None)
        if asked is None:
            return [data]
        del self._asked[event.room]
        command = asked.command.id
        return [encode_frame(Error(id=command, code=event.code, message=event.message, retryable=event.retryable))]

    def _later(self, room: str, request: Request) -> bool:
        """The room was asked for after this request began, from another place perhaps."""
        asked = self._asked.get(room)
        return asked is not None and asked.request > request.number

    def _come_to(self, room: str, cursor: str) -> None:
        if room in self._places and _beyond(cursor, self._places[room]):
            self._places[room] = cursor


def _beyond(cursor: str, than: str | None) -> bool:
    if than is None:
        return True
    try:
        new, old = parse_cursor(cursor), parse_cursor(than)
    except CursorError:
        return True
    return (new.epoch, new.seq) > (old.epoch, old.seq)
