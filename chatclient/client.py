"""What one can ask for: calls that wait for their answers, and the events of all rooms."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import UNSET

from chatclient import answers
from chatclient.answers import Ack, Page, Presence, Room
from chatclient.conversation import Query
from chatclient.driver import Answer, Driver, Token
from chatclient.errors import Ended, Malformed, Unanswered
from chatclient.journal import Unsent
from chatclient.ladder import LADDER, Ladder, Transport
from chatclient.lines.line import CLOSE_S
from chatclient.machine import Machine, State, Timing
from chatclient.outputs import Reject, Settle
from chatclient.sending import Sending
from chatnode.protocol import frames, limits
from chatnode.protocol.events import Event, SubscribedEvent
from chatnode.protocol.frames import Delete, Edit, History, Position, React, Read, Send, StoredCommand, Typing


def new_id() -> str:
    """An id that is unique for ever: 16 random bytes."""
    return secrets.token_urlsafe(16)


class Client:
    """A connection that is kept up, as an asynchronous context manager.

    ``url`` is the socket's address (``wss://chat.example/v1/ws``), or several, which are tried in turn. ``token`` is a
    token, or a function that gets one whenever one is needed: for each connection and before the old one ends; it
    raises OSError or TimeoutError where that may go better later, anything else ends the client. ``timeout`` is how
    many seconds a call waits for its answer, over all reconnections; put ``asyncio.timeout`` around those that are to
    wait for less. ``transports`` are tried in this order (``docs/client.md``); a single one is never left. ``outbox``
    is a file in which commands are kept until they have their ack, for whichever client of the user comes next: what
    was put there is sent, also where nobody waits for it any more.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        token: Token,
        *,
        timeout: float = 60.0,
        transports: Sequence[Transport | str] = LADDER,
        outbox: str | Path | None = None,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
        ids: Callable[[], str] = new_id,
    ) -> None:
        urls = (url,) if isinstance(url, str) else tuple(url)
        timing = timing or Timing()
        ladder = Ladder([Transport(each) for each in transports], probe_s=timing.probe_s)
        self._timeout = timeout
        self._clock = clock
        self._ids = ids
        self._machine = Machine(
            timing, ids=ids, draw=draw, wall=wall, renewable=not isinstance(token, str), ladder=ladder
        )
        self._driver = Driver(self._machine, urls, token, clock)
        self._runner: asyncio.Task[None] | None = None
        self._sending: Sending | None = None
        self._sender: asyncio.Task[None] | None = None
        if outbox is not None:
            self._sending = Sending(Path(outbox), _Way(self._machine, self._driver, clock), wall)
            self._driver.watch(self._sending)

    @property
    def welcome(self) -> frames.Welcome | None:
        """What the node of the newest connection said about itself and the user."""
        return self._driver.welcome

    @property
    def connected(self) -> bool:
        return self._machine.state is State.READY

    @property
    def transport(self) -> Transport:
        """The one that is open, tried, or to be tried next."""
        return self._machine.transport

    def network(self, *, online: bool) -> None:
        """Tell what the device says: while it is offline failures do not count; online again, it tries at once."""
        self._machine.network(self._clock(), online=online)
        self._driver.apply()

    def cut(self) -> None:
        """Break the connection off, as a network does, to see what becomes of it: it is made anew, nothing is lost."""
        self._driver.cut()

    def cursor(self, room: str) -> str | None:
        """How far the room's events have come, those included that wait to be iterated over."""
        return self._machine.inbox.cursor(room)

    async def __aenter__(self) -> Self:
        """Connected; :class:`Ended` when refused for good, :class:`Unanswered` when nobody answered in time."""
        if self._sending is not None:
            await self._sending.load()
            self._sender = asyncio.create_task(self._sending.run(), name="chatclient-outbox")
        self._runner = asyncio.create_task(self._driver.run(), name="chatclient")
        self._runner.add_done_callback(self._ran)
        try:
            async with asyncio.timeout(self._timeout):
                await self._driver.greeted.wait()
        except TimeoutError:
            await self.close()
            raise Unanswered("", "connect", self._timeout) from None
        except asyncio.CancelledError:
            await self.close()
            raise
        if self._driver.ended:
            await self.close()
            raise self._driver.ended
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _ran(self, runner: asyncio.Task[None]) -> None:
        """Should this package be wrong somewhere, whoever waits is told, and does not wait for ever."""
        error = None if runner.cancelled() else runner.exception()
        if error is not None:
            end = Ended(f"the client failed: {error!r}")
            end.__cause__ = error
            self._machine.fail(end)
            self._driver.apply()

    async def close(self) -> None:
        """Close the connection and leave nothing running. Calls that wait raise :class:`Ended`."""
        conversing = self._machine.state in (State.GREETING, State.READY)
        self._machine.close()
        self._driver.apply()
        if self._runner is None:
            return
        try:
            await asyncio.wait([self._runner], timeout=2 * CLOSE_S if conversing else 0)
        finally:
            self._runner.cancel()
            if self._sender is not None:
                # Only now may another process lead: nothing of this one is on its way any more.
                self._sender.cancel()
        await asyncio.gather(*(task for task in (self._runner, self._sender) if task), return_exceptions=True)

    # What one can ask for.

    async def subscribe(self, room: str, cursor: str | None = None, *, limit: int | None = None) -> Room:
        """Follow a room, over all reconnections: from ``cursor`` on, or from a page of the newest messages.

        Its events come out of :meth:`events`, beginning with the ``subscribed`` event that is returned here. Another
        one comes after every reconnection and wherever something was missing; unless it says ``recovered``, its page
        replaces what was held. An ``unsubscribed`` event is the end of the room.
        """
        call = self._ids()
        waiting = self._driver.expect(call)
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
        waiting = self._driver.expect(call)
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
            self._driver.apply()
            if event is not None:
                yield event
                continue
            if self._driver.finished.is_set():
                if self._driver.ended:
                    raise self._driver.ended
                return
            self._driver.arrived.clear()
            await self._driver.arrived.wait()

    # Calls and their answers.

    # The outbox.

    def unsent(self) -> list[Unsent]:
        """What is in the outbox file without an ack, in the order of sending; ``denied`` where a node refused it."""
        return self._outbox().unsent()

    async def retry(self, command: str) -> None:
        """Send again, behind the others, what was refused."""
        await self._outbox().retry(command)

    async def discard(self, command: str) -> None:
        """Delete from the outbox file. What was on its way may be stored all the same."""
        await self._outbox().delete(command)

    def _outbox(self) -> Sending:
        if self._sending is None:
            raise ValueError("this client has no outbox file; give it one: Client(..., outbox=path)")
        return self._sending

    async def _store(self, command: StoredCommand) -> Ack:
        waiting = self._driver.expect(command.id)
        if self._sending is not None:
            return await self._store_in_file(self._sending, command, waiting)
        self._machine.store(self._clock(), command)
        what = f"{type(command).__name__.lower()} in {command.room}"
        return answers.stored(_ack(await self._answer(command.id, waiting, what)))

    async def _store_in_file(self, sending: Sending, command: StoredCommand, waiting: asyncio.Future[Answer]) -> Ack:
        try:
            async with asyncio.timeout(self._timeout):
                if self._driver.finished.is_set():
                    raise Ended("the client is closed")
                await sending.put(command)
                return answers.stored(_ack(await waiting))
        except TimeoutError:
            what = f"{type(command).__name__.lower()} in {command.room}"
            raise Unanswered(command.id, what, self._timeout) from None
        finally:
            self._driver.forget(command.id)

    async def _ask(self, command: Query | frames.Unsubscribe) -> frames.Ack:
        waiting = self._driver.expect(command.id)
        self._machine.query(self._clock(), command)
        what = f"{type(command).__name__.lower()} in {command.room}"
        return _ack(await self._answer(command.id, waiting, what))

    async def _answer(self, call: str, waiting: asyncio.Future[Answer], what: str) -> Answer:
        self._driver.apply()
        try:
            async with asyncio.timeout(self._timeout):
                return await waiting
        except TimeoutError:
            raise Unanswered(call, what, self._timeout) from None
        finally:
            if self._driver.forget(call) and (waiting.cancelled() or not waiting.done()):
                self._machine.abandon(call)


class _Way:
    """How an outbox file sends."""

    def __init__(self, machine: Machine, driver: Driver, clock: Callable[[], float]) -> None:
        self._machine = machine
        self._driver = driver
        self._clock = clock

    def store(self, command: StoredCommand) -> None:
        self._machine.store(self._clock(), command)
        self._driver.apply()

    def withdraw(self, command: str) -> None:
        self._machine.withdraw(self._clock(), command)
        self._driver.apply()

    def answer(self, outcome: Settle | Reject) -> None:
        self._driver.answer(outcome)

    def fail(self, error: Ended) -> None:
        self._machine.fail(error)
        self._driver.apply()


def _ack(answer: Answer) -> frames.Ack:
    if isinstance(answer, SubscribedEvent):
        raise Malformed(f"a subscription to {answer.room} where an ack was due")
    return answer
