"""What is done with the events of a partition: they are written to history."""

import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from chatnode.protocol.control import EpochRaised
from chatnode.protocol.envelope import SYSTEM_USER, Envelope, decode_envelope
from chatnode.protocol.frames import Position
from chatnode.protocol.ids import event_hash
from chatnode.rooms.ports import ControlPublisher, Stored
from chatnode.telemetry.logs import about
from chatnode.telemetry.metrics import WorkerMetrics
from chatnode.telemetry.traces import Step, Trace, Tracing
from chatnode.worker.ports import HistorySink, Ledger

log = logging.getLogger(__name__)

_LINKS_MAX: Final = 32
"""Messages of a batch whose traces are linked."""


class Rejected(Exception):
    """A stored message that is no event of its room."""


def read_event(stored: Stored) -> Envelope:
    """The event that a message holds; :class:`Rejected` says why it holds none."""
    try:
        envelope = decode_envelope(stored.data)
    except msgspec.DecodeError as error:
        raise Rejected(f"no envelope: {error}") from error
    room = stored.subject.rpartition(".")[2]
    if envelope.room != room:
        raise Rejected(f"an event of room {envelope.room} among those of {room}")
    return envelope


class HistoryJob:
    """Writes one partition. ``wall`` gives milliseconds since 1970."""

    renumbers = False
    sparse = False

    def __init__(
        self,
        stream: str,
        partition: int,
        *,
        history: HistorySink,
        ledger: Ledger,
        control: ControlPublisher,
        metrics: WorkerMetrics,
        tracing: Tracing,
        clock: Callable[[], float],
        wall: Callable[[], int],
    ) -> None:
        self._stream = stream
        self._partition = partition
        self._history = history
        self._ledger = ledger
        self._control = control
        self._tracing = tracing
        self._clock = clock
        self._wall = wall
        self._metrics = metrics
        self._written = metrics.events_written.labels(partition)
        self._void = metrics.events_void.labels(partition)

    def hash_of(self, stored: Stored) -> str:
        try:
            envelope = read_event(stored)
        except Rejected:
            return "0"
        return event_hash(envelope.user, envelope.id)

    async def apply(self, epoch: int, batch: Sequence[Stored]) -> None:
        events: list[tuple[int, Envelope]] = []
        for stored in batch:
            try:
                events.append((stored.seq, read_event(stored)))
            except Rejected as error:
                await self._reject(epoch, stored, str(error))
        if not events:
            return
        started = self._clock()
        span = self._begin_span(events)
        try:
            written = await self._history.write(epoch, events)
        except BaseException as error:
            span.end(repr(error))
            raise
        span.end()
        self._metrics.bulk_seconds.observe(self._clock() - started)
        self._metrics.bulk_events.observe(len(events))
        self._written.inc(len(events))
        self._void.inc(written.void)
        by_seq = {stored.seq: stored for stored in batch}
        for seq, reason in written.refused:
            await self._reject(epoch, by_seq[seq], reason)

    async def raised(self, epoch: int) -> None:
        await self._control.publish_control(
            EpochRaised(
                id=f"epoch-{self._partition}-{epoch}",
                actor=SYSTEM_USER,
                ts=self._wall(),
                partition=self._partition,
                epoch=epoch,
            )
        )

    async def _reject(self, epoch: int, stored: Stored, reason: str) -> None:
        """Kept for people to look at; one bad message must not hold up all that follow."""
        log.error(
            "%s: message %d is passed over: %s",
            *(self._stream, stored.seq, reason),
            extra=about(partition=self._partition, epoch=epoch, seq=stored.seq),
        )
        self._metrics.failures.labels("reject").inc()
        await self._ledger.reject(self._stream, Position(epoch, stored.seq), reason, stored.data)

    def _begin_span(self, events: Sequence[tuple[int, Envelope]]) -> Trace:
        """One span for the batch, within the trace of its first message and linked to those of the others."""
        if not self._tracing.enabled:
            return self._tracing.begin(Step.HISTORY_WRITE)
        traced = [envelope.traceparent for _, envelope in events if envelope.traceparent is not None]
        return self._tracing.begin(
            Step.HISTORY_WRITE,
            traced[0] if traced else None,
            {"partition": self._partition, "count": len(events), "seq": events[0][0]},
            links=traced[1:_LINKS_MAX],
        )
