"""The operator's side of steering, against real nodes: it reads what they say, and they do what it tells."""

import asyncio
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from chatnode.local.cluster import LocalCluster
from chatoperator.autoscale.samples import Memory, Pod, Sample, take_stock
from chatoperator.drain.wishes import Order, ShedOrder
from chatoperator.nodes import Nodes
from tests.integration.peers import enter
from tests.integration.promises import make_room
from tests.integration.readiness import until_undisturbed
from tests.integration.test_steering import SETTINGS, TOKEN
from tests.unit.operator_cases import cluster as chat_cluster

__all__ = ["SETTINGS"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def pod(number: int) -> Pod:
    return Pod(uid=f"uid-{number}", name=f"node-{number}", address="127.0.0.1", ready=True, running=True)


@pytest_asyncio.fixture(loop_scope="module")
async def nodes(cluster: LocalCluster) -> AsyncIterator[list[Nodes]]:
    """One for each node of the cluster, because their admin ports differ here."""
    made = [Nodes(port=urlsplit(url).port or 0) for url in cluster.admin_urls]
    async with made[0], made[1]:
        yield made
    await until_undisturbed(cluster)


async def until(asked: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not await asked():  # type: ignore[misc]  # a coroutine
            await asyncio.sleep(0.1)


async def test_what_nodes_say_is_read_and_believed(cluster: LocalCluster, nodes: list[Nodes]) -> None:
    ada = await enter(cluster, 0, "ada", await make_room(cluster, ["ada"]))

    async def heard() -> list[Sample]:
        return [*await nodes[0].ask([pod(1)]), *await nodes[1].ask([pod(2)])]

    async def known() -> bool:
        first, second = await heard()
        return first.peers.keys() == {"node-2"} and second.peers == {"node-1": 1}

    await until(known)
    samples = await heard()
    stock, _ = take_stock(chat_cluster().spec, [pod(1), pod(2)], samples, Memory(), samples[0].heard)
    assert (stock.doubts, stock.heard, stock.connections, stock.capacity) == ((), 2, 1, 20_000)
    await ada.socket.close()


async def test_a_node_takes_its_orders_and_no_other(cluster: LocalCluster, nodes: list[Nodes]) -> None:
    ada = await enter(cluster, 0, "ada", await make_room(cluster, ["ada"]))
    assert not await nodes[0].tell(Order("uid-1", "node-1", "draining"), "127.0.0.1", "")
    assert not await nodes[0].tell(Order("uid-2", "node-2", "draining"), "127.0.0.1", TOKEN)
    assert await nodes[0].tell(ShedOrder("uid-1", "node-1", 1, 0.0), "127.0.0.1", TOKEN)
    assert (await ada.next(lambda frame: frame["type"] == "reconnect"))["reason"] == "rebalance"
    assert await nodes[0].tell(Order("uid-1", "node-1", "draining", 0.0), "127.0.0.1", TOKEN)
    await ada.socket.close()

    async def empty() -> bool:
        (sample,) = await nodes[0].ask([pod(1)])
        return (sample.state, sample.connections) == ("draining", 0)

    await until(empty)
    assert await nodes[0].tell(Order("uid-1", "node-1", "serving"), "127.0.0.1", TOKEN)


async def test_a_node_that_does_not_answer_is_missing() -> None:
    async with Nodes(port=1) as nobody:
        assert list(await nobody.ask([pod(1)])) == []
        assert not await nobody.tell(Order("uid-1", "node-1", "draining"), "127.0.0.1", TOKEN)
