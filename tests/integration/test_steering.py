"""A node that is steered from outside, over its real admin port: it says how it is, drains, comes back, and sheds."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from chatnode.local.cluster import LocalCluster
from tests.integration.peers import enter
from tests.integration.promises import make_room
from tests.integration.readiness import sample, unready, until_ready, until_undisturbed

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "steering-" * 4
SETTINGS = {"CHAT_CONTROL_TOKEN": TOKEN, "CHAT_DRAIN_WINDOW_S": "30", "CHAT_DRAIN_SETTLE_S": "0"}


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def undisturbed(cluster: LocalCluster) -> AsyncIterator[None]:
    """Each test finds the nodes serving and without clients, and leaves them so."""
    yield
    await until_undisturbed(cluster)


@pytest_asyncio.fixture(loop_scope="module")
async def room(cluster: LocalCluster) -> str:
    return await make_room(cluster, ["ada", "bob"])


async def order(cluster: LocalCluster, path: str, *, token: str = TOKEN, **body: object) -> int:
    method = "PUT" if path == "stance" else "POST"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(headers=headers) as http:
        content = {"node": "node-1", **body}
        return (await http.request(method, f"{cluster.admin_urls[0]}/{path}", json=content)).status_code


async def test_a_node_says_how_it_is(cluster: LocalCluster, room: str) -> None:
    ada = await enter(cluster, 0, "ada", room)
    found = await sample(cluster, 0)
    assert (found["node"], found["state"], found["connections"]) == ("node-1", "serving", 1)
    assert found["capacity"] == 20_000
    async with asyncio.timeout(15):
        while (await sample(cluster, 1))["peers"] != {"node-1": 1}:
            await asyncio.sleep(0.1)
    await ada.socket.close()


@pytest.mark.parametrize(
    ("token", "body", "status"),
    [
        ("wrong", {"stance": "draining"}, 403),
        ("", {"stance": "draining"}, 403),
        (TOKEN, {"stance": "gone"}, 400),
        (TOKEN, {"stance": "draining", "node": "node-9"}, 409),
        (TOKEN, {"stance": "draining", "window_s": -1}, 400),
        (TOKEN, {"stance": "draining", "more": "x" * 5000}, 413),
    ],
)
async def test_an_order_that_is_not_for_it_changes_nothing(
    cluster: LocalCluster, token: str, body: dict[str, object], status: int
) -> None:
    assert await order(cluster, "stance", token=token, **body) == status
    assert (await sample(cluster, 0))["state"] == "serving"


async def test_a_node_that_is_cordoned_is_unready_and_serves_on(cluster: LocalCluster, room: str) -> None:
    assert await order(cluster, "stance", stance="cordoned") == 200
    assert "draining" in await unready(cluster, 0)
    ada = await enter(cluster, 0, "ada", room)
    assert await order(cluster, "stance", stance="draining", window_s=0.5) == 200
    told = await ada.next(lambda frame: frame["type"] == "reconnect")
    assert told["reason"] == "drain"
    with pytest.raises(InvalidStatus):
        await connect(cluster.node_urls[0].replace("http", "ws") + "/v1/ws", subprotocols=["chat.v1"])  # type: ignore[list-item]
    await ada.socket.close()
    assert await order(cluster, "stance", stance="serving") == 200
    await until_ready(cluster, 0, ready=True)
    bob = await enter(cluster, 0, "bob", room)
    await bob.socket.close()


async def test_shedding_sends_some_away_and_the_node_stays_ready(cluster: LocalCluster, room: str) -> None:
    peers = [await enter(cluster, 0, "ada", room) for _ in range(4)]
    assert await order(cluster, "shed", clients=1, window_s=0) == 200
    told = asyncio.gather(
        *(peer.next(lambda frame: frame["type"] == "reconnect", within=3) for peer in peers), return_exceptions=True
    )
    answers = await told
    assert sum(isinstance(answer, dict) and answer["reason"] == "rebalance" for answer in answers) == 1
    assert await unready(cluster, 0) == []
    for peer in peers:
        await peer.socket.close()


async def test_a_node_that_is_told_to_stop_is_gone_as_soon_as_its_clients_are(cluster: LocalCluster, room: str) -> None:
    people = [await enter(cluster, 0, user, room) for user in ("ada", "bob")]
    stopping = asyncio.create_task(cluster.node(0).stop())
    try:
        await until_ready(cluster, 0, ready=False)
        for each in people:
            await each.socket.close()
        async with asyncio.timeout(15):  # of the 30 s over which it would have sent them away, and 5 s more
            await stopping
    finally:
        await cluster.start_node(0)
