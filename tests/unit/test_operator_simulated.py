"""Hours of a cluster in seconds: loads that rise, fall and storm, nodes that lie or are not heard, restarts."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from chatoperator.autoscale.samples import Sample
from chatoperator.main import main
from chatoperator.plan.naming import PAUSED
from chatoperator.reference import ROOT, plots
from chatoperator.simulate.trace import Point, Trace, TraceError, read_trace, trace
from chatoperator.simulate.world import World
from tests.unit.operator_cases import cluster

SPEC = {"nodes": {"min": 2, "max": 60}, "autoscaling": {"zoneLoss": False}}
BUDGET = 200
LONG = settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
"""Not made smaller when it fails: that would take as long as the hours it simulates."""


def world(load: Trace, **more: object) -> World:
    return World(cluster(**SPEC), load, **more)  # type: ignore[arg-type]  # by name


def steady(connections: int) -> Trace:
    return trace([Point(0, connections), Point(86_400, connections)])


def loads(seconds: int = 3600, step: int = 300, most: int = 250_000) -> st.SearchStrategy[Trace]:
    count = seconds // step + 1
    return st.lists(st.integers(0, most), min_size=count, max_size=count).map(
        lambda held: trace([Point(number * step, each) for number, each in enumerate(held)])
    )


def drained(run: World) -> set[str]:
    return {
        name
        for told in run.told
        if told.what.startswith("drain ")
        for name in told.what.removeprefix("drain ").split(", ")
    }


def most_per_second(run: World, over: int = 10) -> float:
    """Reconnects that were asked for, on average over the busiest stretch."""
    asked = [second.reconnects for second in run.seconds]
    return max(sum(asked[at : at + over]) / over for at in range(0, len(asked), over))


def judge(run: World) -> None:
    """What holds whatever the load does."""
    assert {node.name for node in run.removed} <= drained(run), "no pod goes that was not drained"
    assert all(node.connections == 0 for node in run.removed), "and none with clients"
    assert most_per_second(run) <= BUDGET * 1.05
    replicas = [second.replicas for second in run.seconds]
    for at in range(60, len(replicas)):
        before, now = replicas[at - 60], replicas[at]
        # A batch that waited for its clients may end just before the next begins.
        assert before - now <= 2 * max(1, before // 10), "at most a tenth in a minute, and once more at its end"
    assert all(after - before <= max(4, before) for before, after in itertools.pairwise(replicas))


@LONG
@given(loads(), st.integers(0, 5))
def test_whatever_the_load_nobody_goes_undrained_and_the_budget_is_kept(load: Trace, seed: int) -> None:
    run = world(load, seed=seed)
    run.run(3600)
    judge(run)


@LONG
@given(st.integers(1000, 500_000), st.integers(1000, 500_000))
def test_a_load_that_stays_is_settled_upon_and_then_nothing_changes(first: int, then: int) -> None:
    run = world(trace([Point(0, first), Point(60, then), Point(90_000, then)]))
    run.run(4 * 3600)
    judge(run)
    last = run.seconds[-3600:]
    assert {second.replicas for second in last} == {run.replicas}
    assert not sum(second.reconnects for second in last)
    needed = then / 14_000
    assert run.replicas >= min(60, needed / 1.05)
    assert run.replicas <= max(2, math.ceil(needed / 0.8) + 1)


def test_a_day_is_followed_without_refusing_anybody() -> None:
    points = [Point(t, 100_000 - 90_000 * math.cos(t / 86_400 * 2 * math.pi)) for t in range(0, 86_401, 600)]
    run = world(trace(points))
    run.run(86_400)
    judge(run)
    assert not sum(second.refused for second in run.seconds)
    assert max(second.fullest for second in run.seconds) < 20_000
    assert max(second.replicas for second in run.seconds) <= math.ceil(190_000 / 14_000) + 1
    spent = sum(second.replicas for second in run.seconds) / 86_400
    assert spent <= 100_000 / 14_000 * 1.5, "and nodes go again at night"
    assert len(run.removed) <= 15, "each once"


@pytest.mark.parametrize("start_s", [10, 30, 60])
def test_a_rise_of_a_fifth_per_minute_refuses_nobody(start_s: int) -> None:
    points = [Point(0, 28_000), Point(600, 28_000)]
    points += [Point(600 + 60 * minute, 28_000 * 1.2**minute) for minute in range(1, 13)]
    run = world(trace(points), start_s=start_s)
    run.run(600 + 12 * 60)
    judge(run)
    assert not sum(second.refused for second in run.seconds)


def test_a_storm_is_answered_within_a_minute_and_cleared_away_afterwards() -> None:
    run = world(
        trace([Point(0, 30_000), Point(600, 30_000), Point(630, 150_000), Point(1800, 150_000), Point(1830, 30_000)])
    )
    run.run(750)
    assert run.seconds[-1].capacity >= 150_000
    run.run(5 * 3600)
    judge(run)
    assert run.replicas <= 4


@LONG
@given(loads(), st.lists(st.integers(1, 3599), max_size=6))
def test_operators_that_take_turns_drain_no_more_than_one_would(load: Trace, restarts: list[int]) -> None:
    run = world(load)
    for second in range(3600):
        run.tick()
        if second in restarts:
            run.restart()
    judge(run)
    for at in restarts:
        begun = [told.at for told in run.told if told.what.startswith("drain ") and at + 2 < told.at < at + 290]
        assert begun == [], "after a restart a full window passes first"


Fault = Callable[[Sample], Sample | None]


def lost(_: Sample) -> None:
    return None


def some_lost(sample: Sample) -> Sample | None:
    return sample if sample.node.endswith("1") else None


def skewed(sample: Sample) -> Sample:
    return msgspec.structs.replace(sample, time=sample.time - 3600)


def lying(sample: Sample) -> Sample:
    return msgspec.structs.replace(sample, connections=0, peers=sample.peers)


def boasting(sample: Sample) -> Sample:
    return msgspec.structs.replace(sample, capacity=10**6)


def confused(sample: Sample) -> Sample:
    return msgspec.structs.replace(sample, node="node-1")


FAULTS: Sequence[Fault] = (lost, some_lost, skewed, lying, boasting, confused)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
def test_nobody_goes_while_words_are_missing_or_do_not_fit_together(fault: Fault) -> None:
    run = world(steady(150_000))
    run.run(600)
    before = run.replicas
    run.telling = fault
    run.run(3600)
    assert run.removed == []
    assert run.replicas >= before
    assert run.replicas <= before + 1, "and not one after the other is added for it"


def test_all_words_lost_then_some_then_skewed_then_lying() -> None:
    run = world(steady(150_000))
    run.run(600)
    for fault in FAULTS:
        run.telling = fault
        run.run(900)
        assert run.removed == []


@LONG
@given(loads(most=100_000), st.integers(0, 10**6), st.sampled_from([0.02, 0.2, 0.6]))
def test_words_that_are_lost_by_chance_take_nobody_away_undrained(load: Trace, seed: int, share: float) -> None:
    draw = random.Random(seed)
    run = world(load, telling=lambda sample: None if draw.random() < share else sample)
    run.run(3600)
    judge(run)


def test_while_datastores_are_not_whole_nobody_goes() -> None:
    run = world(
        trace([Point(0, 150_000), Point(60, 150_000), Point(90, 20_000)]), datastores="1 of 3 NATS servers are ready"
    )
    run.run(3600)
    assert run.removed == []


def test_load_that_comes_back_keeps_the_node_that_was_being_drained() -> None:
    load = [Point(0, 60_000), Point(60, 60_000), Point(61, 34_000), Point(380, 34_000), Point(400, 70_000)]
    run = world(trace(load))
    run.run(600)
    assert any("the load came back" in told.why for told in run.told)
    assert all(node.stance == "serving" for node in run.nodes)
    judge(run)


def test_a_node_that_replicas_no_longer_count_is_not_wanted_back() -> None:
    run = World(
        cluster(nodes={"min": 3, "max": 60}, autoscaling={"zoneLoss": False}),
        trace([Point(0, 56_000), Point(60, 30_000)]),
    )
    run.run(3600)
    assert run.replicas == 3
    assert not [told for told in run.told if "came back" in told.why]


@pytest.mark.parametrize("mode", ["Off", "HPA"])
def test_fewer_that_somebody_asks_for_are_drained_too(mode: str) -> None:
    asked = cluster(nodes={"replicas": 3}, autoscaling={"mode": mode})
    run = World(asked, steady(70_000))
    assert run.replicas == 5
    run.run(900)
    judge(run)
    assert run.replicas == 3
    assert len(run.removed) == 2


@pytest.mark.parametrize("what", ["scale-in", "all"])
def test_a_pause_keeps_every_node(what: str) -> None:
    paused = cluster({PAUSED: what}, **SPEC)
    run = World(paused, trace([Point(0, 150_000), Point(60, 20_000)]))
    run.run(3600)
    assert run.removed == []
    assert all(node.stance == "serving" for node in run.nodes)


def test_nodes_that_cannot_be_told_stay() -> None:
    run = world(trace([Point(0, 150_000), Point(60, 20_000)]))
    run.hears_orders = False
    run.run(1800)
    assert run.removed == []
    assert any("gave up draining" in told.why for told in run.told)


def test_after_nodes_were_added_clients_move_to_them_within_their_pace() -> None:
    run = world(trace([Point(0, 56_000), Point(600, 56_000), Point(601, 70_000)]))
    run.run(1800)
    held = [node.connections for node in run.nodes]
    mean = sum(held) / len(held)
    assert min(held) >= mean * 0.74
    judge(run)


# The command.


def test_the_plots_of_the_documentation_are_as_they_are_generated() -> None:
    for path, content in plots().items():
        assert (ROOT / path).read_text("utf-8") == content, "run make docs"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "seconds,connections\n0,10\n60,30\n"),
        ("a.csv", "# a comment\n0,10\n\n60,30\n"),
        ("a.json", "[[0, 10], [60, 30]]"),
        ("a.json", '[{"seconds": 0, "connections": 10}, {"seconds": 60, "connections": 30}]'),
    ],
)
def test_a_trace_is_read_from_csv_and_json(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    load = read_trace(tmp_path / name)
    assert [load.at(second) for second in (0, 15, 30, 60, 99)] == [10, 15, 20, 30, 30]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "no points"),
        ("a.csv", "0,1\n0,2", "only grow"),
        ("a.csv", "0,-1", "between 0 and"),
        ("a.csv", "0,nan", "between 0 and"),
        ("a.csv", "0,1\nx,2", "line 2"),
        ("a.csv", "0,1,2", "line 1"),
        ("a.json", "{}", "not a list"),
    ],
)
def test_a_trace_that_tells_no_load_is_refused(name: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TraceError, match=words):
        read_trace(tmp_path / name)


def test_the_command_tells_decisions_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load, picture, settings = tmp_path / "load.csv", tmp_path / "load.svg", tmp_path / "cluster.yaml"
    load.write_text("0,10000\n300,60000\n600,60000\n")
    settings.write_text("spec: {nodes: {max: 4}}")
    assert main(["simulate", str(load), "--cluster", str(settings), "--svg", str(picture)]) == 0
    told = capsys.readouterr().out
    assert "nodes 2 → " in told
    assert "nodes: 2 to 4" in told
    assert picture.read_text("utf-8").count("<polyline") == 6


def test_the_command_says_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
