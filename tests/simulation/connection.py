"""The client of one NATS server, as the adapters of :mod:`chatnode.broker` use nats-py's."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nats.errors import ConnectionClosedError, NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeout

from tests.simulation.streams import SERVERS, Headers
from tests.simulation.virtual_time import Process

if TYPE_CHECKING:
    from tests.simulation.broker import Nats

Callback = Callable[["Delivery"], Coroutine[Any, Any, None]]


class Delivery:
    """What a subscription's callback is given; as much of nats-py's Msg as the adapters use."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(self, subject: str, data: bytes, headers: Headers | None, reply: str = "") -> None:
        self.subject = subject
        self.data = data
        self.headers = headers
        self.reply = reply


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
        self.nats.clock.later(seconds, self._reconnect, self.nats.clock.now)

    def stall(self, seconds: float) -> None:
        if self.is_connected and self.nats.clock.now >= self.stalled_until:
            self.stalled_until = self.nats.clock.now + seconds
            self.nats.clock.later(min(seconds, self.nats.draw(1.0, 7.0)), self._notice_stall, self.life)

    def _notice_stall(self, life: int) -> None:
        if life == self.life:
            self.cut(0.3)

    def _reconnect(self, cut_at: float) -> None:
        if self.is_closed or self.process.dead or self.is_connected:
            return
        up = [server for server in range(SERVERS) if not self.nats.paused(server)]
        if not up or self.process.paused:
            self.nats.clock.later(0.25, self._reconnect, cut_at)
            return
        self.nats.cuts.append((cut_at, self.nats.clock.now))
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
            delivery = Delivery(subject, data, headers)
            if origin is None or origin == self.server or now >= self.nats.slow_routes_until:
                self._arrive(self._deliver, subscription, delivery)
            else:
                at = self.nats.over_route(origin, self.server)
                self.nats.clock.post(at, None, self._routed, self.life, subscription, delivery)

    def _routed(self, life: int, subscription: Subscription, delivery: Delivery) -> None:
        if life == self.life:
            self._arrive(self._deliver, subscription, delivery)

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
        self._reach(self.nats.handle, self, subject, payload, headers or {}, answer)

    def _reach(self, action: Callable[..., None], *args: object) -> None:
        """Do something at the server, when it gets there; what is stuck in a paused one comes out afterwards."""
        nats = self.nats
        self._out_at = max(self._out_at, nats.arrival(), self.stalled_until)
        nats.clock.post(self._out_at, None, nats.at_server, self.server, action, *args)

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
        nats.clock.post(self._in_at, self.process, self._take, self.life, callback, *args)

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
