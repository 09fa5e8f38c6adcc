"""Admission to what is expensive: so many at once, so many more that wait in line, the rest is told to come back.

A storm of clients that come back catches up behind this gate, first come first served and room by room, so that it
does not starve those who are connected.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chatnode.rooms.ports import Unavailable


class Gate:
    """``at_once`` may be inside; ``waiting_max`` more wait, in the order in which they came."""

    def __init__(self, what: str, *, at_once: int, waiting_max: int) -> None:
        self._what = what
        self._inside = asyncio.Semaphore(at_once)
        self._waiting_max = waiting_max
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Inside the gate; :class:`Unavailable` at once where too many wait already."""
        if self._waiting >= self._waiting_max:
            raise Unavailable(f"{self._what}: {self._waiting} wait already; come back later")
        self._waiting += 1
        try:
            await self._inside.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._inside.release()
