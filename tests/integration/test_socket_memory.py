"""What idle connections cost, measured in a process of its own."""

import asyncio
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatnode.transports.websocket.frames import frame_text

CONNECTIONS = 8000
KIB = 1024
MOST = 2.5 * KIB
REQUEST = (
    b"GET /v1/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n"
)


@pytest.fixture
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < CONNECTIONS + 500:
        pytest.skip(f"this machine allows {before[1]} open files, {CONNECTIONS + 500} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Client(asyncio.Protocol):
    """Opens a socket and keeps what it gets."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.answered = asyncio.Event()
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if b"\r\n\r\n" in self._got:
            assert self._got.startswith(b"HTTP/1.1 101")
            self.opened.set()
        if self._got.endswith(frame_text(b"x")):
            self.answered.set()
            self._got = b""


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * resource.getpagesize()


async def resident(pid: int, probe: Client) -> int:
    """Bytes of memory that the process holds, after it has tidied up."""
    probe.answered.clear()
    probe.transport.write(b"\x81\x81\x00\x00\x00\x00x")
    await asyncio.wait_for(probe.answered.wait(), 30)
    return resident_bytes(pid)


async def test_an_idle_connection_costs_two_and_a_half_kibibytes_at_most(
    many_files: None, record_property: Callable[[str, object], None]
) -> None:
    loop = asyncio.get_running_loop()
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.idle_server", stdout=asyncio.subprocess.PIPE
    )
    clients: list[Client] = []
    try:
        assert server.stdout is not None
        port = int(await asyncio.wait_for(server.stdout.readline(), 30))

        async def connect(count: int) -> None:
            for _ in range(count // 50):
                some = [await loop.create_connection(Client, "127.0.0.1", port) for _ in range(50)]
                clients.extend(client for _, client in some)
                async with asyncio.timeout(30):
                    await asyncio.gather(*(client.opened.wait() for _, client in some))

        await connect(200)
        before = await resident(server.pid, clients[0])
        await connect(CONNECTIONS)
        cost = (await resident(server.pid, clients[0]) - before) / CONNECTIONS
        record_property("kib_per_idle_connection", round(cost / KIB, 2))
        assert cost < MOST
    finally:
        for client in clients:
            client.transport.abort()
        server.terminate()
        await server.wait()
