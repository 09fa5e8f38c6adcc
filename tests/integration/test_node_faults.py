"""A node when what it needs goes away: it says so, keeps its sockets, and loses nothing that it acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from pymongo import MongoClient
from websockets.exceptions import ConnectionClosed

from chatnode.broker.subjects import partition_of, stream_name
from chatnode.local.cluster import LocalCluster
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.frames import History, Position, Read, Send, Subscribe
from tests.integration import peers
from tests.integration.peers import Peer, say
from tests.integration.promises import make_room
from tests.integration.readiness import unready, until_ready, until_suspended

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"CHAT_DRAIN_WINDOW_S": "2", "CHAT_DRAIN_SETTLE_S": "0.2"}
Enter = Callable[..., Awaitable[Peer]]


@pytest_asyncio.fixture(loop_scope="module")
async def room(cluster: LocalCluster) -> str:
    return await make_room(cluster, ["bob"], trainers=["ada"])


@pytest_asyncio.fixture(loop_scope="module")
async def enter(cluster: LocalCluster, room: str) -> AsyncIterator[Enter]:
    """Lets somebody into the room, until the test is over."""
    entered: list[Peer] = []

    async def made(node: int, user: str, *, cursor: str | None = None) -> Peer:
        entered.append(await peers.enter(cluster, node, user, room, cursor=cursor))
        return entered[-1]

    yield made
    for peer in entered:
        await peer.socket.close()


async def test_a_node_that_does_not_hear_control_suspends_and_comes_back_with_everything(
    cluster: LocalCluster, enter: Enter, room: str
) -> None:
    ada, bob = await enter(0, "ada"), await enter(1, "bob")
    assert (await ada.ask(say(room, "before")))["type"] == "ack"
    cluster.servers["nats-server"].pause()
    try:
        lost = say(room, "while it was away")
        refused = await ada.ask(lost, within=12)
        assert (refused["code"], refused["retryable"]) == ("unavailable", True)
        await until_ready(cluster, 0, ready=False)
        await until_suspended(cluster, 0, 10)
        history = await ada.ask(History(id="h", room=room))
        assert history["code"] == "unavailable"
    finally:
        cluster.servers["nats-server"].resume()
    await until_ready(cluster, 0, ready=True)
    await until_ready(cluster, 1, ready=True)
    again = await ada.ask(Send(id=lost.id, room=lost.room, text=lost.text, again=True))
    assert again["type"] == "ack", again
    assert (await ada.ask(say(room, "after")))["type"] == "ack"
    assert await bob.texts(3) == ["before", "while it was away", "after"]
    assert await ada.texts(3) == ["before", "while it was away", "after"]


async def test_a_node_that_is_told_to_stop_sends_its_clients_away_before_it_goes(
    cluster: LocalCluster, enter: Enter, room: str
) -> None:
    ada, bob = await enter(0, "ada"), await enter(1, "bob")
    stopping = asyncio.create_task(cluster.node(0).stop())
    told = await ada.next(lambda frame: frame["type"] == "reconnect")
    assert 0 <= int(str(told["after_ms"])) <= 2000
    assert "draining" in await unready(cluster, 0)
    assert (await ada.ask(say(room, "still here")))["type"] == "ack"
    with pytest.raises(ConnectionClosed) as closed:
        await ada.next(lambda _frame: False)
    await stopping
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.RECONNECT
    assert CloseCode(closed.value.rcvd.code).reconnect
    assert await bob.texts(1) == ["still here"]
    await cluster.start_node(0)


async def test_without_mongodb_first_sends_go_on_and_resends_are_told_to_wait(
    cluster: LocalCluster, enter: Enter, room: str
) -> None:
    ada, bob = await enter(0, "ada"), await enter(1, "bob")
    first = say(room, "one")
    assert (await ada.ask(first))["type"] == "ack"
    cluster.servers["mongod"].pause()
    try:
        assert (await ada.ask(say(room, "two")))["type"] == "ack"
        assert await bob.texts(2) == ["one", "two"]
        cursor = str(bob.events[-1]["cursor"])
        await bob.socket.close()
        assert (await ada.ask(say(room, "three and a half")))["type"] == "ack"
        bob = await enter(1, "bob", cursor=cursor)
        assert await bob.texts(1) == ["three and a half"]
        again = await ada.ask(Send(id="unknown", room=room, text="three", again=True), within=15)
        assert (again["code"], again["retryable"]) == ("unavailable", True)
        assert (await ada.ask(Read(id="r", room=room, at=Position(1, 1))))["type"] == "ack"
    finally:
        cluster.servers["mongod"].resume()
    async with asyncio.timeout(10):
        while again["type"] != "ack":
            assert again["code"] == "unavailable"
            await asyncio.sleep(0.2)
            again = await ada.ask(Send(id="unknown", room=room, text="three", again=True))
    repeated = await ada.ask(Send(id=first.id, room=room, text="one", again=True))
    assert repeated["type"] == "ack"
    page = await bob.ask(History(id="h", room=room))
    messages = page["messages"]
    assert isinstance(messages, list)
    assert [message["text"] for message in messages if "notice" not in message] == [
        *("one", "two", "three and a half", "three")
    ]


async def test_a_room_is_there_on_every_node_as_soon_as_its_making_was_answered(
    cluster: LocalCluster, enter: Enter
) -> None:
    ada = await enter(1, "ada")
    members = [{"user": "ada", "role": "trainer"}]
    headers = {"Authorization": f"Bearer {cluster.service_token()}"}
    async with httpx.AsyncClient(headers=headers, base_url=cluster.node_urls[0]) as http:
        for number in range(30):
            room = f"new-{number}"
            await http.put(f"/v1/rooms/{room}", json={"kind": "course", "title": room, "members": members})
            if number % 2:
                joined = await ada.ask(Subscribe(id=room, room=room))
                assert joined["type"] == "ack", joined
            else:
                token = {"Authorization": f"Bearer {cluster.token('ada')}"}
                read = await http.get(f"{cluster.node_urls[1]}/v1/rooms/{room}/messages", headers=token)
                assert read.status_code == 200, read.text


async def test_a_page_holds_everything_that_was_acknowledged_before_it_was_asked_for(
    cluster: LocalCluster, enter: Enter, room: str
) -> None:
    ada, bob = await enter(0, "ada"), await enter(1, "bob")
    for number in range(20):
        acked = await ada.ask(say(room, str(number)))
        page = await bob.ask(Subscribe(id=f"again-{number}", room=room, limit=1))
        messages = page["messages"]
        assert isinstance(messages, list)
        assert messages[-1]["seq"] >= int(str(acked["seq"]))


async def test_a_node_that_starts_while_an_epoch_rises_begins_in_the_new_one(tmp_path: Path) -> None:
    """Between its being given out in MongoDB and its being written to the stream, where a worker was killed."""
    async with LocalCluster(tmp_path / "data", nodes=1, settings=SETTINGS, sync_always=False) as cluster:
        room = await make_room(cluster, ["ada"])
        await cluster.servers["worker"].kill()
        stream = stream_name(partition_of(room))
        with MongoClient[dict[str, object]](cluster.servers["mongod"].uri) as client:  # type: ignore[attr-defined]
            client["chat"]["epochs"].update_one({"_id": stream}, {"$set": {"epoch": 7}}, upsert=True)
        await cluster.kill_node(0)
        await cluster.start_node(0)
        ada = await peers.enter(cluster, 0, "ada", room)
        acked = await ada.ask(say(room, "in the new one"))
        assert (acked["type"], acked["epoch"]) == ("ack", 7)
        await ada.socket.close()
