"""What a node has heard of control events: each once, in order, and the moment of which it knows everything."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from chatnode.identity.control import ControlTail
from chatnode.protocol.control import Heartbeat

LIMIT: Final = 5.0


def event(seq: int) -> Heartbeat:
    return Heartbeat(id=f"hb-{seq}", actor="n1", ts=seq)


def heard(tail: ControlTail, *sequences: int, now: float = 0.0) -> list[int]:
    return [seq for number in sequences for seq, _ in tail.offer(number, event(number), now)]


def tail_at(position: int) -> ControlTail:
    tail = ControlTail(suspend_after=LIMIT)
    tail.start(position)
    return tail


def awake(position: int = 0, now: float = 0.0) -> ControlTail:
    """One that is not suspended at ``now``."""
    tail = tail_at(position)
    tail.proved(position, now, now)
    suspension = tail.reread_due(now)
    assert suspension is not None
    tail.reread(suspension)
    assert not tail.suspended(now)
    return tail


def test_events_in_order_are_delivered_as_they_come() -> None:
    assert heard(tail_at(7), 8, 9, 10) == [8, 9, 10]


def test_a_jump_is_a_loss_until_it_is_fetched() -> None:
    tail = tail_at(7)
    assert heard(tail, 10, 11) == []
    assert tail.missing == 8
    assert [seq for seq, _ in tail.fetched([(8, event(8)), (9, event(9))], 0.0)] == [8, 9, 10, 11]
    assert tail.missing is None


def test_numbers_that_the_stream_no_longer_holds_are_passed_over_when_fetched() -> None:
    tail = tail_at(7)
    heard(tail, 12)
    assert [seq for seq, _ in tail.fetched([(9, event(9)), (11, event(11))], 0.0)] == [9, 11, 12]


def test_what_is_known_to_exist_is_missing_without_a_later_event() -> None:
    tail = tail_at(7)
    tail.known(9)
    assert (tail.missing, tail.end) == (8, 9)


def test_what_is_already_delivered_is_not_delivered_again() -> None:
    tail = tail_at(7)
    assert heard(tail, 8, 8, 3, 7) == [8]
    assert tail.fetched([(7, event(7)), (8, event(8))], 0.0) == []


def test_events_far_ahead_are_bounded_and_fetched_later() -> None:
    tail = ControlTail(suspend_after=LIMIT, ahead_max=3)
    assert heard(tail, *range(2, 100)) == []
    assert [seq for seq, _ in tail.fetched([(1, event(1))], 0.0)] == [1, 2, 3, 4]
    assert (tail.missing, tail.end) == (5, 99)


@given(st.data())
def test_whatever_is_lost_repeated_or_overtaken_each_event_comes_once_in_order(data: st.DataObject) -> None:
    last = data.draw(st.integers(1, 30))
    stored = sorted(data.draw(st.sets(st.integers(1, last))) | {last})
    tail = tail_at(0)
    delivered: list[int] = []
    arrivals = data.draw(st.lists(st.sampled_from(stored), max_size=60))
    for seq in arrivals:
        if data.draw(st.booleans()):
            delivered += heard(tail, seq)
        elif tail.missing is not None:
            limit = data.draw(st.integers(1, 5))
            rest = [number for number in stored if number > tail.position][:limit]
            delivered += [each for each, _ in tail.fetched([(number, event(number)) for number in rest], 0.0)]
    tail.known(last)
    while tail.missing is not None:
        rest = [number for number in stored if number > tail.position][:3]
        delivered += [each for each, _ in tail.fetched([(number, event(number)) for number in rest], 0.0)]
    assert delivered == stored
    assert tail.position == last


def test_at_first_nothing_may_be_done() -> None:
    tail = tail_at(7)
    assert tail.suspended(0.0)
    assert tail.reread_due(0.0) is None


def test_hearing_everything_up_to_a_proof_and_reading_rights_wakes_it() -> None:
    tail = tail_at(7)
    tail.proved(9, 1.0, 1.1)
    assert tail.reread_due(1.1) is None
    heard(tail, 8, 9, now=1.2)
    suspension = tail.reread_due(1.2)
    assert suspension is not None
    assert tail.suspended(1.2)
    tail.reread(suspension)
    assert not tail.suspended(1.2)
    assert tail.silent_for(1.2) == 1.2 - 1.0


def test_events_that_merely_arrive_prove_nothing() -> None:
    """They may have waited in a buffer for as long as the process was stopped."""
    tail = awake(7)
    heard(tail, *range(8, 30), now=5.1)
    assert tail.suspended(5.1)


def test_silence_of_more_than_the_limit_suspends() -> None:
    tail = awake(7, now=100.0)
    assert not tail.suspended(105.0)
    assert tail.suspended(105.1)


def test_a_gap_that_stays_open_suspends_although_proofs_come() -> None:
    tail = awake(7)
    for second in range(1, 8):
        tail.proved(8 + second, float(second), float(second))
        heard(tail, 8 + second, now=float(second))
    assert tail.suspended(6.0)
    assert tail.reread_due(6.0) is None


def test_after_a_silence_rights_are_read_again_before_anything_is_done() -> None:
    tail = awake(7)
    tail.proved(7, 6.0, 6.0)
    assert tail.suspended(6.0)
    suspension = tail.reread_due(6.0)
    assert suspension is not None
    tail.reread(suspension)
    assert not tail.suspended(6.0)


def test_reading_rights_ends_only_the_suspension_for_which_it_began() -> None:
    tail = awake(7)
    tail.proved(7, 6.0, 6.0)
    first = tail.reread_due(6.0)
    assert first is not None
    tail.proved(7, 20.0, 20.0)
    tail.reread(first)
    assert tail.suspended(20.0)
    second = tail.reread_due(20.0)
    assert second is not None
    tail.reread(second)
    assert not tail.suspended(20.0)


def test_an_old_proof_does_not_make_the_silence_shorter() -> None:
    tail = awake(7, now=10.0)
    tail.proved(7, 3.0, 11.0)
    assert tail.silent_for(11.0) == 1.0


def test_a_proof_that_comes_late_counts_from_when_it_was_asked() -> None:
    tail = awake(7)
    tail.proved(7, 4.0, 8.0)
    assert tail.suspended(8.0)
    assert tail.silent_for(8.0) == 4.0


def test_what_was_purged_unheard_makes_rights_be_read_again() -> None:
    tail = awake(7)
    heard(tail, 12, now=1.0)
    assert [seq for seq, _ in tail.skip(11, 1.0)] == [12]
    assert tail.suspended(1.0)
    assert tail.reread_due(1.0) is not None
    assert tail.skip(5, 1.0) == []


def test_a_stream_that_went_back_is_followed_from_its_end() -> None:
    tail = awake(700)
    tail.rewind(3)
    assert tail.suspended(0.0)
    assert heard(tail, 4) == [4]
    assert tail.missing is None


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.integers(0, 2), st.floats(0.0, 8.0)), max_size=40))
def test_it_never_acts_on_knowledge_that_is_older_than_the_limit(moves: list[tuple[float, int, float]]) -> None:
    """Against the plainest account of it: the newest proof of which everything has been delivered."""
    tail = awake(0)
    now, end, known_at, open_proofs = 0.0, 0, 0.0, []
    for pause, kind, age in moves:
        now += pause
        if kind == 0:
            end += 1
            tail.proved(end, now - age, now)
            open_proofs.append((end, now - age))
        elif kind == 1 and end:
            heard(tail, end, now=now)
        elif tail.missing is not None:
            tail.fetched([(seq, event(seq)) for seq in range(tail.missing, end + 1)], now)
        for seq, asked_at in open_proofs:
            if seq <= tail.position:
                known_at = max(known_at, asked_at)
        suspension = tail.reread_due(now)
        if suspension is not None:
            tail.reread(suspension)
        if now - known_at > LIMIT:
            assert tail.suspended(now)
        elif tail.missing is None:
            assert not tail.suspended(now)
