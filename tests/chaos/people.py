"""The run's end of its crowds: processes of people, each with some of the rooms."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from tests.chaos import orders
from tests.chaos.orders import Crowd, Hush, Hushed, Judge, Judged, Left, Order, Ready, Reply, Talk, Talking
from tests.chaos.servers import Site

_SEATED_WITHIN_S: Final = 180.0
_JUDGED_WITHIN_S: Final = 1200.0
_LINE_BYTES: Final = 2**24

R = TypeVar("R", bound=Reply)


class CrowdEnded(Exception):
    """A process of people ended before its time; what it printed is in the run's output."""


class People:
    """All crowds of a run, as an asynchronous context manager; inside, everybody has a seat."""

    def __init__(self, crowds: Sequence[Crowd], site: Site, environment: Mapping[str, str]) -> None:
        self._crowds = tuple(crowds)
        self._site = site
        self._environment = environment
        self._processes: list[Process] = []
        self._counts: dict[int, Talking] = {}

    @property
    def acked(self) -> int:
        """Commands acked so far, as crowds said a moment ago."""
        return sum(count.acked for count in self._counts.values())

    @property
    def waiting(self) -> int:
        """Commands without an outcome, as of a moment ago."""
        return sum(count.waiting for count in self._counts.values())

    async def __aenter__(self) -> Self:
        try:
            for crowd in self._crowds:
                process = await asyncio.create_subprocess_exec(
                    *(*self._site.prefix, sys.executable, "-m", "tests.chaos.crowd"),
                    stdin=PIPE,
                    stdout=PIPE,
                    env=self._environment,
                    limit=_LINE_BYTES,
                )
                self._processes.append(process)
                _write(process, orders.encode(crowd))
            await self._all(Ready, _SEATED_WITHIN_S)
        except BaseException:
            await self._kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._kill()

    def talk(self) -> None:
        self._order(Talk())
        self._listeners = [
            asyncio.create_task(self._until(process, Hushed), name="crowd") for process in self._processes
        ]

    async def hush(self, within_s: float) -> list[str]:
        """Nobody says anything more; who waits for an outcome or lacks something."""
        self._order(Hush(within_s))
        hushed = await asyncio.gather(*self._listeners)
        return [words for each in hushed for words in each.missing]

    async def judged(self, deaths: Sequence[tuple[float, tuple[int, ...]]], heard: Callable[[Judged], None]) -> None:
        """Leave, read everything back, and judge room by room."""
        self._order(Judge(tuple(deaths)))
        async with asyncio.timeout(_JUDGED_WITHIN_S):
            await asyncio.gather(*(self._until(process, Left, heard) for process in self._processes))

    def _order(self, order: Order) -> None:
        for process in self._processes:
            _write(process, orders.encode(order))

    async def _all(self, kind: type[R], within_s: float) -> list[R]:
        async with asyncio.timeout(within_s):
            return await asyncio.gather(*(self._until(process, kind) for process in self._processes))

    async def _until(self, process: Process, kind: type[R], heard: Callable[[Judged], None] = lambda _: None) -> R:
        if process.stdout is None:
            raise CrowdEnded("a crowd has no output")
        while line := await process.stdout.readline():
            reply = orders.reply_of(line)
            if isinstance(reply, kind):
                return reply
            if isinstance(reply, Judged):
                heard(reply)
            elif isinstance(reply, Talking):
                self._counts[process.pid] = reply
        raise CrowdEnded(f"a crowd ended with exit code {await process.wait()}")

    async def _kill(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _write(process: Process, line: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(line + b"\n")
