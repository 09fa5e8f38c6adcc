"""Timers for many thousands of connections: coarse, without an object per timer, driven by one tick of the loop.

:class:`TimerWheel` is pure; :class:`chatnode.transports.websocket.timers.Timers` turns it.
"""

from __future__ import annotations

from typing import Final, Protocol

TICK_S: Final = 0.25


class Timed(Protocol):
    """What a wheel holds; compared by identity."""

    def due(self, now: float) -> float | None:
        """The time has come; when to be called again, or None."""
        ...


Slot = set[Timed]
"""Where an item waits; opaque, to be handed back to :meth:`TimerWheel.cancel`."""


class TimerWheel:
    """Items are called up to one tick late, never early. Times are seconds of whatever clock ``now`` comes from."""

    __slots__ = ("_current", "_slots", "_tick")

    def __init__(self, now: float, tick: float = TICK_S) -> None:
        self._tick = tick
        self._current = int(now / tick)
        self._slots: dict[int, Slot] = {}

    def __bool__(self) -> bool:
        """Whether anything may still be waiting."""
        return bool(self._slots)

    def schedule(self, item: Timed, at: float) -> Slot:
        """Call ``item.due`` once ``at`` has passed; in the past means at the next tick."""
        number = max(-int(-at // self._tick), self._current + 1)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
        slot.add(item)
        return slot

    @staticmethod
    def cancel(item: Timed, slot: Slot) -> None:
        """Forget ``item``; nothing happens when its time has come already."""
        slot.discard(item)

    def advance(self, now: float) -> None:
        """Call what is due, earlier ticks first, and schedule again what wants it.

        When an item raises, the rest of them is called by the next ``advance``.
        """
        self._current = max(self._current, int(now / self._tick))
        for number in sorted(number for number in self._slots if number <= self._current):
            slot = self._slots[number]
            while slot:
                item = slot.pop()
                again = item.due(now)
                if again is not None:
                    self.schedule(item, again)
            del self._slots[number]
