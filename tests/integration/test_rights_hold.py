"""Rights hold where a node slept through their end (ARCHITECTURE §2.5), with nodes as processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect

from chatnode.local.cluster import LocalCluster
from tests.integration.readiness import until_still

ROOM = "python"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    async with LocalCluster(tmp_path / "data", nodes=2) as found:
        yield found


async def ask(cluster: LocalCluster, method: str, path: str, body: object = None, *, node: int) -> None:
    async with httpx.AsyncClient(base_url=cluster.node_urls[node], timeout=15.0) as http:
        headers = {"authorization": f"Bearer {cluster.service_token()}"}
        (await http.request(method, path, json=body, headers=headers)).raise_for_status()


@asynccontextmanager
async def following(cluster: LocalCluster, user: str, *, node: int) -> AsyncIterator[ClientConnection]:
    """A connection of ``user`` that follows the room."""
    url = cluster.node_urls[node].replace("http", "ws") + "/v1/ws"
    async with connect(url, subprotocols=["chat.v1"]) as connection:  # type: ignore[list-item]
        await say(connection, type="connect", id="c", token=cluster.token(user))
        await hear(connection, type="welcome")
        await say(connection, type="subscribe", id="s", room=ROOM)
        await hear(connection, type="ack", id="s")
        yield connection


async def say(connection: ClientConnection, **frame: object) -> None:
    await connection.send(msgspec.json.encode(frame).decode())


async def hear(connection: ClientConnection, **fields: object) -> list[dict]:
    """What was heard up to the frame with these fields, within 10 s."""
    frames: list[dict] = []
    async with asyncio.timeout(10.0):
        while not frames or not all(frames[-1].get(name) == value for name, value in fields.items()):
            frames.append(msgspec.json.decode(await connection.recv()))
    return frames


def texts(frames: list[dict]) -> list[str]:
    return [frame["text"] for frame in frames if frame.get("kind") == "message"]


async def test_a_node_that_slept_through_a_removal_neither_accepts_nor_delivers(cluster: LocalCluster) -> None:
    members = [{"user": user, "role": "learner"} for user in ("amina", "hugo")]
    await ask(cluster, "PUT", f"/v1/rooms/{ROOM}", {"kind": "course", "title": "x", "members": members}, node=1)
    async with following(cluster, "amina", node=0) as amina, following(cluster, "hugo", node=1) as hugo:
        await say(hugo, type="send", id="m1", room=ROOM, text="to both")
        await hear(amina, kind="message", text="to both")
        cluster.node(0).pause()
        try:
            await until_still(cluster.node(0))
            await ask(cluster, "DELETE", f"/v1/rooms/{ROOM}/members/amina", node=1)
            await say(amina, type="send", id="a1", room=ROOM, text="from amina")
            await say(hugo, type="send", id="m2", room=ROOM, text="behind her back")
            await hear(hugo, type="ack", id="m2")
            # Longer than a node may go without hearing control.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(amina.recv(), 6.0)
        finally:
            cluster.node(0).resume()
        heard = await hear(amina, kind="unsubscribed", room=ROOM)
        if not any(frame.get("id") == "a1" for frame in heard):
            heard += await hear(amina, id="a1")
        [answer] = [frame for frame in heard if frame.get("id") == "a1"]
        assert answer["type"] == "error"
        assert answer["code"] in {"unavailable", "not_found"}
        assert texts(heard) == []
        await say(hugo, type="send", id="m3", room=ROOM, text="last")
        seen = await hear(hugo, type="ack", id="m3")
        assert "from amina" not in texts(seen)
        code = "unavailable"
        async with asyncio.timeout(20):
            while code == "unavailable":
                await say(amina, type="send", id="a1", room=ROOM, text="from amina", again=True)
                code = (await hear(amina, id="a1"))[-1]["code"]
        assert code == "not_found"
