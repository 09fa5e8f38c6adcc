"""The cluster on one machine as an object: what it keeps, what it uses, and when it gives up."""

import asyncio
from pathlib import Path

import httpx
import pytest

from chatnode.local.cluster import LocalCluster
from chatnode.local.notices import Died, Notice
from chatnode.local.seed import furnish
from chatnode.local.servers import NatsServer
from tests.integration.conftest import MongoAddress


async def test_what_was_said_is_there_after_a_restart(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        async with LocalCluster(tmp_path, nodes=1) as cluster, httpx.AsyncClient(base_url=cluster.url) as http:
            http.headers["authorization"] = f"Bearer {cluster.service_token()}"
            if not texts:
                await furnish(cluster)
            answer = await http.get("/v1/rooms/python-premiers-pas/messages")
            answer.raise_for_status()
            texts.append([message.get("text") for message in answer.json()["messages"]])
    assert texts[0] == texts[1]
    assert any("Bienvenue" in (text or "") for text in texts[0])


@pytest.mark.asyncio(loop_scope="module")
async def test_furnishing_twice_says_nothing_twice(cluster: LocalCluster) -> None:
    async with httpx.AsyncClient(base_url=cluster.url) as http:
        http.headers["authorization"] = f"Bearer {cluster.service_token()}"
        pages = []
        for _ in range(2):
            await furnish(cluster)
            pages.append((await http.get("/v1/rooms/reseaux-et-linux/messages")).json()["messages"])
        assert [message["id"] for message in pages[0]] == [message["id"] for message in pages[1]]


async def test_existing_servers_are_used_and_left_running(
    tmp_path: Path, nats_server: NatsServer, mongo: MongoAddress, database: str
) -> None:
    existing = {
        "CHAT_NATS_URL": nats_server.url,
        "CHAT_MONGODB_URI": mongo.uri,
        "CHAT_MONGODB_DATABASE": database,
    }
    async with LocalCluster(tmp_path, nodes=1, settings=existing) as cluster:
        assert sorted(cluster.servers) == ["front door", "node-1", "worker"]
    assert await nats_server.probe()


@pytest.mark.asyncio(loop_scope="module")
async def test_nodes_are_killed_and_started_by_number(cluster: LocalCluster) -> None:
    async with httpx.AsyncClient() as http:
        await cluster.kill_node(0)
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{cluster.admin_urls[0]}/readyz")
        assert (await http.get(f"{cluster.url}/v1/demo/users")).status_code == 200
        await cluster.start_node(0)
        assert (await http.get(f"{cluster.admin_urls[0]}/readyz")).status_code == 200


async def test_a_disk_that_fills_up_is_told_while_there_is_room_to_stop_in(tmp_path: Path) -> None:
    free = 2 * 1024**3
    async with LocalCluster(tmp_path, nodes=1, restart=True, free=lambda _: free) as cluster:
        free = 10 * 1024**2
        async with asyncio.timeout(10):
            assert "only 10 MiB are free" in str(await cluster.wait_given_up())


async def test_a_child_that_cannot_be_kept_alive_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatnode.local.supervision.DEATHS_MAX", 1)
    said: list[Notice] = []
    async with LocalCluster(tmp_path, nodes=1, restart=True, notify=said.append) as cluster:
        (tmp_path / "nats" / "nats-server.conf").unlink()
        (tmp_path / "nats" / "nats-server.conf").mkdir()
        await cluster.servers["nats-server"].kill()
        async with asyncio.timeout(30):
            words = str(await cluster.wait_given_up())
    assert words.startswith("nats-server died 2 times in a row, the last time: did not start")
    assert any(isinstance(notice, Died) and notice.name == "nats-server" for notice in said)
