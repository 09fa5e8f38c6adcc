"""One client's connection: drives the session and does what its outputs ask for. Knows no socket, only a channel."""

import asyncio
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, UnsetType

from chatnode.access.rules import Action, decide
from chatnode.protocol import limits
from chatnode.protocol.codec import Reply, encode_frame, error_frame
from chatnode.protocol.cursors import Cursor, CursorError, parse_cursor
from chatnode.protocol.errors import CloseCode, ErrorCode, ProtocolError
from chatnode.protocol.events import DelayedEvent, SubscribedEvent, TypingEvent
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
    Receipt,
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
from chatnode.rooms.refusals import refusal
from chatnode.rooms.rights import RoomRights
from chatnode.rooms.room import Phase, Room
from chatnode.session.bucket import TokenBucket
from chatnode.session.core import Answer, Authenticate, Output, Perform, Say, Session, Shut, State
from chatnode.session.lanes import Lanes
from chatnode.transports.desk import Desk, unsubscribed
from chatnode.transports.joining import Joined, Tell, prepare, receipts_of
from chatnode.transports.websocket.channel import Channel
from chatnode.transports.websocket.wheel import Slot

_JOIN_ATTEMPTS: Final = 5
_WRITABLE_BYTES: Final = 64 * 1024
_WRITABLE_S: Final = 10.0


class Driver:
    """A Receiver of its channel, a Follower of rooms, an Author of commands, a Connection of the desk."""

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
            self._forget(room)
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
        self._forget(room)
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
                self.lanes.failed(command.room, command.id, self._desk.services.clocks.monotonic())
            self.answer(error_frame(standing, command.id))
            return
        match command:
            case Send() | Edit() | Delete() | React():
                self._desk.services.poster.post(self, command)
            case Unsubscribe():
                self._forget(command.room)
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
            case History():
                return await self._history(command)
            case Read():
                await self._allowed(command.room, Action.MARK_READ)
                if not self._desk.services.receipts.note(self.user, command.room, command.at):
                    raise ProtocolError(ErrorCode.UNAVAILABLE, "too many receipts wait", retry_after=1.0)
                return Ack(id=command.id, room=command.room)
            case Typing():
                return await self._typing(command)
            case Presence():
                return await self._presence(command)
            case Refresh():
                return await self._refresh(command)
            case _:
                raise ProtocolError(ErrorCode.INVALID, f"{type(command).__name__} cannot be handled here")

    async def _allowed(self, room: str, action: Action) -> RoomRights:
        """The room's rights, if this user may do that in it now."""
        services = self._desk.services
        rights = await services.rights.load(room)
        if rights is None or rights.role_of(self.user) is None:
            # Another node may have stored a moment ago that there is such a room, or that this user is in it.
            await services.hear_control()
            rights = await services.rights.load(room)
        return self._check(rights, action)

    def _check(self, rights: RoomRights | None, action: Action) -> RoomRights:
        standing = self.standing()
        if standing is not None:
            raise standing
        if rights is None:
            raise refusal(ErrorCode.NOT_FOUND)
        code = decide(rights.kind, rights.role_of(self.user), action, closed=rights.closed)
        if code is not None:
            raise refusal(code)
        return rights

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

        await self._join(command.room, cursor, command.limit, tell)

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
            await self._writable()
            try:
                await self._join(room, None if text is None else _cursor(text), limits.PAGE, tell)
            except ProtocolError as error:
                self.ended(room, error.code, error.message, retryable=error.retryable)
            except Unavailable as error:
                self.ended(room, ErrorCode.UNAVAILABLE, str(error), retryable=True)

    async def _join(self, name: str, cursor: Cursor | None, limit: int, tell: Tell) -> None:
        """Follow a room and tell from where; nothing lies between what is told and what follows."""
        services = self._desk.services
        claimed = name not in self._session.rooms
        refused = self._session.claim(name)
        if refused is not None:
            raise refused
        if claimed:
            services.rights.pin(name)
        try:
            rights = await self._allowed(name, Action.READ)
            services.hub.leave(name, self)
            receipts = await receipts_of(services, rights)
            async with services.joining.entered(self):
                for _ in range(_JOIN_ATTEMPTS):
                    room = await services.hub.open(name)
                    if await self._join_once(room, cursor, limit, receipts, tell):
                        return
            raise Unavailable(f"room {name} moves faster than it can be joined")
        except BaseException:
            self._forget(name)
            raise

    async def _join_once(
        self, room: Room, cursor: Cursor | None, limit: int, receipts: tuple[Receipt, ...] | UnsetType, tell: Tell
    ) -> bool:
        """One attempt; the last awaited call is followed by check, reply and effect without another."""
        services = self._desk.services
        joined = await prepare(services, room, cursor, limit, receipts)
        if joined is None or room.phase not in (Phase.LIVE, Phase.FILLING):
            return False
        self._check(services.rights.held(room.name), Action.READ)
        if room.name not in self._session.rooms:
            raise ProtocolError(ErrorCode.CONFLICT, "unsubscribed while subscribing")
        if cursor is not None:
            services.recovered(joined.recovered)
        tell(joined)
        for framed in joined.frames:
            self._channel.write(framed)
        services.hub.follow(room, self)
        return True

    def _forget(self, room: str) -> None:
        """Follow a room no longer; nothing where it was not followed."""
        services = self._desk.services
        services.hub.leave(room, self)
        if room in self._session.rooms:
            self._session.rooms.discard(room)
            services.rights.unpin(room)

    async def _history(self, command: History) -> Ack:
        given = [name for name in ("before", "after", "around") if getattr(command, name) is not UNSET]
        if len(given) > 1:
            raise ProtocolError(
                ErrorCode.INVALID, f"{' and '.join(given)} exclude each other; give one", field=given[1]
            )
        await self._allowed(command.room, Action.READ)
        await self._writable()
        page = await self._desk.services.catch_up.page(
            command.room,
            before=None if command.before is UNSET else command.before,
            after=None if command.after is UNSET else command.after,
            around=None if command.around is UNSET else command.around,
            limit=command.limit,
        )
        self._check(await self._desk.services.rights.load(command.room), Action.READ)
        return Ack(
            id=command.id,
            room=command.room,
            messages=page.messages,
            more_before=page.more_before,
            more_after=page.more_after,
            partial=page.partial or UNSET,
        )

    async def _typing(self, command: Typing) -> Ack:
        await self._allowed(command.room, Action.TYPE)
        now = self._desk.services.clocks.monotonic()
        if self._typed_at is None:
            self._typed_at = {}
        if not command.active or now - self._typed_at.get(command.room, -10.0) >= 1.0:
            self._typed_at[command.room] = now
            event = TypingEvent(
                room=command.room,
                sender=self.user,
                active=command.active,
                expires_ms=round(limits.TYPING_TTL_S * 1000),
            )
            await self._desk.services.live.pass_on(command.room, encode_frame(event))
        return Ack(id=command.id, room=command.room)

    async def _presence(self, command: Presence) -> Ack:
        rights = await self._allowed(command.room, Action.SEE_PRESENCE)
        if len(rights.members) > limits.PRESENCE_NAMES_MAX:
            return Ack(id=command.id, room=command.room, count=self._desk.online_count(rights))
        presence = self._desk.services.presence
        online = tuple(sorted(user for user in rights.members if presence.online(user)))
        return Ack(id=command.id, room=command.room, online=online, count=len(online))

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

    async def _writable(self) -> None:
        """Wait until most of what waits for this client has been sent, for a while."""
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
