"""What is done with control events: they are folded into the projections, and rooms are told who came and went."""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from chatnode.protocol.control import ControlEvent, Heartbeat, MemberPut, RoomPut, decode_control
from chatnode.protocol.envelope import SYSTEM_USER, Envelope
from chatnode.protocol.frames import MemberChange, Position
from chatnode.rooms.ports import Stored
from chatnode.telemetry.logs import about
from chatnode.telemetry.metrics import WorkerMetrics
from chatnode.telemetry.traces import Step, Tracing
from chatnode.worker.ports import EventSink, Ledger, Projection

log = logging.getLogger(__name__)

_AT_ONCE: Final = 50
"""Member events that are on their way together."""


def member_events(seq: int, event: RoomPut | MemberPut, changes: Sequence[MemberChange]) -> list[Envelope]:
    """What is told to the room. A member's event has the same id whenever the control event comes again, whatever else
    that changes then."""
    return [
        Envelope(
            kind="member",
            room=event.room,
            user=SYSTEM_USER,
            id=_event_id(seq, event, change.user),
            ts=event.ts,
            digest=_digest(change),
            change=change,
            actor=event.actor,
        )
        for change in changes
    ]


def _event_id(seq: int, event: RoomPut | MemberPut, user: str) -> str:
    if isinstance(event, MemberPut) or len(event.members) == 1:
        return f"ctl-{seq}"
    number = next(index for index, member in enumerate(event.members) if member.user == user)
    return f"ctl-{seq}-{number}"


def _digest(change: MemberChange) -> str:
    return hashlib.blake2b(msgspec.json.encode(change), digest_size=16).hexdigest()


class ControlJob:
    """Applies control events one by one, in their order."""

    renumbers = True
    sparse = True

    def __init__(
        self,
        stream: str,
        *,
        projection: Projection,
        rooms: EventSink,
        ledger: Ledger,
        metrics: WorkerMetrics,
        tracing: Tracing,
    ) -> None:
        self._stream = stream
        self._projection = projection
        self._rooms = rooms
        self._ledger = ledger
        self._metrics = metrics
        self._tracing = tracing

    def hash_of(self, stored: Stored) -> str:
        try:
            event = decode_control(stored.data)
        except msgspec.DecodeError:
            return "0"
        return hashlib.sha256(event.id.encode()).hexdigest()[:8]

    async def apply(self, epoch: int, batch: Sequence[Stored]) -> None:
        for stored in batch:
            try:
                event = decode_control(stored.data)
            except msgspec.DecodeError as error:
                await self._reject(epoch, stored, f"no control event: {error}")
                continue
            if not isinstance(event, Heartbeat):
                await self._apply(stored, event)

    async def raised(self, epoch: int) -> None:
        log.error("control events begin a new epoch: %d", epoch, extra=about(epoch=epoch))

    async def _apply(self, stored: Stored, event: ControlEvent) -> None:
        span = self._tracing.begin(Step.CONTROL_APPLY, stored.headers.get("traceparent"), {"seq": stored.seq})
        try:
            changed = await self._projection.apply(stored.seq, event)
            if changed is not None and isinstance(event, RoomPut | MemberPut):
                events = member_events(stored.seq, event, changed.changes)
                for start in range(0, len(events), _AT_ONCE):
                    await asyncio.gather(*map(self._rooms.publish, events[start : start + _AT_ONCE]))
        except BaseException as error:
            span.end(repr(error))
            raise
        span.end()

    async def _reject(self, epoch: int, stored: Stored, reason: str) -> None:
        log.error("%s: message %d is passed over: %s", *(self._stream, stored.seq, reason), extra=about(seq=stored.seq))
        self._metrics.failures.labels("reject").inc()
        await self._ledger.reject(self._stream, Position(epoch, stored.seq), reason, stored.data)
