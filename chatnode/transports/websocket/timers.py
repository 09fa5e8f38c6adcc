"""Turns a timer wheel by the event loop: one loop timer for everything that waits on a node, none when nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chatnode.transports.websocket.wheel import TICK_S, Slot, Timed, TimerWheel


class Timers:
    """Coarse timers (up to ``tick`` late) in the loop's own time, for whatever there is thousands of."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tick: float = TICK_S) -> None:
        self._loop = loop
        self._tick = tick
        self._wheel = TimerWheel(loop.time(), tick)
        self._handle: asyncio.TimerHandle | None = None
        self.time = loop.time

    def schedule(self, item: Timed, at: float) -> Slot:
        """See :meth:`TimerWheel.schedule`."""
        if self._handle is None:
            self._handle = self._loop.call_later(self._tick, self._turn)
        return self._wheel.schedule(item, at)

    def cancel(self, item: Timed, slot: Slot) -> None:
        self._wheel.cancel(item, slot)

    def call_at(self, at: float, callback: Callable[[], None]) -> Alarm:
        """Call ``callback`` once, from the loop."""
        return Alarm(self, at, callback)

    def stop(self) -> None:
        """Call nothing more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _turn(self) -> None:
        self._handle = self._loop.call_later(self._tick, self._turn)
        self._wheel.advance(self._loop.time())
        if not self._wheel:
            self.stop()


class Alarm:
    """One callback at one time."""

    __slots__ = ("_callback", "_slot", "_timers")

    def __init__(self, timers: Timers, at: float, callback: Callable[[], None]) -> None:
        self._timers = timers
        self._callback = callback
        self._slot = timers.schedule(self, at)

    def due(self, now: float) -> None:  # noqa: ARG002  the wheel's contract
        self._callback()

    def cancel(self) -> None:
        """Nothing happens when it has gone off already."""
        self._timers.cancel(self, self._slot)
