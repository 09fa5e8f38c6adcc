"""Decisions of the local cluster: orders of start and stop, and what follows a death."""

from hypothesis import given
from hypothesis import strategies as st

from chatnode.local.supervision import (
    DEATHS_MAX,
    STEADY_S,
    Deaths,
    GiveUp,
    Role,
    StartAgain,
    start_stages,
    stop_stages,
)

CLUSTER: dict[str, Role] = {
    "front door": "front door",
    "node-1": "node",
    "worker": "worker",
    "nats-server": "nats",
    "node-2": "node",
    "mongod": "mongod",
}


def test_servers_start_first_and_the_front_door_last() -> None:
    assert start_stages(CLUSTER) == [["nats-server", "mongod"], ["worker"], ["node-1", "node-2"], ["front door"]]


def test_nodes_stop_first_and_mongodb_last() -> None:
    assert stop_stages(CLUSTER) == [["node-1", "node-2"], ["worker"], ["front door"], ["nats-server"], ["mongod"]]


def test_what_is_not_there_has_no_stage() -> None:
    assert start_stages({"node-1": "node"}) == [["node-1"]]
    assert stop_stages({}) == []


@given(st.dictionaries(st.text(min_size=1), st.sampled_from(list(CLUSTER.values()))))
def test_everything_starts_once_and_stops_once(roles: dict[str, Role]) -> None:
    for stages in (start_stages(roles), stop_stages(roles)):
        assert sorted(name for stage in stages for name in stage) == sorted(roles)
        assert all(stages)


def test_a_child_that_keeps_dying_waits_longer_each_time_and_is_given_up() -> None:
    deaths = Deaths()
    steps: list[StartAgain | GiveUp] = []
    for _ in range(DEATHS_MAX + 1):
        deaths, step = deaths.another(0.0)
        steps.append(step)
    assert steps == [*(StartAgain(seconds) for seconds in (0.5, 1.0, 2.0, 4.0, 8.0)), GiveUp(DEATHS_MAX + 1)]


@given(st.lists(st.floats(STEADY_S, 1e6), min_size=1))
def test_a_child_that_was_steady_in_between_is_never_given_up(uptimes: list[float]) -> None:
    deaths = Deaths()
    for uptime in uptimes:
        deaths, step = deaths.another(uptime)
        assert step == StartAgain(0.5)


@given(st.lists(st.floats(0, 2 * STEADY_S)))
def test_it_is_given_up_exactly_after_too_many_quick_deaths_in_a_row(uptimes: list[float]) -> None:
    deaths, in_a_row = Deaths(), 0
    for uptime in uptimes:
        in_a_row = 1 if uptime >= STEADY_S else in_a_row + 1
        deaths, step = deaths.another(uptime)
        assert isinstance(step, GiveUp) == (in_a_row > DEATHS_MAX)
