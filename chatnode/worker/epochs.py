"""What has to be done about a stream before its events may be written: pure decisions (ARCHITECTURE §1).

An epoch is raised when a stream was created anew or went back in time, because sequences may then name other events
than they did. New events always get sequences above every one that was ever used.
"""

from dataclasses import dataclass

from chatnode.rooms.ports import Watermark


@dataclass(frozen=True, slots=True)
class Recorded:
    """What MongoDB knows of a stream."""

    watermark: Watermark | None
    highest: int
    """The highest sequence that was ever applied, in any epoch."""
    epoch: int
    """The highest epoch that was ever given out; 0 for none."""
    ts: int = 0
    """When the event at the watermark was stored; milliseconds."""

    @property
    def used(self) -> int:
        """The highest sequence that an applied event ever had."""
        return max(self.highest, self.watermark.seq if self.watermark else 0)


NOTHING_RECORDED = Recorded(None, 0, 0)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the stream's leader says."""

    epoch: int
    """0: its metadata name none."""
    first_seq: int
    last_seq: int
    hash_at_watermark: str | None
    """Of the event at the watermark's sequence; None where there is none (any more)."""
    closed: bool = False
    """Takes nothing in."""
    replicated: bool = False
    """Its leader is one of several servers, and may be behind what a quorum has stored."""

    @property
    def certain(self) -> bool:
        """Whether its word is good at once. Only who has made sure closes a stream."""
        return self.closed or not self.replicated


@dataclass(frozen=True, slots=True)
class Create:
    """There is no stream: create it, so that its first event is ``first_seq``."""

    epoch: int
    first_seq: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Go on after the watermark."""

    epoch: int
    missing: range = range(0)
    """Sequences that were purged before they were applied: lost from history."""


@dataclass(frozen=True, slots=True)
class Raise:
    """The stream is not what it was. Apply all that it holds in the new epoch: what is known already is recognised by
    its command ids and stays as it is, what came since is taken up."""

    epoch: int
    reapply_from: int
    continue_from: int | None
    """Where given, the stream ends too low: close it, apply what it holds, empty it, and go on from this sequence."""
    reason: str


Decision = Create | Keep | Raise


def decide(recorded: Recorded, observed: Observed | None) -> Decision:
    """What to do about one stream, from MongoDB's word and NATS's."""
    mark = recorded.watermark
    known = max(recorded.epoch, mark.epoch if mark else 0)
    used = recorded.used
    if observed is None:
        return Create(known + 1, used + 1)
    highest = max(known, observed.epoch)
    if observed.last_seq < used:
        reason = f"the stream ends at {observed.last_seq}, {used} was applied"
        return Raise(highest + 1, observed.first_seq, used + 1, reason)
    if mark is not None and _differs(mark, observed):
        reason = f"event {mark.seq} is {observed.hash_at_watermark}, {mark.hash} was applied"
        return Raise(highest + 1, observed.first_seq, None, reason)
    epoch = max(highest, 1)
    next_seq = mark.seq + 1 if mark else 1
    return Keep(epoch, range(next_seq, max(next_seq, observed.first_seq)))


def _differs(mark: Watermark, observed: Observed) -> bool:
    """Whether another event is where the watermark's was. A watermark of before any event has the hash ``0``."""
    if mark.hash == "0" or observed.hash_at_watermark is None:
        return False
    return observed.hash_at_watermark != mark.hash
