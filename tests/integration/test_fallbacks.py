"""What is the fallbacks' own: ids of events, empty polls, refused commands, slow readers, nodes that go."""

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from chatnode.local.cluster import LocalCluster
from tests.integration.lines import PollLine, Refused, StreamLine
from tests.integration.promises import make_room, metric

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "CHAT_COMMAND_RATE_PER_S": "2000",
    "CHAT_COMMAND_BURST": "2000",
    "CHAT_DRAIN_WINDOW_S": "1",
    "CHAT_DRAIN_SETTLE_S": "0.1",
}


@pytest_asyncio.fixture(loop_scope="module")
async def room(cluster: LocalCluster) -> str:
    return await make_room(cluster, ["ana", "bob"])


@pytest_asyncio.fixture(loop_scope="module")
async def ana(cluster: LocalCluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {cluster.token('ana')}"}
    async with httpx.AsyncClient(base_url=cluster.node_urls[0], headers=headers, timeout=40.0) as http:
        yield http


def stream(cluster: LocalCluster, user: str, rooms: dict[str, str | None], *, node: int = 0) -> StreamLine:
    return StreamLine(cluster.node_urls[node], cluster.token(user), rooms)


def read_all(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    while not parts or parts[-1]:
        parts.append(connection.recv(65_536))
    return b"".join(parts)


async def test_a_last_event_id_goes_on_where_the_stream_broke(cluster: LocalCluster, room: str) -> None:
    async with stream(cluster, "bob", {room: None}, node=1) as bob:
        await bob.subscribed(room)
        async with stream(cluster, "ana", {room: None}) as first:
            await first.subscribed(room)
            await bob.send(room, "seen")
            await first.texts(room, "seen")
        await bob.send(room, "missed")
        second = stream(cluster, "ana", {}, node=1)
        second.last_event_id = first.last_event_id
        async with second:
            assert await second.texts(room, "missed") == ["missed"]
            assert (await second.subscribed(room))["recovered"] is True


async def test_the_front_door_lets_events_through_as_they_come(cluster: LocalCluster, room: str) -> None:
    front = StreamLine(cluster.url, cluster.token("ana"), {room: None})
    async with front, PollLine(cluster.url, cluster.token("bob"), {room: None}) as bob:
        await front.subscribed(room)
        for text in ("one", "two"):
            assert (await bob.send(room, text))["type"] == "ack"
            await front.texts(room, text, within=2.0)
        assert await bob.texts(room, "two") == ["one", "two"]


async def test_a_poll_in_which_nothing_comes_is_empty(ana: httpx.AsyncClient, room: str) -> None:
    first = (await ana.post("/v1/poll", json={"cursors": {room: None}})).json()
    assert first["frames"][0]["kind"] == "subscribed"
    frames, cursors = first["frames"], first["cursors"]
    # With it or soon after, it may be told who is online, and that the members of the new room have joined it.
    async with asyncio.timeout(20):
        while frames:
            began = time.monotonic()
            second = (await ana.post("/v1/poll", json={"cursors": cursors, "wait_s": 1})).json()
            frames, before, cursors = second["frames"], cursors, second["cursors"]
    assert cursors == before
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    ("body", "field"),
    [({"cursors": {"a b": None}}, "cursors"), ({"cursors": {"a": "x"}}, None), ({"wait_s": 26}, "wait_s")],
)
async def test_a_poll_that_makes_no_sense_is_refused(
    ana: httpx.AsyncClient, body: dict[str, object], field: str | None
) -> None:
    answer = await ana.post("/v1/poll", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid")
    if field is not None:
        assert answer.json()["error"]["field"] == field


async def test_what_needs_a_connection_is_refused_and_the_rest_done(ana: httpx.AsyncClient, room: str) -> None:
    commands = [
        {"type": "subscribe", "id": "s", "room": room},
        {"type": "ping", "id": "p"},
        {"type": "connect", "id": "c"},
        {"type": "unsubscribe", "id": "u", "room": room},
        {"type": "refresh", "id": "r", "token": "x"},
        {"type": "nonsense", "id": "n"},
        {"type": "ping"},
        {"type": "ping", "id": "p"},
        {"type": "typing", "id": "t", "room": room},
    ]
    replies = (await ana.post("/v1/commands", json=commands)).json()
    seen = [(reply["type"], reply.get("id"), reply.get("code")) for reply in replies]
    assert seen == [
        ("error", "s", "invalid"),
        ("ack", "p", None),
        ("error", "c", "invalid"),
        ("error", "u", "invalid"),
        ("error", "r", "invalid"),
        ("error", "n", "invalid"),
        ("error", None, "invalid"),
        ("error", "p", "id_reused"),
        ("ack", "t", None),
    ]


@pytest.mark.parametrize(("body", "status"), [(b"[]", 400), (b"[", 400), (b"x" * 600_000, 413)])
async def test_a_body_that_is_no_commands_is_refused(ana: httpx.AsyncClient, body: bytes, status: int) -> None:
    assert (await ana.post("/v1/commands", content=body)).status_code == status


async def test_a_single_command_needs_no_array(ana: httpx.AsyncClient) -> None:
    [reply] = (await ana.post("/v1/commands", content=b'{"type":"ping","id":"p"}')).json()
    assert (reply["type"], reply["id"]) == ("ack", "p")


async def test_a_resend_by_post_is_once(ana: httpx.AsyncClient, cluster: LocalCluster, room: str) -> None:
    command = {"type": "send", "id": secrets.token_hex(8), "room": room, "text": "once"}
    [first] = (await ana.post("/v1/commands", json=[command])).json()
    other = f"{cluster.node_urls[1]}/v1/commands"
    [second] = (await ana.post(other, json=[{**command, "again": True}])).json()
    assert first == second
    [page] = (await ana.post("/v1/commands", json={"type": "history", "id": "h", "room": room})).json()
    assert [message["text"] for message in page["messages"] if "notice" not in message] == ["once"]


async def test_a_reader_that_takes_nothing_is_cut_off(cluster: LocalCluster, room: str) -> None:
    address = urlsplit(cluster.node_urls[0])
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect((address.hostname, address.port))
    slow.settimeout(10.0)
    head = f"GET /v1/events?room={room} HTTP/1.1\r\nHost: chat\r\nAuthorization: Bearer {cluster.token('ana')}"
    slow.sendall(f"{head}\r\n\r\n".encode())
    before = await metric(cluster, 0, "chat_slow_readers_total")
    async with stream(cluster, "bob", {room: None}) as bob:
        await bob.subscribed(room)
        async with asyncio.timeout(30.0):
            while await metric(cluster, 0, "chat_slow_readers_total") == before:
                texts = [f"{number} {'x' * 15_000}" for number in range(5)]
                replies = await bob.ask_all(
                    *({"type": "send", "id": secrets.token_hex(8), "room": room, "text": text} for text in texts)
                )
                assert {reply["type"] for reply in replies} == {"ack"}
        assert (await bob.send(room, "last"))["type"] == "ack"
        await bob.texts(room, "last")
    with slow:
        seen = await asyncio.to_thread(read_all, slow)
    assert b"welcome" in seen
    assert b"last" not in seen
    assert not seen.endswith(b"\r\n0\r\n\r\n"), "the answer looks complete"


async def test_streams_count_as_connections_for_as_long_as_they_last(cluster: LocalCluster, room: str) -> None:
    before = await metric(cluster, 0, "chat_connections ")
    async with stream(cluster, "ana", {room: None}):
        assert await metric(cluster, 0, "chat_connections ") == before + 1
    async with asyncio.timeout(5.0):
        while await metric(cluster, 0, "chat_connections ") != before:
            await asyncio.sleep(0.05)


async def test_a_node_that_goes_says_so_and_ends_what_lasts(cluster: LocalCluster, room: str) -> None:
    poll = PollLine(cluster.node_urls[0], cluster.token("ana"), {room: None})
    async with stream(cluster, "ana", {room: None}) as events, poll:
        await events.subscribed(room)
        await poll.subscribed(room)
        stopping = asyncio.create_task(cluster.node(0).stop())
        try:
            told = await events.until(lambda frame: frame["type"] == "reconnect")
            assert 0 <= told["after_ms"] <= 1000
            # The poll that waits is told as well; the next one is refused.
            assert await poll.until_lost(10.0) == "unavailable"
            assert await events.until_lost(10.0) == ""
        finally:
            await stopping
            await cluster.start_node(0)


async def test_a_node_that_is_cut_off_answers_503(cluster: LocalCluster, room: str) -> None:
    async with stream(cluster, "ana", {room: None}) as ana:
        await ana.subscribed(room)
        cluster.servers["nats-server"].pause()
        try:
            async with asyncio.timeout(15.0):
                while (await ana.http.post("/v1/commands", json={"type": "ping", "id": "p"})).status_code == 200:
                    await asyncio.sleep(0.1)
            for method, path in (("POST", "/v1/commands"), ("GET", "/v1/events"), ("POST", "/v1/poll")):
                answer = await ana.http.request(method, path, json={} if path == "/v1/poll" else {"type": "ping"})
                assert answer.status_code == 503
                assert answer.json()["error"]["retryable"] is True
                assert "retry-after" in answer.headers
        finally:
            cluster.servers["nats-server"].resume()
        async with asyncio.timeout(20.0):
            while (await ana.send(room, "after"))["type"] != "ack":
                await asyncio.sleep(0.1)
        assert (await ana.texts(room, "after"))[-1] == "after"
        assert ana.lost is None
    with pytest.raises(Refused):
        async with StreamLine(cluster.node_urls[0], "nonsense", {}):
            pass
