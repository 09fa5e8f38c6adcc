"""Storing commands: send, edit, delete, react. Once each, in each sender's order, and only with the right to.

A first attempt goes straight to the publisher. Whatever needs a look-up first (a resend, a target, rights that are not
in memory) goes through the room's queue of that connection, one at a time, and what comes after it waits behind it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from chatnode.protocol.codec import Reply, error_frame
from chatnode.protocol.envelope import Envelope, command_digest, command_kind, encode_envelope
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.frames import Ack, Edit, React, Send, StoredCommand
from chatnode.protocol.ids import message_id
from chatnode.protocol.sealing import Sealer
from chatnode.rooms import refusals
from chatnode.rooms.ports import (
    Accepted,
    CommandRecord,
    EventPublisher,
    NotStored,
    Outcome,
    Unavailable,
    Unknown,
)
from chatnode.rooms.rights import Rights
from chatnode.rooms.stored import LookUps, Sought
from chatnode.rooms.tasks import TaskOwner
from chatnode.session.lanes import Lanes
from chatnode.session.stillness import Stillness
from chatnode.telemetry.traces import Step, Trace, Tracing

_ATTEMPTS: Final = 5
_QUEUE_MAX: Final = 256
FIRST_S: Final = 60.0
"""Longest between the beginning of a first attempt and its last publish: half the duplicate window, beyond which the
server would store it again. Reached only by a process that stood still."""


class Author(Protocol):
    """The connection that a command came from."""

    @property
    def user(self) -> str: ...
    @property
    def lanes(self) -> Lanes: ...
    @property
    def queues(self) -> "dict[str, RoomQueue]": ...

    def standing(self) -> ProtocolError | None:
        """Why this connection may do nothing now (suspended, revoked, closed); None: it may."""
        ...

    def answer(self, frame: Reply) -> None:
        """The one reply to a command; counts it as finished."""
        ...


@dataclass(frozen=True)
class PostReport:
    """What is told about posting; the application hangs metrics on it."""

    refused: Callable[[str], None] = lambda _code: None
    published: Callable[[str], None] = lambda _kind: None
    acked: Callable[[float], None] = lambda _seconds: None
    duplicate: Callable[[], None] = lambda: None
    unconfirmed: Callable[[], None] = lambda: None


class RoomQueue:
    """Commands of one connection in one room that wait for a look-up, in order."""

    __slots__ = ("commands", "sought")

    def __init__(self) -> None:
        self.commands: deque[StoredCommand] = deque()
        self.sought: Sought | None = None
        """What the last look-up told of those that waited then."""


class Posting:
    """One attempt to store one command; a :class:`chatnode.rooms.ports.Publication`."""

    __slots__ = ("_author", "_began", "_command", "_poster", "_resolve", "_sought", "_target", "_trace", "ts")

    def __init__(
        self,
        poster: "Poster",
        author: Author,
        command: StoredCommand,
        *,
        target: refusals.Target | None = None,
        sought: Sought | None = None,
        resolve: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._poster = poster
        self._author = author
        self._command = command
        self._target = target
        self._resolve = resolve
        self._trace = poster.trace(command)
        self._began = poster.monotonic()
        self._sought = sought
        self.ts = poster.wall_ms()

    @property
    def room(self) -> str:
        return self._command.room

    @property
    def message_id(self) -> str:
        return message_id(self._author.user, self._command.id)

    @property
    def expected_last(self) -> int | None:
        return None if self._sought is None else self._sought.upto

    @property
    def traceparent(self) -> str | None:
        return self._trace.traceparent

    def payload(self) -> bytes | ProtocolError:
        if self._sought is None and self._poster.monotonic() - self._began > FIRST_S:
            return refusals.too_late()
        error = self._poster.check(self._author, self._command, self._target)
        if error is not None:
            return error
        return encode_envelope(
            self._poster.envelope(self._author.user, self._command, self.ts, self._trace.traceparent)
        )

    async def look_again(self) -> int | Accepted | None:
        if self._sought is None:
            return None
        await self._poster.look_ups.go_on(self._sought)
        found = self._sought.found(self._command.id)
        return self._sought.upto if found is None else Accepted(found.seq, duplicate=True)

    def resolved(self, outcome: Outcome) -> None:
        self._trace.end(None if isinstance(outcome, Accepted) else str(outcome))
        self._poster.observe(self._command, outcome, self._began)
        if self._resolve is not None:
            self._resolve(outcome)
        else:
            self._poster.settle(self._author, self._command, outcome, self.ts)


class Poster:
    def __init__(
        self,
        *,
        publisher: EventPublisher,
        look_ups: LookUps,
        rights: Rights,
        sealer: Sealer,
        monotonic: Callable[[], float],
        wall_ms: Callable[[], int],
        stillness: Stillness,
        report: "PostReport | None" = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._publisher = publisher
        self.look_ups = look_ups
        self._rights = rights
        self._sealer = sealer
        self.monotonic = monotonic
        self._report = report or PostReport()
        self._tracing = tracing or Tracing(None)
        self._tasks = TaskOwner()
        self.wall_ms = wall_ms
        self._stillness = stillness

    async def stop(self) -> None:
        await self._tasks.stop()

    def post(self, author: Author, command: StoredCommand) -> None:
        """Store a command and answer it, now or later. Synchronous: the order of calls is the order of storing."""
        if not author.lanes.admit(command.room, command.id, self.monotonic()):
            author.lanes.refused(command.room, command.id, self.monotonic())
            self._tell(author, command, refusals.out_of_order())
            return
        queue = author.queues.get(command.room)
        if queue is None and self._direct(command):
            self._publisher.submit(Posting(self, author, command))
            return
        if queue is None:
            queue = author.queues[command.room] = RoomQueue()
            queue.commands.append(command)
            self._tasks.spawn(self._work_off(author, command.room, queue), f"post-{command.room}")
        elif len(queue.commands) >= _QUEUE_MAX:
            self._refuse(author, command, refusals.busy())
        else:
            queue.commands.append(command)

    def _direct(self, command: StoredCommand) -> bool:
        """Whether nothing has to be looked up for it."""
        return isinstance(command, Send) and not self._again(command) and self._rights.held(command.room) is not None

    def _again(self, command: StoredCommand) -> bool:
        """Whether it may be stored already: its sender says so, or may have sent it elsewhere while it waited here."""
        return command.again or self._stillness.lately()

    def check(self, author: Author, command: StoredCommand, target: refusals.Target | None) -> ProtocolError | None:
        """The rule, as it stands at this very moment."""
        error = author.standing()
        if error is not None:
            return error
        if not author.lanes.passes(command.room, command.id, self.monotonic()):
            return refusals.out_of_order()
        rights = self._rights.held(command.room)
        if rights is None:
            return ProtocolError(ErrorCode.UNAVAILABLE, "rights were not at hand; try again", retry_after=0.1)
        return refusals.decide_command(rights, author.user, command, target)

    def trace(self, command: StoredCommand) -> Trace:
        parent = None if command.traceparent is msgspec.UNSET else command.traceparent
        return self._tracing.begin(Step.PUBLISH, parent, {"chat.room": command.room})

    def observe(self, command: StoredCommand, outcome: Outcome, began: float) -> None:
        if isinstance(outcome, Accepted):
            self._report.published(command_kind(command))
            self._report.acked(self.monotonic() - began)
            if outcome.duplicate:
                self._report.duplicate()
        elif isinstance(outcome, Unknown):
            self._report.unconfirmed()

    def envelope(self, user: str, command: StoredCommand, ts: int, traceparent: str | None) -> Envelope:
        body = self._sealer.seal(user, command.text) if isinstance(command, Send | Edit) else None
        return Envelope(
            kind=command_kind(command),
            room=command.room,
            user=user,
            id=command.id,
            ts=ts,
            digest=command_digest(user, command),
            body=body,
            target=None if isinstance(command, Send) else command.target,
            reply_to=command.reply_to if isinstance(command, Send) and command.reply_to is not msgspec.UNSET else None,
            mentions=command.mentions if isinstance(command, Send | Edit) else (),
            emoji=command.emoji if isinstance(command, React) else None,
            on=command.on if isinstance(command, React) else True,
            traceparent=traceparent,
        )

    def settle(self, author: Author, command: StoredCommand, outcome: Outcome, ts: int) -> None:
        """Answer a command by what came of its first attempt."""
        if isinstance(outcome, Accepted):
            if outcome.duplicate:
                self._tasks.spawn(self._compare_duplicate(author, command, outcome.seq), f"compare-{command.room}")
            else:
                self._accept(author, command, self.look_ups.epoch(command.room), outcome.seq, ts)
        else:
            self._refuse(author, command, refusals.of_outcome(outcome))

    def _accept(self, author: Author, command: StoredCommand, epoch: int, seq: int, ts: int) -> None:
        author.lanes.settled(command.room, command.id, self.monotonic())
        author.answer(Ack(id=command.id, room=command.room, epoch=epoch, seq=seq, ts=ts))

    def _refuse(self, author: Author, command: StoredCommand, error: ProtocolError) -> None:
        if error.retryable:
            author.lanes.failed(command.room, command.id, self.monotonic())
        else:
            author.lanes.settled(command.room, command.id, self.monotonic())
        self._tell(author, command, error)

    def _tell(self, author: Author, command: StoredCommand, error: ProtocolError) -> None:
        self._report.refused(error.code)
        author.answer(error_frame(error, command.id))

    async def _work_off(self, author: Author, room: str, queue: RoomQueue) -> None:
        try:
            while queue.commands:
                command = queue.commands.popleft()
                if self._direct(command):
                    self._publisher.submit(Posting(self, author, command))
                    continue
                try:
                    await self._post_one(author, command, queue)
                except ProtocolError as error:
                    self._refuse(author, command, error)
                except Unavailable as error:
                    self._refuse(author, command, refusals.away(error))
        finally:
            del author.queues[room]

    async def _post_one(self, author: Author, command: StoredCommand, queue: RoomQueue) -> None:
        """Look up what has to be known, store, answer. Raises what the command is refused with."""
        if not author.lanes.passes(command.room, command.id, self.monotonic()):
            raise refusals.out_of_order()
        rights = await self._rights.load(command.room)
        if rights is None or rights.role_of(author.user) is None:
            # What was stored while there was a right is stored: its sender is told so, and nothing else.
            if self._again(command) and self._answered(author, command, await self._seek(author, command, queue)):
                return
            raise refusals.refusal(ErrorCode.NOT_FOUND)
        target = None if isinstance(command, Send) else await self.look_ups.target(command.room, command.target)
        for _ in range(_ATTEMPTS):
            sought = await self._seek(author, command, queue) if self._again(command) else None
            if sought is not None and self._answered(author, command, sought):
                return
            outcome, ts = await self._attempt(author, command, target, sought)
            if isinstance(outcome, NotStored) and outcome.moved:
                continue
            if isinstance(outcome, Accepted) and outcome.duplicate:
                await self._answer_duplicate(author, command, outcome.seq)
                return
            if isinstance(outcome, Accepted) and sought is not None:
                sought.accepted(command.id, outcome.seq)
            self.settle(author, command, outcome, ts)
            return
        raise refusals.busy()

    async def _seek(self, author: Author, command: StoredCommand, queue: RoomQueue) -> Sought:
        """What is known of this command; where nothing is, it is looked up with all that wait behind it."""
        if queue.sought is None or not queue.sought.covers(command.id, self.look_ups.epoch(command.room)):
            waiting = [command.id, *(later.id for later in queue.commands if self._again(later))]
            queue.sought = await self.look_ups.seek(command.room, author.user, waiting)
        return queue.sought

    def _answered(self, author: Author, command: StoredCommand, sought: Sought) -> bool:
        """Whether an earlier attempt was stored: that is the answer then."""
        found = sought.found(command.id)
        if found is not None:
            self._answer_stored(author, command, found)
        return found is not None

    async def _attempt(
        self, author: Author, command: StoredCommand, target: refusals.Target | None, sought: Sought | None
    ) -> tuple[Outcome, int]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def resolve(result: Outcome) -> None:
            if not outcome.done():
                outcome.set_result(result)

        posting = Posting(self, author, command, target=target, sought=sought, resolve=resolve)
        self._publisher.submit(posting)
        return await outcome, posting.ts

    async def _compare_duplicate(self, author: Author, command: StoredCommand, seq: int) -> None:
        try:
            await self._answer_duplicate(author, command, seq)
        except ProtocolError as error:
            self._refuse(author, command, error)
        except Unavailable as error:
            self._refuse(author, command, refusals.away(error))

    async def _answer_duplicate(self, author: Author, command: StoredCommand, seq: int) -> None:
        """NATS has this id already, at ``seq``: the same command gets its ack, another one is told."""
        found = await self.look_ups.at(command.room, author.user, command.id, seq)
        if found is None:
            raise refusals.reused(command)
        self._answer_stored(author, command, found)

    def _answer_stored(self, author: Author, command: StoredCommand, found: CommandRecord) -> None:
        if (found.room, found.digest) != (command.room, command_digest(author.user, command)):
            raise refusals.reused(command)
        self._accept(author, command, found.epoch, found.seq, found.ts)
