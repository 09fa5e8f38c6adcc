"""One client's connection: drives the session and does what its outputs ask for. Knows no socket, only a channel."""

import asyncio
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET

from chatnode.protocol import limits
from chatnode.protocol.codec import Reply, encode_frame, error_frame
from chatnode.protocol.cursors import Cursor, CursorError, parse_cursor
from chatnode.protocol.errors import CloseCode, ErrorCode, ProtocolError
from chatnode.protocol.events import DelayedEvent, SubscribedEvent
from chatnode.protocol.frames import (
    Ack,
    Command,
    Delete,
    Edit,
    History,
    Limits,
    Presence,
    React,
    Read,
    Refresh,
    Send,
    Subscribe,
    Typing,
    Unsubscribe,
    Welcome,
)
from chatnode.rooms.catchup import refuse_unavailable
from chatnode.rooms.ports import Unavailable
from chatnode.rooms.posting import RoomQueue
from chatnode.session.bucket import TokenBucket
from chatnode.session.core import Answer, Authenticate, Output, Perform, Say, Session, Shut, State
from chatnode.session.lanes import Lanes
from chatnode.transports import asking
from chatnode.transports.desk import Desk, unsubscribed
from chatnode.transports.joining import Joined, Wanted, join
from chatnode.transports.websocket.channel import Channel
from chatnode.transports.websocket.wheel import Slot

_WRITABLE_BYTES: Final = 64 * 1024
_WRITABLE_S: Final = 10.0


class Driver:
    """A Receiver of its channel, a Joiner of rooms, an Asker, an Author of commands, a Connection of the desk."""

    __slots__ = (
        "_channel",
        "_desk",
        "_drained",
        "_issued_at",
        "_queues",
        "_registered",
        "_session",
        "_slot",
        "_typed_at",
    )

    def __init__(self, desk: Desk, channel: Channel) -> None:
        self._desk = desk
        self._channel = channel
        self._session = Session(desk.services.session_limits, desk.services.clocks.monotonic())
        self._queues: dict[str, RoomQueue] | None = None
        self._drained: asyncio.Event | None = None
        self._issued_at = 0
        self._registered = False
        self._slot: Slot | None = None
        self._typed_at: dict[str, float] | None = None

    def watch(self) -> None:
        """Be reminded of the session's deadline, which may have moved; until :meth:`closed`."""
        if self._slot is not None:
            self._desk.timers.cancel(self, self._slot)
        self._slot = self._desk.timers.schedule(self, self._session.deadline)

    @property
    def user(self) -> str:
        return self._session.user

    @property
    def issued_at(self) -> int:
        return self._issued_at

    @property
    def following(self) -> bool:
        return bool(self._session.rooms)

    @property
    def lanes(self) -> Lanes:
        return self._session.lanes_made()

    @property
    def queues(self) -> dict[str, RoomQueue]:
        if self._queues is None:
            self._queues = {}
        return self._queues

    @property
    def typed_at(self) -> dict[str, float]:
        if self._typed_at is None:
            self._typed_at = {}
        return self._typed_at

    def begin(self, cursors: Mapping[str, str | None]) -> None:
        """Instead of a ``connect`` frame: follow these rooms, by the channel's authorization."""
        self._run(self._session.begin(cursors))

    def share(self, bucket: TokenBucket) -> None:
        """Count commands against a rate that outlives this connection."""
        self._session.share(bucket)

    def received(self, payload: bytes) -> None:
        self._run(self._session.receive(payload, self._desk.services.clocks.monotonic()))

    def closed(self, code: int) -> None:  # noqa: ARG002  why it closed changes nothing here
        self._session.close()
        if self._slot is not None:
            self._desk.timers.cancel(self, self._slot)
            self._slot = None
        for room in tuple(self._session.rooms):
            self.forget(room)
        if self._registered:
            self._registered = False
            self._desk.unregister(self)
        if self._drained is not None:
            self._drained.set()

    def drained(self) -> None:
        if self._drained is not None:
            self._drained.set()

    def due(self, now: float) -> None:
        """The session's deadline may have come, or has moved."""
        self._slot = None
        self._run(self._session.expired(now))
        if self._session.state is not State.CLOSED:
            self._slot = self._desk.timers.schedule(self, self._session.deadline)

    @property
    def sink(self) -> Channel:
        return self._channel

    def send(self, payload: bytes) -> None:
        self._channel.send(payload)

    def shut(self, code: CloseCode, reason: str) -> None:
        self._session.close()
        self._channel.close(code, reason)

    def drop(self, room: str, notice: bytes) -> None:
        self.forget(room)
        self._channel.send(notice)

    def ended(self, room: str, code: str, message: str, *, retryable: bool) -> None:
        self.drop(room, unsubscribed(room, code, message, retryable=retryable))

    def standing(self) -> ProtocolError | None:
        if self._session.state is not State.READY:
            return ProtocolError(ErrorCode.UNAUTHENTICATED, "this connection has ended")
        if self._desk.services.suspended():
            return ProtocolError(
                ErrorCode.UNAVAILABLE, "this node is cut off and may not know your rights; try again", retry_after=1.0
            )
        return None

    def claim(self, room: str) -> None:
        if room in self._session.rooms:
            return
        refused = self._session.claim(room)
        if refused is not None:
            raise refused
        self._desk.services.rights.pin(room)

    def claimed(self, room: str) -> bool:
        return room in self._session.rooms

    def forget(self, room: str) -> None:
        services = self._desk.services
        services.hub.leave(room, self)
        if room in self._session.rooms:
            self._session.rooms.discard(room)
            services.rights.unpin(room)

    async def writable(self) -> None:
        if self._channel.buffered <= _WRITABLE_BYTES:
            return
        self._drained = asyncio.Event()
        try:
            async with asyncio.timeout(_WRITABLE_S):
                await self._drained.wait()
        except TimeoutError:
            return
        finally:
            self._drained = None

    def answer(self, frame: Reply) -> None:
        self._session.finished()
        self._channel.send(encode_frame(frame))

    def _run(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Say(frame):
                    self._channel.send(encode_frame(frame))
                case Answer(command):
                    self._channel.send(encode_frame(Ack(id=command, ts=self._desk.services.clocks.wall_ms())))
                case Authenticate(token):
                    self._desk.tasks.spawn(self._authenticate(token), "authenticate")
                case Perform(command):
                    self._perform(command)
                case Shut(code, reason):
                    self._channel.close(code, reason)

    async def _authenticate(self, token: str | None) -> None:
        services = self._desk.services
        header, self._channel.authorization = self._channel.authorization, None
        try:
            if token is None:
                token = _bearer(header)
            identity = await services.verifier.verify(token)
            if not self._session.is_proving():
                return
            self._issued_at = identity.issued_at
            self._session.user = identity.user
            self._registered = True
            self._desk.register(self)
            if identity.issued_at < await services.rights.revoked_before(identity.user):
                raise ProtocolError(ErrorCode.UNAUTHENTICATED, "this token was revoked; sign in again")
        except ProtocolError as error:
            self._run(self._session.refused(error))
            return
        except Unavailable as error:
            self._run(self._session.refused(refuse_unavailable(error)))
            return
        if not self._session.is_proving():
            return
        now, wall = services.clocks.monotonic(), services.clocks.wall_ms()
        deadline = now + (identity.expires_at - wall) / 1000
        outputs = self._session.authenticated(identity.user, deadline=deadline, now=now)
        self.watch()
        welcome = Welcome(
            id=self._session.connect_id,
            user=identity.user,
            name=identity.name,
            node=services.node,
            session=services.draw_id(),
            version=services.version,
            heartbeat_ms=round(limits.HEARTBEAT_S * 1000),
            expires_at=identity.expires_at,
            limits=Limits(),
        )
        self._channel.send(encode_frame(welcome))
        if services.delayed():
            self._channel.send(encode_frame(DelayedEvent(on=True)))
        cursors, self._session.cursors = self._session.cursors, None
        if cursors:
            self._desk.tasks.spawn(self._resume(dict(cursors)), "resume")
        self._run(outputs)

    def _perform(self, command: Command) -> None:
        self._desk.services.commanded(type(command).__name__.lower())
        standing = self.standing()
        if standing is not None:
            if isinstance(command, Send | Edit | Delete | React):
                self.lanes.refused(command.room, command.id, self._desk.services.clocks.monotonic())
            self.answer(error_frame(standing, command.id))
            return
        match command:
            case Send() | Edit() | Delete() | React():
                self._desk.services.poster.post(self, command)
            case Unsubscribe():
                self.forget(command.room)
                self.answer(Ack(id=command.id, room=command.room))
            case _:
                self._desk.tasks.spawn(self._answer_later(command), type(command).__name__.lower())

    async def _answer_later(self, command: Command) -> None:
        try:
            ack = await self._work(command)
        except ProtocolError as error:
            self.answer(error_frame(error, command.id))
        except Unavailable as error:
            self.answer(error_frame(refuse_unavailable(error), command.id))
        else:
            if ack is not None:
                self.answer(ack)

    async def _work(self, command: Command) -> Ack | None:
        match command:
            case Subscribe():
                await self._subscribe(command)
                return None
            case History() | Read() | Typing() | Presence():
                return await asking.answer(self._desk, self, command)
            case Refresh():
                return await self._refresh(command)
            case _:
                raise ProtocolError(ErrorCode.INVALID, f"{type(command).__name__} cannot be handled here")

    async def _subscribe(self, command: Subscribe) -> None:
        cursor = None if command.cursor is UNSET else _cursor(command.cursor)

        def tell(joined: Joined) -> None:
            self.answer(
                Ack(
                    id=command.id,
                    room=command.room,
                    recovered=joined.recovered,
                    cursor=str(joined.cursor),
                    messages=joined.messages,
                    more_before=joined.more_before,
                    partial=joined.partial,
                    receipts=joined.receipts,
                )
            )

        await join(self._desk.services, self, Wanted(command.room, cursor, command.limit, tell))

    async def _resume(self, cursors: dict[str, str | None]) -> None:
        """Follow the rooms that the client began with, one after the other."""
        for room, text in cursors.items():

            def tell(joined: Joined, room: str = room) -> None:
                event = SubscribedEvent(
                    room=room,
                    recovered=joined.recovered,
                    cursor=str(joined.cursor),
                    messages=joined.messages,
                    more_before=joined.more_before,
                    partial=joined.partial,
                    receipts=joined.receipts,
                )
                self._channel.send(encode_frame(event))

            if self._session.state is not State.READY:
                return
            await self.writable()
            try:
                cursor = None if text is None else _cursor(text)
                await join(self._desk.services, self, Wanted(room, cursor, limits.PAGE, tell))
            except ProtocolError as error:
                self.ended(room, error.code, error.message, retryable=error.retryable)
            except Unavailable as error:
                self.ended(room, ErrorCode.UNAVAILABLE, str(error), retryable=True)

    async def _refresh(self, command: Refresh) -> Ack:
        services = self._desk.services
        identity = await services.verifier.verify(command.token)
        if identity.user != self.user:
            raise ProtocolError(ErrorCode.FORBIDDEN, "the new token is for another user; connect anew", field="token")
        if identity.issued_at < await services.rights.revoked_before(identity.user):
            raise ProtocolError(ErrorCode.UNAUTHENTICATED, "this token was revoked; sign in again", field="token")
        self._issued_at = identity.issued_at
        now, wall = services.clocks.monotonic(), services.clocks.wall_ms()
        self._session.refreshed(now + (identity.expires_at - wall) / 1000)
        if self._slot is not None:
            self.watch()
        return Ack(id=command.id, expires_at=identity.expires_at)


def _bearer(header: str | None) -> str:
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ProtocolError(ErrorCode.UNAUTHENTICATED, "no token: give one in connect or as Authorization: Bearer")
    return token.strip()


def _cursor(text: str) -> Cursor:
    try:
        return parse_cursor(text)
    except CursorError as error:
        raise ProtocolError(ErrorCode.INVALID, str(error), field="cursor") from error
