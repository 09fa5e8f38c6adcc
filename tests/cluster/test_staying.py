"""A socket and an event stream on which nothing is said, behind Envoy Gateway on a real Kubernetes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect

from chatnode.protocol.codec import encode_frame
from chatnode.protocol.frames import Connect, Subscribe
from tests.cluster.harness import gateway
from tests.cluster.harness.figures import Figures
from tests.cluster.harness.issuer import Issuer
from tests.cluster.harness.resources import begin_namespace, chat_cluster
from tests.cluster.harness.talk import Talk
from tests.cluster.harness.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="module")]

NAME, NAMESPACE = "calm", "library"
STAY_S = 600.0
"""Longer than any proxy waits by default for a socket that is silent."""


@pytest.fixture(scope="module")
def address(operator: World, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if operator.kubernetes is None:
        pytest.skip("asks the gateway that the tests have installed")
    gateway.install(operator, tmp_path_factory.mktemp("gateway"))
    exposure = {"type": "gateway", "gateway": {"name": gateway.NAME, "namespace": gateway.NAMESPACE}}
    begin_namespace(operator, NAMESPACE)
    operator.apply(chat_cluster(NAME, NAMESPACE, operator, members=1, autoscaling={"mode": "Off"}, exposure=exposure))
    operator.wait_condition(NAME, NAMESPACE, "Ready", seconds=300)
    found = gateway.address(operator)
    gateway.wait_leading(found)
    yield found
    operator.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


async def test_both_stay_for_ten_minutes_and_hear_what_is_said_then(
    address: str, issuer: Issuer, figures: Figures
) -> None:
    talk = Talk(address, issuer)
    await talk.begin()
    headers = {"Authorization": f"Bearer {issuer.token('eve')}"}
    # It answers the nodes' pings, and says nothing of its own.
    async with (
        connect(f"ws://{address}/v1/ws", ping_interval=None, proxy=None, subprotocols=["chat.v1"]) as socket,  # type: ignore[list-item]
        httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=60, headers=headers) as http,
        http.stream("GET", "/v1/events", params={"room": talk.room}) as stream,
    ):
        assert stream.status_code == 200, await stream.aread()
        await socket.send(encode_frame(Connect(id="c", token=issuer.token("ana"))).decode())
        await socket.send(encode_frame(Subscribe(id="s", room=talk.room)).decode())
        began = time.monotonic()
        heard = [asyncio.create_task(_heard_on(socket)), asyncio.create_task(_heard_in(stream.aiter_lines()))]
        try:
            ended, _ = await asyncio.wait(heard, timeout=STAY_S, return_when=asyncio.FIRST_COMPLETED)
            assert ended == set(), [each.exception() for each in ended]
            async with talk.client("bob") as bob:
                await bob.subscribe(talk.room)
                await bob.send(talk.room, WORDS)
                async with asyncio.timeout(30):
                    await asyncio.gather(*heard)
        finally:
            for each in heard:
                each.cancel()
            await asyncio.gather(*heard, return_exceptions=True)
        figures.set("silent_socket_stayed_s", round(time.monotonic() - began))


WORDS = "still here"


async def _heard_on(socket: ClientConnection) -> None:
    """Until the words come; an error when the socket ends."""
    while True:
        frame = msgspec.json.decode(await socket.recv())
        assert frame["type"] != "error", frame
        if frame.get("text") == WORDS:
            return


async def _heard_in(lines: AsyncIterator[str]) -> None:
    async for line in lines:
        if WORDS in line:
            return
    raise AssertionError("the event stream has ended")
