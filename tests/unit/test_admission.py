"""A storm of people at one node: all get in at the node's rate, and hardly anybody is refused twice."""

import heapq
import math

from hypothesis import given
from hypothesis import strategies as st

from chatnode.session.admission import FARTHEST_S, Admission


def storm(rate: float, burst: int, arrivals: list[float]) -> tuple[list[float], list[int]]:
    """When each came in, and how often each was refused; they come again after the whole seconds that HTTP can say."""
    admission = Admission(rate, burst, 0.0)
    waiting = [(at, number) for number, at in enumerate(arrivals)]
    heapq.heapify(waiting)
    entered, refusals = [0.0] * len(arrivals), [0] * len(arrivals)
    while waiting:
        now, number = heapq.heappop(waiting)
        wait = admission.ask(now)
        if wait:
            refusals[number] += 1
            heapq.heappush(waiting, (now + math.ceil(wait), number))
        else:
            entered[number] = now
    return entered, refusals


@given(
    rate=st.integers(50, 1000),
    burst=st.integers(50, 1000),
    arrivals=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=2000),
)
def test_everybody_is_in_when_the_rate_allows_and_nobody_is_sent_away_for_long(
    rate: int, burst: int, arrivals: list[float]
) -> None:
    entered, refusals = storm(float(rate), burst, arrivals)
    beyond = max(0, len(arrivals) - burst)
    if beyond / rate < FARTHEST_S - 2:
        assert max(entered) <= 1.0 + beyond / rate + 3.0
        assert max(refusals) <= 3
    assert max(entered) <= 1.0 + 2 * beyond / rate + FARTHEST_S


def test_four_thousand_who_lost_their_node_are_in_after_eight_seconds_and_are_refused_once_on_average() -> None:
    entered, refusals = storm(500.0, 1000, [number / 4000 for number in range(4000)])
    assert max(entered) <= 8.0
    assert sum(refusals) <= 4000


def test_who_is_refused_is_told_another_time_than_the_one_before() -> None:
    admission = Admission(10.0, 1, 0.0)
    assert admission.ask(0.0) == 0.0
    assert [round(admission.ask(0.0), 6) for _ in range(4)] == [0.1, 0.2, 0.3, 0.4]


def test_turns_of_people_who_did_not_come_are_forgotten() -> None:
    admission = Admission(10.0, 1, 0.0)
    for _ in range(50):
        admission.ask(0.0)
    assert admission.ask(20.0) == 0.0
    assert round(admission.ask(20.0), 6) == 0.1


def test_nobody_is_told_more_than_the_farthest_turn() -> None:
    admission = Admission(1.0, 1, 0.0)
    assert max(admission.ask(0.0) for _ in range(500)) == FARTHEST_S
