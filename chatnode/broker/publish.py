"""Publishing stored events: one atomic batch per partition at a time (ADR-50), what arrives meanwhile is the next one.

Alone, an event goes at once; under load the batch grows by itself, and one disk sync pays for all of it. Batch k+1
starts when k is resolved, its one-by-one fallback included: that, and the check before each publish, is what keeps each
sender's order in a room when something fails half-way.

Where nobody answers (a leader died, another is being elected) the same event is published again under its message id,
seconds later at most: the server stores it once within its duplicate window of two minutes, and tells where.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.errors import NoRespondersError

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

_ATTEMPT_S: Final = 2.0
"""Longest wait for one answer. An ack comes within milliseconds, or from another leader."""
_PAUSE_S: Final = 0.25
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
        timeout: float = 7.0,
        epoch_of: Callable[[int], int] = lambda _partition: 0,
    ) -> None:
        """``timeout``: seconds until what nobody stored is given up. ``epoch_of``: where it rises, the stream is
        another one, which does not know what was sent before."""
        self._epoch_of = epoch_of
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
        deadline = _now() + self._timeout
        epoch = self._epoch_of(partition_of(batch[0].room)) if batch else 0
        sent = False
        if len(ready) > 1:
            outcome = await self._store_together(stream, ready)
            if isinstance(outcome, int):
                for offset, (publication, _) in enumerate(ready):
                    batch.remove(publication)
                    self._resolve(publication, Accepted(outcome - len(ready) + 1 + offset))
                return
            log.info("%s: batch of %d goes one by one: %s", stream, len(ready), outcome)
            self._fell_back()
            sent = isinstance(outcome, Unknown)
        for publication, prepared in ready:
            attempt = _Attempt(stream, publication, deadline, epoch, sent=sent)
            payload = prepared if len(ready) == 1 else publication.payload()
            if isinstance(payload, ProtocolError):
                result: Outcome = attempt.refused(payload)
            elif publication.expected_last is None:
                result = await self._store_one(attempt, payload)
            else:
                result = await self._store_expecting(attempt, payload, publication.expected_last)
            if isinstance(result, Accepted):
                deadline = _now() + self._timeout
            batch.remove(publication)
            self._resolve(publication, result)

    async def _store_expecting(self, attempt: "_Attempt", payload: bytes, expected: int) -> Outcome:
        """A resend, where others talk in its room: looked for again in its own turn, or it might never get in."""
        for _ in range(_MOVES_MAX):
            outcome = await self._store_one(attempt, payload, expected)
            if not (isinstance(outcome, NotStored) and outcome.moved):
                return outcome
            try:
                found = await attempt.publication.look_again()
            except Unavailable as error:
                return attempt.failed(str(error))
            if found is None:
                return outcome
            if isinstance(found, Accepted):
                return found
            fresh = attempt.publication.payload()
            if isinstance(fresh, ProtocolError):
                return attempt.refused(fresh)
            expected, payload = found, fresh
        return outcome

    async def _store_one(self, attempt: "_Attempt", payload: bytes, expected: int | None = None) -> Outcome:
        """Until somebody answers or the deadline has come; each time it is asked again whether it may be stored."""
        publication = attempt.publication
        headers = self._headers(attempt.stream, publication)
        if expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        partition = partition_of(publication.room)
        why = "those before it were not answered"
        while (remaining := attempt.deadline - _now()) > 0:
            if attempt.sent and self._epoch_of(partition) != attempt.epoch:
                return Unknown(f"{why}, and {attempt.stream} is in a new epoch")
            answer = await self._request(room_subject(publication.room), payload, headers, min(_ATTEMPT_S, remaining))
            if isinstance(answer, PubAck):
                if answer.error is None:
                    return Accepted(answer.seq, answer.duplicate)
                if answer.error.err_code != _IN_PROCESS:
                    return attempt.failed(str(answer.error), moved=answer.error.err_code == _WRONG_LAST_SEQUENCE)
                answer = Unknown("the same id is being stored by another attempt")
            attempt.sent = attempt.sent or isinstance(answer, Unknown)
            why = str(answer)
            await asyncio.sleep(_PAUSE_S)
            fresh = publication.payload()
            if isinstance(fresh, ProtocolError):
                return attempt.refused(fresh)
            payload = fresh
        return attempt.failed(why)

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
        ack = await self._request(room_subject(publication.room), payload, headers, min(_ATTEMPT_S, self._timeout))
        if isinstance(ack, NotStored | Unknown):
            return ack
        if ack.error is not None:
            return NotStored(str(ack.error))
        if ack.count != final:
            return Unknown(f"batch of {final} acknowledged as {ack.count}")
        return ack.seq

    def _headers(self, stream: str, publication: Publication) -> dict[str, str]:
        headers = {"Nats-Msg-Id": publication.message_id, "Nats-Expected-Stream": stream}
        if publication.traceparent is not None:
            headers["traceparent"] = publication.traceparent
        return headers

    async def _request(
        self, subject: str, payload: bytes, headers: dict[str, str], within: float
    ) -> PubAck | NotStored | Unknown:
        if not self._client.is_connected:
            return NotStored("NATS is away")
        try:
            answer = await self._client.request(subject, payload, timeout=within, headers=headers)
        except NoRespondersError:
            return NotStored("the stream has no leader now")
        except AWAY as error:
            return Unknown(f"NATS did not answer ({type(error).__name__})")
        try:
            return decode_ack(answer.data)
        except msgspec.DecodeError as error:
            return Unknown(f"NATS answered what is no ack: {error}")


@dataclass(slots=True)
class _Attempt:
    """To store one event until ``deadline``. Once it was ``sent`` without an answer, nothing but an ack is certain."""

    stream: str
    publication: Publication
    deadline: float
    epoch: int
    """Of the stream, before anything was sent to it."""
    sent: bool

    def failed(self, why: str, *, moved: bool = False) -> NotStored | Unknown:
        return Unknown(why) if self.sent and not moved else NotStored(why, moved=moved)

    def refused(self, error: ProtocolError) -> ProtocolError | Unknown:
        return Unknown(f"not confirmed, and not sent again: {error.message}") if self.sent else error


def _now() -> float:
    return asyncio.get_running_loop().time()
