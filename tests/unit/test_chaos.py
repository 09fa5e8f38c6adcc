"""The plan of a chaos run, the log that it writes, and the figures that are made of it: pure, from a seed and a log."""

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.protocol.events import MessageEvent
from chatnode.protocol.frames import Position, Send
from chatoperator import mongo
from tests.chaos import servers
from tests.chaos.damage import damage
from tests.chaos.journal import Journal, read_journal
from tests.chaos.plan import AT_ONCE, NETWORKED, SHAPED, Fault, Kind, Means, Target, plan
from tests.chaos.shaper import Line
from tests.oracle import Acked, Delivered, Invoked, Record, Subscribed
from tests.oracle.planted import plant_all

SEEDS = st.integers(0, 2**32)
QUIET_S = 10.0


@given(SEEDS)
def test_a_seed_repeats_its_plan(seed: int) -> None:
    assert plan(seed, 120.0, Means()) == plan(seed, 120.0, Means())


@given(SEEDS)
def test_nothing_else_is_broken_while_a_leader_s_death_is_timed(seed: int) -> None:
    faults = plan(seed, 200.0, Means())
    timed = [fault for fault in faults if fault.timed]
    assert timed
    for fault, other in itertools.product(timed, faults):
        if other is not fault:
            over = other.after_s + other.lasts_s
            assert over + QUIET_S <= fault.after_s or other.after_s >= fault.after_s + QUIET_S


@given(SEEDS, st.booleans())
def test_of_one_kind_of_server_no_more_are_broken_together_than_a_quorum_bears(seed: int, networked: bool) -> None:
    faults = plan(seed, 200.0, Means(networked=networked))
    for fault in faults:
        for target in Target:
            together = [other for other in faults if _takes(other, target) and _is_on(other, fault.after_s)]
            assert len(together) <= AT_ONCE[target]


def _takes(fault: Fault, target: Target) -> bool:
    return fault.target is target or (fault.kind is Kind.HALVES and target is Target.MONGO)


def _is_on(fault: Fault, at: float) -> bool:
    return fault.after_s <= at < fault.after_s + fault.lasts_s


@given(SEEDS)
def test_nothing_is_planned_that_this_machine_cannot_do(seed: int) -> None:
    means = Means(networked=False, shaped=False, disks=False, clocks=False)
    kinds = {fault.kind for fault in plan(seed, 300.0, means)}
    assert not kinds & (NETWORKED | SHAPED | {Kind.DISK_FULL, Kind.CLOCK})


def test_many_seeds_plan_every_kind() -> None:
    assert {fault.kind for seed in range(20) for fault in plan(seed, 300.0, Means())} == set(Kind) - {
        Kind.RESTORE,
        Kind.HELD,
    }


def test_the_replica_set_elects_as_fast_as_in_production() -> None:
    assert servers.ELECTION_TIMEOUT_MS == mongo.ELECTION_TIMEOUT_MS


def test_every_planted_fault_is_found() -> None:
    assert all(plant_all().values())


def test_a_journal_gives_back_what_it_was_given_and_shares_events(tmp_path: Path) -> None:
    event = MessageEvent(room="one", epoch=1, seq=2, prev=0, cursor="1-2-x", ts=5, sender="ana", id="c", text="hello")
    other = MessageEvent(room="one", epoch=1, seq=2, prev=0, cursor="1-2-x", ts=5, sender="ana", id="c", text="else")
    records: list[Record] = [
        Subscribed(at=1.0, client="bob", room="one", recovered=False, since=Position(1, 0), asked_at=0.5),
        *_stored("c", "one", 1.5, 2.0),
        Delivered(at=2.5, client="bob", event=event),
        Delivered(at=2.6, client="eve", event=event),
        Delivered(at=2.7, client="dan", event=other),
    ]
    journal = Journal(tmp_path / "log")
    for record in records:
        journal.add(record)
    journal.close()
    read = list(read_journal(tmp_path / "log"))
    assert read == records
    assert journal.upto == Position(1, 1)
    delivered = [record for record in read if isinstance(record, Delivered)]
    assert delivered[0].event is delivered[1].event


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 65_000)), min_size=1), SEEDS)
def test_a_held_line_keeps_the_order_and_the_delay(arrivals: list[tuple[float, int]], seed: int) -> None:
    line = Line(0.05, 0.02, 100_000.0, random.Random(seed))
    now = 10.0
    last = 0.0
    for apart, size in arrivals:
        now += apart
        due = line.due(now, size)
        if due is not None:
            assert due >= max(last, now + 0.05)
            last = due


@pytest.mark.parametrize("seed", range(8))
def test_damage_changes_one_block_and_nothing_else(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "jetstream" / "$G" / "streams" / "CHAT_0" / "msgs"
    folder.mkdir(parents=True)
    whole = bytes(range(256)) * 8
    for number in (1, 2, 10):
        (folder / f"{number}.blk").write_bytes(whole)
    told = damage(tmp_path, "CHAT_0", random.Random(seed))
    changed = [path.name for path in folder.iterdir() if path.read_bytes() != whole]
    assert len(changed) == 1
    assert changed[0] in told


def _stored(command: str, room: str, asked_at: float, acked_at: float) -> tuple[Invoked, Acked]:
    send = Send(id=command, room=room, text="hello")
    return (
        Invoked(at=asked_at, client="ana", user="ana", command=send),
        Acked(at=acked_at, client="ana", user="ana", command=command, room=room, position=Position(1, 1)),
    )


@pytest.mark.parametrize("lacking", ["networked", "shaped", "disks", "clocks"])
def test_a_machine_on_which_something_cannot_break_does_not_let_all_faults_happen(lacking: str) -> None:
    assert Means().all
    assert not Means(**{lacking: False}).all
