"""How far this node has heard control events without a hole, and whether it may act on what it knows. Sans-I/O.

Every sequence number of ``CTRL`` is used, so a jump is a loss. Times are seconds of a monotonic clock that the caller
passes in.

That control is *heard* is proved by asking: the node stores (or finds stored) a heartbeat at ``asked_at`` and is told
its sequence; once everything up to that sequence has been delivered, the node knows all that was stored before
``asked_at``. What merely arrives proves nothing: it may have waited in a buffer for as long as the process slept.
"""

from collections.abc import Iterable
from typing import Final

from chatnode.protocol.control import ControlEvent

Numbered = tuple[int, ControlEvent | None]
"""Sequence and event; None stands for an entry that this version cannot read, which still takes its number."""

_PROOFS_MAX: Final = 64


class ControlTail:
    """After :meth:`start`: :meth:`offer` what arrives, :meth:`fetched` what was read; both return what is now next in
    order, each event exactly once. While :attr:`missing` is not None the caller fetches from it on.
    """

    def __init__(self, *, suspend_after: float, ahead_max: int = 4096) -> None:
        self._suspend_after = suspend_after
        self._ahead_max = ahead_max
        self._ahead: dict[int, ControlEvent | None] = {}
        self._proofs: list[tuple[int, float]] = []
        self._position = 0
        self._end = 0
        self._heard = float("-inf")
        self._stale = True
        self._suspensions = 1

    @property
    def position(self) -> int:
        """Everything up to this sequence has been delivered."""
        return self._position

    @property
    def end(self) -> int:
        """The highest sequence known to exist."""
        return self._end

    @property
    def missing(self) -> int | None:
        """The sequence to fetch from, None when nothing is known to be missing."""
        return self._position + 1 if self._position < self._end else None

    def start(self, position: int) -> None:
        """Begin after ``position``, up to which the projections are complete."""
        self._position = position
        self._end = max(self._end, position)

    def offer(self, seq: int, event: ControlEvent | None, now: float) -> list[Numbered]:
        """One event as it arrived, in any order, any number of times."""
        self._end = max(self._end, seq)
        if seq == self._position + 1:
            return self._advance([(seq, event)], now)
        if seq > self._position and len(self._ahead) < self._ahead_max:
            self._ahead[seq] = event
        return []

    def fetched(self, events: Iterable[Numbered], now: float) -> list[Numbered]:
        """Events read from the stream in order, from :attr:`missing` on: numbers left out in between were deleted."""
        return self._advance([(seq, event) for seq, event in events if seq > self._position], now)

    def known(self, seq: int) -> None:
        """The stream reaches at least to ``seq``."""
        self._end = max(self._end, seq)

    def skip(self, seq: int, now: float) -> list[Numbered]:
        """Everything up to ``seq`` was purged before it was read: rights have to be read again."""
        if seq <= self._position:
            return []
        self._suspend()
        self._position = seq
        self._end = max(self._end, seq)
        return self._advance([], now)

    def rewind(self, last: int) -> None:
        """The stream went back: it ends at ``last``, below what was heard. Rights have to be read again."""
        self._suspend()
        self._ahead.clear()
        self._proofs.clear()
        self._position = self._end = last

    def proved(self, seq: int, asked_at: float, now: float) -> None:
        """Asked at ``asked_at``, the stream said that it reaches to ``seq``; counts once all of that was delivered."""
        self.known(seq)
        self._proofs.append((seq, asked_at))
        del self._proofs[:-_PROOFS_MAX]
        self._settle(now)

    def suspended(self, now: float) -> bool:
        """Whether this node must neither deliver nor accept: control was not heard for too long, or has been heard
        again but rights were not read again since."""
        return self._stale or now - self._heard > self._suspend_after

    def silent_for(self, now: float) -> float:
        """Seconds since the last moment of which everything is known."""
        return now - self._heard

    def reread_due(self, now: float) -> int | None:
        """The number of the suspension that reading rights again would end; None when that is not due."""
        silent = now - self._heard > self._suspend_after
        return self._suspensions if self._stale and not silent and self.missing is None else None

    def reread(self, suspension: int) -> None:
        """Rights were read again, beginning when :meth:`reread_due` gave ``suspension``; a newer one goes on."""
        if suspension == self._suspensions:
            self._stale = False

    def _advance(self, events: list[Numbered], now: float) -> list[Numbered]:
        for seq, _ in events:
            self._position = seq
            self._ahead.pop(seq, None)
        while self._position + 1 in self._ahead:
            self._position += 1
            events.append((self._position, self._ahead.pop(self._position)))
        self._end = max(self._end, self._position)
        if self._ahead and events:
            self._ahead = {seq: event for seq, event in self._ahead.items() if seq > self._position}
        self._settle(now)
        return events

    def _settle(self, now: float) -> None:
        heard = [asked_at for seq, asked_at in self._proofs if seq <= self._position]
        if not heard:
            return
        self._proofs = [proof for proof in self._proofs if proof[0] > self._position]
        if now - self._heard > self._suspend_after:
            self._suspend()
        self._heard = max(self._heard, *heard)

    def _suspend(self) -> None:
        self._stale = True
        self._suspensions += 1
