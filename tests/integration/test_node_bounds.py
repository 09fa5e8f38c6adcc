"""A node at its bounds: it says so with when to come back, and acknowledges nothing that it cannot keep."""

import asyncio

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from chatnode.local.cluster import LocalCluster
from chatnode.protocol.frames import History
from tests.integration.peers import enter, say
from tests.integration.promises import make_room

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "CHAT_STREAM_MAX_BYTES": "1MiB",
    "CHAT_COMMAND_BURST": "1000",
    "CHAT_CONNECTS_PER_S": "5",
    "CHAT_CONNECTS_BURST": "10",
}


async def test_a_full_stream_is_told_as_retryable_and_never_acknowledged(cluster: LocalCluster) -> None:
    room = await make_room(cluster, ["ada"])
    ada = await enter(cluster, 0, "ada", room)
    codes: list[object] = []
    acked = 0
    while not codes or codes[-1] is None:
        answer = await ada.ask(say(room, "x" * 16_000))
        codes.append(answer.get("code"))
        acked += answer["type"] == "ack"
        assert len(codes) < 500
    assert (codes[-1], answer["retryable"]) == ("unavailable", True)
    page = await ada.ask(History(id="h", room=room, limit=100))
    messages = page["messages"]
    assert isinstance(messages, list)
    assert sum("notice" not in message for message in messages) == acked
    await ada.socket.close()


async def test_a_storm_of_connects_is_told_when_to_come_back_and_gets_in_then(cluster: LocalCluster) -> None:
    url = cluster.node_urls[1].replace("http", "ws") + "/v1/ws"
    refused: list[int] = []

    async def get_in() -> ClientConnection:
        while True:
            try:
                return await connect(url, subprotocols=["chat.v1"])  # type: ignore[list-item]
            except InvalidStatus as answer:
                refused.append(answer.response.status_code)
                await asyncio.sleep(float(answer.response.headers["Retry-After"]))

    async with asyncio.timeout(30):
        sockets = await asyncio.gather(*(get_in() for _ in range(20)))
    assert set(refused) == {503}
    for socket in sockets:
        await socket.close()
