"""Taking nodes away: who goes, step by step, and that nobody goes who was not drained."""

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatoperator.autoscale.rebalance import Shed
from chatoperator.autoscale.samples import Pod, Sample, Stock
from chatoperator.drain import pace
from chatoperator.drain.batch import Batch, Scene, advance, begin, keep
from chatoperator.drain.ranking import COST, goes_instead
from chatoperator.drain.victims import bearable, choose
from chatoperator.drain.wishes import Mark, Order, closed, marks, orders, strangers
from chatoperator.spec import ChatClusterSpec
from tests.unit.operator_cases import NOW, cluster, pod, sample

AT = int(NOW.timestamp())
SPEC = cluster().spec
NAMES = ("a", "b", "c")


def spec(**drain: int) -> ChatClusterSpec:
    return cluster(drain=drain).spec


def batch(*names: str, **changes: object) -> Batch:
    made = begin(tuple(pod(name) for name in names), {}, 3, AT, patient=True)
    return msgspec.structs.replace(made, **changes)


def scene(
    *pods: Pod, samples: tuple[Sample, ...] = (), replicas: int = 3, after: int = 0, led: tuple[str, ...] = ()
) -> Scene:
    return Scene(
        now=float(AT + after),
        pods={each.uid: each for each in pods or tuple(pod(name) for name in NAMES)},
        samples={each.pod: each for each in samples},
        replicas=replicas,
        endpoints=frozenset(f"uid-{name}" for name in led),
    )


# Who goes.


@pytest.mark.parametrize(
    ("zones", "held", "expected"),
    [
        ("xxx", (5, 3, 9), ["b"]),
        ("xxy", (5, 9, 1), ["a"]),
        ("xyy", (0, 9, 4), ["c"]),
        ("xyz", (7, 5, 6), ["b"]),
    ],
)
def test_fewest_connections_first_from_the_zone_that_has_most_nodes(
    zones: str, held: tuple[int, ...], expected: list[str]
) -> None:
    pods = [pod(name, zone=zone) for name, zone in zip(NAMES, zones, strict=True)]
    connections = {each.uid: count for each, count in zip(pods, held, strict=True)}
    assert [each.name for each in choose(pods, connections, 1)] == expected


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 100)), min_size=1, max_size=12), st.integers(0, 12))
def test_zones_stay_as_even_as_they_were(nodes: list[tuple[str, int]], count: int) -> None:
    pods = [pod(f"n{number}", zone=zone) for number, (zone, _) in enumerate(nodes)]
    connections = {each.uid: held for each, (_, held) in zip(pods, nodes, strict=True)}
    victims = choose(pods, connections, count)
    assert len(victims) == len(set(victims)) == min(count, len(pods))

    def skew(left: list[Pod]) -> int:
        sizes = [sum(each.zone == zone for each in left) for zone in {each.zone for each in pods}]
        return max(sizes) - min(sizes)

    assert skew([each for each in pods if each not in victims]) <= max(1, skew(pods))


@given(st.lists(st.integers(0, 20_000), min_size=2, max_size=10), st.integers(1, 9))
def test_those_who_stay_are_never_above_their_share(held: list[int], count: int) -> None:
    pods = [pod(f"n{number}") for number in range(len(held))]
    by_pod = {each.uid: connections for each, connections in zip(pods, held, strict=True)}
    victims, words = bearable(SPEC, Stock(target=14_000, by_pod=by_pod), pods, count)
    assert bool(victims) != bool(words)
    assert len(victims) <= min(count, len(pods) - 1)
    if victims:
        gone = {each.uid for each in victims}
        staying = [connections for uid, connections in by_pod.items() if uid not in gone]
        moving = sum(by_pod[uid] for uid in gone)
        assert (sum(staying) + moving) / len(staying) <= 14_000 * 0.9
        assert max(staying) + moving / len(staying) <= 14_000


# Who a ReplicaSet would delete.

INSTEAD: list[tuple[str, Mapping[str, Mapping[str, object]], list[str]]] = [
    ("only the drained one is cheap", {"a": {"deletion_cost": COST}}, []),
    ("nobody is marked", {}, ["b", "c"]),
    ("unready is enough", {"a": {"ready": False}}, []),
    ("another is unready too", {"a": {"ready": False}, "b": {"ready": False}}, ["b"]),
    ("but dearer", {"a": {"ready": False, "deletion_cost": COST}, "b": {"ready": False}}, []),
    ("another is pending", {"a": {"ready": False}, "b": {"ready": False, "running": False}}, ["b"]),
    ("another is cheaper", {"a": {"deletion_cost": COST}, "c": {"deletion_cost": COST - 1}}, ["c"]),
    ("another is going already", {"a": {"deletion_cost": COST}, "b": {"terminating": True, "ready": False}}, []),
]


@pytest.mark.parametrize(("what", "changes", "expected"), INSTEAD, ids=[each[0] for each in INSTEAD])
def test_who_could_go_instead(what: str, changes: Mapping[str, Mapping[str, object]], expected: list[str]) -> None:
    pods = [pod(name, **changes.get(name, {})) for name in NAMES]
    assert [each.name for each in goes_instead(pods, frozenset({"uid-a"}))] == expected


# The steps.


def test_a_batch_waits_until_nobody_is_led_there() -> None:
    unready = (pod("a", ready=False), pod("b"), pod("c"))
    assert advance(SPEC, batch("a"), scene()).batch == batch("a")
    assert advance(SPEC, batch("a"), scene(*unready, led=("a", "b"))).batch == batch("a")
    found = advance(SPEC, batch("a"), scene(*unready, led=("b", "c"), after=7)).batch
    assert found == batch("a", phase="Settle", since=AT + 7)


def test_then_until_proxies_know_it_and_no_other_node_sends_clients_away() -> None:
    settling = batch("a", phase="Settle")
    assert advance(SPEC, settling, scene(after=4)).batch == settling
    busy = sample("b", 5, state="draining")
    assert advance(SPEC, settling, scene(after=5, samples=(busy,))).batch == settling
    found = advance(SPEC, settling, scene(after=5, samples=(sample("a", 9000), sample("b", 5)))).batch
    assert found == batch("a", phase="Leave", since=AT + 5, window_seconds=45)


@pytest.mark.parametrize(
    ("state", "left", "after", "phase"),
    [
        ("draining", 5, 30, "Leave"),
        ("draining", 0, 3, "Remove"),
        ("serving", 0, 3, "Leave"),
        ("draining", 5, 30 + 5 + 60, "Leave"),
        ("draining", 5, 30 + 5 + 61, "Remove"),
    ],
)
def test_then_until_it_is_empty_or_the_deadline_has_passed(state: str, left: int, after: int, phase: str) -> None:
    leaving = batch("a", phase="Leave", window_seconds=30)
    found = advance(SPEC, leaving, scene(after=after, samples=(sample("a", left, state=state),))).batch
    assert found is not None
    assert found.phase == phase


def test_a_node_that_does_not_answer_is_not_taken_for_empty() -> None:
    leaving = batch("a", phase="Leave", window_seconds=30)
    assert advance(SPEC, leaving, scene(after=20)).batch == leaving


def test_replicas_are_lowered_only_when_exactly_the_drained_ones_would_go() -> None:
    removing = batch("a", phase="Remove")
    assert advance(SPEC, removing, scene()).scale_to is None
    drained = (pod("a", ready=False, deletion_cost=COST), pod("b"), pod("c"))
    assert advance(SPEC, removing, scene(*drained)).scale_to == 2
    sick = (drained[0], pod("b", ready=False, deletion_cost=COST - 1), pod("c"))
    found = advance(SPEC, removing, scene(*sick))
    assert found.scale_to is None
    assert "b, which could be deleted instead" in found.waits


def test_it_ends_when_they_are_gone() -> None:
    removing = batch("a", phase="Remove")
    going = advance(SPEC, removing, scene(replicas=2)).batch
    assert going == batch("a", phase="Going")
    assert advance(SPEC, going, scene(replicas=2)).batch == going
    ended = (pod("a", terminating=True), pod("b"), pod("c"))
    assert advance(SPEC, going, scene(*ended, replicas=2)).batch is None
    found = advance(SPEC, going, scene(pod("b"), pod("c"), replicas=2))
    assert (found.batch, found.told) == (None, ("a removed",))


def test_another_pod_that_went_instead_is_said_and_the_drained_one_stays() -> None:
    going = batch("a", phase="Going")
    found = advance(SPEC, going, scene(pod("a"), pod("b"), replicas=2))
    assert found.batch is None
    assert "another node was deleted instead of a" in found.told[0]
    assert orders(None, (pod("a"),), {"uid-a": sample("a", state="draining")}) == (Order("uid-a", "a", "serving"),)


def test_a_victim_that_goes_by_itself_is_no_longer_counted() -> None:
    both = batch("a", "b", phase="Leave")
    found = advance(SPEC, both, scene(pod("a", terminating=True), pod("b"), pod("c")))
    assert found.batch is not None
    assert found.batch.names == "b"
    assert found.scale_to is None


def test_replicas_that_somebody_else_sets_end_the_batch() -> None:
    for phase in ("Cordon", "Settle", "Leave", "Remove"):
        found = advance(SPEC, batch("a", phase=phase), scene(replicas=7))
        assert (found.batch, found.scale_to) == (None, None)


def test_nodes_that_cannot_be_told_stay_unless_a_person_has_asked_for_fewer() -> None:
    assert advance(SPEC, batch("a"), scene(after=66)).batch is None
    asked = batch("a", patient=False)
    found = advance(SPEC, asked, scene(after=66)).batch
    assert found is not None
    assert found.phase == "Remove"


def test_those_with_most_clients_are_kept_when_the_load_comes_back() -> None:
    samples = {each.pod: each for each in (sample("a", 5), sample("b", 900))}
    found, words = keep(batch("a", "b", phase="Leave"), 1, samples)
    assert found is not None
    assert found.names == "a"
    assert words.startswith("kept b")
    assert keep(batch("a"), 1, samples)[0] is None
    assert keep(batch("a", phase="Going"), 1, samples)[0] == batch("a", phase="Going")


# What is told and marked.


@pytest.mark.parametrize(
    ("phase", "state", "told"),
    [
        ("Cordon", "serving", "cordoned"),
        ("Cordon", "cordoned", None),
        ("Settle", "draining", None),
        ("Leave", "cordoned", "draining"),
        ("Leave", "draining", None),
        ("Remove", "serving", "draining"),
        ("Leave", "starting", None),
    ],
)
def test_a_node_is_told_again_until_it_has_heard(phase: str, state: str, told: str | None) -> None:
    leaving = batch("a", phase=phase, window_seconds=40)
    found = orders(leaving, (pod("a"),), {"uid-a": sample("a", state=state)})
    assert [order.stance for order in found] == ([told] if told else [])
    assert [order.window_s for order in found] == ([40.0 if told == "draining" else 0.0] if told else [])


def test_who_ends_decides_for_itself() -> None:
    assert orders(None, (pod("a", terminating=True),), {"uid-a": sample("a", state="draining")}) == ()


def test_old_nodes_are_closed_as_soon_as_a_new_one_is_ready() -> None:
    old, new = pod("a"), pod("b", revision="r2")
    assert closed(None, (old, pod("b", revision="r2", ready=False)), "r2", (), rolling=True) == frozenset()
    assert closed(None, (old, new), "r2", (), rolling=True) == {"uid-a"}
    assert closed(None, (old, new), "", (), rolling=True) == frozenset()


def test_the_last_open_node_is_never_closed() -> None:
    assert closed(None, (pod("a"),), "r1", (Shed("uid-a", 5),), rolling=False) == frozenset()
    assert closed(None, (pod("a"), pod("b")), "r1", (Shed("uid-a", 5),), rolling=False) == {"uid-a"}


def test_only_who_is_drained_gets_a_deletion_cost_and_it_goes_with_the_batch() -> None:
    removing, pods = batch("a", phase="Remove"), (pod("a"), pod("b"))
    assert marks(removing, pods, frozenset({"uid-a"}), frozenset()) == (Mark("uid-a", "a", entry=False, cost=COST),)
    assert marks(batch("a", phase="Leave"), pods, frozenset({"uid-a"}), frozenset())[0].cost is None
    done = (pod("a", entry=False, deletion_cost=COST), pod("b"))
    assert marks(removing, done, frozenset({"uid-a"}), frozenset({"uid-a"})) == ()
    assert marks(None, done, frozenset(), frozenset({"uid-a"})) == (Mark("uid-a", "a", entry=True),)


def test_a_deletion_cost_of_somebody_elses_is_noticed() -> None:
    pods = (pod("a", deletion_cost=5), pod("b", deletion_cost=COST), pod("c"))
    assert strangers(pods, frozenset({"uid-b"})) == ("a",)


# The pace.


@given(st.integers(0, 100_000), st.integers(1, 50), st.integers(1, 1000), st.integers(0, 600))
def test_a_window_keeps_to_the_budget(connections: int, survivors: int, rate: int, least: int) -> None:
    asked = spec(reconnectsPerSecond=rate, windowSeconds=least)
    over = pace.window_s(asked, connections, survivors)
    assert over >= least
    assert connections <= over * rate or connections == 0
    assert connections <= over * survivors * asked.limits.connects_per_second / 2 or over >= connections


@pytest.mark.parametrize(
    ("rate", "window", "surge", "ready"),
    [(200, 30, 1, 113), (2000, 30, 3, 43), (20, 30, 1, 1013), (20_000, 10, 10, 23)],
)
def test_a_rollout_waits_until_the_drain_before_is_over(rate: int, window: int, surge: int, ready: int) -> None:
    asked = spec(reconnectsPerSecond=rate, windowSeconds=window)
    assert (pace.surge(asked), pace.min_ready_s(asked)) == (surge, ready)
    assert pace.min_ready_s(asked) > asked.drain.settle_seconds + pace.longest_window_s(asked)
    assert pace.grace_s(asked) > pace.min_ready_s(asked)
