"""NATS as the adapters of :mod:`chatnode.broker` see it: a client of one server, three servers, streams with leaders.

What misbehaves does so because it was measured (ARCHITECTURE §2, §3; docs/chaos.md): publishes that come out long after
they were given up, acks that are lost, events stored while nobody leads and never republished, replicas that lag,
answers that stop short, interest that takes a moment, batches refused whole.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct
from nats.errors import ConnectionClosedError, NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeout

from tests.simulation.virtual_time import GRID_S, Clock, Process

SERVERS = 3
CHECK_S = 10.0
"""How often nodes look for a lost last message."""
WALL_0 = 1_700_000_000.0
"""The time of day when a history begins, in seconds."""

Headers = dict[str, str]
Callback = Callable[["Delivery"], Coroutine[Any, Any, None]]

_DUPLICATE_IN_BATCH = {"code": 400, "err_code": 10201, "description": "atomic publish contains duplicate message id"}
_TOO_MANY_BATCHES = {"code": 429, "err_code": 10211, "description": "atomic publish too many inflight"}
_INCOMPLETE_BATCH = {"code": 400, "err_code": 10176, "description": "atomic publish batch is incomplete"}
_IN_PROCESS = {"code": 409, "err_code": 10158, "description": "duplicate message id is in process"}
_FULL = {"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"}
_NO_MESSAGE = b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}'
_NO_STREAM = b'{"error":{"code":404,"err_code":10059,"description":"stream not found"}}'


class Delivery:
    """What a subscription's callback is given; as much of nats-py's Msg as the adapters use."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(self, subject: str, data: bytes, headers: Headers | None, reply: str = "") -> None:
        self.subject = subject
        self.data = data
        self.headers = headers
        self.reply = reply


class Query(Struct):
    seq: int = 0
    next_by_subj: str = ""
    last_by_subj: str = ""
    batch: int = 0


_QUERIES = msgspec.json.Decoder(Query)


@dataclass(slots=True)
class Entry:
    """One stored message."""

    seq: int
    subject: str
    data: bytes
    at: float
    """When it was committed."""
    message_id: str | None
    epoch: int
    astray: bool = False
    """Stored after the stream had gone back and before anybody knew: under a sequence that was used already."""
    due: float = 0.0
    """From then on whoever is there has to get it soon."""


@dataclass(slots=True)
class Staged:
    """One publish on its way through the leader."""

    subject: str
    data: bytes
    headers: Headers
    answer: Callable[[dict[str, object]], None] | None


def timestamp(at: float) -> str:
    """As JetStream writes it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(WALL_0 + at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


class Stream:
    """One stream with its leader. ``window``: seconds in which a message id is known."""

    def __init__(self, nats: "Nats", name: str, window: float) -> None:
        self.nats = nats
        self.name = name
        self.window = window
        self.metadata: dict[str, str] = {"chat-epoch": "1"}
        self.entries: list[Entry] = []
        self.first_seq = 1
        self.last_seq = 0
        self.leader = 0
        self.leaderless = False
        self.exists = True
        self.went_back_in: int | None = None
        """The epoch in which it went back."""
        self.went_back_at = -1.0
        self.closed = False
        self.full_until = -1.0
        self.batches_refused_until = -1.0
        self.lose_acks = 0
        self.lose_republishes = 0
        self.ids: dict[str, tuple[int, float]] = {}
        self.staged_ids: dict[str, float] = {}
        self.staged_subjects: dict[str, int] = {}
        self.ever: list[Entry] = []
        """All that was ever stored, for the checker."""
        self._committed_at = 0.0
        self._unshown: list[Entry] = []
        self._batches: dict[str, list[Staged]] = {}
        self.watchers: list[Callable[[], None]] = []

    @property
    def epoch(self) -> int:
        return int(self.metadata.get("chat-epoch", "0"))

    # Reading.

    def last_of(self, subject: str, horizon: float | None = None) -> Entry | None:
        for entry in reversed(self.entries):
            if entry.subject == subject and (horizon is None or entry.at <= horizon):
                return entry
        return None

    def at(self, seq: int) -> Entry | None:
        for entry in reversed(self.entries):
            if entry.seq == seq:
                return entry
            if entry.seq < seq:
                return None
        return None

    def after(self, subject: str, seq: int, horizon: float) -> list[Entry]:
        """From ``seq`` on."""
        if subject.endswith(">"):
            return [entry for entry in self.entries if entry.seq >= seq and entry.at <= horizon]
        return [
            entry for entry in self.entries if entry.seq >= seq and entry.subject == subject and entry.at <= horizon
        ]

    # Storing.

    def publish(self, staged: Staged) -> None:
        """A publish has reached the leader."""
        if not self.exists:
            return
        headers = staged.headers
        batch = headers.get("Nats-Batch-Id")
        if batch is not None:
            self._batched(batch, staged)
            return
        refused = self._refusal(staged)
        if refused is not None:
            if staged.answer is not None:
                staged.answer(refused)
            return
        self._stage([staged])

    def _refusal(self, staged: Staged) -> dict[str, object] | None:
        now = self.nats.clock.now
        if self.closed or now < self.full_until:
            return {"error": _FULL}
        message_id = staged.headers.get("Nats-Msg-Id")
        if message_id is not None:
            if message_id in self.staged_ids:
                return {"error": _IN_PROCESS}
            known = self.ids.get(message_id)
            if known is not None and now - known[1] < self.window:
                return {"stream": self.name, "seq": known[0], "duplicate": True}
        expected = staged.headers.get("Nats-Expected-Last-Subject-Sequence")
        if expected is not None:
            last = self.last_of(staged.subject)
            held = 0 if last is None else last.seq
            if self.staged_subjects.get(staged.subject) or held != int(expected):
                return {"error": {"code": 400, "err_code": 10071, "description": f"wrong last sequence: {held}"}}
        return None

    def _batched(self, batch: str, staged: Staged) -> None:
        members = self._batches.setdefault(batch, [])
        members.append(staged)
        if "Nats-Batch-Commit" not in staged.headers:
            return
        del self._batches[batch]
        now = self.nats.clock.now
        refused: dict[str, object] | None = None
        if self.closed or now < self.full_until:
            refused = _FULL
        elif now < self.batches_refused_until:
            refused = _TOO_MANY_BATCHES
        elif [int(member.headers["Nats-Batch-Sequence"]) for member in members] != list(range(1, len(members) + 1)):
            refused = _INCOMPLETE_BATCH
        else:
            for member in members:
                message_id = member.headers["Nats-Msg-Id"]
                known = self.ids.get(message_id)
                if message_id in self.staged_ids or (known is not None and now - known[1] < self.window):
                    refused = _DUPLICATE_IN_BATCH
        if refused is None:
            self._stage(members)
        elif staged.answer is not None:
            staged.answer({"error": refused})

    def _stage(self, members: list[Staged]) -> None:
        clock = self.nats.clock
        for member in members:
            message_id = member.headers.get("Nats-Msg-Id")
            if message_id is not None:
                self.staged_ids[message_id] = clock.now
            self.staged_subjects[member.subject] = self.staged_subjects.get(member.subject, 0) + 1
        self._committed_at = max(clock.now + self.nats.draw(0.0005, 0.003), self._committed_at)
        clock.at(self._committed_at, None, self._commit, members)

    def _unstage(self, member: Staged) -> None:
        message_id = member.headers.get("Nats-Msg-Id")
        if message_id is not None:
            self.staged_ids.pop(message_id, None)
        left = self.staged_subjects.get(member.subject, 0) - 1
        if left > 0:
            self.staged_subjects[member.subject] = left
        else:
            self.staged_subjects.pop(member.subject, None)

    def _commit(self, members: list[Staged]) -> None:  # noqa: PLR0912  what may go wrong, in the order in which it does
        now = self.nats.clock.now
        if not self.exists:
            for member in members:
                self._unstage(member)
            return
        told = True
        shown = True
        if self.leaderless:
            # What was proposed before the leader went is applied while nobody leads, or never.
            fate = self.nats.chance.random()
            if fate < 0.35:
                for member in members:
                    self._unstage(member)
                return
            told = fate > 0.8
            shown = False
        for member in members:
            self._unstage(member)
            previous = self.last_of(member.subject)
            self.last_seq += 1
            message_id = member.headers.get("Nats-Msg-Id")
            entry = Entry(
                self.last_seq, member.subject, member.data, now, message_id, self.epoch, self.went_back_in == self.epoch
            )
            self.entries.append(entry)
            self.ever.append(entry)
            entry.due = now
            if entry.message_id is not None:
                self.ids[entry.message_id] = (entry.seq, now)
            if shown and self.lose_republishes <= 0:
                self.nats.republish(self, entry, 0 if previous is None else previous.seq)
            elif shown:
                self.lose_republishes -= 1
                entry.due = now + CHECK_S
            else:
                self._unshown.append(entry)
        for watcher in tuple(self.watchers):
            watcher()
        last = members[-1]
        if last.answer is None or not told:
            return
        if self.lose_acks > 0:
            self.lose_acks -= 1
            return
        ack: dict[str, object] = {"stream": self.name, "seq": self.last_seq}
        if len(members) > 1 or "Nats-Batch-Id" in last.headers:
            ack["batch"] = last.headers["Nats-Batch-Id"]
            ack["count"] = len(members)
        last.answer(ack)

    # What goes wrong.

    def lose_leader(self, seconds: float) -> None:
        if self.leaderless:
            return
        self.leaderless = True
        self._batches.clear()
        self.nats.clock.later(seconds, self._elect)

    def _elect(self) -> None:
        up = [server for server in range(SERVERS) if not self.nats.paused(server)]
        if not up:
            self.nats.clock.later(0.5, self._elect)
            return
        self.leaderless = False
        self.leader = self.nats.chance.choice(up)
        for entry in self._unshown:
            entry.due = self.nats.clock.now
        self._unshown.clear()
        self.nats.advise(self.name)

    def purge_below(self, seq: int) -> int:
        kept = [entry for entry in self.entries if entry.seq >= seq]
        dropped = len(self.entries) - len(kept)
        self.entries = kept
        if seq > self.last_seq + 1:
            self.last_seq = seq - 1
        self.first_seq = max(self.first_seq, min(seq, self.last_seq + 1))
        return dropped

    def go_back(self, last: int) -> None:
        """As after a restore: everything above ``last`` is gone, metadata survive."""
        self.entries = [entry for entry in self.entries if entry.seq <= last]
        self.last_seq = last
        self.went_back_in = self.epoch
        self.went_back_at = self.nats.clock.now
        self.ids.clear()
        self._restarted()

    def lose(self) -> None:
        """Gone with all that it held, and its metadata."""
        self.exists = False
        self.entries = []
        self.ids.clear()
        self.last_seq = 0
        self.first_seq = 1
        self._restarted()

    def _restarted(self) -> None:
        """The servers were down for that: whoever was connected or fed is so no longer."""
        self.watchers.clear()
        for connection in tuple(self.nats.connections):
            connection.cut(self.nats.draw(0.1, 1.0))


@dataclass(slots=True, eq=False)
class Subscription:
    connection: "Connection"
    subject: str
    callback: Callback
    visible_at: float = 0.0
    """From then on the other servers know of it."""

    async def unsubscribe(self) -> None:
        self.connection.subscriptions.pop(self, None)

    def matches(self, subject: str) -> bool:
        own = self.subject
        if own == subject:
            return True
        if own.endswith(">"):
            return subject.startswith(own[:-1])
        if own.endswith("*"):
            return subject.startswith(own[:-1]) and "." not in subject[len(own) - 1 :]
        return False


@dataclass
class Server:
    paused_until: float = -1.0
    frozen_at: float | None = None
    """Since when it has applied nothing."""
    stuck: list[Callable[[], None]] = field(default_factory=list)


class Connection:
    """A client of one server, as much of nats-py's as the adapters use; ``pending_size=0``."""

    def __init__(self, nats: "Nats", process: Process) -> None:
        self.nats = nats
        self.process = process
        self.server = nats.chance.randrange(SERVERS)
        self.is_connected = True
        self.is_closed = False
        self.subscriptions: dict[Subscription, None] = {}
        self.reconnected: Callable[[], None] = lambda: None
        self.deaf_until = -1.0
        """What comes from other servers does not arrive, and nobody says so."""
        self.stalled_until = -1.0
        """What is sent is held on its way until then, and comes out even when the connection was given up."""
        self.life = 0
        self._inboxes = itertools.count()
        self._tokens = itertools.count()
        self._waiting: dict[int, asyncio.Future[Delivery]] = {}
        self._out_at = 0.0
        self._in_at = 0.0
        nats.connections.append(self)

    def new_inbox(self) -> str:
        return f"_INBOX.{self.process.name}.{next(self._inboxes)}"

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: Headers | None = None
    ) -> None:
        self._require()
        self._send(subject, payload, headers, self._inbox_answer(reply) if reply else None)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ASYNC109  as nats-py has it
        headers: Headers | None = None,
    ) -> Delivery:
        self._require()
        token = next(self._tokens)
        future: asyncio.Future[Delivery] = self.process.create_future()
        self._waiting[token] = future

        def answer(data: bytes, _headers: Headers | None = None) -> None:
            self._arrive(self._answered, token, data)

        self._send(subject, payload, headers, answer)
        expiry = self.process.call_later(timeout, self._expired, token)
        try:
            return await future
        finally:
            expiry.cancel()
            self._waiting.pop(token, None)

    async def subscribe(self, subject: str, cb: Callback, **_limits: int) -> Subscription:
        self._require()
        subscription = Subscription(self, subject, cb)
        self.subscriptions[subscription] = None
        self._show(subscription)
        return subscription

    async def flush(self, timeout: float = 10) -> None:  # noqa: ASYNC109  as nats-py has it
        self._require()
        future: asyncio.Future[Delivery] = self.process.create_future()
        token = next(self._tokens)
        self._waiting[token] = future
        self._reach(lambda: self._arrive(self._answered, token, b""))
        expiry = self.process.call_later(timeout, self._expired, token)
        try:
            await future
        finally:
            expiry.cancel()
            self._waiting.pop(token, None)

    async def close(self) -> None:
        self.is_closed = True
        self.drop()

    def drop(self) -> None:
        """The connection is gone for good, or its process is."""
        self.is_connected = False
        self.life += 1
        self.subscriptions.clear()
        if self in self.nats.connections:
            self.nats.connections.remove(self)

    def cut(self, seconds: float) -> None:
        """Lost, and made anew after a while, to any server."""
        if not self.is_connected or self.process.dead:
            return
        self.is_connected = False
        self.life += 1
        self.nats.clock.later(seconds, self._reconnect)

    def stall(self, seconds: float) -> None:
        if self.is_connected and self.nats.clock.now >= self.stalled_until:
            self.stalled_until = self.nats.clock.now + seconds
            self.nats.clock.later(min(seconds, self.nats.draw(1.0, 7.0)), self._notice_stall, self.life)

    def _notice_stall(self, life: int) -> None:
        if life == self.life:
            self.cut(0.3)

    def _reconnect(self) -> None:
        if self.is_closed or self.process.dead or self.is_connected:
            return
        up = [server for server in range(SERVERS) if not self.nats.paused(server)]
        if not up or self.process.paused:
            self.nats.clock.later(0.25, self._reconnect)
            return
        self.server = self.nats.chance.choice(up)
        self.is_connected = True
        self.stalled_until = -1.0
        self._in_at = self._out_at = self.nats.clock.now
        for subscription in self.subscriptions:
            self._show(subscription)
        self.process.call_soon(self.reconnected)

    def hear(self, subject: str, data: bytes, headers: Headers | None, origin: int | None) -> None:
        """A message for whoever subscribes here, from ``origin`` among the servers."""
        now = self.nats.clock.now
        if not self.is_connected:
            return
        for subscription in tuple(self.subscriptions):
            if not subscription.matches(subject):
                continue
            if (
                origin is not None
                and origin != self.server
                and (now < subscription.visible_at or now < self.deaf_until)
            ):
                continue
            self._arrive(self._deliver, subscription, Delivery(subject, data, headers))

    # Both ways.

    def _require(self) -> None:
        if self.is_closed:
            raise ConnectionClosedError
        if not self.is_connected:
            raise OutboundBufferLimitError

    def _show(self, subscription: Subscription) -> None:
        nats = self.nats
        subscription.visible_at = (
            nats.clock.now
            + nats.draw(0.001, 0.01)
            + (nats.draw(0.0, 0.7) if nats.clock.now < nats.slow_interest_until else 0.0)
        )

    def _send(
        self,
        subject: str,
        payload: bytes,
        headers: Headers | None,
        answer: Callable[[bytes, Headers | None], None] | None,
    ) -> None:
        self._reach(lambda: self.nats.handle(self.server, subject, payload, headers or {}, answer, self))

    def _reach(self, action: Callable[[], None]) -> None:
        """Do something at the server, when it gets there; what is stuck in a paused one comes out afterwards."""
        nats = self.nats
        self._out_at = max(self._out_at, nats.arrival(), self.stalled_until)
        nats.clock.at(self._out_at, None, nats.at_server, self.server, action)

    def _inbox_answer(self, reply: str) -> Callable[[bytes, Headers | None], None]:
        def answer(data: bytes, headers: Headers | None = None) -> None:
            for subscription in self.subscriptions:
                if subscription.matches(reply):
                    self._arrive(self._deliver, subscription, Delivery(reply, data, headers))
                    return

        return answer

    def _arrive(self, callback: Callable[..., None], *args: object) -> None:
        """From the server to the process, in order."""
        nats = self.nats
        if nats.paused(self.server):
            life = self.life
            nats.servers[self.server].stuck.append(lambda: self._arrive(callback, *args) if life == self.life else None)
            return
        self._in_at = max(self._in_at, nats.arrival())
        nats.clock.at(self._in_at, self.process, self._take, self.life, callback, *args)

    def _take(self, life: int, callback: Callable[..., None], *args: object) -> None:
        if life == self.life:
            callback(*args)

    def _deliver(self, subscription: Subscription, message: Delivery) -> None:
        if subscription not in self.subscriptions:
            return
        running = subscription.callback(message)
        try:
            running.send(None)
        except StopIteration:
            return
        running.close()
        raise AssertionError(f"the callback of {subscription.subject} waits")

    def _answered(self, token: int, data: bytes) -> None:
        future = self._waiting.get(token)
        if future is not None and not future.done():
            if data == b"503":
                future.set_exception(NoRespondersError())
            else:
                future.set_result(Delivery("", data, None))

    def _expired(self, token: int) -> None:
        future = self._waiting.get(token)
        if future is not None and not future.done():
            future.set_exception(NatsTimeout())


class Nats:
    """Three servers, streams, and everybody who is connected."""

    def __init__(self, clock: Clock, chance: random.Random, window: float) -> None:
        self.clock = clock
        self.chance = chance
        self.window = window
        self.servers = [Server() for _ in range(SERVERS)]
        self.streams: dict[str, Stream] = {}
        self.connections: list[Connection] = []
        self.slow_interest_until = -1.0
        self.short_answers_until = -1.0
        self.looked: Callable[[Connection], None] | None = None
        """Told whose question about a room's last message is answered."""
        self._routes: dict[tuple[int, int], float] = {}

    def draw(self, low: float, high: float) -> float:
        return low + (high - low) * self.chance.random()

    def arrival(self) -> float:
        """When something that is sent now arrives."""
        at = self.clock.now + 0.0002 + 0.0028 * self.chance.random()
        return (int(at / GRID_S) + 1) * GRID_S

    def stream(self, name: str) -> Stream:
        if name not in self.streams:
            self.streams[name] = Stream(self, name, self.window)
        return self.streams[name]

    # Servers.

    def paused(self, server: int) -> bool:
        return self.clock.now < self.servers[server].paused_until

    def pause(self, server: int, seconds: float) -> None:
        held = self.servers[server]
        if self.paused(server):
            return
        held.paused_until = self.clock.now + seconds
        held.frozen_at = self.clock.now
        self.clock.later(seconds, self._resume, server)
        for stream in self.streams.values():
            if stream.leader == server:
                stream.lose_leader(self.draw(0.5, 2.0))
        for connection in tuple(self.connections):
            if connection.server == server:
                self.clock.later(self.draw(2.0, 12.0), self._notice, connection, server, connection.life)

    def _notice(self, connection: Connection, server: int, life: int) -> None:
        """Pings were not answered."""
        if self.paused(server) and connection.life == life:
            connection.cut(0.3)

    def _resume(self, server: int) -> None:
        held = self.servers[server]
        held.paused_until = -1.0
        # For a moment it answers as if nothing had come after what it has.
        self.clock.later(self.draw(0.02, 0.3), self._caught_up, server)
        stuck, held.stuck = held.stuck, []
        for action in stuck:
            action()

    def _caught_up(self, server: int) -> None:
        if not self.paused(server):
            self.servers[server].frozen_at = None

    def freeze(self, server: int, seconds: float) -> None:
        """It answers, but applies nothing for a while."""
        if self.servers[server].frozen_at is None:
            self.servers[server].frozen_at = self.clock.now
            self.clock.later(seconds, self._caught_up, server)

    def at_server(self, server: int, action: Callable[[], None]) -> None:
        if self.paused(server):
            self.servers[server].stuck.append(action)
        else:
            action()

    # Messages.

    def republish(self, stream: Stream, entry: Entry, previous: int) -> None:
        headers = {"Nats-Sequence": str(entry.seq), "Nats-Last-Sequence": str(previous)}
        subject = f"live.{entry.subject[5:]}" if entry.subject.startswith("chat.") else f"live.{entry.subject}"
        for connection in self.connections:
            connection.hear(subject, entry.data, headers, stream.leader)

    def advise(self, stream: str) -> None:
        for connection in self.connections:
            connection.hear(f"$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.{stream}", b"{}", None, None)

    def handle(
        self,
        server: int,
        subject: str,
        payload: bytes,
        headers: Headers,
        answer: Callable[[bytes, Headers | None], None] | None,
        asker: Connection | None = None,
    ) -> None:
        """A message has reached a server."""
        if subject.startswith(("chat.", "ctl.")):
            self._publish(server, subject, payload, headers, answer)
        elif subject.startswith("$JS.API.DIRECT.GET."):
            if answer is not None:
                self._direct_get(subject[19:], payload, answer)
        elif subject.startswith("$JS.API.STREAM."):
            if answer is not None:
                self._ask(server, subject[15:], payload, answer)
                if self.looked is not None and asker is not None:
                    self.looked(asker)
        else:
            for connection in self.connections:
                connection.hear(subject, payload, headers or None, server)

    def _publish(
        self,
        server: int,
        subject: str,
        payload: bytes,
        headers: Headers,
        answer: Callable[[bytes, Headers | None], None] | None,
    ) -> None:
        stream = self.streams.get(headers.get("Nats-Expected-Stream", ""))
        if stream is None or not stream.exists:
            if answer is not None:
                answer(b"503", None)
            return
        tell = None if answer is None else lambda ack: answer(msgspec.json.encode(ack), None)
        staged = Staged(subject, payload, headers, tell)
        if stream.leaderless:
            # Before the old leader knows that it leads no longer, it takes things in; afterwards nobody does.
            if self.chance.random() < 0.4:
                stream.publish(staged)
            elif answer is not None and self.chance.random() < 0.3:
                answer(b"503", None)
            return
        if stream.leader == server:
            stream.publish(staged)
        else:
            route = (server, stream.leader)
            at = self._routes[route] = max(self.arrival(), self._routes.get(route, 0.0))
            self.clock.at(at, None, self._relayed, stream, staged)

    def _relayed(self, stream: Stream, staged: Staged) -> None:
        leader = stream.leader
        self.at_server(leader, lambda: stream.publish(staged))

    def _horizon(self, stream: Stream, server: int) -> float:
        """Up to which moment a server has applied the stream."""
        frozen = self.servers[server].frozen_at
        if frozen is not None:
            return frozen
        if server == stream.leader:
            return self.clock.now
        return self.clock.now - 0.004 * self.chance.random()

    def _direct_get(self, name: str, payload: bytes, answer: Callable[[bytes, Headers | None], None]) -> None:
        stream = self.streams.get(name)
        if stream is None or not stream.exists:
            answer(b"", {"Status": "503"})
            return
        up = [server for server in range(SERVERS) if not self.paused(server)]
        if not up:
            return
        query = _QUERIES.decode(payload)
        found = stream.after(query.next_by_subj, query.seq, self._horizon(stream, self.chance.choice(up)))
        short = self.clock.now < self.short_answers_until
        if not found or (short and self.chance.random() < 0.3):
            answer(b"", {"Status": "404", "Description": "Message Not Found"})
            return
        given = found[: query.batch]
        if short and len(given) > 1:
            given = given[: self.chance.randrange(1, len(given))]
        for entry in given:
            answer(
                entry.data,
                {
                    "Nats-Subject": entry.subject,
                    "Nats-Sequence": str(entry.seq),
                    "Nats-Time-Stamp": timestamp(entry.at),
                },
            )
        answer(b"", {"Status": "204", "Nats-Num-Pending": str(len(found) - len(given))})

    def _ask(
        self, server: int, operation: str, payload: bytes, answer: Callable[[bytes, Headers | None], None]
    ) -> None:
        """The API of a stream, which its leader answers."""
        kind, _, name = operation.rpartition(".")
        stream = self.streams.get(name)
        if stream is None or not stream.exists:
            answer(_NO_STREAM, None)
            return
        if stream.leaderless:
            return
        self.at_server(stream.leader, lambda: self._tell(stream, kind, payload, answer))

    def _tell(self, stream: Stream, kind: str, payload: bytes, answer: Callable[[bytes, Headers | None], None]) -> None:
        if kind == "INFO":
            told: dict[str, object] = {
                "state": {"first_seq": stream.first_seq, "last_seq": stream.last_seq},
                "config": {"metadata": stream.metadata},
            }
            answer(msgspec.json.encode(told), None)
            return
        query = _QUERIES.decode(payload)
        entry = stream.last_of(query.last_by_subj) if query.last_by_subj else stream.at(query.seq)
        if entry is None:
            answer(_NO_MESSAGE, None)
            return
        message = {"subject": entry.subject, "seq": entry.seq, "time": timestamp(entry.at), "data": entry.data}
        answer(msgspec.json.encode({"message": message}), None)
