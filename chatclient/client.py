"""The driver: a socket, a clock and futures around :class:`chatclient.machine.Machine`."""

import asyncio
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from msgspec import UNSET
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from chatclient import answers
from chatclient.answers import Ack, Page, Presence, Room
from chatclient.errors import Ended, Malformed, Unanswered
from chatclient.machine import Machine, Query, State, Timing
from chatclient.outputs import Dial, FetchToken, Finish, Greeted, HangUp, Output, Reject, Settle, Write
from chatnode.protocol import frames, limits
from chatnode.protocol.events import Event, SubscribedEvent
from chatnode.protocol.frames import Delete, Edit, History, Position, React, Read, Send, StoredCommand, Typing

SUBPROTOCOL: Final = Subprotocol("chat.v1")
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one frame from a node: a page of 100 messages of 16 KiB, escaped."""
OPEN_S: Final = 10.0
CLOSE_S: Final = 2.0
WRITE_S: Final = 10.0
TOKEN_RETRY_S: Final = 1.0

Token = str | Callable[[], Awaitable[str]]
Answer = frames.Ack | SubscribedEvent


def new_id() -> str:
    """An id that is unique for ever: 16 random bytes."""
    return secrets.token_urlsafe(16)


class Client:
    """A connection that is kept up, as an asynchronous context manager.

    ``url`` is the socket's address (``wss://chat.example/v1/ws``), or several, which are tried in turn. ``token`` is a
    token, or a function that gets one whenever one is needed: for each connection and before the old one ends; it
    raises OSError or TimeoutError where that may go better later, anything else ends the client. ``timeout`` is how
    many seconds a call waits for its answer, over all reconnections; put ``asyncio.timeout`` around those that are to
    wait for less.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        token: Token,
        *,
        timeout: float = 60.0,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._urls = (url,) if isinstance(url, str) else tuple(url)
        self._token = token
        self._timeout = timeout
        self._clock = clock
        self._ids = ids
        self._machine = Machine(timing or Timing(), ids=ids, draw=draw, wall=wall, renewable=not isinstance(token, str))
        self._dials = 0
        self._answers: dict[str, asyncio.Future[Answer]] = {}
        self._outgoing: deque[bytes] = deque()
        self._hang_up: HangUp | None = None
        self._dial = asyncio.Event()
        self._write = asyncio.Event()
        self._fetch = asyncio.Event()
        self._timer = asyncio.Event()
        self._arrived = asyncio.Event()
        self._greeted: asyncio.Event = asyncio.Event()
        self._finished = asyncio.Event()
        self._ended: Ended | None = None
        self._armed: float | None = None
        """What the timer waits for."""
        self._welcome: frames.Welcome | None = None
        self._runner: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None

    @property
    def welcome(self) -> frames.Welcome | None:
        """What the node of the newest connection said about itself and the user."""
        return self._welcome

    @property
    def connected(self) -> bool:
        return self._machine.state is State.READY

    def cursor(self, room: str) -> str | None:
        """How far the room's events have come, those included that wait to be iterated over."""
        return self._machine.inbox.cursor(room)

    async def __aenter__(self) -> Self:
        """Connected; :class:`Ended` when refused for good, :class:`Unanswered` when nobody answered in time."""
        self._runner = asyncio.create_task(self._run(), name="chatclient")
        self._machine.start()
        self._apply()
        try:
            async with asyncio.timeout(self._timeout):
                await self._greeted.wait()
        except TimeoutError:
            await self.close()
            raise Unanswered("", "connect", self._timeout) from None
        except asyncio.CancelledError:
            await self.close()
            raise
        if self._ended:
            await self.close()
            raise self._ended
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and leave nothing running. Calls that wait raise :class:`Ended`."""
        conversing = self._machine.state in (State.GREETING, State.READY)
        self._machine.close()
        self._apply()
        if self._runner is None:
            return
        try:
            await asyncio.wait([self._runner], timeout=2 * CLOSE_S if conversing else 0)
        finally:
            self._runner.cancel()
        await asyncio.gather(self._runner, return_exceptions=True)

    # What one can ask for.

    async def subscribe(self, room: str, cursor: str | None = None, *, limit: int | None = None) -> Room:
        """Follow a room, over all reconnections: from ``cursor`` on, or from a page of the newest messages.

        Its events come out of :meth:`events`, beginning with the ``subscribed`` event that is returned here. Another
        one comes after every reconnection and wherever something was missing; unless it says ``recovered``, its page
        replaces what was held. An ``unsubscribed`` event is the end of the room.
        """
        call = self._ids()
        waiting = self._expect(call)
        self._machine.subscribe(self._clock(), call, room, cursor, limit)
        answer = await self._answer(call, waiting, f"subscribe to {room}")
        if not isinstance(answer, SubscribedEvent):
            raise Malformed(f"no subscription came of subscribing to {room}")
        return answers.room(answer)

    async def unsubscribe(self, room: str) -> None:
        await self._ask(frames.Unsubscribe(id=self._ids(), room=room))

    async def send(
        self,
        room: str,
        text: str,
        *,
        reply_to: Position | None = None,
        mentions: Sequence[str] = (),
        command: str | None = None,
        again: bool = False,
    ) -> Ack:
        """Returns when the message is stored. ``command`` and ``again`` are for what an earlier process may have sent.

        Messages of one room are stored in the order of the calls. :class:`Refused` when the node refuses for good,
        :class:`Unanswered` at the deadline: the message may be stored, or be stored later.
        """
        return await self._store(
            Send(
                id=command or self._ids(),
                room=room,
                text=text,
                reply_to=UNSET if reply_to is None else reply_to,
                mentions=tuple(mentions),
                again=again,
            )
        )

    async def edit(
        self,
        room: str,
        target: Position,
        text: str,
        *,
        mentions: Sequence[str] = (),
        command: str | None = None,
        again: bool = False,
    ) -> Ack:
        edit = Edit(
            id=command or self._ids(), room=room, target=target, text=text, mentions=tuple(mentions), again=again
        )
        return await self._store(edit)

    async def delete(
        self,
        room: str,
        target: Position,
        *,
        command: str | None = None,
        again: bool = False,
    ) -> Ack:
        return await self._store(Delete(id=command or self._ids(), room=room, target=target, again=again))

    async def react(
        self,
        room: str,
        target: Position,
        emoji: str,
        *,
        on: bool = True,
        command: str | None = None,
        again: bool = False,
    ) -> Ack:
        react = React(id=command or self._ids(), room=room, target=target, emoji=emoji, on=on, again=again)
        return await self._store(react)

    async def read(self, room: str, at: Position) -> None:
        """Everything up to ``at`` has been read."""
        await self._ask(Read(id=self._ids(), room=room, at=at))

    async def typing(self, room: str, *, active: bool = True) -> None:
        """Said to whoever is there now; nothing is said while there is no connection."""
        await self._ask(Typing(id=self._ids(), room=room, active=active))

    async def history(
        self,
        room: str,
        *,
        before: Position | None = None,
        after: Position | None = None,
        around: Position | None = None,
        limit: int | None = None,
    ) -> Page:
        """A page of messages in the room's order, the newest without a position."""
        history = History(
            id=self._ids(),
            room=room,
            before=UNSET if before is None else before,
            after=UNSET if after is None else after,
            around=UNSET if around is None else around,
            limit=limits.PAGE if limit is None else limit,
        )
        return answers.page(await self._ask(history))

    async def presence(self, room: str) -> Presence:
        return answers.presence(await self._ask(frames.Presence(id=self._ids(), room=room)))

    async def refresh(self) -> int:
        """Get a new token and present it now; when it ends, in milliseconds since 1970 UTC."""
        call = self._ids()
        waiting = self._expect(call)
        self._machine.renew(call)
        answer = await self._answer(call, waiting, "refresh")
        return answers.expiry(_ack(answer))

    async def events(self) -> AsyncIterator[Event]:
        """Events of all rooms in the order of their arrival, for one iterator at a time.

        Ends when the client is closed; raises :class:`Ended` where the node ended it. Whoever is slow here loses
        nothing: rooms fall behind, and catch up from their cursors.
        """
        while True:
            event = self._machine.take(self._clock())
            self._apply()
            if event is not None:
                yield event
                continue
            if self._finished.is_set():
                if self._ended:
                    raise self._ended
                return
            self._arrived.clear()
            await self._arrived.wait()

    # Calls and their answers.

    async def _store(self, command: StoredCommand) -> Ack:
        waiting = self._expect(command.id)
        self._machine.store(self._clock(), command)
        what = f"{type(command).__name__.lower()} in {command.room}"
        return answers.stored(_ack(await self._answer(command.id, waiting, what)))

    async def _ask(self, command: Query | frames.Unsubscribe) -> frames.Ack:
        waiting = self._expect(command.id)
        self._machine.query(self._clock(), command)
        what = f"{type(command).__name__.lower()} in {command.room}"
        return _ack(await self._answer(command.id, waiting, what))

    def _expect(self, call: str) -> asyncio.Future[Answer]:
        if call in self._answers:
            raise ValueError(f"the command {call} is under way already; wait for it, or give a new id")
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[call] = waiting
        return waiting

    async def _answer(self, call: str, waiting: asyncio.Future[Answer], what: str) -> Answer:
        self._apply()
        try:
            async with asyncio.timeout(self._timeout):
                return await waiting
        except TimeoutError:
            raise Unanswered(call, what, self._timeout) from None
        finally:
            if self._answers.pop(call, None) and (waiting.cancelled() or not waiting.done()):
                self._machine.abandon(call)

    # The machine's outputs.

    def _apply(self) -> None:
        """Do what the machine says, and wake whoever has something to do now."""
        for output in self._machine.outputs():
            self._do(output)
        if self._machine.inbox.events:
            self._arrived.set()
        deadline = self._machine.deadline
        if deadline is not None and (self._armed is None or deadline < self._armed):
            self._timer.set()

    def _do(self, output: Output) -> None:
        match output:
            case Write(data):
                self._outgoing.append(data)
                self._write.set()
            case Settle() | Reject():
                self._settle(output)
            case Dial():
                self._dial.set()
            case HangUp():
                self._hang_up = output
                self._write.set()
            case FetchToken():
                self._fetch.set()
            case Greeted(welcome):
                self._welcome = welcome
                self._greeted.set()
            case Finish(error):
                self._ended = error
                for event in (self._finished, self._greeted, self._arrived, self._dial):
                    event.set()

    def _settle(self, outcome: Settle | Reject) -> None:
        waiting = self._answers.get(outcome.call)
        if waiting is None or waiting.done():
            return
        if isinstance(outcome, Settle):
            waiting.set_result(outcome.answer)
        else:
            waiting.set_exception(outcome.error)

    # Tasks.

    async def _run(self) -> None:
        """Everything that runs for this client, until it ends."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep_time()), group.create_task(self._keep_token())]
            while not self._finished.is_set():
                await self._dial.wait()
                self._dial.clear()
                if not self._finished.is_set():
                    await self._connection()
            for task in tasks:
                task.cancel()

    async def _keep_time(self) -> None:
        while True:
            self._timer.clear()
            self._armed = self._machine.deadline
            try:
                async with asyncio.timeout(None if self._armed is None else max(0.0, self._armed - self._clock())):
                    await self._timer.wait()
            except TimeoutError:
                self._machine.tick(self._clock())
                self._apply()

    async def _keep_token(self) -> None:
        while True:
            await self._fetch.wait()
            self._fetch.clear()
            try:
                token = await self._get_token()
            except (OSError, TimeoutError):
                await asyncio.sleep(TOKEN_RETRY_S)
                self._fetch.set()
                continue
            except Ended as end:
                self._machine.fail(end)
            else:
                self._machine.token(self._clock(), token)
            self._apply()

    async def _get_token(self) -> str:
        """From the owner; OSError or TimeoutError where it may be had later, else :class:`Ended`."""
        if isinstance(self._token, str):
            return self._token
        try:
            async with asyncio.timeout(OPEN_S):
                return await self._token()
        except (OSError, TimeoutError):
            raise
        except Exception as error:
            raise Ended(f"no token can be had: {error!r}") from error

    async def _connection(self) -> None:
        """One connection, from the token to the closed socket."""
        self._outgoing.clear()
        self._hang_up = None
        url = self._urls[self._dials % len(self._urls)]
        self._dials += 1
        code: int | None = None
        try:
            token = await self._get_token()
            socket = await connect(
                url,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                ping_interval=None,
                max_size=FRAME_BYTES_MAX,
                proxy=None,
            )
            code, reason = await self._converse(socket, token)
        except Ended as end:
            self._machine.fail(end)
            reason = str(end)
        except InvalidURI as error:
            self._machine.fail(Ended(str(error)))
            reason = str(error)
        except InvalidStatus as refusal:
            reason = f"HTTP status {refusal.response.status_code}"
            if refusal.response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                self._machine.fail(Ended(f"the handshake was refused: {reason}"))
        except (OSError, TimeoutError, InvalidHandshake) as error:
            reason = str(error)
        if self._hang_up is None:
            self._machine.closed(self._clock(), code, reason)
        self._apply()

    async def _converse(self, socket: ClientConnection, token: str) -> tuple[int | None, str]:
        self._socket = socket
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._keep_writing(socket))
            self._machine.opened(self._clock(), token)
            self._apply()
            try:
                async for data in socket:
                    self._machine.received(self._clock(), data)
                    self._apply()
            except ConnectionClosed:
                pass
            finally:
                writer.cancel()
        close = socket.protocol.close_rcvd
        return (None, "connection lost") if close is None else (close.code, close.reason)

    async def _keep_writing(self, socket: ClientConnection) -> None:
        """In order, until the machine hangs up; what cannot be written in time is a dead connection."""
        while self._hang_up is None:
            self._write.clear()
            while self._outgoing and self._hang_up is None:
                try:
                    async with asyncio.timeout(WRITE_S):
                        await socket.send(self._outgoing.popleft(), text=True)
                except ConnectionClosed:
                    return
                except TimeoutError:
                    socket.transport.abort()
                    return
            if self._hang_up is None:
                await self._write.wait()
        await socket.close(self._hang_up.code, self._hang_up.reason)


def _ack(answer: Answer) -> frames.Ack:
    if isinstance(answer, SubscribedEvent):
        raise Malformed(f"a subscription to {answer.room} where an ack was due")
    return answer
