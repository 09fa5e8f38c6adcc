"""Admission to what is expensive: so many at once, so many more that wait in line, the rest is told to come back.

A storm of clients that come back catches up behind this gate, client by client in turn and room by room, so that it
starves neither those who are connected nor those who want little.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from chatnode.rooms.ports import Unavailable


class Gate:
    """``at_once`` may be inside; ``waiting_max`` more wait: each client's in the order in which they came, clients by
    turns, so that one who wants many places holds nobody up who wants one."""

    def __init__(self, what: str, *, at_once: int, waiting_max: int) -> None:
        self._what = what
        self._free = at_once
        self._waiting_max = waiting_max
        self._waiting = 0
        self._lines: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        return self._waiting

    @asynccontextmanager
    async def entered(self, client: Hashable = None) -> AsyncIterator[None]:
        """Inside the gate; :class:`Unavailable` at once where too many wait already."""
        await self._enter(client)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, client: Hashable) -> None:
        if self._free:
            self._free -= 1
            return
        if self._waiting >= self._waiting_max:
            raise Unavailable(f"{self._what}: {self._waiting} wait already; come back later")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(client, deque()).append(turn)
        self._waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            else:
                self._drop(client, turn)
            raise
        finally:
            self._waiting -= 1

    def _leave(self) -> None:
        """Let the next one in."""
        while self._lines:
            client, line = self._lines.popitem(last=False)
            turn = line.popleft()
            if line:
                self._lines[client] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _drop(self, client: Hashable, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(client)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[client]
