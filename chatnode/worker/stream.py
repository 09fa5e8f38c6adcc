"""Carries one stream into MongoDB: lease, look, feed, apply, acknowledge, advance.

Order: events are applied from the watermark on, each batch after the one before. Whatever fails ends the session; the
next one begins at the watermark again, and what was applied twice changes nothing.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec.structs import replace

from chatnode.rooms.ports import Stored, Unavailable, Watermark
from chatnode.telemetry.logs import about
from chatnode.worker.epochs import Create, Decision, Keep, Observed, Raise, Recorded, decide
from chatnode.worker.ports import EventStream, Feed, Leases, Ledger, StreamView
from chatnode.worker.share import Share

log = logging.getLogger(__name__)

WAIT_S: Final = 1.0
"""How long a feed is waited on before the lease and the stop are looked at again."""
DRAIN_WAIT_S: Final = 6.0
"""A feed that brings nothing for so long, and can vouch for its order, is at the end of a closed stream."""
_BACKOFF_MAX_S: Final = 5.0
_LOOKS: Final = 25
"""At a stream that may have gone back."""


class Job(Protocol):
    """What is done with the events of one stream."""

    renumbers: bool
    """Whether an event's own sequence decides what it changes: what is applied again then needs a new one."""
    sparse: bool
    """Whether events are taken out of the middle of the stream, so that a hole in it tells nothing."""

    def hash_of(self, stored: Stored) -> str:
        """Tells an event from another one at the same sequence; ``0`` where that cannot be told."""
        ...

    async def apply(self, epoch: int, batch: Sequence[Stored]) -> None:
        """All of it is in MongoDB when this returns; repeating it changes nothing."""
        ...

    async def raised(self, epoch: int) -> None:
        """The stream is in a new epoch; whoever reads it has to learn of that."""
        ...


class Gauges(Protocol):
    """What is shown of one stream."""

    def held(self, held: bool) -> None: ...
    def applied(self, epoch: int, seq: int, behind: int) -> None: ...
    def redelivered(self, count: int) -> None: ...
    def missing(self, count: int) -> None: ...
    def failed(self, operation: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds."""

    renew: float = 2.0
    check: float = 10.0
    idle: float = 1.0
    """Between attempts to get a lease that another holds."""
    settle: float = 6.0
    """Between telling of a new epoch and taking events in again: a node that has not heard of it is suspended by then
    (``CHAT_SUSPEND_AFTER_S`` and a margin), and nothing is acknowledged under the old one."""
    doubt: float = 25.0
    """For how long the leader of a replicated stream has to say that it went back. One that has just been elected tells
    less than a quorum has stored until it has applied it all; one that has lost its quorum finds that out within
    20 s (nats-server looks every 10 s whether it has heard of it in 10 s), and answers no more."""


RHYTHM: Final = Rhythm()


@dataclass(slots=True)
class _Drain:
    """A closed stream that is applied to its end; then it goes on above all sequences that were ever used."""

    last_seq: int
    used: int
    shift: int = 0
    """Added to the sequence of each event, where the job renumbers; of those only what was stored after ``since``."""
    since: int = 0

    @property
    def continue_from(self) -> int:
        return max(self.used, self.last_seq + self.shift) + 1


@dataclass(slots=True)
class _Session:
    epoch: int
    next: int
    """First sequence that is wanted."""
    drain: _Drain | None = None


class StreamWorker:
    """Owns one stream while it holds its lease. ``clock`` gives monotonic seconds."""

    def __init__(
        self,
        stream: EventStream,
        job: Job,
        *,
        ledger: Ledger,
        leases: Leases,
        gauges: Gauges,
        clock: Callable[[], float],
        rhythm: Rhythm = RHYTHM,
        share: Share | None = None,
    ) -> None:
        self._share = Share(1) if share is None else share
        self._stream = stream
        self._job = job
        self._ledger = ledger
        self._leases = leases
        self._gauges = gauges
        self._clock = clock
        self._rhythm = rhythm
        self._renewed_at = 0.0
        self._checked_at = 0.0
        self._verify = False
        self.watermark = Watermark(0, 0)
        """As of this worker's last session."""
        self.holding = False

    @property
    def name(self) -> str:
        return self._stream.name

    def verify(self) -> None:
        """Something happened to the stream: compare it with MongoDB and start a new feed before going on."""
        self._verify = True

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; the batch in hand is finished, and the lease given back."""
        failures = 0
        try:
            while not stop.is_set():
                try:
                    if await self._renew():
                        await self._work(stop)
                        failures = 0
                    else:
                        await _pause(stop, self._rhythm.idle)
                except Unavailable as error:
                    failures += 1
                    log.warning("%s: %s", self.name, error, extra=about(count=failures))
                    self._gauges.failed("session")
                    await _pause(stop, min(0.1 * 2**failures, _BACKOFF_MAX_S) * random.uniform(0.5, 1))  # noqa: S311
        finally:
            await self._give_back()

    async def _renew(self) -> bool:
        now = self._clock()
        self._hold(self._share.may_take(self.name) and await self._leases.take(self.name))
        if self.holding:
            self._renewed_at = now
        return self.holding

    def _hold(self, held: bool) -> None:
        self.holding = held
        self._share.holds(self.name, held=held)
        self._gauges.held(held)

    async def _give_back(self) -> None:
        if not self.holding:
            return
        self._hold(False)
        try:
            await self._leases.release(self.name)
        except Unavailable as error:
            log.info("%s: the lease runs out by itself: %s", self.name, error)

    async def _work(self, stop: asyncio.Event) -> None:
        """One session: ends with the stop, with the lease, or when the stream has to be looked at anew."""
        self._verify = False
        session = await self._begin(stop)
        async with self._stream.feed(session.next, self._gauges.redelivered) as feed:
            while not stop.is_set():
                if self._clock() - self._renewed_at >= self._rhythm.renew and not await self._renew():
                    log.warning("%s: another worker has taken over", self.name)
                    return
                if session.drain is None and self._share.gives_back(self.name):
                    log.info("%s: left to another worker", self.name)
                    await self._give_back()
                    return
                if self._verify or (self._check_due() and not await self._still(session)):
                    return
                if session.drain is None:
                    await self._step(session, feed, WAIT_S)
                elif await self._is_drained(session, session.drain, feed):
                    await self._finish_drain(session, session.drain)
                    return

    async def _step(self, session: _Session, feed: Feed, wait: float) -> bool:
        """Apply what has come; False when nothing has."""
        arrivals = await feed.next(wait)
        if not arrivals:
            self._gauges.applied(session.epoch, self.watermark.seq, 0)
            return False
        batch: list[Stored] = []
        for arrival in arrivals:
            if not self._job.sparse:
                batch += await self._rescue(session, range(session.next, arrival.stored.seq))
            session.next = arrival.stored.seq + 1
            batch.append(arrival.stored)
        if session.drain is not None and session.drain.shift:
            await self._job.apply(session.epoch, _renumbered(batch, session.drain))
            await feed.acknowledge()
            return True
        await self._job.apply(session.epoch, batch)
        self.watermark = Watermark(session.epoch, batch[-1].seq, self._job.hash_of(batch[-1]))
        await feed.acknowledge()
        await self._ledger.advance(self.name, self.watermark, batch[-1].ts)
        self._gauges.applied(session.epoch, self.watermark.seq, arrivals[-1].pending)
        return True

    async def _is_drained(self, session: _Session, drain: _Drain, feed: Feed) -> bool:
        if session.next <= drain.last_seq and await self._step(session, feed, DRAIN_WAIT_S):
            return False
        view = await self._require_view()
        if view.last_seq <= drain.last_seq:
            return True
        drain.last_seq = view.last_seq
        return False

    async def _begin(self, stop: asyncio.Event) -> _Session:
        """Look at the stream, and bring it and the epochs to where events can be applied."""
        recorded, observed, decision = await self._make_sure(stop)
        self._checked_at = self._clock()
        match decision:
            case Create(epoch, first_seq):
                await self._enter(epoch, first_seq, announce=epoch > 1, settle=True)
                await self._begin_at(Watermark(epoch, first_seq - 1))
                return _Session(epoch, first_seq)
            case Keep(epoch, missing):
                news = observed is None or observed.epoch != epoch or recorded.epoch != epoch
                await self._enter(epoch, 0, announce=news and epoch > 1)
                self.watermark = recorded.watermark or Watermark(epoch, 0)
                if self.watermark.epoch != epoch:
                    await self._begin_at(replace(self.watermark, epoch=epoch))
                session = _Session(epoch, max(self.watermark.seq + 1, missing.stop))
                rescued = await self._rescue(session, missing)
                if rescued:
                    await self._job.apply(epoch, rescued)
                return session
            case Raise():
                return await self._raise(decision, recorded)

    async def _make_sure(self, stop: asyncio.Event) -> tuple[Recorded, Observed | None, Decision]:
        """What is to be done; that a stream is not what it was only once its leader has said so for long enough."""
        began: float | None = None
        while True:
            recorded, observed = await self.look()
            decision = decide(recorded, observed)
            if not isinstance(decision, Raise) or observed is None or observed.certain:
                return recorded, observed, decision
            if began is None:
                began = self._clock()
                log.warning(
                    "%s: %s, says its leader: asked again for %.0f s", self.name, decision.reason, self._rhythm.doubt
                )
            elif self._clock() - began >= self._rhythm.doubt:
                return recorded, observed, decision
            await _pause(stop, self._rhythm.doubt / _LOOKS)
            if stop.is_set() or not await self._renew():
                raise Unavailable(f"{self.name} is left before it was sure that it went back")

    async def _rescue(self, session: _Session, missing: range) -> Sequence[Stored]:
        """What was not given, and some server still holds: one whose disk was damaged goes on without what it has lost.
        What none holds was purged or deleted before it was applied, and is missing from history: never silently."""
        if not missing:
            return ()
        held = await self._stream.rescued(missing)
        if held:
            log.warning(
                "%s: %d of the %d events from %d on were not fed, and are on another server: was a disk damaged?",
                *(self.name, len(held), len(missing), missing.start),
                extra=about(epoch=session.epoch, seq=missing.start, count=len(held)),
            )
        lost = len(missing) - len(held)
        if lost:
            self._gauges.missing(lost)
            log.error(
                "%s: history_gap: %d of %d to %d were gone before they were applied",
                *(self.name, lost, missing.start, missing.stop - 1),
                extra=about(epoch=session.epoch, seq=missing.start, count=lost),
            )
        return held

    async def _raise(self, decision: Raise, recorded: Recorded) -> _Session:
        log.error(
            "%s: %s: epoch %d begins, all that it holds is applied again",
            *(self.name, decision.reason, decision.epoch),
            extra=about(epoch=decision.epoch),
        )
        if decision.continue_from is None and not self._job.renumbers:
            await self._enter(decision.epoch, 0, announce=True)
            await self._begin_at(Watermark(decision.epoch, decision.reapply_from - 1))
            return _Session(decision.epoch, decision.reapply_from)
        if not await self._renew():
            raise Unavailable(f"another worker has taken {self.name} over")
        await self._stream.close()
        await self._ledger.raise_epoch(self.name, decision.epoch)
        view = await self._require_view()
        drain = _Drain(view.last_seq, recorded.used)
        if self._job.renumbers:
            drain.shift = recorded.used + 1 - view.first_seq
            drain.since = recorded.ts
        else:
            await self._begin_at(Watermark(decision.epoch, view.first_seq - 1))
        return _Session(decision.epoch, view.first_seq, drain)

    async def _finish_drain(self, session: _Session, drain: _Drain) -> None:
        await self._begin_at(Watermark(session.epoch, drain.continue_from - 1))
        await self._stream.drop_below(drain.continue_from)
        await self._enter(session.epoch, 0, announce=True, settle=True)
        log.warning("%s: goes on from %d in epoch %d", self.name, drain.continue_from, session.epoch)

    async def _enter(self, epoch: int, first_seq: int, *, announce: bool, settle: bool = False) -> None:
        """MongoDB first: an epoch that was given out once is never given out again. The stream last: until its metadata
        tell the epoch, all of this is done again."""
        await self._ledger.raise_epoch(self.name, epoch)
        if announce:
            await self._job.raised(epoch)
            if settle and not self._job.renumbers:
                await asyncio.sleep(self._rhythm.settle)
        await self._stream.open(epoch=epoch, first_seq=first_seq)

    async def _begin_at(self, watermark: Watermark) -> None:
        await self._ledger.advance(self.name, watermark, 0)
        self.watermark = watermark

    async def _still(self, session: _Session) -> bool:
        """Whether the stream is the one that the session began with."""
        self._checked_at = self._clock()
        if session.drain is not None:
            return True
        recorded, observed = await self.look()
        if observed is None or observed.closed or observed.epoch != session.epoch:
            return False
        return decide(recorded, observed) == Keep(session.epoch)

    def _check_due(self) -> bool:
        return self._clock() - self._checked_at >= self._rhythm.check

    async def look(self) -> tuple[Recorded, Observed | None]:
        """What MongoDB has recorded of the stream, and what its leader says; changes nothing."""
        progress = await self._ledger.progress(self.name)
        epoch = await self._ledger.epoch(self.name)
        mark = progress.watermark if progress else None
        recorded = Recorded(mark, progress.highest, epoch, progress.ts) if progress else Recorded(None, 0, epoch)
        view = await self._stream.view()
        if view is None:
            return recorded, None
        found = await self._stream.at(mark.seq) if mark and view.first_seq <= mark.seq <= view.last_seq else None
        seen = None if found is None else self._job.hash_of(found)
        observed = Observed(
            *(view.epoch, view.first_seq, view.last_seq, seen), closed=view.closed, replicated=view.replicated
        )
        return recorded, observed

    async def _require_view(self) -> StreamView:
        view = await self._stream.view()
        if view is None:
            raise Unavailable(f"{self.name} has just been deleted")
        return view


def _renumbered(batch: Sequence[Stored], drain: _Drain) -> list[Stored]:
    """Under new sequences, in the same order; without what was applied before the stream went back."""
    return [replace(stored, seq=stored.seq + drain.shift) for stored in batch if stored.ts > drain.since]


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
