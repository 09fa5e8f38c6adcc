"""A real uvicorn server with the project's socket classes, in the test's own loop; every test runs on both loops."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import cast

import pytest
import uvicorn
import uvloop
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from chatnode.telemetry.admin import QuietServer
from chatnode.transports.websocket.channel import Channel, Receiver, Refusal, SocketLimits
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.http import guarded_http
from chatnode.transports.websocket.protocol import socket_protocol
from chatnode.transports.websocket.timers import Timers

TICK = 0.02


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass(eq=False)
class Peer:
    """Receiver of one connection: remembers, and echoes unless told otherwise."""

    channel: Channel
    echo: bool = True
    messages: list[bytes] = field(default_factory=list)
    drains: int = 0
    fails: bool = False
    _closed: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def received(self, payload: bytes) -> None:
        if self.fails:
            raise RuntimeError("the application's fault")
        self.messages.append(payload)
        if self.echo:
            self.channel.send(payload)

    def closed(self, code: int) -> None:
        self._closed.set_result(code)

    def drained(self) -> None:
        self.drains += 1

    @property
    def code(self) -> int | None:
        return self._closed.result() if self._closed.done() else None

    async def ended(self) -> int:
        return await asyncio.wait_for(asyncio.shield(self._closed), 10)


@dataclass(eq=False)
class Peers:
    """Acceptor: one :class:`Peer` for each connection, in the order of their handshakes."""

    echo: bool = True
    refusal: Refusal | None = None
    fails: bool = False
    peers: list[Peer] = field(default_factory=list)

    def admit(self) -> Refusal | None:
        return self.refusal

    def accept(self, channel: Channel) -> Receiver:
        if self.fails:
            raise RuntimeError("the application's fault")
        self.peers.append(Peer(channel, self.echo))
        return self.peers[-1]


@dataclass
class Node:
    host: SocketHost
    peers: Peers
    server: uvicorn.Server
    port: int
    raw_peers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    def client(self, **options: object) -> AbstractAsyncContextManager[ClientConnection]:
        chosen: dict[str, object] = {"subprotocols": ["chat.v1"], "compression": None, "proxy": None} | options
        chosen |= {"ping_interval": None, "close_timeout": 5}
        return websockets.connect(str(chosen.pop("uri", self.address)), **chosen)  # type: ignore[arg-type]

    async def raw(self, *, receive_buffer: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection; with a small ``receive_buffer`` the kernel takes little for a client that does not read."""
        peer = socket.socket()
        peer.setblocking(False)
        if receive_buffer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=peer, limit=1024 if receive_buffer else 2**16)
        self.raw_peers.append(writer)
        return reader, writer

    def request(self, method: str = "GET", **changes: str) -> bytes:
        headers = {
            "Host": f"127.0.0.1:{self.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol": "chat.v1",
        } | changes
        lines = [f"{method} /v1/ws HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    async def stalled(self) -> tuple[Peer, asyncio.StreamWriter]:
        """A client that opens a socket and never reads again."""
        reader, writer = await self.raw(receive_buffer=4096)
        writer.write(self.request())
        await reader.readuntil(b"\r\n\r\n")
        cast("asyncio.ReadTransport", writer.transport).pause_reading()
        return self.peers.peers[-1], writer


async def closing(client: ClientConnection) -> tuple[int | None, str | None]:
    """The close code and reason that the node sent."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code, client.close_reason


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what the loop brings about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def plain_app(
    scope: MutableMapping[str, object],
    receive: Callable[[], Awaitable[MutableMapping[str, object]]],
    send: Callable[[MutableMapping[str, object]], Awaitable[None]],
) -> None:
    """Answers what it was asked, once the request's body is there; not ``/never``, and ``/large?n`` with n bytes."""
    size = 0
    more = True
    while more or scope["path"] == "/never":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body = message.get("body", b"")
        assert isinstance(body, bytes)
        size += len(body)
        more = bool(message.get("more_body"))
    if scope["path"] == "/large":
        await _answer_at_length(int(cast("bytes", scope["query_string"])), send)
        return
    answer = json.dumps({"path": scope["path"], "body": size}).encode()
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _answer_at_length(size: int, send: Callable[[MutableMapping[str, object]], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    for start in range(0, size, 200_000):
        part = b"x" * min(200_000, size - start)
        await send({"type": "http.response.body", "body": part, "more_body": start + 200_000 < size})


Serve = Callable[..., Awaitable[Node]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start nodes: ``await serve(limits, peers=…)``; they end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(limits: SocketLimits | None = None, peers: Peers | None = None) -> Node:
            return await stack.enter_async_context(_serving(limits or SocketLimits(), peers or Peers()))

        yield start


@contextlib.asynccontextmanager
async def _serving(limits: SocketLimits, peers: Peers) -> AsyncIterator[Node]:
    loop = asyncio.get_running_loop()
    faults: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    host = SocketHost(loop, limits, Timers(loop, TICK))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        plain_app,
        http=guarded_http(host),
        ws=socket_protocol(host, peers),
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    node = Node(host, peers, server, listener.getsockname()[1])
    try:
        yield node
    finally:
        for writer in node.raw_peers:
            writer.transport.abort()
        server.should_exit = True
        await serving
        host.timers.stop()
    assert faults == []
    assert host.counts.open == 0
    assert not server.server_state.connections
