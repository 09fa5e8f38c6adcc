"""The client as a sans-I/O object: inputs in, outputs out; :mod:`chatclient.client` drives it.

Inputs are methods that take the time (a monotonic clock's seconds). After each, the driver does what :meth:`outputs`
returns, in order, and sees to it that :meth:`tick` is called at :attr:`deadline`.

States: IDLE → (start) → DIALLING → (opened) → GREETING → (welcome) → READY; a lost connection → PAUSED or
DIALLING; from everywhere → ENDED. Which transport is dialled, and when, the :class:`chatclient.ladder.Ladder` says.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET

from chatclient.backoff import delay
from chatclient.errors import Ended, Refused
from chatclient.inbox import Inbox, Refusal
from chatclient.ladder import PROBE_S, Decision, Do, End, Ladder, Transport
from chatclient.outbox import RETRY_BASE_S, RETRY_CAP_S, Outbox
from chatclient.outputs import (
    Dial,
    DropProbe,
    FetchToken,
    Finish,
    Greeted,
    HangUp,
    Output,
    Probe,
    ProbeWrite,
    Reject,
    Settle,
    Switch,
    Write,
)
from chatclient.probing import Probing
from chatclient.timers import Timers
from chatnode.protocol import limits
from chatnode.protocol.codec import decode_server_frame, encode_frame
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.events import Event, StoredEvent, SubscribedEvent, UnsubscribedEvent
from chatnode.protocol.frames import (
    Ack,
    Command,
    Connect,
    Error,
    History,
    Ping,
    Presence,
    Read,
    Reconnect,
    Refresh,
    StoredCommand,
    Subscribe,
    Typing,
    Unsubscribe,
    Welcome,
)

Query = History | Presence | Read | Typing
"""Commands whose effect is not stored as an event; they may be asked again at any time."""


@dataclass(frozen=True)
class Timing:
    """Deadlines in seconds, and how many events may wait."""

    reply_s: float = 15.0
    """A connection on which a command has no reply for so long is given up."""
    ping_s: float = 10.0
    refresh_margin_s: float = 60.0
    """A new token is fetched this long before the old one ends, or when four fifths of its life are over."""
    probe_s: float = PROBE_S
    """How long a lower transport is well until WebSocket is tried beside it."""
    events: int = 1_024


class State(enum.Enum):
    IDLE = "idle"
    DIALLING = "dialling"
    GREETING = "greeting"
    READY = "ready"
    PAUSED = "paused"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class _Asked:
    command: Command
    reply_by: float


class Machine:
    """``ids`` draws a new command id, ``draw`` a uniform number in [0, 1), ``wall`` the time of day in seconds;
    ``renewable`` says that a new token can be got when one ends. Without a ladder there is WebSocket alone.
    """

    def __init__(
        self,
        timing: Timing,
        *,
        ids: Callable[[], str],
        draw: Callable[[], float],
        wall: Callable[[], float],
        renewable: bool,
        ladder: Ladder | None = None,
    ) -> None:
        self.state = State.IDLE
        self.inbox = Inbox(timing.events)
        """For reading; events are taken with :meth:`take`."""
        self._timing = timing
        self._ids = ids
        self._draw = draw
        self._wall = wall
        self._renewable = renewable
        self._outputs: list[Output] = []
        self._timers = Timers()
        self._ladder = ladder or Ladder((Transport.WEBSOCKET,))
        self._probing: Probing | None = None
        self._heartbeat_s = limits.HEARTBEAT_S
        self._connect = ""
        self._asked: dict[str, _Asked] = {}
        self._outboxes: dict[str, Outbox] = {}
        self._queries: dict[str, Query | Unsubscribe] = {}
        self._query_failures = 0
        self._renewals: set[str] = set()

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        return self._timers.deadline

    @property
    def transport(self) -> Transport:
        """The one that is open, tried, or to be tried next."""
        return self._ladder.transport

    def outputs(self) -> list[Output]:
        """What is to be done now, in this order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def take(self, now: float) -> Event | None:
        """The next event, for whoever iterates over them."""
        event = self.inbox.take()
        if self.inbox.stirred:
            self.inbox.stirred = False
            self._follow(now)
        return event

    # The connection.

    def start(self, now: float) -> None:
        if self.state is not State.IDLE:
            return
        self._follow_ladder(self._ladder.start(now), now)

    def opened(self, now: float, token: str) -> None:
        """The socket is open; ``token`` is the one that was got for it."""
        if self.state is not State.DIALLING:
            return
        self.state = State.GREETING
        self._connect = self._ids()
        self._ask(Connect(id=self._connect, token=token, cursors=self.inbox.resume(self._connect)), now)

    def closed(self, now: float, code: int | None, reason: str) -> None:
        """The socket is closed or could not be opened; ``code`` is None where no close frame came."""
        self.ended(now, End(code=code), reason)

    def ended(self, now: float, end: End, reason: str) -> None:
        """The connection is over, or could not be opened."""
        if self.state not in (State.DIALLING, State.GREETING, State.READY):
            return
        if end.code is not None and self._final(end.code):
            self._finish(Ended(reason or "the node closed the connection for good", end.code))
        elif end.refuses_token and not (self.state is State.READY and self._renewable):
            self._finish(Ended(reason))
        else:
            self._disconnect()
            self._follow_ladder(self._ladder.ended(now, end, draw=self._draw()), now)

    def network(self, now: float, *, online: bool) -> None:
        """What the device says about its network."""
        if self.state not in (State.IDLE, State.ENDED):
            self._follow_ladder(self._ladder.online(now) if online else self._ladder.offline(), now)

    # A second connection, of a better transport.

    def probe_opened(self, token: str) -> None:
        if self._probing is not None:
            connect = self._probing.opened(self._ids(), token, self.inbox.held())
            self._outputs.append(ProbeWrite(encode_frame(connect)))

    def probe_received(self, now: float, data: bytes | str) -> None:
        """Its first message; after the welcome it is the connection."""
        if self._probing is None:
            return
        answer = self._probing.received(data)
        if isinstance(answer, Welcome):
            self._follow_ladder(self._ladder.probe_welcome(now), now)
            self._begun(answer, now)
        else:
            self._outputs.append(DropProbe())
            self.probe_ended(now, answer)

    def probe_ended(self, now: float, end: End) -> None:
        self._probing = None
        self._follow_ladder(self._ladder.probe_ended(now, end), now)

    def received(self, now: float, data: bytes | str) -> None:
        """One message from the node."""
        if self.state not in (State.GREETING, State.READY):
            return
        try:
            frame = decode_server_frame(data)
        except msgspec.DecodeError as error:
            self._hang_up(now, CloseCode.PROTOCOL_ERROR, f"malformed frame: {error}"[:100])
            return
        match frame:
            case None:
                pass
            case Welcome():
                self._welcome(frame, now)
            case Ack():
                self._ack(frame, now)
            case Error():
                self._error(frame, now)
            case Reconnect():
                self._follow_ladder(self._ladder.reconnect(now, frame.after_ms / 1000), now)
            case _:
                self._event(frame, now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        for name in self._timers.due(now):
            if not self._timers.take(name):
                continue
            match name:
                case "ladder":
                    self._follow_ladder(self._ladder.tick(now, draw=self._draw()), now)
                case "reply":
                    self._check_replies(now)
                case "heartbeat":
                    self._ask(Ping(id=self._ids()), now)
                case "refresh":
                    self._outputs.append(FetchToken())
                case _:
                    self._flush(now)

    def close(self) -> None:
        """The owner wants no more."""
        if self.state is not State.ENDED:
            self._finish(None)

    def fail(self, error: Ended) -> None:
        """What the client depends on, the source of tokens say, failed for good."""
        if self.state is not State.ENDED:
            self._finish(error)

    # What the owner asks for. Each call's id is settled or rejected exactly once, unless it is abandoned.

    def store(self, now: float, command: StoredCommand) -> None:
        """Send, edit, delete or react: seen through until it is acknowledged or refused for good."""
        if self._over(command.id):
            return
        self._outboxes.setdefault(command.room, Outbox()).add(command)
        self._flush_room(command.room, now)

    def query(self, now: float, command: Query | Unsubscribe) -> None:
        """What only a connection can hear, typing and unsubscribe, is done when there is none."""
        if self._over(command.id):
            return
        if isinstance(command, Unsubscribe):
            self._reject(self.inbox.forget(command.room), Ended(f"unsubscribed from {command.room}"))
        self._queries[command.id] = command
        if self.state is State.READY:
            self._ask(command, now)
        else:
            self._drop_idle_queries()

    def subscribe(self, now: float, call: str, room: str, cursor: str | None, limit: int | None) -> None:
        """Follow a room from ``cursor`` on; the first result settles ``call``. Asked for again, it begins anew."""
        if self._over(call):
            return
        self.inbox.follow(call, room, cursor, limit)
        self._follow(now)

    def renew(self, call: str) -> None:
        """Get a new token and present it."""
        if self._over(call):
            return
        self._renewals.add(call)
        self._outputs.append(FetchToken())

    def token(self, now: float, token: str) -> None:
        """The token that ``FetchToken`` asked for; without a connection the next one brings its own."""
        if self.state is State.READY:
            self._ask(Refresh(id=self._ids(), token=token), now)

    def abandon(self, call: str) -> None:
        """Nobody waits for this answer any more; what was never written is taken back."""
        self._queries.pop(call, None)
        self._renewals.discard(call)
        self.inbox.abandon(call)
        for outbox in self._outboxes.values():
            outbox.discard(call)

    def withdraw(self, now: float, command: str) -> None:
        """Never send it again, whether it was written or not."""
        for room, outbox in list(self._outboxes.items()):
            if command in outbox:
                outbox.remove(command)
                self._flush_room(room, now)

    # Replies.

    def _welcome(self, welcome: Welcome, now: float) -> None:
        if self.state is not State.GREETING or self._asked.pop(welcome.id, None) is None:
            self._hang_up(now, CloseCode.PROTOCOL_ERROR, "a welcome that nobody asked for")
            return
        self._follow_ladder(self._ladder.welcome(now), now)
        self._begun(welcome, now)

    def _begun(self, welcome: Welcome, now: float) -> None:
        self.state = State.READY
        self._heartbeat_s = welcome.heartbeat_ms / 1000
        self._timers.set("heartbeat", now + self._heartbeat_s * 0.8)
        self._plan_refresh(welcome.expires_at, now)
        self._outputs.append(Greeted(welcome))
        self._settle_renewals(Ack(id=welcome.id, expires_at=welcome.expires_at))
        self._flush(now)

    def _ack(self, ack: Ack, now: float) -> None:
        asked = self._asked.pop(ack.id, None)
        if asked is None:
            return
        match asked.command:
            case Subscribe():
                self._subscribe_acked(asked.command, ack, now)
            case Refresh():
                if ack.expires_at is not UNSET:
                    self._plan_refresh(ack.expires_at, now)
                self._settle_renewals(ack)
            case Ping() | Connect():
                pass
            case command if isinstance(command, StoredCommand):
                self._stored(command, ack, now)
            case command:
                self._query_failures = 0
                if self._queries.pop(command.id, None):
                    self._outputs.append(Settle(command.id, ack))

    def _stored(self, command: StoredCommand, ack: Ack, now: float) -> None:
        outbox = self._outboxes.get(command.room)
        if outbox is None or command.id not in outbox:
            return
        outbox.settled(command.id)
        self._outputs.append(Settle(command.id, ack))
        self._flush_room(command.room, now)

    def _error(self, error: Error, now: float) -> None:
        asked = self._asked.pop(error.id, None) if error.id is not UNSET else None
        if asked is None:
            return
        match asked.command:
            case Connect():
                self._connect_refused(error, now)
            case Subscribe(id=ticket, room=room):
                self._subscribe_refused(ticket, room, error, now)
            case Refresh():
                self._reject(list(self._renewals), Refused.by(error, asked.command.id))
                self._renewals.clear()
                if error.retryable:
                    self._timers.set("refresh", now + self._retry_delay(error, 0))
            case Ping():
                pass
            case command if isinstance(command, StoredCommand):
                self._store_refused(command, error, now)
            case command:
                self._query_refused(command.id, error, now)

    def _connect_refused(self, error: Error, now: float) -> None:
        if error.retryable:
            retry_after = None if error.retry_after is UNSET else error.retry_after
            end = End(error=error.code, retry_after=retry_after)
            self._hang_up(now, CloseCode.NORMAL, "refused for now", end)
        else:
            self._finish(Ended(f"the node refused the connection: {error.code}: {error.message}"))

    def _store_refused(self, command: StoredCommand, error: Error, now: float) -> None:
        outbox = self._outboxes.get(command.room)
        if outbox is None or command.id not in outbox:
            return
        if error.retryable:
            retry_after = None if error.retry_after is UNSET else error.retry_after
            outbox.failed(command.id, now, draw=self._draw(), retry_after=retry_after)
        else:
            outbox.settled(command.id)
            self._reject([command.id], Refused.by(error, command.id))
        self._flush_room(command.room, now)

    def _query_refused(self, command: str, error: Error, now: float) -> None:
        if command not in self._queries:
            return
        if error.retryable:
            self._timers.arm("retry", now + self._retry_delay(error, self._query_failures))
            self._query_failures += 1
        else:
            del self._queries[command]
            self._reject([command], Refused.by(error, command))

    def _subscribe_acked(self, asked: Subscribe, ack: Ack, now: float) -> None:
        if ack.recovered is UNSET or ack.cursor is UNSET:
            self._hang_up(now, CloseCode.PROTOCOL_ERROR, "the ack of a subscribe lacks recovered or cursor")
            return
        result = SubscribedEvent(
            room=asked.room,
            cursor=ack.cursor,
            recovered=ack.recovered,
            messages=ack.messages,
            more_before=ack.more_before,
            receipts=ack.receipts,
        )
        self._subscribed(asked.id, result)

    def _subscribed(self, ticket: str, result: SubscribedEvent) -> None:
        self._outputs.extend(Settle(call, result) for call in self.inbox.result(ticket, result))

    def _subscribe_refused(self, ticket: str | None, room: str, error: Error, now: float) -> None:
        if error.retryable:
            retry_at = now + self._retry_delay(error, self.inbox.failures(room))
            self.inbox.refused_for_now(ticket, room, retry_at)
            self._timers.arm("retry", retry_at)
        else:
            calls = self.inbox.refused(ticket, room, Refusal(error.code, error.message))
            self._reject(calls, Refused.by(error, ticket or ""))

    def _event(self, event: Event, now: float) -> None:
        match event:
            case SubscribedEvent():
                self._subscribed(self._connect, event)
            case UnsubscribedEvent():
                refusal = Error(code=event.code, message=event.message, retryable=event.retryable)
                self._subscribe_refused(None, event.room, refusal, now)
            case _ if isinstance(event, StoredEvent):
                if not self.inbox.stored(event):
                    self._follow(now)
            case _:
                self.inbox.passing(event)

    # Writing.

    def _ask(self, command: Command, now: float) -> None:
        within = self._timing.ping_s if isinstance(command, Ping) else self._timing.reply_s
        self._asked[command.id] = _Asked(command, now + within)
        self._timers.arm("reply", now + within)
        if self.state is State.READY:
            self._timers.set("heartbeat", now + self._heartbeat_s * 0.8)
        self._outputs.append(Write(encode_frame(command)))

    def _flush(self, now: float) -> None:
        """Everything that may be written now."""
        self._follow(now)
        for room in list(self._outboxes):
            self._flush_room(room, now)
        if self.state is State.READY:
            for query in [query for query in self._queries.values() if query.id not in self._asked]:
                self._ask(query, now)

    def _flush_room(self, room: str, now: float) -> None:
        outbox = self._outboxes[room]
        if not outbox:
            del self._outboxes[room]
            return
        if self.state is not State.READY:
            return
        for command in outbox.take(now):
            self._ask(command, now)
        if outbox.wake is not None:
            self._timers.arm("retry", outbox.wake)

    def _follow(self, now: float) -> None:
        if self.state is not State.READY:
            return
        for following in self.inbox.due(now):
            ticket = self._ids()
            following.asked(ticket)
            limit = limits.PAGE if following.limit is None else following.limit
            self._ask(Subscribe(id=ticket, room=following.room, cursor=following.cursor or UNSET, limit=limit), now)
        wake = self.inbox.wake()
        if wake is not None:
            self._timers.arm("retry", wake)

    def _settle_renewals(self, ack: Ack) -> None:
        self._outputs.extend(Settle(call, ack) for call in self._renewals)
        self._renewals.clear()

    def _reject(self, calls: list[str], error: Ended | Refused) -> None:
        self._outputs.extend(Reject(call, error) for call in calls)

    # Time.

    def _retry_delay(self, error: Error, failures: int) -> float:
        if error.retry_after is not UNSET:
            return error.retry_after
        return delay(failures, self._draw(), base=RETRY_BASE_S, cap=RETRY_CAP_S)

    def _check_replies(self, now: float) -> None:
        late = next((asked.command for asked in self._asked.values() if asked.reply_by <= now), None)
        if late is not None:
            self._hang_up(now, CloseCode.GOING_AWAY, f"no answer to {type(late).__name__.lower()} in time")
        elif self._asked:
            self._timers.arm("reply", min(asked.reply_by for asked in self._asked.values()))

    def _plan_refresh(self, expires_at: int, now: float) -> None:
        if self._renewable:
            left = expires_at / 1000 - self._wall()
            self._timers.set("refresh", now + max(left - self._timing.refresh_margin_s, left * 0.8, 1.0))

    # Ends.

    def _final(self, code: int) -> bool:
        """A client that can get a new token comes back when the old one has ended."""
        if code == CloseCode.TOKEN_EXPIRED and self._renewable:
            return False
        return 4500 <= code <= 4999

    def _hang_up(self, now: float, code: int, reason: str, end: End | None = None) -> None:
        self._outputs.append(HangUp(code, reason))
        self._disconnect()
        self._follow_ladder(self._ladder.ended(now, end or End(), draw=self._draw()), now)

    def _follow_ladder(self, decision: Decision, now: float) -> None:
        match decision.do:
            case Do.CONNECT | Do.WAIT:
                self._give_up()
                self.state = State.DIALLING if decision.do is Do.CONNECT else State.PAUSED
                if decision.do is Do.CONNECT:
                    self._outputs.append(Dial(decision.transport))
            case Do.PROBE:
                self._probing = Probing()
                self._outputs.append(Probe(self._ladder.first))
            case Do.DROP_PROBE:
                self._probing = None
                self._outputs.append(DropProbe())
            case Do.SWITCH:
                self._switch(now)
            case Do.STAY:
                pass
        self._timers.set("ladder", decision.until)

    def _give_up(self) -> None:
        """Whatever is open or under way."""
        if self._probing is not None:
            self._probing = None
            self._outputs.append(DropProbe())
        if self.state in (State.DIALLING, State.GREETING, State.READY):
            self._outputs.append(HangUp(CloseCode.NORMAL, "connecting anew"))
            self._disconnect()

    def _disconnect(self) -> None:
        """Without a connection: what is under way on it comes again on the next one."""
        self.state = State.PAUSED
        self._timers.clear()
        self._asked.clear()
        for outbox in self._outboxes.values():
            outbox.disconnected()
        self.inbox.disconnected()
        self._drop_idle_queries()

    def _switch(self, now: float) -> None:
        """The probe brings what follows the cursors that it presented; what has no answer yet comes again on it."""
        probing, self._probing = self._probing, None
        self._disconnect()
        self._outputs.append(Switch())
        if probing is None:
            return
        self._connect = probing.connect
        self.state = State.READY
        for room in self.inbox.resumed(probing.connect, probing.presented):
            self._ask(Unsubscribe(id=self._ids(), room=room), now)

    def _drop_idle_queries(self) -> None:
        for query in [query for query in self._queries.values() if isinstance(query, Unsubscribe | Typing)]:
            del self._queries[query.id]
            self._outputs.append(Settle(query.id, Ack(id=query.id, room=query.room)))

    def _over(self, call: str) -> bool:
        if self.state is State.ENDED:
            self._reject([call], Ended("the client is closed"))
        return self.state is State.ENDED

    def _finish(self, error: Ended | None) -> None:
        """Whoever waits is told; the outcome of stored commands that were on their way is unknown."""
        self.state = State.ENDED
        stored = [command.id for outbox in self._outboxes.values() for command in outbox]
        calls = [*stored, *self._queries, *self._renewals, *self.inbox.calls()]
        self._reject(calls, error or Ended("the client was closed"))
        self._probing = None
        for held in (self._timers, self._asked, self._outboxes, self._queries, self._renewals, self.inbox):
            held.clear()
        self._outputs.extend([DropProbe(), HangUp(CloseCode.NORMAL, ""), Finish(error)])
