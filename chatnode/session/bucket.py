"""Token bucket: ``burst`` at once, ``rate`` per second on average."""

import math


def told(wait: float) -> float:
    """Seconds to wait as they are told: rounded up to a millisecond, so that nobody is told 0 and comes too early."""
    return math.ceil(wait * 1000) / 1000


class TokenBucket:
    __slots__ = ("_burst", "_rate", "_stamp", "_tokens")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._stamp = now

    def take(self, now: float) -> float:
        """Take one token; 0.0 when there was one, else the seconds until there is. Time going back adds nothing."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._stamp) * self._rate)
        self._stamp = max(self._stamp, now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate
