"""Virtual time: event loops of several processes, each of which can be paused or killed, under one clock.

A :class:`Process` is an asyncio loop without I/O. Within it callbacks run first in, first out, as asyncio promises;
what differs from run to run is when messages arrive, which whoever schedules them draws from a seed.
"""

import asyncio
import heapq
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

GRID_S = 0.0005
"""Arrivals are rounded up to this, so that some fall together as they do on a socket."""


class Stuck(Exception):
    """Something runs on without time passing."""


class Call:
    """A callback that waits; asyncio's Handle and TimerHandle as far as it uses them."""

    __slots__ = ("_when", "args", "callback")

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._when = when
        self.callback: Callable[..., object] | None = callback
        self.args = args

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self._when


class Clock:
    """Time, and everything that is to happen in it. Seconds from 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Process | None, Call]] = []
        self._count = 0
        self.runnable: deque[Process] = deque()
        self.tasks: list[asyncio.Task[Any]] = []

    def at(self, when: float, process: "Process | None", callback: Callable[..., object], *args: Any) -> Call:
        """``process`` None: the callback is nobody's and cannot be paused."""
        call = Call(when, callback, args)
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, process, call))
        return call

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Call:
        return self.at(self.now + seconds, None, callback, *args)

    def run(self, until: float) -> None:
        """Everything up to ``until``."""
        heap, runnable = self._heap, self.runnable
        while True:
            while runnable:
                runnable.popleft().work()
            if not heap or heap[0][0] > until:
                self.now = max(self.now, until)
                return
            now = self.now = heap[0][0]
            while heap and heap[0][0] == now:
                process, call = heapq.heappop(heap)[2:]
                if call.callback is None:
                    continue
                self.steps += 1
                if process is None:
                    call.callback(*call.args)
                else:
                    process.arrive(call)

    def end(self) -> None:
        """Nothing runs any more: whatever still waits is taken apart, without a loop."""
        self._heap.clear()
        self.runnable.clear()
        for task in self.tasks:
            try:
                task.get_coro().close()
            except RuntimeError:
                continue
        self.tasks.clear()


class Process(asyncio.AbstractEventLoop):
    """One process: its loop, which time passes by while it is paused, and which never runs again once it is killed."""

    def __init__(self, clock: Clock, name: str, failed: Callable[[str], None]) -> None:
        self.clock = clock
        self.name = name
        self.dead = False
        self.paused = False
        self._failed = failed
        self._ready: deque[Call] = deque()

    def work(self) -> None:
        if self.paused or self.dead:
            return
        _set_running_loop(self)
        ready = self._ready
        turns = 0
        try:
            while ready:
                call = ready.popleft()
                if call.callback is not None:
                    call.callback(*call.args)
                turns += 1
                if turns > 5_000:
                    raise Stuck(f"{self.name} runs on at {self.clock.now}")
        finally:
            _set_running_loop(None)

    def arrive(self, call: Call) -> None:
        if self.dead:
            return
        if not self._ready and not self.paused:
            self.clock.runnable.append(self)
        self._ready.append(call)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            if self._ready:
                self.clock.runnable.append(self)

    def kill(self) -> None:
        self.dead = True
        self._ready.clear()

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self.clock.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Call:  # type: ignore[override]
        call = Call(self.clock.now, callback, args)
        self.arrive(call)
        return call

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Call:  # type: ignore[override]
        return self.clock.at(when, self, callback, *args)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        return self.clock.at(self.clock.now + delay, self, callback, *args)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[Any]":  # type: ignore[override]
        task = asyncio.Task(coro, loop=self, name=name)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.clock.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self._failed(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")
