"""Who may come in now, and when the others are to come again: each at a time of their own.

Whoever is refused is told when their turn is, one turn after the one told before, at the rate at which a node lets
people in. A constant ``Retry-After`` would bring all of them back at once, to be refused once more.
"""

from typing import Final

from chatnode.session.bucket import TokenBucket

FARTHEST_S: Final = 30.0
"""Nobody is told more: by then there may be other nodes. It is also what clients wait at most by themselves."""


class Admission:
    """``rate_per_s`` on average, ``burst`` at once. A turn that was told is no reservation: who comes when there is
    room is let in, whoever it is, so that turns of those who went elsewhere cost nobody anything."""

    __slots__ = ("_bucket", "_rate_per_s", "_told")

    def __init__(self, rate_per_s: float, burst: int, now: float) -> None:
        self._bucket = TokenBucket(rate_per_s, burst, now)
        self._rate_per_s = rate_per_s
        self._told = now
        """The last turn that was told."""

    def ask(self, now: float) -> float:
        """0.0: come in, and it is counted; else the seconds until this one's turn, at most :data:`FARTHEST_S`."""
        wait = self._bucket.take(now)
        if not wait:
            return 0.0
        self._told = min(max(self._told + 1.0 / self._rate_per_s, now + wait), now + FARTHEST_S)
        return self._told - now
