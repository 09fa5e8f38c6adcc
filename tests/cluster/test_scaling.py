"""Nodes that follow their clients on a real Kubernetes, and clients who do not notice."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import msgspec
import pytest
import pytest_asyncio

from tests.cluster.harness import gateway
from tests.cluster.harness.cache import HarnessError
from tests.cluster.harness.crowd import Crowd
from tests.cluster.harness.figures import Figures
from tests.cluster.harness.issuer import Issuer
from tests.cluster.harness.resources import begin_namespace, chat_cluster
from tests.cluster.harness.talk import Talk
from tests.cluster.harness.world import OPERATOR_NAMESPACE, World
from tests.integration.promises import Chatter

pytestmark = [pytest.mark.long, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

NAME, NAMESPACE = "grow", "campus"
TARGET, BUDGET = 20, 10
SCALING = {
    "intervalSeconds": 2,
    "leadSeconds": 20,
    "scaleOut": {"periodSeconds": 3},
    "scaleIn": {"windowSeconds": 20, "periodSeconds": 5},
    "rebalance": {"percentPerSecond": 5, "fromConnections": 10},
}
"""The defaults a few times quicker."""
DRAIN = {"reconnectsPerSecond": BUDGET, "windowSeconds": 4, "settleSeconds": 2, "deadlineSeconds": 20}
LIMITS = {"connectionsPerNode": 40, "commandsPerSecond": 2000, "commandBurst": 2000, "streamMaxMib": 32}
NODE = f"app.kubernetes.io/component=node,app.kubernetes.io/instance={NAME}"


@pytest.fixture(scope="module")
def campus(operator: World, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    exposure: Mapping[str, object] = {"type": "none"}
    if operator.kubernetes is not None:
        gateway.install(operator, tmp_path_factory.mktemp("gateway"))
        exposure = {"type": "gateway", "gateway": {"name": gateway.NAME, "namespace": gateway.NAMESPACE}}
    begin_namespace(operator, NAMESPACE)
    operator.apply(asked(operator, exposure))
    operator.wait_condition(NAME, NAMESPACE, "Ready", seconds=420)
    yield operator
    operator.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def asked(world: World, exposure: Mapping[str, object], **limits: int) -> Mapping[str, object]:
    small = {"requests": {"cpu": "10m", "memory": "32Mi"}}
    return chat_cluster(
        NAME,
        NAMESPACE,
        world,
        members=1,
        nodes={"min": 2, "max": 6, "targetConnections": TARGET, "resources": small, "topologySpread": "None"},
        workers={"replicas": 1, "resources": small},
        autoscaling=SCALING,
        drain=DRAIN,
        limits={**LIMITS, **limits},
        exposure=exposure,
    )


@pytest.fixture(scope="module")
def address(campus: World) -> Iterator[str]:
    if campus.kubernetes is not None:
        yield gateway.address(campus)
        return
    with campus.reach(NAMESPACE, NAME, 80) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def talk(address: str, issuer: Issuer) -> AsyncIterator[Talk]:
    begun = Talk(address, issuer)
    await begun.begin()
    yield begun


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def crowd(address: str, issuer: Issuer, talk: Talk) -> AsyncIterator[Crowd]:
    """Those who live through all tests here, in their order."""
    async with Crowd(f"ws://{address}/v1/ws", talk.room, lambda: issuer.token("eve")) as people:
        yield people


def status(world: World) -> Mapping[str, object]:
    found = world.get("chatcluster", NAME, NAMESPACE) or {}
    told: Mapping[str, object] = found.get("status", {})  # type: ignore[assignment]
    return told


def kill_acting_operator(world: World) -> None:
    where = ("-n", OPERATOR_NAMESPACE, "get", "lease", "chat-operator", "-o", "jsonpath={.spec.holderIdentity}")
    world.kill_pod(OPERATOR_NAMESPACE, world.kubectl(*where))


def nodes(world: World) -> Mapping[str, int]:
    told: Mapping[str, int] = status(world)["nodes"]  # type: ignore[assignment]
    return told


async def until(what: str, world: World, holds: Callable[[], bool], within: float) -> float:
    """How long it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(holds):
        if time.monotonic() - began > within:
            raise AssertionError(f"{what}: not within {within:.0f} s\n{world.describe(NAME, NAMESPACE)}")
        await asyncio.sleep(0.5)
    return time.monotonic() - began


async def longest_scale_out(world: World, growing: asyncio.Task[None]) -> float:
    """From a decision to its nodes being ready, the longest while the crowd grows."""
    longest, decided, since = 0.0, nodes(world)["desired"], 0.0
    while not growing.done() or since:
        found = await asyncio.to_thread(nodes, world)
        now = time.monotonic()
        if found["desired"] > decided:
            decided, since = found["desired"], since or now
        elif since and found["ready"] >= decided:
            longest, since = max(longest, now - since), 0.0
        await asyncio.sleep(0.3)
    await growing
    return longest


HOLDS = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:9100/sample').read().decode())"


def held(world: World) -> list[int]:
    """How many clients each node has, asked within its pod: from outside nobody is let to it."""
    pods = [str(pod["metadata"]["name"]) for pod in world.all("pods", NAMESPACE, NODE)]  # type: ignore[index]
    told = [world.kubectl("-n", NAMESPACE, "exec", pod, "--", "python3", "-c", HOLDS) for pod in pods]
    return [int(msgspec.json.decode(each)["connections"]) for each in told]


async def even(world: World) -> None:
    """Until no node has too many clients while another has few."""
    async with asyncio.timeout(90):
        while True:
            with contextlib.suppress(HarnessError):  # one is still starting
                found = await asyncio.to_thread(held, world)
                mean = sum(found) / len(found)
                if max(found) <= 1.25 * mean or min(found) >= 0.75 * mean:
                    return
            await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def talking(talk: Talk, crowd: Crowd) -> AsyncIterator[None]:
    """Two people talk meanwhile; at the end everybody has everything, once and in order."""
    async with talk.client("ana") as ana, talk.client("bob") as bob:
        for watched in (ana, bob):
            await watched.subscribe(talk.room)
        async with Chatter(ana, talk.room, pace=0.2) as one, Chatter(bob, talk.room, pace=0.2) as two:
            await one.until_acked(5)
            await two.until_acked(5)
            yield
            await one.until_acked(5, within=60)
            await two.until_acked(5, within=60)
        verdict = await talk.verdict([ana, bob])
        assert verdict.ok, str(verdict)
        last = max(event.seq for watched in (ana, bob) for event in watched.stored(talk.room))
        await crowd.until_at(last)
    assert crowd.breaks == []


def note(figures: Figures, crowd: Crowd, what: str) -> None:
    figures.worst("planned_reconnects_per_client", what, round(crowd.planned(), 2))
    figures.worst("max_reconnects_per_s", what, round(crowd.busiest(), 1))
    figures.total("refused_connects", what, len(crowd.refused))


async def test_nodes_are_added_before_anybody_is_refused(
    campus: World, talk: Talk, crowd: Crowd, figures: Figures
) -> None:
    await crowd.be(20, over_s=20)
    await crowd.until_connected()
    await until("two nodes to begin with", campus, lambda: nodes(campus)["running"] == 2, 200)
    crowd.forget()
    async with talking(talk, crowd):
        growing = asyncio.create_task(crowd.be(90, over_s=120))
        figures.set("scale_out_s", round(await longest_scale_out(campus, growing), 1))
        await until("nodes for 90", campus, lambda: nodes(campus)["ready"] >= 5, 90)
        await crowd.until_connected()
        await even(campus)
    note(figures, crowd, "growth")
    assert crowd.refused == []
    assert crowd.cut == []
    assert crowd.busiest() <= BUDGET * 1.2


async def test_a_rolling_upgrade_asks_everybody_to_move_once(
    campus: World, talk: Talk, crowd: Crowd, figures: Figures
) -> None:
    crowd.forget()
    before = {pod["metadata"]["uid"] for pod in campus.all("pods", NAMESPACE, NODE)}  # type: ignore[index]
    patch = '{"spec":{"limits":{"commandBurst":2001}}}'
    async with talking(talk, crowd):
        await asyncio.to_thread(campus.kubectl, "-n", NAMESPACE, "patch", "chat", NAME, "--type=merge", "-p", patch)

        def rolled() -> bool:
            pods = campus.all("pods", NAMESPACE, NODE)
            return not before & {pod["metadata"]["uid"] for pod in pods}  # type: ignore[index]

        took = await until("the rollout", campus, rolled, 400)
        figures.set("rollout_s", round(took, 1))
        await crowd.until_connected()
    note(figures, crowd, "rollout")
    assert crowd.planned() <= 1.2
    assert crowd.cut == []
    assert crowd.refused == []
    assert crowd.busiest() <= BUDGET * 1.2


async def test_a_machine_is_drained_one_node_after_the_other(
    campus: World, talk: Talk, crowd: Crowd, figures: Figures
) -> None:
    if campus.kubernetes is None:
        pytest.skip("drains the only machine of a cluster that the tests have started")
    crowd.forget()
    names = campus.kubectl("-n", NAMESPACE, "get", "pods", "-l", NODE, "-o", "name").split()[:2]
    campus.kubectl("-n", NAMESPACE, "label", *names, "machine=goes")
    options = ("--pod-selector", "machine=goes", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=400s")
    async with talking(talk, crowd):
        draining = asyncio.create_task(asyncio.to_thread(campus.kubectl, "drain", "node1", *options, timeout=420))
        # The only machine: who takes the place of the evicted has to start on it.
        await asyncio.sleep(2)
        await asyncio.to_thread(campus.kubectl, "uncordon", "node1")
        await draining
        assert campus.all("pods", NAMESPACE, "machine=goes") == []
        await crowd.until_connected()
    note(figures, crowd, "machine drained")
    assert 0 < crowd.planned() <= 1.2
    assert crowd.cut == []
    assert crowd.refused == []
    assert crowd.busiest() <= BUDGET * 1.2


async def test_the_emptiest_are_drained_and_removed_when_the_load_falls(
    campus: World, talk: Talk, crowd: Crowd, figures: Figures
) -> None:
    # Two of them: one acts, and when it dies in the middle the other goes on with what is written.
    campus.kubectl("-n", OPERATOR_NAMESPACE, "scale", "deploy/chat-operator", "--replicas=2")
    campus.kubectl("-n", OPERATOR_NAMESPACE, "rollout", "status", "deploy/chat-operator", "--timeout=120s")
    await crowd.be(25, over_s=5)
    crowd.forget()
    began = time.monotonic()
    async with talking(talk, crowd):
        await until("a drain", campus, lambda: "drain" in status(campus), 120)
        await asyncio.to_thread(kill_acting_operator, campus)
        figures.set("drain_s", round(await until("its end", campus, lambda: "drain" not in status(campus), 90), 1))
        await until("two nodes", campus, lambda: nodes(campus)["running"] == 2, 300)
        figures.set("scale_in_s", round(time.monotonic() - began, 1))
    note(figures, crowd, "load falls")
    assert crowd.cut == []
    assert crowd.refused == []
    campus.kubectl("-n", OPERATOR_NAMESPACE, "scale", "deploy/chat-operator", "--replicas=1")
    decisions: list[Mapping[str, str]] = status(campus)["decisions"]  # type: ignore[assignment]
    assert any(decision["what"].startswith("drain grow-node-") for decision in decisions)
    assert crowd.busiest() <= BUDGET * 1.2


async def test_an_operator_that_is_away_is_not_needed_for_a_drain(campus: World, talk: Talk, crowd: Crowd) -> None:
    crowd.forget()
    scale = ("-n", OPERATOR_NAMESPACE, "scale", "deploy/chat-operator")
    campus.kubectl(*scale, "--replicas=0")
    try:
        async with talking(talk, crowd):
            pod = campus.kubectl("-n", NAMESPACE, "get", "pods", "-l", NODE, "-o", "name").split()[0]
            await asyncio.to_thread(campus.kubectl, "-n", NAMESPACE, "delete", pod)
            await crowd.until_connected()
        assert crowd.planned() > 0
        assert crowd.cut == []
    finally:
        campus.kubectl(*scale, "--replicas=1")
        campus.kubectl("-n", OPERATOR_NAMESPACE, "rollout", "status", "deploy/chat-operator", "--timeout=120s")
