"""Sending clients away: everybody once, evenly, and nobody after the node was told to stay."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chatnode.protocol.errors import CloseCode
from chatnode.transports.departure import AHEAD_S, GRACE_S, Departure


class Person:
    def __init__(self, present: list["Person"], *, stubborn: bool = False) -> None:
        self.told: list[bytes] = []
        self.shuts = 0
        self._present = present
        self._stubborn = stubborn

    def send(self, payload: bytes) -> None:
        self.told.append(payload)
        if not self._stubborn:
            self._present.remove(self)

    def shut(self, code: CloseCode, reason: str) -> None:
        assert code is CloseCode.RECONNECT
        self.shuts += 1
        self._present.remove(self)


def people(count: int, *, stubborn: bool = False) -> list[Person]:
    present: list[Person] = []
    present += [Person(present, stubborn=stubborn) for _ in range(count)]
    return present


def departure(present: list[Person]) -> Departure:
    return Departure(present, random.Random(7))


@given(st.integers(0, 300), st.floats(0, 600), st.floats(0.05, 5))
def test_everybody_is_told_once_within_the_window_and_no_faster_than_evenly(
    count: int, window_s: float, tick: float
) -> None:
    present = people(count)
    everybody = tuple(present)
    going = departure(present)
    going.leave(100.0, window_s, "drain")
    now = 100.0
    while now < 100.0 + window_s + tick:
        now += tick
        going.step(now)
        told = sum(len(person.told) for person in everybody)
        if window_s:
            assert told <= count * (now - 100.0) / window_s + 1
    assert all(len(person.told) == 1 and not person.shuts for person in everybody)
    assert going.stance == "draining"


def test_who_does_not_go_is_closed_after_the_grace() -> None:
    present = people(3, stubborn=True)
    everybody = tuple(present)
    going = departure(present)
    going.leave(0.0, 10.0, "drain")
    going.step(10.0)
    assert [person.shuts for person in everybody] == [0, 0, 0]
    going.step(10.0 + GRACE_S)
    assert [person.shuts for person in everybody] == [1, 1, 1]


def test_who_comes_while_it_drains_is_told_at_the_end() -> None:
    present = people(2)
    going = departure(present)
    going.leave(0.0, 10.0, "drain")
    going.step(9.9)
    late = Person(present)
    present.append(late)
    going.step(10.0)
    assert len(late.told) == 1


def test_a_node_that_is_told_to_stay_tells_nobody_any_more() -> None:
    present = people(100)
    going = departure(present)
    going.leave(0.0, 100.0, "drain")
    going.step(40.0)
    assert len(present) == 60
    going.stay()
    going.step(200.0)
    assert len(present) == 60
    assert going.stance == "serving"


def test_a_signal_hurries_a_drain_and_tells_nobody_twice() -> None:
    present = people(100, stubborn=True)
    everybody = tuple(present)
    going = departure(present)
    going.leave(0.0, 1000.0, "drain")
    going.step(500.0)
    going.leave(500.0, 10.0, "shutdown")
    going.step(510.0)
    assert {len(person.told) for person in everybody} == {1}
    reasons = [msgspec.json.decode(person.told[0])["reason"] for person in everybody]
    assert (reasons.count("drain"), reasons.count("shutdown")) == (50, 50)


def test_a_window_that_ends_sooner_stays() -> None:
    present = people(10)
    going = departure(present)
    going.leave(0.0, 10.0, "drain")
    going.leave(5.0, 1000.0, "shutdown")
    going.step(10.0)
    assert not present


@given(st.integers(0, 50), st.integers(0, 80))
def test_shedding_tells_so_many_and_the_node_stays(count: int, shed: int) -> None:
    present = people(count)
    going = departure(present)
    going.shed(0.0, shed, 10.0)
    assert going.shedding == min(count, shed)
    for second in range(12):
        going.step(float(second))
    assert len(present) == max(0, count - shed)
    assert going.stance == "serving"
    assert going.shedding == 0


def test_those_who_are_told_together_do_not_arrive_together() -> None:
    present = people(50, stubborn=True)
    everybody = tuple(present)
    going = departure(present)
    going.leave(0.0, 1.0, "drain")
    going.step(1.0)
    waits = {msgspec.json.decode(person.told[0])["after_ms"] for person in everybody}
    assert len(waits) > 20
    assert max(waits) <= AHEAD_S * 1000
