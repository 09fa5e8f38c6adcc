"""Virtual time: event loops of several processes, each of which can be paused or killed, under one clock.

A :class:`Process` is an asyncio loop without I/O. Within it callbacks run first in, first out, as asyncio promises;
what differs from run to run is when messages arrive, which whoever schedules them draws from a seed.
"""

import asyncio
from asyncio import Future
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, Final, TypeAlias, TypeVar

T = TypeVar("T")

GRID_S = 0.0005
"""Arrivals are rounded up to this, so that some fall together as they do on a socket."""
_TURNS_MAX: Final = 5_000
"""Callbacks of a process at one moment, beyond which it is stuck."""


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


Posted = tuple[Callable[..., object], tuple[Any, ...]]
"""A callback that nobody takes back. There are a thousand in a history, of which few are more than this."""
Coming: TypeAlias = "Call | Posted | asyncio.Future[None]"
"""What happens at a time; a future is done then, unless it was cancelled."""


def wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class Clock:
    """Time, and everything that is to happen in it. Seconds from 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Process | None, Coming]] = []
        self._count = 0
        self.runnable: deque[Process] = deque()
        self.tasks: list[asyncio.Task[Any]] = []

    def at(self, when: float, process: "Process | None", callback: Callable[..., object], *args: Any) -> Call:
        """``process`` None: the callback is nobody's and cannot be paused."""
        call = Call(when, callback, args)
        self._count += 1
        heappush(self._heap, (max(self.now, when), self._count, process, call))
        return call

    def post(self, when: float, process: "Process | None", callback: Callable[..., object], *args: Any) -> None:
        """As :meth:`at`, and it happens whatever comes."""
        self._count += 1
        heappush(self._heap, (max(self.now, when), self._count, process, (callback, args)))

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        self.post(self.now + seconds, None, callback, *args)

    def process(self, name: str, failed: "Callable[[str], None]") -> "Process":
        """A new one; ``failed`` is told of what ended with an error."""
        # Abstract for type checkers alone: what is not defined raises NotImplementedError.
        return Process(self, name, failed)  # type: ignore[abstract]

    def run(self, until: float) -> None:
        """Everything up to ``until``."""
        heap, runnable = self._heap, self.runnable
        while True:
            if runnable:
                try:
                    while runnable:
                        runnable.popleft().work()
                finally:
                    _set_running_loop(None)
            if not heap or heap[0][0] > until:
                self.now = max(self.now, until)
                return
            now = self.now = heap[0][0]
            while heap and heap[0][0] == now:
                _, _, process, call = heappop(heap)
                if type(call) is Call and call.callback is None:
                    continue
                self.steps += 1
                if process is None:
                    if type(call) is tuple:
                        call[0](*call[1])
                    else:
                        call.callback(*call.args)  # type: ignore[union-attr, misc]
                elif not process.dead:
                    process._ready.append(call)
                    if not process._queued and not process.paused:
                        process._queued = True
                        runnable.append(process)

    def end(self) -> None:
        """Nothing runs any more: whatever still waits is taken apart, without a loop."""
        self._heap.clear()
        self.runnable.clear()
        for task in self.tasks:
            if task.done():
                continue
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
        self._ready: deque[Coming] = deque()
        self._queued = False
        """Whether it is among those that run, or runs."""

    def work(self) -> None:
        if self.paused or self.dead:
            self._queued = False
            return
        _set_running_loop(self)
        ready = self._ready
        take = ready.popleft
        for _ in range(_TURNS_MAX):
            if not ready:
                break
            call = take()
            kind = type(call)
            if kind is tuple:
                call[0](*call[1])  # type: ignore[index]
            elif kind is Call:
                if call.callback is not None:  # type: ignore[union-attr]
                    call.callback(*call.args)  # type: ignore[union-attr]
            elif not call.done():  # type: ignore[union-attr]
                call.set_result(None)  # type: ignore[union-attr]
        else:
            raise Stuck(f"{self.name} runs on at {self.clock.now}")
        self._queued = False

    def arrive(self, call: Coming) -> None:
        if self.dead:
            return
        if not self._queued and not self.paused:
            self._queued = True
            self.clock.runnable.append(self)
        self._ready.append(call)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            if self._ready and not self._queued:
                self._queued = True
                self.clock.runnable.append(self)

    def kill(self) -> None:
        self.dead = True
        self._ready.clear()

    def passing(self, seconds: float) -> "asyncio.Future[None]":
        """Done when that time has passed."""
        future: asyncio.Future[None] = Future(loop=self)
        clock = self.clock
        clock._count += 1
        heappush(clock._heap, (clock.now + seconds, clock._count, self, future))
        return future

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self.clock.now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call | None:
        """Futures and tasks, which are written in C, name a context, and do not take back what they ask for."""
        if context is None:
            call = Call(self.clock.now, callback, args)
            self.arrive(call)
            return call
        if not self.dead:
            self._ready.append((callback, args))
            if not self._queued and not self.paused:
                self._queued = True
                self.clock.runnable.append(self)
        return None

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Call:  # type: ignore[override]
        return self.clock.at(when, self, callback, *args)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        return self.clock.at(self.clock.now + delay, self, callback, *args)

    def create_future(self) -> "asyncio.Future[Any]":
        return Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        task = asyncio.Task(coro, loop=self, name=name or "task")
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


def sleep(seconds: float) -> Awaitable[None]:
    """asyncio's, for a :class:`Process`."""
    if seconds <= 0:
        return _SLEEP(0)
    process: Any = asyncio.get_running_loop()
    return process.passing(seconds)  # type: ignore[no-any-return]


_SLEEP: Final = asyncio.sleep
