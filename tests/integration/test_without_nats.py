"""While NATS is away: readers are told that messages are delayed, sockets stay, and nothing is missing afterwards."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from chatnode.local.cluster import LocalCluster
from tests.integration.lines import Frame, Line, line
from tests.integration.promises import make_room
from tests.integration.readiness import until_suspended

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = ("ana", "bob", "eve")
SETTINGS = {"CHAT_COMMAND_BURST": "2000", "CHAT_COMMAND_RATE_PER_S": "2000"}


@pytest_asyncio.fixture(loop_scope="module")
async def room(cluster: LocalCluster) -> str:
    return await make_room(cluster, PEOPLE)


def delayed(*, on: bool) -> Callable[[Frame], bool]:
    return lambda frame: frame.get("kind") == "delayed" and frame["on"] is on


async def send_until_stored(ana: Line, room: str, text: str) -> None:
    command = {"type": "send", "id": secrets.token_hex(8), "room": room, "text": text}
    again = False
    async with asyncio.timeout(30):
        while (reply := await ana.ask(**command, **({"again": True} if again else {})))["type"] != "ack":
            assert reply["retryable"] is True, reply
            again = again or reply["code"] != "rate_limited"
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("long", [False, True], ids=["delayed", "suspended"])
async def test_readers_are_told_that_messages_are_delayed_and_when_it_is_over(
    cluster: LocalCluster, room: str, long: bool
) -> None:
    """Sockets and streams stay; a poll that is held is answered with the word, later ones are told to come back."""
    nats = cluster.servers["nats-server"]
    async with AsyncExitStack() as stack:
        kinds = ("websocket", "sse", "websocket")
        ana, bob, eve = [
            await stack.enter_async_context(line(kind, cluster.node_urls[node], cluster.token(user), {room: None}))
            for kind, node, user in zip(kinds, (0, 1, 1), PEOPLE, strict=True)
        ]
        for each in (ana, bob, eve):
            await each.subscribed(room)
        poll = await stack.enter_async_context(line("poll", cluster.node_urls[0], cluster.token("eve"), {room: None}))
        await poll.subscribed(room)
        await send_until_stored(ana, room, "before")
        for each in (bob, eve, poll):
            await each.texts(room, "before")
        nats.pause()
        try:
            await asyncio.gather(*(each.until(delayed(on=True)) for each in (ana, bob, eve, poll)))
            if long:
                await asyncio.gather(*(until_suspended(cluster, node, 20) for node in (0, 1)))
        finally:
            nats.resume()
        await asyncio.gather(*(each.until(delayed(on=False)) for each in (ana, bob, eve)))
        await send_until_stored(ana, room, "after")
        for each in (bob, eve):
            assert await each.texts(room, "after") == ["before", "after"]
        assert poll.lost in {None, "unavailable"}
        for each in (ana, bob, eve):
            assert each.lost is None
            assert [frame["on"] for frame in each.frames if frame.get("kind") == "delayed"] == [True, False]
        assert any(delayed(on=True)(frame) for frame in poll.frames)
