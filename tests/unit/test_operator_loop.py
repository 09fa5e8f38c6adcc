"""The loop around the plan: a cluster whose visits fail is tried again, seen by the health, and holds up no other."""

import asyncio
import logging
from itertools import count

import pytest

from chatoperator.apply import Applier
from chatoperator.health import Health
from chatoperator.kube import Kube
from chatoperator.nodes import Nodes
from chatoperator.observe import Observer
from chatoperator.plan.scale import NodesView
from chatoperator.reconcile import Key, Reconciler
from tests.unit.operator_cases import nodes, observed


class Scripted(Reconciler):
    """Its visits do what the test says; nothing is reached."""

    def __init__(self, outcomes: dict[str, list[float | Exception | None]]) -> None:
        self.now = 0.0
        self.outcomes = outcomes
        self.seen: list[str] = []
        nodes = Nodes()
        kube = Kube.__new__(Kube)
        observer = Observer(kube, nodes, image="chat:1", version="test", clock=lambda: self.now)
        super().__init__(kube, observer, Applier(kube, nodes), clock=lambda: self.now, instance="test")

    async def visit(self, key: Key) -> float | None:
        self.seen.append(key[1])
        left = self.outcomes[key[1]]
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def passed(holds: object, within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not holds():  # type: ignore[operator]  # a condition
            await asyncio.sleep(0.005)


async def test_a_fault_that_nobody_foresaw_is_told_and_seen_by_the_health(caplog: pytest.LogCaptureFixture) -> None:
    visitor = Scripted({"bad": [KeyError("x")], "good": [0.0]})
    health = Health(visitor, patience_s=100.0, acting=True)
    with caplog.at_level(logging.ERROR):
        visitor.wake(("n", "bad"))
        visitor.wake(("n", "good"))
        await passed(lambda: visitor.seen.count("good") > 2)
    assert "n/bad: this visit failed" in caplog.text
    assert visitor.clusters == 2
    assert health.unwell() == ""
    visitor.now = 101.0
    await passed(lambda: health.unwell() != "")
    assert "101 s ago" in health.unwell()
    await visitor.stop()


async def test_a_cluster_that_is_gone_is_forgotten() -> None:
    visitor = Scripted({"gone": [None]})
    visitor.wake(("n", "gone"))
    await passed(lambda: visitor.clusters == 0)
    assert visitor.oldest_visit_s == 0.0


async def test_an_event_that_says_nothing_new_wakes_nobody() -> None:
    visitor = Scripted({"one": [3600.0]})
    generations = count(1)
    visitor.saw(("n", "one"), next(generations))
    await passed(lambda: len(visitor.seen) == 1)
    visitor.saw(("n", "one"), 1)
    await asyncio.sleep(0.3)
    assert len(visitor.seen) == 1
    visitor.saw(("n", "one"), next(generations))
    await passed(lambda: len(visitor.seen) == 2)
    await visitor.stop()


def test_who_waits_for_the_lease_is_well_whatever_it_has_not_seen() -> None:
    visitor = Scripted({})
    assert Health(visitor, patience_s=0.0, acting=False).unwell() == ""


def test_nodes_that_fall_silent_are_a_reason_to_be_unready_but_not_to_start_anew() -> None:
    visitor, key = Scripted({}), ("n", "one")
    health = Health(visitor, patience_s=100.0, acting=True)
    talking = observed(nodes=nodes(a=1))
    visitor._listen(key, talking, heard=1)
    visitor.now = 101.0
    assert "last heard 101 s ago" in health.unready()
    assert health.unwell() == ""
    visitor._listen(key, talking, heard=1)
    assert health.unready() == ""
    visitor._listen(key, talking, heard=0)
    visitor.now = 250.0
    visitor._listen(key, talking, heard=0)
    assert "last heard 149 s ago" in health.unready()
    visitor._listen(key, observed(nodes=NodesView()), heard=0)
    assert health.unready() == "", "nobody is there to be heard"
