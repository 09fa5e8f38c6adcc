"""Publishing stored events: one atomic batch per partition at a time (ADR-50), what arrives meanwhile is the next one.

Alone, an event goes at once; under load the batch grows by itself, and one disk sync pays for all of it. Batch k+1
starts when k is resolved, its one-by-one fallback included: that, and the check before each publish, is what keeps each
sender's order in a room when something fails half-way.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from nats.aio.client import Client

from chatnode.broker.acks import PubAck, decode_ack
from chatnode.broker.connection import AWAY
from chatnode.broker.subjects import PARTITIONS, partition_of, room_subject, stream_name
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.rooms.ports import Accepted, NotStored, Outcome, Publication, Unavailable, Unknown
from chatnode.rooms.tasks import TaskOwner

log = logging.getLogger(__name__)

_WRONG_LAST_SEQUENCE: Final = 10071
_IN_PROCESS: Final = 10158
"""The same message id is being stored right now; what came of it is known a moment later."""

_MOVES_MAX: Final = 10
"""How often a resend is looked for again in one turn, while other nodes store in its room."""


class Publisher:
    """Owns one task per partition while it runs; ``submit`` never blocks."""

    def __init__(
        self,
        client: Client,
        *,
        batch_max: int,
        queue_max: int,
        draw_id: Callable[[], str],
        observe_batch: Callable[[int], None] = lambda _size: None,
        fell_back: Callable[[], None] = lambda: None,
        timeout: float = 5.0,
    ) -> None:
        self._client = client
        self._draw_id = draw_id
        self._observe_batch = observe_batch
        self._fell_back = fell_back
        self._timeout = timeout
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._queues: tuple[deque[Publication], ...] = tuple(deque() for _ in range(PARTITIONS))
        self._wakers = tuple(asyncio.Event() for _ in range(PARTITIONS))
        self._tasks = TaskOwner()
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = 0

    def start(self) -> None:
        for partition in range(PARTITIONS):
            self._tasks.spawn(self._run(partition), f"publish-{partition}")

    async def stop(self, deadline: float) -> None:
        """Lets what was submitted resolve for at most ``deadline`` seconds, then resolves the rest as Unknown."""
        try:
            async with asyncio.timeout(deadline):
                await self._idle.wait()
        except TimeoutError:
            log.warning("stopping with %d events unresolved after %.1f s", self._open, deadline)
        await self._tasks.stop()
        for queue in self._queues:
            while queue:
                self._resolve(queue.popleft(), NotStored("the node is stopping"))

    def submit(self, publication: Publication) -> None:
        """Queue an event; its outcome comes by ``resolved``, at once when the queue is full."""
        partition = partition_of(publication.room)
        queue = self._queues[partition]
        if len(queue) >= self._queue_max:
            publication.resolved(
                ProtocolError(ErrorCode.UNAVAILABLE, "too much waits to be stored; try again", retry_after=1.0)
            )
            return
        self._open += 1
        self._idle.clear()
        queue.append(publication)
        self._wakers[partition].set()

    def _resolve(self, publication: Publication, outcome: Outcome) -> None:
        publication.resolved(outcome)
        self._open -= 1
        if self._open == 0:
            self._idle.set()

    async def _run(self, partition: int) -> None:
        queue, waker, stream = self._queues[partition], self._wakers[partition], stream_name(partition)
        while True:
            await waker.wait()
            waker.clear()
            while queue:
                batch = self._take(queue)
                self._observe_batch(len(batch))
                try:
                    await self._store(stream, batch)
                except asyncio.CancelledError:
                    for publication in batch:
                        self._resolve(publication, Unknown("the node stopped before NATS answered"))
                    raise

    def _take(self, queue: deque[Publication]) -> list[Publication]:
        """What goes together: as many as a batch may hold; an event with an expected sequence goes alone."""
        batch = [queue.popleft()]
        if batch[0].expected_last is not None:
            return batch
        while queue and len(batch) < self._batch_max and queue[0].expected_last is None:
            batch.append(queue.popleft())
        return batch

    async def _store(self, stream: str, batch: list[Publication]) -> None:
        """Resolves every publication of ``batch`` and empties it."""
        ready: list[tuple[Publication, bytes]] = []
        for publication in tuple(batch):
            payload = publication.payload()
            if isinstance(payload, ProtocolError):
                batch.remove(publication)
                self._resolve(publication, payload)
            else:
                ready.append((publication, payload))
        if len(ready) > 1:
            outcome = await self._store_together(stream, ready)
            if not isinstance(outcome, NotStored):
                for offset, (publication, _) in enumerate(ready):
                    batch.remove(publication)
                    self._resolve(
                        publication,
                        Accepted(outcome - len(ready) + 1 + offset) if isinstance(outcome, int) else outcome,
                    )
                return
            log.info("%s: batch of %d refused, going one by one: %s", stream, len(ready), outcome)
            self._fell_back()
        await self._one_by_one(stream, batch, ready)

    async def _one_by_one(
        self, stream: str, batch: list[Publication], ready: Sequence[tuple[Publication, bytes]]
    ) -> None:
        single = len(ready) == 1
        for publication, prepared in ready:
            payload = prepared if single else publication.payload()
            if isinstance(payload, ProtocolError):
                outcome: Outcome = payload
            elif publication.expected_last is None:
                outcome = await self._store_one(stream, publication, payload)
            else:
                outcome = await self._store_expecting(stream, publication, payload, publication.expected_last)
            batch.remove(publication)
            self._resolve(publication, outcome)

    async def _store_expecting(self, stream: str, publication: Publication, payload: bytes, expected: int) -> Outcome:
        """A resend, where others talk in its room: looked for again in its own turn, or it might never get in."""
        for _ in range(_MOVES_MAX):
            outcome = await self._store_one(stream, publication, payload, expected)
            if not (isinstance(outcome, NotStored) and outcome.moved):
                return outcome
            try:
                found = await publication.look_again()
            except Unavailable as error:
                return NotStored(str(error))
            if found is None:
                return outcome
            if isinstance(found, Accepted):
                return found
            fresh = publication.payload()
            if isinstance(fresh, ProtocolError):
                return fresh
            expected, payload = found, fresh
        return outcome

    async def _store_one(
        self, stream: str, publication: Publication, payload: bytes, expected: int | None = None
    ) -> Outcome:
        headers = self._headers(stream, publication)
        if expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        ack = await self._request(room_subject(publication.room), payload, headers)
        if isinstance(ack, NotStored | Unknown):
            return ack
        if ack.error is not None:
            if ack.error.err_code == _IN_PROCESS:
                return Unknown("the same id is being stored by another attempt")
            return NotStored(
                f"{ack.error.description} ({ack.error.err_code})",
                moved=ack.error.err_code == _WRONG_LAST_SEQUENCE,
            )
        return Accepted(ack.seq, ack.duplicate)

    async def _store_together(
        self, stream: str, ready: Sequence[tuple[Publication, bytes]]
    ) -> int | NotStored | Unknown:
        """The last sequence of the batch; NotStored when none of it was stored."""
        batch_id = self._draw_id()
        final = len(ready)
        try:
            for number, (publication, payload) in enumerate(ready, start=1):
                headers = self._headers(stream, publication)
                headers["Nats-Batch-Id"] = batch_id
                headers["Nats-Batch-Sequence"] = str(number)
                if number < final:
                    await self._client.publish(room_subject(publication.room), payload, headers=headers)
        except AWAY as error:
            return NotStored(f"NATS is away ({type(error).__name__})")
        headers["Nats-Batch-Commit"] = "1"
        ack = await self._request(room_subject(publication.room), payload, headers)
        if isinstance(ack, NotStored | Unknown):
            return ack
        if ack.error is not None:
            return NotStored(f"{ack.error.description} ({ack.error.err_code})")
        if ack.count != final:
            return Unknown(f"batch of {final} acknowledged as {ack.count}")
        return ack.seq

    def _headers(self, stream: str, publication: Publication) -> dict[str, str]:
        headers = {"Nats-Msg-Id": publication.message_id, "Nats-Expected-Stream": stream}
        if publication.traceparent is not None:
            headers["traceparent"] = publication.traceparent
        return headers

    async def _request(self, subject: str, payload: bytes, headers: dict[str, str]) -> PubAck | NotStored | Unknown:
        if not self._client.is_connected:
            return NotStored("NATS is away")
        try:
            answer = await self._client.request(subject, payload, timeout=self._timeout, headers=headers)
        except AWAY as error:
            return Unknown(f"NATS did not answer ({type(error).__name__})")
        try:
            return decode_ack(answer.data)
        except msgspec.DecodeError as error:
            return Unknown(f"NATS answered what is no ack: {error}")
