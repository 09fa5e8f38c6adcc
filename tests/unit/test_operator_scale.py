"""How many nodes there should be: named cases of each rule, and what holds for all loads."""

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatoperator.autoscale.decide import Circumstances, Scaling, Verdict, decide
from chatoperator.autoscale.demand import need_for_zones, need_now
from chatoperator.autoscale.rebalance import rebalance
from chatoperator.autoscale.samples import Known, Memory, Stock, growth, take_stock
from chatoperator.autoscale.window import Peak, Window, highest, note
from chatoperator.spec import ChatClusterSpec
from tests.unit.operator_cases import NOW, cluster, nodes, pod, sample

T = 14_000
"""70 % of 20,000."""
AT = NOW.timestamp()


def spec(**parts: Mapping[str, object]) -> ChatClusterSpec:
    given = {"min": 1, "max": 100, **parts.pop("nodes", {})}
    return cluster(nodes=given, **parts).spec


def stock(connections: int = 0, **changes: object) -> Stock:
    usual: dict[str, object] = {"connections": connections, "assumed": connections, "capacity": 20_000, "target": T}
    return Stock(**{**usual, "heard": 3, "watched_s": 1000.0, **changes})  # type: ignore[arg-type]  # by name


def verdict(
    asked: ChatClusterSpec, seen: Stock, running: int, *, before: Scaling | None = None, **more: object
) -> Verdict:
    return decide(
        asked,
        seen,
        before or Scaling(),
        Circumstances(now=AT, running=running, **more),  # type: ignore[arg-type]  # by name
    )


# The worked example of docs/operator/scaling.md.


def test_the_worked_example_is_what_is_decided() -> None:
    noon = verdict(spec(), stock(60_000, rate=50.0, zones=3), 6)
    assert noon.replicas == 6
    assert need_now(spec(autoscaling={"zoneLoss": False}), stock(60_000, zones=3), 6).nodes == pytest.approx(
        4.3, abs=0.05
    )
    grown = need_now(spec(autoscaling={"zoneLoss": False}), stock(60_000, rate=50.0, zones=3), 6)
    assert grown.nodes == pytest.approx(4.5, abs=0.05)
    assert need_for_zones(spec(), stock(60_000, zones=3), 60_000).nodes == 6
    assert verdict(spec(), stock(80_000, zones=3), 6).replicas == 8
    window = Scaling(window=(Peak(int(AT) - 200, 20_000),))
    evening = verdict(spec(), stock(20_000, zones=3), 8, before=window)
    assert (evening.wanted, evening.remove) == (3, 1)


# The number.

NEEDS: list[tuple[str, Mapping[str, object], Mapping[str, object], int, float]] = [
    ("load", {}, {"connections": 28_000}, 2, 2.0),
    ("buffer", {"bufferConnections": 14_000}, {"connections": 28_000}, 2, 3.0),
    ("growth", {}, {"connections": 28_000, "rate": 700.0}, 2, 5.0),
    ("growth, no lead", {"leadSeconds": 0}, {"connections": 28_000, "rate": 700.0}, 2, 2.0),
    ("lag does not count", {}, {"connections": 28_000, "lag_ms": 900.0}, 2, 2.0),
    ("lag", {"lagMilliseconds": 50}, {"connections": 28_000, "lag_ms": 75.0}, 4, 6.0),
    ("lag is bounded", {"lagMilliseconds": 50}, {"connections": 28_000, "lag_ms": 9000.0}, 4, 8.0),
    ("zones", {}, {"connections": 54_000, "zones": 3}, 3, 5.0),
    ("zones do not count", {"zoneLoss": False}, {"connections": 28_000, "zones": 2}, 3, 2.0),
]


@pytest.mark.parametrize(("what", "scaling", "seen", "running", "nodes"), NEEDS, ids=[need[0] for need in NEEDS])
def test_what_the_load_asks_for(
    what: str, scaling: Mapping[str, object], seen: Mapping[str, object], running: int, nodes: float
) -> None:
    need = need_now(spec(autoscaling=scaling), stock(**seen), running)  # type: ignore[arg-type]  # by name
    assert need.nodes == nodes
    assert need.why


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_when_a_zone_is_lost_the_others_hold_everybody(connections: int, zones: int) -> None:
    seen = stock(connections, zones=zones)
    count = round(need_for_zones(spec(), seen, connections).nodes)
    left = count - -(-count // zones)
    assert left * 18_000 >= connections


def test_a_zone_without_a_node_is_not_forgotten_while_there_are_fewer_nodes_than_zones() -> None:
    first = verdict(spec(), stock(30_000, zones=3), 3)
    assert verdict(spec(), stock(19_000, zones=2), 2, before=first.state).wanted == 3
    assert verdict(spec(), stock(19_000, zones=2), 2).wanted == 4
    assert verdict(spec(), stock(1_000, zones=2), 3, before=first.state).state.zones == 2


def test_the_target_is_seventy_percent_of_what_nodes_take_unless_it_is_given() -> None:
    view = nodes(a=0, b=0)
    assert take_stock(spec(), view.pods, view.samples, Memory(), AT)[0].target == T
    given = spec(nodes={"targetConnections": 900})
    assert take_stock(given, view.pods, view.samples, Memory(), AT)[0].target == 900


# Up.

UPS: list[tuple[str, int, int, int]] = [
    ("within the tolerance", 29_000, 2, 2),
    ("beyond it", 29_500, 2, 3),
    ("at most four more for few nodes", 500_000, 2, 6),
    ("at most twice as many for many", 1_300_000, 10, 20),
    ("never above max", 10**7, 60, 100),
]


@pytest.mark.parametrize(("what", "connections", "running", "replicas"), UPS, ids=[up[0] for up in UPS])
def test_up(what: str, connections: int, running: int, replicas: int) -> None:
    assert verdict(spec(), stock(connections), running).replicas == replicas


def test_within_one_period_no_more_are_added_than_its_bound() -> None:
    first = verdict(spec(), stock(500_000), 2)
    again = verdict(spec(), stock(500_000), first.replicas, before=first.state)
    assert (first.replicas, again.replicas) == (6, 6)
    assert "within 15 s" in again.limited
    later = decide(spec(), stock(500_000), first.state, Circumstances(now=AT + 15, running=6))
    assert later.replicas == 12


def test_without_a_word_from_any_node_nothing_is_added() -> None:
    assert verdict(spec(), stock(500_000, heard=0), 2).replicas == 2


@pytest.mark.parametrize("held", ["scale-out", "all"])
def test_a_pause_adds_none(held: str) -> None:
    assert verdict(spec(), stock(500_000), 2, held=held).replicas == 2


# Down.


def test_down_by_one_or_a_tenth() -> None:
    assert verdict(spec(), stock(10_000), 5).remove == 1
    assert verdict(spec(), stock(10_000), 50).remove == 5


@pytest.mark.parametrize(("connections", "running", "remove"), [(46_000, 4, 0), (33_000, 4, 1), (41_000, 3, 0)])
def test_down_only_when_clearly_fewer_would_do(connections: int, running: int, remove: int) -> None:
    assert verdict(spec(), stock(connections), running).remove == remove


def test_the_highest_of_the_window_counts() -> None:
    high = Scaling(window=(Peak(int(AT) - 200, 60_000),))
    assert verdict(spec(), stock(10_000), 5, before=high).remove == 0
    old = Scaling(window=(Peak(int(AT) - 301, 60_000),))
    assert verdict(spec(), stock(10_000), 5, before=old).remove == 1


HINDRANCES: list[tuple[str, Mapping[str, object], Mapping[str, object]]] = [
    ("somebody was not heard", {"doubts": ("a was not heard",)}, {}),
    ("a rollout", {}, {"rollout": True}),
    ("pods pending", {"pending": 1}, {}),
    ("datastores", {}, {"datastores": "1 of 3 NATS servers are ready"}),
    ("a pause", {}, {"held": "scale-in"}),
    ("a batch", {}, {"leaving": 1}),
    ("just started", {"watched_s": 299.0}, {}),
]


@pytest.mark.parametrize(("what", "seen", "more"), HINDRANCES, ids=[each[0] for each in HINDRANCES])
def test_nothing_goes_while(what: str, seen: Mapping[str, object], more: Mapping[str, object]) -> None:
    found = verdict(spec(), stock(10_000, **seen), 5, **more)
    assert (found.remove, found.replicas) == (0, 5)
    assert len(found.waits) == 1


def test_a_minute_passes_between_two_batches() -> None:
    assert verdict(spec(), stock(10_000), 5, before=Scaling(in_at=int(AT) - 59)).remove == 0
    assert verdict(spec(), stock(10_000), 5, before=Scaling(in_at=int(AT) - 61)).remove == 1


def test_those_that_are_being_drained_are_kept_when_the_load_comes_back() -> None:
    found = verdict(spec(), stock(60_000), 5, leaving=2)
    assert (found.keep, found.replicas) == (2, 5)
    assert verdict(spec(), stock(40_000), 5, leaving=2).keep == 0
    assert verdict(spec(), stock(40_000, rate=900.0), 5, leaving=2).keep == 0, "those who move are no growth"


@pytest.mark.parametrize(("running", "low", "high", "replicas", "remove"), [(1, 3, 9, 3, 0), (12, 1, 9, 12, 1)])
def test_bounds_that_were_changed_are_kept_to(running: int, low: int, high: int, replicas: int, remove: int) -> None:
    found = verdict(spec(nodes={"min": low, "max": high}), stock(0), running)
    assert (found.replicas, found.remove) == (replicas, remove)


# What is believed.


def test_a_node_that_is_missing_counts_as_its_last_word_and_at_least_its_target() -> None:
    view = nodes(a=5000, b=16_000, c=100)
    _, memory = take_stock(spec(), view.pods, view.samples, Memory(), AT)
    heard = [each for each in view.samples if each.node == "c"]
    found, _ = take_stock(spec(), view.pods, heard, memory, AT + 10)
    assert found.connections == T + 16_000 + 100
    assert found.doubts == ("a was not heard for 30 s", "b was not heard for 30 s")


def test_a_pod_that_was_never_heard_keeps_nodes_and_adds_none() -> None:
    view = nodes(a=5000, b=5000)
    pods = (*view.pods, pod("new"))
    found, _ = take_stock(spec(), pods, view.samples, Memory(), AT)
    assert (found.connections, found.assumed) == (10_000, 10_000 + T)


@pytest.mark.parametrize(("age", "counted"), [(1, 5000), (9, 0)])
def test_a_pod_that_ends_counts_for_as_long_as_it_answers(age: int, counted: int) -> None:
    view = nodes(a=5000, b=5000)
    pods = (view.pods[0], pod("b", terminating=True))
    samples = [msgspec.structs.replace(each, heard=AT - age if each.node == "b" else AT) for each in view.samples]
    found, _ = take_stock(spec(), pods, samples, Memory(), AT)
    assert found.connections == 5000 + counted
    assert not [doubt for doubt in found.doubts if doubt.startswith("b")]


DOUBTS: list[tuple[str, Mapping[str, object], str]] = [
    ("stale", {"heard": AT - 31}, "was not heard"),
    ("another node", {"node": "x"}, "answered as x"),
    ("clock ahead", {"time": AT + 31}, "+31 s off"),
    ("clock behind", {"time": AT - 31}, "-31 s off"),
    ("more than it takes", {"connections": 23_000}, "holds 23000 of 20000"),
    ("fewer than none", {"connections": -1}, "holds -1"),
    ("takes too much", {"capacity": 90_000}, "takes 90000"),
    ("takes nothing", {"capacity": 0}, "takes 0"),
    ("drains by itself", {"state": "draining"}, "nobody asked for"),
    ("holds fewer than the others know", {"connections": 100}, "the others know 9000 people"),
]


@pytest.mark.parametrize(("what", "change", "words"), DOUBTS, ids=[each[0] for each in DOUBTS])
def test_what_is_not_believed(what: str, change: Mapping[str, object], words: str) -> None:
    view = nodes(a=9000, b=9000)
    odd = msgspec.structs.replace(view.samples[0], **change)
    found, _ = take_stock(spec(), view.pods, (odd, view.samples[1]), Memory(), AT)
    assert any(doubt.startswith("a ") and words in doubt for doubt in found.doubts), found.doubts


def test_a_node_that_no_other_hears_is_not_believed() -> None:
    view = nodes(a=9000, b=9000, c=9000)
    deaf = [msgspec.structs.replace(each, peers={"b": 9000, "c": 9000}) for each in view.samples]
    found, _ = take_stock(spec(), view.pods, deaf, Memory(), AT)
    assert found.doubts == ("a is heard by none of the other nodes",)


def test_a_node_that_has_only_begun_need_not_be_heard_by_the_others_yet() -> None:
    view = nodes(a=9000, b=9000)
    new = msgspec.structs.replace(view.pods[0], created=AT - 5)
    deaf = [msgspec.structs.replace(each, peers={}) for each in view.samples]
    found, _ = take_stock(spec(), (new, view.pods[1]), deaf, Memory(), AT)
    assert found.doubts == ("b is heard by none of the other nodes",)


def test_a_window_begins_anew_after_a_break() -> None:
    view = nodes(a=1)
    _, memory = take_stock(spec(), view.pods, view.samples, Memory(), AT)
    found, memory = take_stock(spec(), view.pods, view.samples, memory, AT + 20)
    assert found.watched_s == 20
    found, _ = take_stock(spec(), view.pods, view.samples, memory, AT + 51)
    assert found.watched_s == 0


def test_who_comes_back_is_no_growth() -> None:
    assert growth(((0.0, 1000), (10.0, 400), (20.0, 1000)), 20.0) == 0
    assert growth(((0.0, 1000), (10.0, 1100), (20.0, 1200)), 20.0) == 10
    assert growth(((0.0, 1000), (10.0, 2000)), 10.0) == 0


def test_memory_is_of_pods_that_are_there() -> None:
    old = Memory(since=AT, looked=AT, known={"gone": Known(7, AT)})
    _, memory = take_stock(spec(), (pod("a"),), (sample("a", 3),), old, AT + 1)
    assert memory.known.keys() == {"uid-a"}


# The window.


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1000)), min_size=1, max_size=60), st.integers(10, 300))
def test_the_window_never_forgets_a_peak_too_early_nor_keeps_many_numbers(
    steps: list[tuple[int, int]], span: int
) -> None:
    now, window, seen = 1_000_000, (), []
    kept: Window = window
    for wait, connections in steps:
        now += wait
        seen.append((now, connections))
        kept = note(kept, Peak(now, connections), span)
        true = max(held for at, held in seen if at >= now - span)
        longest = max(held for at, held in seen if at >= now - span - span // 10 - 1)
        assert true <= highest(kept).connections <= longest
        assert len(kept) <= 13


def test_a_load_that_stays_changes_the_window_once_in_a_tenth() -> None:
    windows = set()
    kept: Window = ()
    for second in range(0, 300, 10):
        kept = note(kept, Peak(1_000_000 + second, 50), 300)
        windows.add(kept)
    assert len(windows) <= 11


# Rebalancing.


def test_who_has_too_many_sheds_a_hundredth_per_second_while_another_has_few() -> None:
    assert [(each.pod, each.clients) for each in rebalance(spec(), {"a": 9000, "b": 9000, "c": 0})] == [
        ("a", 900),
        ("b", 900),
    ]
    assert rebalance(spec(), {"a": 9000, "b": 6000, "c": 5500}) == ()
    assert rebalance(spec(), {"a": 9000}) == ()
    assert rebalance(spec(), {"a": 30, "b": 0}) == ()


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, 20_000), max_size=8))
def test_shedding_keeps_to_the_budget_and_nobody_falls_below_the_mean(connections: Mapping[str, int]) -> None:
    sheds = rebalance(spec(), connections)
    assert sum(shed.clients for shed in sheds) <= 200 * 10
    for shed in sheds:
        mean = sum(connections.values()) / len(connections)
        assert connections[shed.pod] - shed.clients >= mean - 1
        assert shed.clients <= connections[shed.pod] / 10
