"""Coarse timers: never early, at most a tick late, and forgotten when cancelled."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.transports.websocket.wheel import TimerWheel

TICK = 0.25
moments = st.floats(0, 1000, allow_nan=False)


@dataclass(eq=False)
class Item:
    again: list[float] = field(default_factory=list)
    """When to be called after each call."""
    called: list[float] = field(default_factory=list)
    raises: bool = False

    def due(self, now: float) -> float | None:
        self.called.append(now)
        if self.raises:
            raise RuntimeError("an item's own fault")
        return self.again.pop(0) if self.again else None


@given(st.floats(0, 1e6), moments, st.integers(1, 40))
def test_an_item_is_called_once_not_early_and_at_most_a_tick_late(start: float, wait: float, steps: int) -> None:
    wheel = TimerWheel(start, TICK)
    item = Item()
    wheel.schedule(item, start + wait)
    now = start
    while not item.called and now < start + wait + 3 * TICK:
        wheel.advance(now)
        now += TICK / steps + 0.01
    [at] = item.called
    assert start + wait <= at <= start + wait + 2 * TICK + 0.01
    wheel.advance(at + 1000)
    assert item.called == [at]
    assert not wheel


@given(st.lists(moments, min_size=1, max_size=30), moments)
def test_exactly_what_is_due_is_called_even_after_a_long_pause(times: list[float], now: float) -> None:
    wheel = TimerWheel(0.0, TICK)
    items = [(at, Item()) for at in times]
    for at, item in items:
        wheel.schedule(item, at)
    wheel.advance(now)
    for at, item in items:
        if at <= now - TICK:
            assert item.called == [now]
        if at > now:
            assert item.called == []


def test_what_lies_in_the_past_is_called_at_the_next_tick() -> None:
    wheel = TimerWheel(100.0, TICK)
    item = Item()
    wheel.schedule(item, 1.0)
    wheel.advance(100.0)
    assert item.called == []
    wheel.advance(100.0 + TICK)
    assert item.called == [100.0 + TICK]


def test_an_item_that_wants_to_be_called_again_is() -> None:
    wheel = TimerWheel(0.0, TICK)
    item = Item(again=[2.0, 3.0])
    wheel.schedule(item, 1.0)
    for now in (1.0, 1.5, 2.0, 3.0, 9.0):
        wheel.advance(now)
    assert item.called == [1.0, 2.0, 3.0]


def test_an_item_that_wants_to_be_called_again_at_once_waits_for_the_next_tick() -> None:
    wheel = TimerWheel(0.0, TICK)
    item = Item(again=[0.0])
    wheel.schedule(item, 1.0)
    wheel.advance(1.0)
    assert item.called == [1.0]
    wheel.advance(1.0 + TICK)
    assert item.called == [1.0, 1.0 + TICK]


def test_a_cancelled_item_is_not_called() -> None:
    wheel = TimerWheel(0.0, TICK)
    item, other = Item(), Item()
    slot = wheel.schedule(item, 1.0)
    wheel.schedule(other, 1.0)
    wheel.cancel(item, slot)
    wheel.advance(2.0)
    wheel.cancel(other, slot)
    assert (item.called, other.called) == ([], [2.0])


def test_the_fault_of_one_item_delays_the_others_by_a_tick_only() -> None:
    wheel = TimerWheel(0.0, TICK)
    items = [Item(raises=number == 3) for number in range(8)]
    for item in items:
        wheel.schedule(item, 1.0)
    with pytest.raises(RuntimeError):
        wheel.advance(1.0)
    wheel.advance(1.0 + TICK)
    assert [len(item.called) for item in items] == [1] * 8
