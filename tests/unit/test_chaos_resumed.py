"""When writes go on after a death is told by partition, what people waited by room; silence does not count there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.broker.subjects import partition_of
from chatnode.protocol.frames import Position, Send
from tests.chaos.resumed import Span, first_acks_s, resume_s, waited_s
from tests.oracle import Acked, Invoked, Record

ROOM = "one"
DIED_AT = 100.0
DEATHS = [(DIED_AT, (partition_of(ROOM),))]


def asked(user: str, command: str, asked_at: float, acked_at: float | None) -> list[Record]:
    send = Send(id=command, room=ROOM, text="hello")
    records: list[Record] = [Invoked(at=asked_at, client=user, user=user, command=send)]
    if acked_at is not None:
        records.append(Acked(at=acked_at, client=user, user=user, command=command, room=ROOM, position=Position(1, 1)))
    return records


def test_writes_have_resumed_when_what_was_asked_after_the_death_is_acked() -> None:
    records = [*asked("ana", "first", 100.1, 103.0), *asked("ana", "second", 100.2, 104.0)]
    assert waited_s(records, ROOM, DEATHS) == 2.9


def test_who_asked_before_the_death_waits_from_the_death_on() -> None:
    """Both of a room of two waited, and asked nothing more until they had their acks."""
    records = [*asked("ana", "before", 99.0, 115.0), *asked("ana", "after", 115.1, 115.2)]
    assert waited_s(records, ROOM, DEATHS) == 15.1


def test_an_ack_that_was_on_its_way_at_the_death_is_no_sign_of_life() -> None:
    records = [*asked("ana", "before", 99.9, 100.1), *asked("ana", "after", 101.0, 112.0)]
    assert waited_s(records, ROOM, DEATHS) == 11.1


def test_while_nobody_asks_anything_nobody_waits() -> None:
    records = [*asked("ana", "before", 99.5, 103.0), *asked("ana", "late", 127.0, 127.1)]
    assert waited_s(records, ROOM, DEATHS) == 3.1


def test_people_who_wait_at_the_same_time_are_counted_once() -> None:
    records = [*asked("ana", "a", 99.0, 104.0), *asked("bob", "b", 101.0, 105.0), *asked("eve", "c", 104.5, 106.0)]
    assert waited_s(records, ROOM, DEATHS) == 5.0


def test_a_room_of_another_leader_is_not_timed() -> None:
    assert waited_s(asked("ana", "a", 100.1, 103.0), ROOM, [(DIED_AT, (partition_of(ROOM) ^ 1,))]) is None


@pytest.mark.parametrize("asked_at", [99.5, 100.5])
def test_a_room_in_which_nothing_is_acked_after_a_death_has_not_resumed(asked_at: float) -> None:
    resumed = waited_s([*asked("ana", "done", 98.0, 99.0), *asked("ana", "a", asked_at, None)], ROOM, DEATHS)
    assert resumed is not None
    assert resumed > 1_000


def test_a_room_in_which_nobody_waits_or_asks_is_not_timed() -> None:
    assert waited_s(asked("ana", "before", 98.5, 99.2), ROOM, DEATHS) is None


def test_who_chose_to_be_offline_waits_for_nothing() -> None:
    records = [*asked("ana", "held", 99.0, 113.0), *asked("bob", "after", 114.0, 114.5)]
    assert waited_s(records, ROOM, DEATHS, {"ana": [(99.1, 112.0)], "eve": [(0.0, 200.0)]}) == 1.5


def test_the_worst_death_counts() -> None:
    records = [*asked("ana", "a", 100.0, 102.0), *asked("ana", "b", 200.0, 207.0), *asked("ana", "c", 300.0, 301.0)]
    deaths = [(at, (partition_of(ROOM),)) for at in (100.0, 200.0, 300.0)]
    assert waited_s(records, ROOM, deaths) == 7.0


times = st.integers(90, 130).map(float)


@given(st.lists(st.tuples(times, times)), st.lists(st.tuples(times, times)), st.booleans())
def test_nobody_waits_longer_than_until_the_last_ack_and_being_offline_only_shortens_it(
    commands: list[Span], offline: list[Span], alone: bool
) -> None:
    records = [
        record
        for number, (one, other) in enumerate(commands)
        for record in asked("ana" if alone else f"user-{number}", f"c{number}", min(one, other), max(one, other))
    ]
    waited = waited_s(records, ROOM, DEATHS)
    away = {"ana": [(min(span), max(span)) for span in offline]}
    present = waited_s(records, ROOM, DEATHS, away)
    last = max((max(span) for span in commands), default=0.0)
    assert 0.0 <= (present or 0.0) <= (waited or 0.0) <= max(0.0, last - DIED_AT)


def another_room_of_the_partition() -> str:
    return next(name for name in map(str, range(1_000)) if partition_of(name) == partition_of(ROOM))


def test_a_partition_takes_writes_in_with_the_first_ack_of_what_was_asked_after_the_death() -> None:
    """Where one room's people have to connect anew, another room shows that writes go on."""
    slow = first_acks_s(asked("ana", "a", 100.1, 118.0), ROOM, DEATHS)
    quick = first_acks_s(asked("bob", "b", 100.2, 104.0), ROOM, DEATHS)
    assert resume_s({ROOM: slow, another_room_of_the_partition(): quick}) == 4.0
    assert resume_s({ROOM: slow}) == 18.0


def test_what_was_asked_before_the_death_is_no_sign_of_life_of_a_partition() -> None:
    records = [*asked("ana", "before", 99.9, 100.1), *asked("ana", "after", 101.0, 112.0)]
    assert resume_s({ROOM: first_acks_s(records, ROOM, DEATHS)}) == 12.0


def test_the_slowest_of_all_deaths_and_partitions_counts() -> None:
    deaths = [*DEATHS, (200.0, (partition_of(ROOM),)), (300.0, (partition_of(ROOM) ^ 1,))]
    records = [
        *asked("ana", "a", 100.1, 103.0),
        *asked("ana", "b", 200.0, 207.5),
        *asked("ana", "c", 300.0, 330.0),
    ]
    assert resume_s({ROOM: first_acks_s(records, ROOM, deaths)}) == 7.5


def test_a_partition_that_takes_nothing_in_any_more_has_not_resumed() -> None:
    resumed = resume_s({ROOM: first_acks_s(asked("ana", "a", 100.1, None), ROOM, DEATHS)})
    assert resumed is not None
    assert resumed > 1_000


def test_where_nobody_asked_after_a_death_nothing_is_told_of_it() -> None:
    assert resume_s({ROOM: first_acks_s(asked("ana", "a", 99.0, 99.5), ROOM, DEATHS)}) is None
