"""What is said once there is a connection: commands and their replies, rooms and their events. Pure.

Belongs to a :class:`chatclient.machine.Machine`, with which it shares outputs and timers; without a connection what is
asked for waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET

from chatclient.backoff import delay
from chatclient.errors import ClientError, Ended, Refused
from chatclient.inbox import Inbox, Refusal
from chatclient.outbox import RETRY_BASE_S, RETRY_CAP_S, Outbox
from chatclient.outputs import Output, Reject, Settle, Write
from chatclient.timers import Timers
from chatnode.protocol import limits
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.events import Event, StoredEvent, SubscribedEvent, UnsubscribedEvent
from chatnode.protocol.frames import (
    Ack,
    Command,
    Error,
    History,
    Ping,
    Presence,
    Read,
    StoredCommand,
    Subscribe,
    Typing,
    Unsubscribe,
)

_FOLLOW_CAP_S: Final = 4.0
"""Longest wait for a room that cannot be followed for now: whoever waits for it sees nothing meanwhile."""

Query = History | Presence | Read | Typing
"""Commands whose effect is not stored as an event; they may be asked again at any time."""


class Nonsense(Exception):
    """The node said what protocol v1 does not allow."""


@dataclass(frozen=True, slots=True)
class _Asked:
    command: Command
    reply_by: float


class Conversation:
    def __init__(
        self,
        inbox: Inbox,
        outputs: list[Output],
        timers: Timers,
        *,
        reply_s: float,
        ping_s: float,
        ids: Callable[[], str],
        draw: Callable[[], float],
    ) -> None:
        self.inbox = inbox
        self.outboxes: dict[str, Outbox] = {}
        self.connect = ""
        """Id of the command that presented the cursors."""
        self._outputs = outputs
        self._timers = timers
        self._reply_s = reply_s
        self._ping_s = ping_s
        self._ids = ids
        self._draw = draw
        self._heartbeat_s: float | None = None
        """Known while there is a connection that takes commands."""
        self._asked: dict[str, _Asked] = {}
        self._queries: dict[str, Query | Unsubscribe] = {}
        self._query_failures = 0

    # The connection.

    def begun(self, now: float, heartbeat_s: float) -> None:
        """Everything that waits may be said."""
        self._heartbeat_s = heartbeat_s
        self._timers.set("heartbeat", now + heartbeat_s * 0.8)
        self.flush(now)

    def disconnected(self) -> None:
        """What is under way comes again on the next connection."""
        self._heartbeat_s = None
        self._asked.clear()
        for outbox in self.outboxes.values():
            outbox.disconnected()
        self.inbox.disconnected()
        self._drop_idle_queries()

    def clear(self) -> list[str]:
        """Nothing is said any more; the calls that waited."""
        stored = [command.id for outbox in self.outboxes.values() for command in outbox]
        calls = [*stored, *self._queries, *self.inbox.calls()]
        self._heartbeat_s = None
        for held in (self._asked, self.outboxes, self._queries, self.inbox):
            held.clear()
        return calls

    # What the owner asks for.

    def store(self, now: float, command: StoredCommand) -> None:
        self.outboxes.setdefault(command.room, Outbox()).add(command)
        self._flush_room(command.room, now)

    def query(self, now: float, command: Query | Unsubscribe) -> None:
        if isinstance(command, Unsubscribe):
            self.reject(self.inbox.forget(command.room), Ended(f"unsubscribed from {command.room}"))
        self._queries[command.id] = command
        if self._heartbeat_s is not None:
            self.ask(command, now)
        else:
            self._drop_idle_queries()

    def abandon(self, call: str) -> None:
        self._queries.pop(call, None)
        self.inbox.abandon(call)
        for outbox in self.outboxes.values():
            outbox.discard(call)

    def withdraw(self, now: float, command: str) -> None:
        for room, outbox in list(self.outboxes.items()):
            if command in outbox:
                outbox.remove(command)
                self._flush_room(room, now)

    # What the node says.

    def asked(self, command: str) -> Command | None:
        """The command that this is the reply to; each has one."""
        asked = self._asked.pop(command, None)
        return None if asked is None else asked.command

    def acked(self, command: Command, ack: Ack, now: float) -> None:
        """:class:`Nonsense` where the ack lacks what it has to say."""
        if isinstance(command, Subscribe):
            self._subscribe_acked(command, ack)
        elif isinstance(command, StoredCommand):
            self._stored(command, ack, now)
        else:
            self._query_failures = 0
            if self._queries.pop(command.id, None):
                self._outputs.append(Settle(command.id, ack))

    def refused(self, command: Command, error: Error, now: float) -> None:
        if isinstance(command, Subscribe):
            self._subscribe_refused(command.id, command.room, error, now)
        elif isinstance(command, StoredCommand):
            self._store_refused(command, error, now)
        else:
            self._query_refused(command.id, error, now)

    def _stored(self, command: StoredCommand, ack: Ack, now: float) -> None:
        outbox = self.outboxes.get(command.room)
        if outbox is None or command.id not in outbox:
            return
        outbox.settled(command.id)
        self._outputs.append(Settle(command.id, ack))
        self._flush_room(command.room, now)

    def _store_refused(self, command: StoredCommand, error: Error, now: float) -> None:
        outbox = self.outboxes.get(command.room)
        if outbox is None or command.id not in outbox:
            return
        if error.retryable:
            retry_after = None if error.retry_after is UNSET else error.retry_after
            outbox.failed(command.id, now, draw=self._draw(), retry_after=retry_after)
        else:
            outbox.settled(command.id)
            self.reject([command.id], Refused.by(error, command.id))
        self._flush_room(command.room, now)

    def _query_refused(self, command: str, error: Error, now: float) -> None:
        if command not in self._queries:
            return
        if error.retryable:
            self._timers.arm("retry", now + self.retry_delay(error, self._query_failures))
            self._query_failures += 1
        else:
            del self._queries[command]
            self.reject([command], Refused.by(error, command))

    def _subscribe_acked(self, asked: Subscribe, ack: Ack) -> None:
        if ack.recovered is UNSET or ack.cursor is UNSET:
            raise Nonsense("the ack of a subscribe lacks recovered or cursor")
        result = SubscribedEvent(
            room=asked.room,
            cursor=ack.cursor,
            recovered=ack.recovered,
            messages=ack.messages,
            more_before=ack.more_before,
            partial=ack.partial,
            receipts=ack.receipts,
        )
        self._subscribed(asked.id, result)

    def _subscribed(self, ticket: str, result: SubscribedEvent) -> None:
        self._outputs.extend(Settle(call, result) for call in self.inbox.result(ticket, result))

    def _subscribe_refused(self, ticket: str | None, room: str, error: Error, now: float) -> None:
        if error.retryable:
            retry_at = now + self.retry_delay(error, self.inbox.failures(room), cap=_FOLLOW_CAP_S)
            self.inbox.refused_for_now(ticket, room, retry_at)
            self._timers.arm("retry", retry_at)
        else:
            calls = self.inbox.refused(ticket, room, Refusal(error.code, error.message))
            self.reject(calls, Refused.by(error, ticket or ""))

    def event(self, event: Event, now: float) -> None:
        match event:
            case SubscribedEvent():
                self._subscribed(self.connect, event)
            case UnsubscribedEvent():
                refusal = Error(code=event.code, message=event.message, retryable=event.retryable)
                self._subscribe_refused(None, event.room, refusal, now)
            case _ if isinstance(event, StoredEvent):
                if not self.inbox.stored(event):
                    self.follow(now)
            case _:
                self.inbox.passing(event)

    def ask(self, command: Command, now: float) -> None:
        within = self._ping_s if isinstance(command, Ping) else self._reply_s
        self._asked[command.id] = _Asked(command, now + within)
        self._timers.arm("reply", now + within)
        if self._heartbeat_s is not None:
            self._timers.set("heartbeat", now + self._heartbeat_s * 0.8)
        self._outputs.append(Write(encode_frame(command)))

    def flush(self, now: float) -> None:
        """Everything that may be written now."""
        self.follow(now)
        for room in list(self.outboxes):
            self._flush_room(room, now)
        if self._heartbeat_s is not None:
            for query in [query for query in self._queries.values() if query.id not in self._asked]:
                self.ask(query, now)

    def _flush_room(self, room: str, now: float) -> None:
        outbox = self.outboxes[room]
        if not outbox:
            del self.outboxes[room]
            return
        if self._heartbeat_s is None:
            return
        for command in outbox.take(now):
            self.ask(command, now)
        if outbox.wake is not None:
            self._timers.arm("retry", outbox.wake)

    def follow(self, now: float) -> None:
        if self._heartbeat_s is None:
            return
        for following in self.inbox.due(now):
            ticket = self._ids()
            following.asked(ticket)
            limit = limits.PAGE if following.limit is None else following.limit
            self.ask(Subscribe(id=ticket, room=following.room, cursor=following.cursor or UNSET, limit=limit), now)
        wake = self.inbox.wake()
        if wake is not None:
            self._timers.arm("retry", wake)

    def retry_delay(self, error: Error, failures: int, *, cap: float = RETRY_CAP_S) -> float:
        if error.retry_after is not UNSET:
            return error.retry_after
        return delay(failures, self._draw(), base=RETRY_BASE_S, cap=cap)

    def late(self, now: float) -> Command | None:
        """A command whose reply is overdue; else the timer is set for the next one."""
        late = next((asked.command for asked in self._asked.values() if asked.reply_by <= now), None)
        if late is None and self._asked:
            self._timers.arm("reply", min(asked.reply_by for asked in self._asked.values()))
        return late

    def _drop_idle_queries(self) -> None:
        for query in [query for query in self._queries.values() if isinstance(query, Unsubscribe | Typing)]:
            del self._queries[query.id]
            self._outputs.append(Settle(query.id, Ack(id=query.id, room=query.room)))

    def reject(self, calls: list[str], error: ClientError) -> None:
        self._outputs.extend(Reject(call, error) for call in calls)
