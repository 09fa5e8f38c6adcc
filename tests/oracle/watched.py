"""A Python client whose every call, answer and event goes into the log."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Self

import chatclient
from chatclient import Ack, Client, Ended, Page, Refused, Room, Unanswered
from chatclient.driver import Token
from chatnode.protocol.cursors import parse_cursor
from chatnode.protocol.events import Event, StoredEvent, SubscribedEvent
from chatnode.protocol.frames import Delete, Edit, Message, Position, React, Send, StoredCommand
from tests.oracle import log as records
from tests.oracle.recording import EventRecorder


class Witness:
    """One client of ``user``, of whose events nothing is kept but the log; ``name`` tells it from the user's others.

    Commands return None where their outcome stays unknown and raise :class:`chatclient.Refused`; both are in the log.
    """

    def __init__(
        self,
        log: records.Keeper,
        user: str,
        urls: str | Sequence[str],
        token: Token,
        *,
        name: str = "",
        timeout: float = 60.0,
        timing: chatclient.Timing | None = None,
        transports: Sequence[chatclient.Transport | str] = chatclient.LADDER,
    ) -> None:
        self.name = name or user
        self.user = user
        self.client = Client(urls, token, timeout=timeout, timing=timing, transports=transports)
        self.ended: Ended | None = None
        self._log = log
        self._recorder = EventRecorder(self.name)
        self._places: dict[str, Position] = {}
        self._pump: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        self._pump = asyncio.create_task(self._take_events(), name=f"events of {self.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()
        if self._pump:
            await self._pump

    async def _take_events(self) -> None:
        try:
            async for event in self.client.events():
                self._take(event)
        except Ended as end:
            self.ended = end

    def _take(self, event: Event) -> None:
        record = self._recorder.record(event, time.monotonic())
        if record:
            self._log.add(record)
            self._come_to(event)

    def at(self, room: str) -> Position:
        """How far this client has come."""
        return self._places.get(room, Position(0, 0))

    async def until_at(self, room: str, position: Position, within: float = 20.0) -> None:
        """Wait until this client has what stands at ``position``, in its page or delivered."""
        async with asyncio.timeout(within):
            while self.at(room) < position:
                await asyncio.sleep(0.05)
        self._log.add(records.Settled(at=time.monotonic(), client=self.name, room=room, upto=position))

    def _come_to(self, event: Event) -> None:
        if isinstance(event, StoredEvent) or (isinstance(event, SubscribedEvent) and not event.recovered):
            cursor = parse_cursor(event.cursor)
            self._places[event.room] = Position(cursor.epoch, cursor.seq)

    async def subscribe(self, room: str, cursor: str | None = None, *, limit: int | None = None) -> Room:
        self._recorder.asked(room, time.monotonic(), cursor)
        return await self.client.subscribe(room, cursor, limit=limit)

    async def send(
        self, room: str, text: str, *, command: str | None = None, again: bool = False, reply_to: Position | None = None
    ) -> Ack | None:
        command = command or chatclient.new_id()
        sent = Send(id=command, room=room, text=text)
        if reply_to is not None:
            sent = Send(id=command, room=room, text=text, reply_to=reply_to)
        return await self._invoke(sent, self.client.send(room, text, command=command, again=again, reply_to=reply_to))

    async def edit(self, room: str, target: Position, text: str) -> Ack | None:
        command = chatclient.new_id()
        edit = Edit(id=command, room=room, target=target, text=text)
        return await self._invoke(edit, self.client.edit(room, target, text, command=command))

    async def delete(self, room: str, target: Position) -> Ack | None:
        command = chatclient.new_id()
        delete = Delete(id=command, room=room, target=target)
        return await self._invoke(delete, self.client.delete(room, target, command=command))

    async def react(self, room: str, target: Position, emoji: str, *, on: bool = True) -> Ack | None:
        command = chatclient.new_id()
        react = React(id=command, room=room, target=target, emoji=emoji, on=on)
        return await self._invoke(react, self.client.react(room, target, emoji, on=on, command=command))

    async def _invoke(self, command: StoredCommand, call: Coroutine[None, None, Ack]) -> Ack | None:
        about = {"client": self.name, "user": self.user}
        self._log.add(records.Invoked(at=time.monotonic(), **about, command=command))
        about["command"] = command.id
        try:
            ack = await call
        except Refused as refusal:
            self._log.add(records.Refused(at=time.monotonic(), **about, code=refusal.code))
            raise
        except (Unanswered, Ended):
            self._log.add(records.Unknown(at=time.monotonic(), **about))
            return None
        self._log.add(records.Acked(at=time.monotonic(), **about, room=ack.room, position=ack.position))
        return ack

    async def history(self, room: str, **where: Position) -> Page:
        asked_at = time.monotonic()
        page = await self.client.history(room, limit=100, **where)
        self._log.add(
            records.HistoryRead(
                at=time.monotonic(),
                client=self.name,
                room=room,
                messages=page.messages,
                newest=not where,
                oldest=not page.more_before,
                asked_at=asked_at,
            )
        )
        return page

    async def whole_history(self, room: str) -> list[Message]:
        """Every page, from the newest back to the first."""
        page = await self.history(room)
        messages = list(page.messages)
        while page.more_before:
            page = await self.history(room, before=messages[0].position)
            messages = [*page.messages, *messages]
        return messages


class Watched(Witness):
    """A witness that keeps its events, for tests that look at them; the parameters are a witness's."""

    def __init__(
        self,
        log: records.Keeper,
        user: str,
        urls: str | Sequence[str],
        token: Token,
        *,
        name: str = "",
        timeout: float = 60.0,
        timing: chatclient.Timing | None = None,
        transports: Sequence[chatclient.Transport | str] = chatclient.LADDER,
    ) -> None:
        super().__init__(log, user, urls, token, name=name, timeout=timeout, timing=timing, transports=transports)
        self.events: list[Event] = []
        self._changed = asyncio.Condition()
        self.hold = asyncio.Event()
        """Cleared, nobody takes events."""
        self.hold.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        await super().__aexit__(kind, error, trace)

    async def _take_events(self) -> None:
        try:
            async for event in self.client.events():
                async with self._changed:
                    self._take(event)
                    self.events.append(event)
                    self._changed.notify_all()
                await self.hold.wait()
        except Ended as end:
            async with self._changed:
                self.ended = end
                self._changed.notify_all()

    def stored(self, room: str) -> list[StoredEvent]:
        return [event for event in self.events if isinstance(event, StoredEvent) and event.room == room]

    async def until(self, enough: Callable[[], bool], within: float = 20.0) -> None:
        """Wait until a condition holds that events may make true."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(enough)
