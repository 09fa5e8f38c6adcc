"""Two operators that both act, as when a Lease has failed: none of their steps is taken twice."""

import asyncio
import itertools
import time
from collections.abc import Iterator

import pytest

from tests.cluster.harness.cache import ROOT
from tests.cluster.harness.crowd import Crowd
from tests.cluster.harness.figures import Figures
from tests.cluster.harness.issuer import Issuer
from tests.cluster.harness.resources import begin_namespace, chat_cluster
from tests.cluster.harness.skaffold import release
from tests.cluster.harness.talk import Talk
from tests.cluster.harness.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

NAME, NAMESPACE, RIVAL = "duel", "arena", "rival"
PERIOD_S = 8
DUEL_S = 60.0


@pytest.fixture(scope="module")
def arena(operator: World, issuer: Issuer) -> Iterator[World]:
    """Four nodes that hardly anybody uses, and a second operator with a Lease of its own, in a namespace of its own."""
    begin_namespace(operator, NAMESPACE)
    operator.apply(asked(operator, mode="Off"))
    operator.wait_condition(NAME, NAMESPACE, "Ready", seconds=240)
    values = [*release().values(operator.image), "crd.install=false"]
    chosen = [part for value in values for part in ("--set", value)]
    operator.helm("install", RIVAL, ROOT / "chart", "-n", RIVAL, "--create-namespace", *chosen, "--timeout", "120s")
    operator.kubectl("-n", RIVAL, "rollout", "status", "deploy/chat-operator", "--timeout=120s")
    yield operator
    operator.helm("uninstall", RIVAL, "-n", RIVAL)
    operator.kubectl("delete", "namespace", RIVAL, NAMESPACE, "--wait=false")


def asked(world: World, mode: str) -> dict[str, object]:
    small = {"requests": {"cpu": "10m", "memory": "32Mi"}}
    quick = {
        "mode": mode,
        "intervalSeconds": 2,
        "scaleIn": {"windowSeconds": 5, "periodSeconds": PERIOD_S},
        "zoneLoss": False,
    }
    return dict(
        chat_cluster(
            NAME,
            NAMESPACE,
            world,
            members=1,
            nodes={"min": 1, "max": 4, "replicas": 4, "targetConnections": 50, "resources": small},
            workers={"replicas": 1, "resources": small},
            autoscaling=quick,
            drain={"reconnectsPerSecond": 20, "windowSeconds": 2, "settleSeconds": 1, "deadlineSeconds": 15},
        )
    )


async def test_two_operators_take_no_step_twice(arena: World, issuer: Issuer, figures: Figures) -> None:
    with arena.reach(NAMESPACE, NAME, 80) as address:
        talk = Talk(address, issuer)
        await talk.begin()
        async with Crowd(f"ws://{address}/v1/ws", talk.room, lambda: issuer.token("eve")) as crowd:
            await crowd.be(20, over_s=2)
            await crowd.until_connected()
            arena.apply(asked(arena, mode="Operator"))
            steps = await _watch(arena, DUEL_S)
            await crowd.until_connected()
            assert crowd.cut == []
            assert crowd.breaks == []
    figures.set("rivals_replicas", [replicas for _, replicas in steps])
    assert steps[0][1] == 4
    assert steps[-1][1] < 4, "nobody has scaled in: the duel proves nothing"
    for (before_at, before), (at, now) in itertools.pairwise(steps):
        assert now == before - 1, steps
        if before != 4:
            # A batch begins a period after the one before; lowering comes at its end, so that drains may shorten it.
            assert at - before_at > PERIOD_S / 2, steps


async def _watch(world: World, seconds: float) -> list[tuple[float, int]]:
    """When the Deployment's replicas changed, and to what."""
    began, steps = time.monotonic(), list[tuple[float, int]]()
    where = ("-n", NAMESPACE, "get", "deploy", f"{NAME}-node", "-o", "jsonpath={.spec.replicas}")
    while time.monotonic() - began < seconds:
        replicas = int(await asyncio.to_thread(world.kubectl, *where))
        if not steps or steps[-1][1] != replicas:
            steps.append((time.monotonic(), replicas))
        await asyncio.sleep(0.3)
    return steps
