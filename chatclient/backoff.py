"""How long to wait before trying again: exponential with full jitter, lest a thousand clients come at once."""

from typing import Final

BASE_S: Final = 1.0
CAP_S: Final = 30.0
_DOUBLINGS_MAX: Final = 32


def ceiling(attempt: int, *, base: float = BASE_S, cap: float = CAP_S) -> float:
    """The longest wait, in seconds, before attempt number ``attempt`` (0 is the first repetition): 1, 2, 4 … 30."""
    return min(cap, base * 2.0 ** min(attempt, _DOUBLINGS_MAX))


def delay(attempt: int, draw: float, *, base: float = BASE_S, cap: float = CAP_S) -> float:
    """Seconds to wait; ``draw`` is uniform in [0, 1)."""
    return draw * ceiling(attempt, base=base, cap=cap)
