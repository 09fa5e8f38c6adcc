"""A node when what it needs goes away: it says so, keeps its sockets, and loses nothing that it acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chatnode.broker.subjects import partition_of, stream_name
from chatnode.local.cluster import LocalCluster
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.frames import History, Position, Read, Send, Subscribe
from tests.integration import peers
from tests.integration.peers import Peer, say
from tests.integration.readiness import unready, until_ready, until_suspended

Enter = Callable[..., Awaitable[Peer]]


@pytest.fixture
async def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[LocalCluster]:
    settings = {"CHAT_DRAIN_WINDOW_S": "2", "CHAT_DRAIN_SETTLE_S": "0.2", **getattr(request, "param", {})}
    async with LocalCluster(tmp_path / "data", settings=settings, sync_always=False) as running:
        await peers.make_algebra(running, ada="trainer", bob="learner")
        yield running


@pytest.fixture
async def enter(cluster: LocalCluster) -> AsyncIterator[Enter]:
    """Lets somebody in, and closes their connection before the cluster goes."""
    entered: list[Peer] = []

    async def made(cluster: LocalCluster, node: int, user: str, *, cursor: str | None = None) -> Peer:
        entered.append(await peers.enter(cluster, node, user, cursor=cursor))
        return entered[-1]

    yield made
    for peer in entered:
        await peer.socket.close()


async def test_a_node_that_does_not_hear_control_suspends_and_comes_back_with_everything(
    cluster: LocalCluster, enter: Enter
) -> None:
    ada, bob = await enter(cluster, 0, "ada"), await enter(cluster, 1, "bob")
    assert (await ada.ask(say("before")))["type"] == "ack"
    cluster.servers["nats-server"].pause()
    try:
        lost = say("while it was away")
        refused = await ada.ask(lost, within=12)
        assert (refused["code"], refused["retryable"]) == ("unavailable", True)
        await until_ready(cluster, 0, ready=False)
        await until_suspended(cluster, 0, 10)
        history = await ada.ask(History(id="h", room="algebra"))
        assert history["code"] == "unavailable"
    finally:
        cluster.servers["nats-server"].resume()
    await until_ready(cluster, 0, ready=True)
    await until_ready(cluster, 1, ready=True)
    again = await ada.ask(Send(id=lost.id, room=lost.room, text=lost.text, again=True))
    assert again["type"] == "ack", again
    assert (await ada.ask(say("after")))["type"] == "ack"
    assert await bob.texts(3) == ["before", "while it was away", "after"]
    assert await ada.texts(3) == ["before", "while it was away", "after"]


async def test_a_node_that_is_told_to_stop_sends_its_clients_away_before_it_goes(
    cluster: LocalCluster, enter: Enter
) -> None:
    ada, bob = await enter(cluster, 0, "ada"), await enter(cluster, 1, "bob")
    stopping = asyncio.create_task(cluster.node(0).stop())
    told = await ada.next(lambda frame: frame["type"] == "reconnect")
    assert 0 <= int(str(told["after_ms"])) <= 2000
    assert "draining" in await unready(cluster, 0)
    assert (await ada.ask(say("still here")))["type"] == "ack"
    with pytest.raises(ConnectionClosed) as closed:
        await ada.next(lambda _frame: False)
    await stopping
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.RECONNECT
    assert CloseCode(closed.value.rcvd.code).reconnect
    assert await bob.texts(1) == ["still here"]


async def test_a_drained_node_is_gone_as_soon_as_its_clients_are(cluster: LocalCluster, enter: Enter) -> None:
    ada = await enter(cluster, 0, "ada")
    stopping = asyncio.create_task(cluster.node(0).stop())
    await ada.next(lambda frame: frame["type"] == "reconnect")
    await ada.socket.close()
    async with asyncio.timeout(2):
        await stopping


@pytest.mark.parametrize("cluster", [{"CHAT_STREAM_MAX_BYTES": "1MiB", "CHAT_COMMAND_BURST": "1000"}], indirect=True)
async def test_a_full_stream_is_told_as_retryable_and_never_acknowledged(cluster: LocalCluster, enter: Enter) -> None:
    ada = await enter(cluster, 0, "ada")
    codes: list[object] = []
    acked = 0
    while not codes or codes[-1] is None:
        answer = await ada.ask(say("x" * 16_000))
        codes.append(answer.get("code"))
        acked += answer["type"] == "ack"
        assert len(codes) < 500
    assert (codes[-1], answer["retryable"]) == ("unavailable", True)
    page = await ada.ask(History(id="h", room="algebra", limit=100))
    messages = page["messages"]
    assert isinstance(messages, list)
    assert sum("notice" not in message for message in messages) == acked


async def test_without_mongodb_first_sends_go_on_and_resends_are_told_to_wait(
    cluster: LocalCluster, enter: Enter
) -> None:
    ada, bob = await enter(cluster, 0, "ada"), await enter(cluster, 1, "bob")
    first = say("one")
    assert (await ada.ask(first))["type"] == "ack"
    cluster.servers["mongod"].pause()
    try:
        assert (await ada.ask(say("two")))["type"] == "ack"
        assert await bob.texts(2) == ["one", "two"]
        cursor = str(bob.events[-1]["cursor"])
        await bob.socket.close()
        assert (await ada.ask(say("three and a half")))["type"] == "ack"
        bob = await enter(cluster, 1, "bob", cursor=cursor)
        assert await bob.texts(1) == ["three and a half"]
        again = await ada.ask(Send(id="unknown", room="algebra", text="three", again=True), within=15)
        assert (again["code"], again["retryable"]) == ("unavailable", True)
        assert (await ada.ask(Read(id="r", room="algebra", at=Position(1, 1))))["type"] == "ack"
    finally:
        cluster.servers["mongod"].resume()
    async with asyncio.timeout(10):
        while again["type"] != "ack":
            assert again["code"] == "unavailable"
            await asyncio.sleep(0.2)
            again = await ada.ask(Send(id="unknown", room="algebra", text="three", again=True))
    repeated = await ada.ask(Send(id=first.id, room="algebra", text="one", again=True))
    assert repeated["type"] == "ack"
    page = await bob.ask(History(id="h", room="algebra"))
    messages = page["messages"]
    assert isinstance(messages, list)
    assert [message["text"] for message in messages if "notice" not in message] == [
        *("one", "two", "three and a half", "three")
    ]


@pytest.mark.parametrize("cluster", [{"CHAT_CONNECTS_PER_S": "5", "CHAT_CONNECTS_BURST": "10"}], indirect=True)
async def test_a_storm_of_connects_is_told_when_to_come_back_and_gets_in_then(cluster: LocalCluster) -> None:
    url = cluster.node_urls[0].replace("http", "ws") + "/v1/ws"
    refused: list[int] = []
    sockets: list[ClientConnection] = []
    async with asyncio.timeout(30):
        while len(sockets) < 20:
            try:
                sockets.append(await connect(url, subprotocols=["chat.v1"]))  # type: ignore[list-item]
            except InvalidStatus as answer:
                refused.append(answer.response.status_code)
                await asyncio.sleep(float(answer.response.headers["Retry-After"]))
    assert set(refused) == {503}
    for socket in sockets:
        await socket.close()


async def test_a_room_is_there_on_every_node_as_soon_as_its_making_was_answered(
    cluster: LocalCluster, enter: Enter
) -> None:
    ada = await enter(cluster, 1, "ada")
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
    cluster: LocalCluster, enter: Enter
) -> None:
    ada, bob = await enter(cluster, 0, "ada"), await enter(cluster, 1, "bob")
    for number in range(20):
        acked = await ada.ask(say(str(number)))
        page = await bob.ask(Subscribe(id=f"again-{number}", room="algebra", limit=1))
        messages = page["messages"]
        assert isinstance(messages, list)
        assert messages[-1]["seq"] >= int(str(acked["seq"]))


async def test_a_node_that_starts_while_an_epoch_rises_begins_in_the_new_one(
    cluster: LocalCluster, enter: Enter
) -> None:
    """Between its being given out in MongoDB and its being written to the stream, where a worker was killed."""
    await cluster.servers["worker"].kill()
    stream = stream_name(partition_of("algebra"))
    with MongoClient[dict[str, object]](cluster.servers["mongod"].uri) as client:  # type: ignore[attr-defined]
        client["chat"]["epochs"].update_one({"_id": stream}, {"$set": {"epoch": 7}}, upsert=True)
    await cluster.kill_node(0)
    await cluster.start_node(0)
    ada = await enter(cluster, 0, "ada")
    acked = await ada.ask(say("in the new one"))
    assert (acked["type"], acked["epoch"]) == ("ack", 7)
    await ada.socket.close()
