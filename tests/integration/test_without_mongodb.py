"""While MongoDB is away: conversations go on, pages say that they are partial, and are whole afterwards."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import pytest_asyncio

from chatnode.broker.subjects import partition_of, room_subject, stream_name
from chatnode.local.cluster import LocalCluster
from chatnode.protocol.frames import Connect, History, Position, Send, Subscribe
from tests.integration.lines import TRANSPORTS, line
from tests.integration.peers import Frame, Peer, dial, say
from tests.integration.promises import make_room, nats_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = ("ada", "bob", "eve")
SETTINGS = {"CHAT_COMMAND_BURST": "2000", "CHAT_COMMAND_RATE_PER_S": "2000", "CHAT_ROOM_LINGER_S": "0"}


@pytest_asyncio.fixture(loop_scope="module")
async def room(cluster: LocalCluster) -> str:
    return await make_room(cluster, PEOPLE)


SignIn = Callable[[int, str], Awaitable[Peer]]


@pytest_asyncio.fixture(loop_scope="module")
async def sign_in(cluster: LocalCluster) -> AsyncIterator[SignIn]:
    """Connects somebody at a node, until the test is over."""
    peers: list[Peer] = []

    async def enter(node: int, user: str) -> Peer:
        peers.append(await dial(cluster, node))
        assert (await peers[-1].ask(Connect(id="hello", token=cluster.token(user))))["type"] == "welcome"
        return peers[-1]

    yield enter
    for peer in peers:
        await peer.socket.close()


def texts(page: Frame) -> list[object]:
    messages = page["messages"]
    assert isinstance(messages, list)
    return [message["text"] for message in messages if "notice" not in message]


async def purge(cluster: LocalCluster, room: str) -> None:
    client = await nats_of(cluster)
    await client.jetstream().purge_stream(stream_name(partition_of(room)), subject=room_subject(room))
    await client.close()


async def until_written(peer: Peer, room: str, count: int) -> None:
    """MongoDB is there, and a page has so many messages."""
    async with asyncio.timeout(15):
        while True:
            page = await peer.ask(History(id=secrets.token_hex(4), room=room, limit=100))
            if page["type"] == "ack" and "partial" not in page and len(texts(page)) >= count:
                return
            await asyncio.sleep(0.05)


async def test_pages_are_partial_until_mongodb_is_back_and_whole_then(
    cluster: LocalCluster, room: str, sign_in: SignIn
) -> None:
    ada, bob, eve = [await sign_in(node, user) for node, user in ((0, "ada"), (1, "bob"), (1, "eve"))]
    await ada.ask(Subscribe(id="join", room=room))
    await bob.ask(Subscribe(id="join", room=room))
    for number in range(30):
        acked = await ada.ask(say(room, f"{number}"))
        assert acked["type"] == "ack"
    first = Position(int(str(acked["epoch"])), int(str(acked["seq"])))
    await until_written(ada, room, 30)
    cluster.servers["mongod"].pause()
    try:
        assert (await ada.ask(say(room, "during")))["type"] == "ack"
        joined = await eve.ask(Subscribe(id="join", room=room), within=15)
        assert (joined["type"], joined["recovered"], joined["partial"]) == ("ack", False, True)
        assert "receipts" not in joined
        assert texts(joined)[-2:] == ["29", "during"]
        assert joined["more_before"] is True
        page = await eve.ask(History(id="h", room=room, limit=10))
        assert (page["partial"], texts(page)) == (True, [*map(str, range(21, 30)), "during"])
        page = await eve.ask(History(id="b", room=room, limit=5, before=first))
        assert (page["partial"], texts(page)) == (True, ["24", "25", "26", "27", "28"])
        page = await eve.ask(History(id="a", room=room, limit=5, after=first))
        assert (page["partial"], texts(page)) == (True, ["during"])
        refused = await eve.ask(History(id="r", room=room, around=Position(0, 1)))
        assert (refused["code"], refused["retryable"]) == ("unavailable", True)
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {cluster.token('ada')}"}) as http:
            answer = await http.get(f"{cluster.node_urls[0]}/v1/rooms/{room}/messages", params={"limit": 2})
            assert answer.json()["partial"] is True
        again = await ada.ask(Send(id="unknown", room=room, text="again", again=True), within=2)
        assert (again["code"], again["retryable"]) == ("unavailable", True)
    finally:
        cluster.servers["mongod"].resume()
    whole = await eve.next(lambda frame: frame.get("kind") == "whole", within=15)
    assert whole["room"] == room
    page = await eve.ask(History(id="w", room=room, limit=100))
    assert "partial" not in page
    assert texts(page) == [*map(str, range(30)), "during"]
    async with asyncio.timeout(10):
        while (again := await ada.ask(Send(id="unknown", room=room, text="again", again=True)))["type"] != "ack":
            assert again["code"] == "unavailable"
            await asyncio.sleep(0.2)


async def test_a_room_of_which_the_stream_holds_nothing_is_joined_and_gets_what_is_said(
    cluster: LocalCluster, room: str, sign_in: SignIn
) -> None:
    """All of it is in MongoDB alone: the page is empty, and says that it is partial; nobody takes it for the room."""
    ada, bob = await sign_in(0, "ada"), await sign_in(1, "bob")
    assert (await ada.ask(say(room, "long ago")))["type"] == "ack"
    for peer in (ada, bob):
        # Both nodes know the room's rights afterwards, and neither has it open.
        await until_written(peer, room, 1)
    await purge(cluster, room)
    cluster.servers["mongod"].pause()
    try:
        for peer in (ada, bob):
            joined = await peer.ask(Subscribe(id="join", room=room), within=15)
            assert (joined["type"], joined.get("partial"), texts(joined)) == ("ack", True, [])
        assert (await ada.ask(say(room, "now")))["type"] == "ack"
        assert await bob.texts(1) == ["now"]
    finally:
        cluster.servers["mongod"].resume()
    await bob.next(lambda frame: frame.get("kind") == "whole", within=15)
    joined = await bob.ask(Subscribe(id="again", room=room))
    assert ("partial" in joined, texts(joined)) == (False, ["long ago", "now"])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport_says_so(cluster: LocalCluster, room: str, transport: str, sign_in: SignIn) -> None:
    """The node knows the person and the room's rights from before; what it does not know it cannot ask now."""
    before = await sign_in(1, "bob")
    assert (await before.ask(say(room, "one")))["type"] == "ack"
    cluster.servers["mongod"].pause()
    try:
        async with line(transport, cluster.node_urls[1], cluster.token("bob"), {room: None}) as bob:
            subscribed = await bob.subscribed(room)
            assert (subscribed["recovered"], subscribed["partial"], texts(subscribed)) == (False, True, ["one"])
            cluster.servers["mongod"].resume()
            await bob.until(lambda frame: frame.get("kind") == "whole")
            page = await bob.ask(type="history", room=room)
            assert ("partial" in page, texts(page)) == (False, ["one"])
    finally:
        cluster.servers["mongod"].resume()
