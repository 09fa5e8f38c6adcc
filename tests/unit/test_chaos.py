"""The plan of a chaos run, and the figures that are made of it: pure, from a seed and a log."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from chatnode.broker.subjects import partition_of
from chatnode.protocol.frames import Position, Send
from tests.chaos.faults import NETWORKED, Done, Fault, Kind, Target, plan
from tests.chaos.outcome import resume_s
from tests.oracle import Acked, Invoked

SEEDS = st.integers(0, 2**32)
QUIET_S = 10.0


@given(SEEDS)
def test_a_seed_repeats_its_plan(seed: int) -> None:
    assert plan(seed, 120.0, networked=True) == plan(seed, 120.0, networked=True)


@given(SEEDS)
def test_nothing_else_is_broken_while_a_leader_s_death_is_timed(seed: int) -> None:
    faults = plan(seed, 200.0, networked=True)
    timed = [fault for fault in faults if fault.timed]
    assert timed
    for fault, other in itertools.product(timed, faults):
        if other is not fault:
            over = other.after_s + other.lasts_s
            assert over + QUIET_S <= fault.after_s or other.after_s >= fault.after_s + QUIET_S


@given(SEEDS, st.booleans())
def test_servers_of_one_kind_are_not_broken_together(seed: int, networked: bool) -> None:
    faults = plan(seed, 200.0, networked=networked)
    for target in Target:
        own = [fault for fault in faults if fault.target is target]
        for before, after in itertools.pairwise(own):
            assert before.after_s + before.lasts_s <= after.after_s


@given(SEEDS)
def test_links_are_cut_only_where_they_are_the_runs_own(seed: int) -> None:
    assert not [fault for fault in plan(seed, 300.0, networked=False) if fault.kind in NETWORKED]


def test_writes_have_resumed_when_what_was_sent_after_the_death_is_acked_in_every_room_of_the_leader() -> None:
    rooms = ("one", "two")
    fault = Fault(0.0, Kind.KILL, Target.NATS, 0, leader=True, lasts_s=1.0, timed=True)
    done = Done(fault, ("nats-0",), 100.0, tuple(partition_of(room) for room in rooms))
    records = [
        *_stored("before", "one", 99.5, 100.2),
        *_stored("first", "one", 100.1, 103.0),
        *_stored("second", "one", 100.2, 104.0),
        *_stored("other", "two", 100.3, 105.5),
    ]
    assert resume_s(records, [done]) == 5.5


def test_a_room_in_which_nothing_is_acked_after_a_death_has_not_resumed() -> None:
    fault = Fault(0.0, Kind.KILL, Target.NATS, 0, leader=True, lasts_s=1.0, timed=True)
    done = Done(fault, ("nats-0",), 100.0, (partition_of("one"),))
    assert resume_s([*_stored("before", "one", 99.5, 100.2)], [done]) == float("inf")


def _stored(command: str, room: str, asked_at: float, acked_at: float) -> tuple[Invoked, Acked]:
    send = Send(id=command, room=room, text="hello")
    return (
        Invoked(at=asked_at, client="ana", user="ana", command=send),
        Acked(at=acked_at, client="ana", user="ana", command=command, room=room, position=Position(1, 1)),
    )
