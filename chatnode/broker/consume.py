"""Durable pull consumers, read strictly in order.

A consumer hands messages out in another order than the stream's when an answer got lost, or when somebody else pulls
from it too. Folding relies on order, so a :class:`Puller` checks that every message is the stream's next one; when one
is not, another feed is begun at the watermark. The acknowledgement of a message stands for all before it; it is sent
once they are in MongoDB.

The consumer is made anew for each feed. Resetting it (``$JS.API.CONSUMER.RESET``) keeps the pulls that wait at it, and
gave everything to a worker that was paused until its pull ran out.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from chatnode.broker.connection import AWAY
from chatnode.rooms.ports import Stored, Unavailable

BATCH_MAX: Final = 500
ACK_WAIT_S: Final = 120
_API_S: Final = 10.0
_EXPIRES_S: Final = 20.0
_HEARTBEAT_S: Final = 2.0
_SILENCE_S: Final = 5.0
"""Without a message or heartbeat for so long a pull is taken for lost."""
_LINGER_S: Final = 0.003
"""How long a batch that is not full waits for more."""
_BATCH_BYTES: Final = 8 * 1024 * 1024
_NO_CONSUMER: Final = 10014
_FINISHED: Final = frozenset({"Batch Completed", "Message Size Exceeds MaxBytes"})
"""Descriptions of a 409 that only says that the pull is over."""
_ACK_PREFIX: Final = "$JS.ACK."


class Disordered(Unavailable):
    """A message was not the stream's next one, or the pull was lost: start anew at the watermark."""


class _Config(Struct, frozen=True, kw_only=True):
    durable_name: str
    name: str
    ack_policy: str = "all"
    deliver_policy: str = "by_start_sequence"
    opt_start_seq: int
    ack_wait: int = ACK_WAIT_S * 10**9
    max_ack_pending: int = 2 * BATCH_MAX
    max_deliver: int = -1


class _Create(Struct, frozen=True):
    stream_name: str
    config: _Config


class _Pull(Struct, frozen=True):
    batch: int
    max_bytes: int
    expires: int
    idle_heartbeat: int


class _Error(Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(Struct):
    error: _Error | None = None


class _NextFrom(Struct, frozen=True):
    seq: int
    next_by_subj: str = ">"


class _GotMessage(Struct):
    seq: int


class _Got(Struct):
    message: _GotMessage | None = None


class Delivery(Struct, frozen=True):
    """A message with what is needed to acknowledge it."""

    stored: Stored
    pending: int
    """How many messages of the stream come after it."""
    ack: str


class Puller:
    """Messages of one stream from a sequence on, in order. Use as a context manager; one reader at a time.

    At most :data:`BATCH_MAX` messages, and 8 MiB, wait here; no more are asked for before they are taken.
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        consumer: str,
        *,
        start: int,
        repeated: Callable[[int], None],
        apart: float = 0.0,
    ) -> None:
        """``repeated`` is told how many messages came again; they are not given out again. ``apart`` are the seconds
        that lie at least between two batches that are not full.
        """
        self._client = client
        self._stream = stream
        self._consumer = consumer
        self._next = start
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._waiting: deque[Delivery] = deque()
        self._last: Delivery | None = None
        self._acknowledged: Delivery | None = None
        self._repeated = repeated
        self._apart = apart
        self._arrived = asyncio.Event()
        self._open = 0
        """Messages that the pull under way may still bring."""
        self._pulls = 0
        self._heard_at = 0.0
        self._given_at = 0.0
        self._broken: str | None = None

    async def __aenter__(self) -> Self:
        """Make the consumer anew, which ends all other feeds; :class:`Unavailable` when NATS does not do so."""
        await self._api(f"CONSUMER.DELETE.{self._stream}.{self._consumer}", b"", allowed=_NO_CONSUMER)
        config = _Config(durable_name=self._consumer, name=self._consumer, opt_start_seq=max(1, self._next))
        await self._api(
            f"CONSUMER.CREATE.{self._stream}.{self._consumer}", msgspec.json.encode(_Create(self._stream, config))
        )
        try:
            self._subscription = await self._client.subscribe(
                f"{self._inbox}.*",
                cb=self._receive,
                pending_msgs_limit=4 * BATCH_MAX,
                pending_bytes_limit=4 * _BATCH_BYTES,
            )
        except AWAY as error:
            raise Unavailable(f"pulling from {self._stream}: NATS is away ({type(error).__name__})") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._client.is_closed:
            try:
                await subscription.unsubscribe()
            except AWAY:
                return

    async def next(self, wait: float) -> list[Delivery]:
        """Up to :data:`BATCH_MAX` messages; none after ``wait`` seconds without any.

        Raises :class:`Disordered` when the puller is of no more use, :class:`Unavailable` when NATS is away.
        """
        if not self._waiting:
            await self._await_first(wait)
        await self._gather()
        self._check()
        fresh: list[Delivery] = []
        repeats = 0
        while self._waiting:
            delivery = self._waiting.popleft()
            if await self._is_next(delivery.stored.seq):
                fresh.append(delivery)
                self._last = delivery
            else:
                repeats += 1
        if repeats:
            self._repeated(repeats)
            if not fresh and self._acknowledged is not None:
                await self._acknowledge(self._acknowledged)
        return fresh

    async def _is_next(self, seq: int) -> bool:
        """Whether nothing of the stream lies between what was given before and ``seq``; False for a repetition."""
        if seq < self._next:
            return False
        if seq > self._next:
            following = await self._first_from(self._next)
            if following != seq:
                raise Disordered(f"{self._stream}: {seq} came where {following} was due")
        self._next = seq + 1
        return True

    async def _first_from(self, seq: int) -> int | None:
        """The sequence of the first message at ``seq`` or later, from the stream's leader."""
        query = msgspec.json.encode(_NextFrom(seq))
        answer = await self._request(f"STREAM.MSG.GET.{self._stream}", query)
        message = msgspec.json.decode(answer, type=_Got).message
        return None if message is None else message.seq

    async def acknowledge(self) -> None:
        """All that was given is applied. Not waited for: what is lost comes again, and is acknowledged again."""
        if self._last is not None:
            await self._acknowledge(self._last)

    async def _acknowledge(self, delivery: Delivery) -> None:
        try:
            await self._client.publish(delivery.ack, b"+ACK")
        except AWAY as error:
            raise Unavailable(f"acknowledging to {self._stream}: NATS is away ({type(error).__name__})") from error
        self._acknowledged = delivery

    async def _await_first(self, wait: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while not self._waiting and self._broken is None and loop.time() < deadline:
            if not self._open:
                await self._pull()
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(min(deadline, self._heard_at + _SILENCE_S)):
                    await self._arrived.wait()
            except TimeoutError:
                if loop.time() >= self._heard_at + _SILENCE_S:
                    self._broken = f"no sign of life for {_SILENCE_S:.0f} s"

    async def _gather(self) -> None:
        """After a pause a batch is given out almost at once, in a steady flow a few times a second."""
        loop = asyncio.get_running_loop()
        until = max(loop.time() + _LINGER_S, self._given_at + self._apart)
        try:
            async with asyncio.timeout_at(until):
                while self._waiting and self._open and self._broken is None:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            """What has come goes together."""
        if self._waiting:
            self._given_at = loop.time()

    async def _pull(self) -> None:
        self._check()
        self._pulls += 1
        request = _Pull(BATCH_MAX, _BATCH_BYTES, round(_EXPIRES_S * 1e9), round(_HEARTBEAT_S * 1e9))
        try:
            await self._client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
                msgspec.json.encode(request),
                reply=f"{self._inbox}.{self._pulls}",
            )
        except AWAY as error:
            raise Unavailable(f"pulling from {self._stream}: NATS is away ({type(error).__name__})") from error
        self._open = BATCH_MAX
        self._heard_at = asyncio.get_running_loop().time()

    def _check(self) -> None:
        if self._broken is not None:
            raise Disordered(f"{self._stream}: {self._broken}")

    async def _receive(self, message: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        headers = message.headers or {}
        if message.reply.startswith(_ACK_PREFIX):
            self._take(_delivery(message, headers))
        else:
            self._end_pull(headers.get("Status", ""), headers.get("Description", ""), message.subject)
        self._arrived.set()

    def _take(self, delivery: Delivery) -> None:
        self._open = max(0, self._open - 1)
        self._waiting.append(delivery)

    def _end_pull(self, status: str, description: str, subject: str) -> None:
        """ADR-13: 100 is a heartbeat; 404 and 408 end a pull; so do most of 409; 503: nobody answers."""
        if status in {"", "100"} or not subject.endswith(f".{self._pulls}"):
            return
        self._open = 0
        if status not in {"404", "408"} and description not in _FINISHED:
            self._broken = f"status {status} {description}".rstrip()

    async def _api(self, operation: str, payload: bytes, *, allowed: int = 0) -> None:
        refused = msgspec.json.decode(await self._request(operation, payload), type=_Answer).error
        if refused is not None and refused.err_code != allowed:
            raise Unavailable(f"{operation}: {refused.description} ({refused.err_code})")

    async def _request(self, operation: str, payload: bytes) -> bytes:
        try:
            answer = await self._client.request(f"$JS.API.{operation}", payload, timeout=_API_S)
        except AWAY as error:
            raise Unavailable(f"{operation}: NATS does not answer ({type(error).__name__})") from error
        return answer.data


def _delivery(message: Msg, headers: dict[str, str]) -> Delivery:
    metadata = message.metadata
    stored = Stored(
        message.subject,
        metadata.sequence.stream,
        round(metadata.timestamp.timestamp() * 1000),
        headers,
        message.data,
    )
    return Delivery(stored, metadata.num_pending, message.reply)
