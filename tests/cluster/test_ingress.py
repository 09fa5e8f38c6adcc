"""People who come through a controller of plain Ingress, Contour, and then through a gateway: on a real Kubernetes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.cluster.harness import contour, gateway
from tests.cluster.harness.crowd import Crowd
from tests.cluster.harness.figures import Figures
from tests.cluster.harness.issuer import Issuer
from tests.cluster.harness.resources import begin_namespace, chat_cluster
from tests.cluster.harness.talk import Talk
from tests.cluster.harness.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

NAME, NAMESPACE = "front", "door"
MANY = 1100
"""More than Envoy lets through to one backend unless told otherwise."""


@pytest.fixture(scope="module")
def address(operator: World, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if operator.kubernetes is None:
        pytest.skip("runs Contour beside a cluster that the tests have started")
    ingress = {"profile": "contour", "className": contour.CLASS}
    with contour.installed(operator, tmp_path_factory.mktemp("contour") / "run") as found:
        begin_namespace(operator, NAMESPACE)
        operator.apply(asked(operator, {"type": "ingress", "host": contour.HOST, "ingress": ingress}))
        operator.wait_condition(NAME, NAMESPACE, "Ready", seconds=300)
        contour.wait_listening()
        yield found
        operator.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def asked(world: World, exposure: Mapping[str, object]) -> Mapping[str, object]:
    rates = {"connectsPerSecond": 200, "commandsPerSecond": 2000, "commandBurst": 2000}
    limits = {"connectionsPerNode": 800, "streamMaxMib": 32, **rates}
    return chat_cluster(
        NAME, NAMESPACE, world, members=1, autoscaling={"mode": "Off"}, exposure=exposure, limits=limits
    )


@pytest_asyncio.fixture(loop_scope="module")
async def talk(address: str, issuer: Issuer) -> AsyncIterator[Talk]:
    begun = Talk(address, issuer)
    await begun.begin()
    yield begun


async def test_the_ingress_is_taken_up_and_it_is_said(operator: World, address: str) -> None:
    accepted = operator.condition(NAME, NAMESPACE, "ExposureAccepted")
    assert accepted["status"] == "True"
    assert "not sticky" in accepted["message"]
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=20) as http:
        assert (await http.get("/v1/me")).status_code == 401


async def test_nothing_acked_is_lost_when_a_node_behind_it_is_killed(
    operator: World, talk: Talk, figures: Figures
) -> None:
    def kill() -> float:
        node = operator.pods(NAME, NAMESPACE, "node")[0]
        return operator.kill_pod(NAMESPACE, str(node["metadata"]["name"]))  # type: ignore[index]

    def ready() -> None:
        operator.wait_condition(NAME, NAMESPACE, "Ready", seconds=120)

    took, verdict = await talk.through(kill, ready)
    figures.recovered("node behind Contour", took)
    figures.total("lost_messages", "node behind Contour", len(verdict.problems))
    assert verdict.ok, str(verdict)


async def test_a_poll_may_wait_longer_than_a_proxy_does_by_default(address: str, issuer: Issuer, talk: Talk) -> None:
    """An event stream is still open after Envoy's 15 s."""
    headers = {"Authorization": f"Bearer {issuer.token('eve')}"}
    began = time.monotonic()
    async with (
        httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=40, headers=headers) as http,
        http.stream("GET", "/v1/events", params={"room": talk.room}) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        async for _ in answer.aiter_bytes():
            if time.monotonic() - began > 17:
                break
    assert time.monotonic() - began > 17


async def test_more_sockets_than_envoy_has_by_default_spread_over_the_nodes(
    operator: World, address: str, issuer: Issuer, talk: Talk, figures: Figures
) -> None:
    figures.set("sockets_through_contour", await _held_by_the_nodes(operator, address, issuer, talk))


async def test_the_same_after_the_way_in_was_changed_to_a_gateway(
    operator: World, issuer: Issuer, talk: Talk, figures: Figures, tmp_path: Path
) -> None:
    await asyncio.to_thread(gateway.install, operator, tmp_path / "gateway")
    parent = {"name": gateway.NAME, "namespace": gateway.NAMESPACE}
    operator.apply(asked(operator, {"type": "gateway", "gateway": parent}))
    await asyncio.to_thread(operator.wait_condition, NAME, NAMESPACE, "Ready", "True", 120)
    assert operator.get("ingress", f"{NAME}-ingress", NAMESPACE) is None
    accepted = operator.condition(NAME, NAMESPACE, "ExposureAccepted")
    assert "sticky by sessionPersistence" in accepted["message"]
    address = await asyncio.to_thread(gateway.address, operator)
    await asyncio.to_thread(gateway.wait_leading, address)
    figures.set("sockets_through_gateway", await _held_by_the_nodes(operator, address, issuer, talk))


async def _held_by_the_nodes(world: World, address: str, issuer: Issuer, talk: Talk) -> int:
    """With very many who come at once; each node holds its share of them."""
    async with Crowd(f"ws://{address}/v1/ws", talk.room, lambda: issuer.token("eve")) as crowd:
        await crowd.be(MANY, over_s=25)
        await crowd.until_connected(60)
        hosts = [str(pod["status"]["podIP"]) for pod in world.pods(NAME, NAMESPACE, "node")]  # type: ignore[index]
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            held = [(await http.get(f"http://{host}:9100/sample")).json()["connections"] for host in hosts]
        assert sum(held) >= MANY
        assert min(held) > 0.25 * MANY
        assert crowd.cut == []
        assert crowd.breaks == []
        return sum(held)
