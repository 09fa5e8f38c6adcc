"""Whether this process stood still lately: stopped, starved, or its machine asleep.

What it reads then may have waited in a socket for as long, and its sender may have sent it again elsewhere since,
beyond the duplicate window (ARCHITECTURE §2.2). Callbacks of sockets can come before those of timers when it goes on:
hence :meth:`Stillness.lately` looks at the clock itself.
"""

from collections.abc import Callable
from typing import Final

STOOD_S: Final = 10.0
"""Without a beat for so long is standing still. Far below the duplicate window, far above any load."""
CAREFUL_S: Final = 10.0
"""For so long afterwards: until what had come meanwhile is read."""


class Stillness:
    """``clock`` gives monotonic seconds, which pass while a process is stopped; :meth:`beat` is called each second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._beaten_at = clock()
        self._careful_until = self._beaten_at

    def beat(self) -> None:
        self._look()

    def lately(self) -> bool:
        return self._look() < self._careful_until

    def _look(self) -> float:
        now = self._clock()
        if now - self._beaten_at > STOOD_S:
            self._careful_until = now + CAREFUL_S
        self._beaten_at = now
        return now
