"""The real servers as children: ready when they say so, gone when they should be."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import nats
import pytest
from pymongo import AsyncMongoClient, MongoClient

from chatnode.local.children import HeldPort, ServerError, check_port_free, free_port
from chatnode.local.servers import Envoy, Mongod, NatsServer, NodePorts
from tests.integration.conftest import MongoAddress
from tests.integration.readiness import until_still


async def test_nats_keeps_what_was_stored_over_kill_and_restart(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    stream = client.jetstream()
    await stream.add_stream(name="KEPT", subjects=["kept"])
    await stream.publish("kept", b"one")
    await client.close()
    first = nats_server.pid

    await nats_server.kill()
    assert not nats_server.running
    await nats_server.start()

    assert nats_server.pid != first
    client = await nats.connect(nats_server.url)
    assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
    await client.close()


async def test_a_paused_server_is_silent_until_it_is_resumed(nats_server: NatsServer) -> None:
    nats_server.pause()
    await until_still(nats_server)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(nats_server.probe(), 0.3)
    nats_server.resume()
    assert await nats_server.probe()


def test_each_test_has_a_database_of_its_own(mongo: MongoAddress, database: str) -> None:
    with MongoClient[dict[str, object]](mongo.uri) as client:
        client[database]["things"].insert_one({"_id": 1})
        assert database in client.list_database_names()


async def test_mongod_finds_its_data_again_under_another_port(tmp_path: Path) -> None:
    async with Mongod(tmp_path) as server, AsyncMongoClient[dict[str, object]](server.uri) as client:
        await client["kept"]["things"].insert_one({"_id": 1})
        await client.close()
    async with Mongod(tmp_path) as server, AsyncMongoClient[dict[str, object]](server.uri) as client:
        assert await client["kept"]["things"].count_documents({}) == 1
        await client.close()


async def test_a_taken_port_is_one_line_and_nothing_is_left(tmp_path: Path, nats_server: NatsServer) -> None:
    second = NatsServer(tmp_path / "second", port=nats_server.port)
    with pytest.raises(
        ServerError, match=r"^port \d+ for nats-server is taken by another program: stop that program, or"
    ) as caught:
        await second.start()
    assert "\n" not in str(caught.value)
    assert not second.running


def test_a_held_port_is_for_those_who_know_it_only() -> None:
    held = HeldPort()
    check_port_free(held.number, "us")
    with socket.create_server(("127.0.0.1", held.number)), pytest.raises(ServerError, match="is taken"):
        check_port_free(held.number, "us")
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", held.number))
    held.close()
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", held.number))


async def test_envoy_answers_while_no_node_is_there(tmp_path: Path) -> None:
    nodes = [NodePorts(free_port(), free_port())]
    async with Envoy(tmp_path, port=free_port(), nodes=nodes) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: chat\r\nconnection: close\r\n\r\n")
        assert b" 503 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


_PARENT = """
import asyncio, sys
from pathlib import Path
from chatnode.local.servers import NatsServer

async def main():
    server = NatsServer(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    os.kill(child, 0)

    parent.send_signal(signal.SIGKILL)
    await parent.wait()

    async with asyncio.timeout(5):
        while _alive(child):
            await asyncio.sleep(0.01)


def _alive(pid: int) -> bool:
    """Whether it runs; one that has ended and waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
