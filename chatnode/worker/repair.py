"""Comparing streams with history, and filling history from what a stream still holds.

Reads only, unless told to apply. Safe while the cluster runs: what is filled goes through the folds of the history
writer, which change nothing that is there; what a stream needs is done by a
:class:`chatnode.worker.stream.StreamWorker` under its lease, here or in a worker that runs already.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from chatnode.protocol.envelope import Envelope
from chatnode.rooms.ports import Stored
from chatnode.worker.epochs import Create, Decision, Keep, Observed, Raise, Recorded, decide
from chatnode.worker.history import Rejected, read_event
from chatnode.worker.ports import HistorySink

_PAGE: Final = 256
_SHOWN: Final = 8
"""Ranges that are named; of the rest the number."""


class Audit(Protocol):
    async def lacking(self, events: Sequence[tuple[int, Envelope]]) -> list[int]:
        """Sequences of those that history does not hold."""
        ...


class Reader(Protocol):
    """The events of one stream, from a place on."""

    async def after(self, seq: int, limit: int) -> Sequence[Stored]:
        """The next ones, in order; empty at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What one partition's stream and history lack of each other."""

    stream: str
    recorded: Recorded
    observed: Observed | None
    decision: Decision
    compared: int = 0
    """Events of the stream that history should hold."""
    unfilled: tuple[int, ...] = ()
    """Sequences of those that it does not hold."""
    unreadable: tuple[int, ...] = ()
    rooms: frozenset[str] = field(default=frozenset())
    """In which something is lacking."""

    @property
    def gone(self) -> range:
        """Sequences that were purged before they were written to history: nobody has them."""
        return self.decision.missing if isinstance(self.decision, Keep) else range(0)

    @property
    def behind(self) -> int:
        """How many sequences of the stream lie above what is written."""
        if self.observed is None or not isinstance(self.decision, Keep):
            return 0
        mark = self.recorded.watermark
        return max(0, self.observed.last_seq - max(mark.seq if mark else 0, self.observed.first_seq - 1))

    @property
    def healthy(self) -> bool:
        return isinstance(self.decision, Keep) and not self.unfilled and not self.gone


def ranges(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of numbers that follow each other."""
    runs: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if runs and seq == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], seq)
        else:
            runs.append((seq, seq))
    return runs


def spell(seqs: Iterable[int]) -> str:
    runs = ranges(seqs)
    words = [f"{first}" if first == last else f"{first} to {last}" for first, last in runs[:_SHOWN]]
    return ", ".join(words) + (f" and {len(runs) - _SHOWN} more ranges" if len(runs) > _SHOWN else "")


def describe(finding: Finding) -> list[str]:
    """In words for people, one line each."""
    name, mark = finding.stream, finding.recorded.watermark
    kept = "nothing" if mark is None else f"everything up to {mark.seq} of epoch {mark.epoch}"
    if finding.observed is None:
        lines = [f"{name}: there is no stream; history holds {kept}"]
    else:
        seen = finding.observed
        lines = [f"{name}: the stream holds {seen.first_seq} to {seen.last_seq}, epoch {seen.epoch}; history {kept}"]
    if finding.behind:
        lines.append(f"  up to {finding.behind} events are not written yet; a worker does that")
    if finding.compared:
        lines.append(f"  {finding.compared} events of the stream were compared with history")
    if finding.unfilled:
        lines.append(f"  history lacks {len(finding.unfilled)} events that the stream holds: {spell(finding.unfilled)}")
    if finding.unreadable:
        lines.append(f"  {len(finding.unreadable)} are no events and are passed over: {spell(finding.unreadable)}")
    if finding.gone:
        lines.append(f"  {len(finding.gone)} events were purged before they were written: {spell(finding.gone)}")
        lines.append("  they are nowhere any more")
    match finding.decision:
        case Create(epoch, first_seq) if finding.recorded.used or finding.recorded.epoch:
            lines.append(f"  the stream was lost; it has to begin at {first_seq}, epoch {epoch}")
            lines.append(_unknown(finding))
        case Create(epoch, first_seq):
            lines.append(f"  the stream was never made; it has to begin at {first_seq}, epoch {epoch}")
        case Raise(epoch, _, continue_from, reason):
            goes_on = "" if continue_from is None else f" and go on from {continue_from}"
            lines.append(f"  the stream is not what it was ({reason}); it has to enter epoch {epoch}{goes_on}")
            lines.append(_unknown(finding))
        case _:
            pass
    return lines


def _unknown(finding: Finding) -> str:
    stored = finding.recorded.ts
    when = f" ({datetime.fromtimestamp(stored / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC)" if stored else ""
    return (
        f"  what was acknowledged after {finding.recorded.used}{when} and is not in the stream now is nowhere "
        "any more; how much that is nobody can tell"
    )


class Repair:
    """One partition. ``look`` gives what history has recorded and what the stream's leader says."""

    def __init__(
        self,
        stream: str,
        *,
        look: Callable[[], Awaitable[tuple[Recorded, Observed | None]]],
        reader: Reader,
        audit: Audit,
        history: HistorySink,
    ) -> None:
        self._stream = stream
        self._look = look
        self._reader = reader
        self._audit = audit
        self._history = history

    async def find(self) -> Finding:
        recorded, observed = await self._look()
        decision = decide(recorded, observed)
        if observed is None or not isinstance(decision, Keep) or recorded.watermark is None:
            return Finding(self._stream, recorded, observed, decision)
        compared = 0
        unfilled: list[int] = []
        unreadable: list[int] = []
        rooms: set[str] = set()
        async for batch, strange in self._events(observed.first_seq, recorded.watermark.seq):
            compared += len(batch)
            unreadable += strange
            lacking = set(await self._audit.lacking(batch))
            unfilled += sorted(lacking)
            rooms.update(envelope.room for seq, envelope in batch if seq in lacking)
        return Finding(
            self._stream,
            recorded,
            observed,
            decision,
            compared,
            tuple(unfilled),
            tuple(unreadable),
            frozenset(rooms),
        )

    async def fill(self, finding: Finding) -> int:
        """Write all that the stream holds of the rooms in which something lacks: what amends a message too. How many
        events that were."""
        mark, observed = finding.recorded.watermark, finding.observed
        if mark is None or observed is None or not finding.rooms:
            return 0
        written = 0
        async for batch, _ in self._events(observed.first_seq, mark.seq):
            theirs = [(seq, envelope) for seq, envelope in batch if envelope.room in finding.rooms]
            if theirs:
                await self._history.write(mark.epoch, theirs)
                written += len(theirs)
        return written

    async def _events(self, first: int, last: int) -> AsyncIterator[tuple[list[tuple[int, Envelope]], list[int]]]:
        """Batches of events, and the sequences of what is none."""
        position = first - 1
        while position < last:
            stored = await self._reader.after(position, _PAGE)
            if not stored:
                return
            position = stored[-1].seq
            events: list[tuple[int, Envelope]] = []
            strange: list[int] = []
            for message in stored:
                if message.seq > last:
                    break
                try:
                    events.append((message.seq, read_event(message)))
                except Rejected:
                    strange.append(message.seq)
            yield events, strange
