"""Real nodes over a real nats-server, mongod and worker, in the test's own loop, and requests to them."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import httpx
import msgspec
from pymongo import MongoClient
from websockets.asyncio.client import ClientConnection, connect

from chatnode.app import Signals, run_node
from chatnode.identity.tokens import TokenIssuer, issuer_for
from chatnode.local.children import free_port
from chatnode.local.servers import NatsServer
from chatnode.settings import Settings
from chatnode.worker.main import run_worker

SERVICE: Final = "platform"


Person = Callable[[str], str]


def wall() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Reply:
    status: int
    body: dict
    headers: httpx.Headers

    @property
    def code(self) -> str:
        return self.body["error"]["code"]


class Site:
    """A running cluster, and requests to its nodes."""

    def __init__(self, nodes: list[Settings], server: NatsServer, http: httpx.AsyncClient) -> None:
        self.nodes = nodes
        self.server = server
        self.http = http
        self.issuer: TokenIssuer = issuer_for(nodes[0], wall)

    def token(self, user: str, *, lifetime_s: int = 600) -> str:
        scopes = ("chat:admin",) if user == SERVICE else ()
        return self.issuer.issue(user, user.upper(), scopes=scopes, lifetime_s=lifetime_s)[0]

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        by: str | None = SERVICE,
        node: int = 0,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        headers = dict(headers or {})
        if by is not None:
            headers["authorization"] = f"Bearer {token or self.token(by)}"
        content = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
        url = f"http://127.0.0.1:{self.nodes[node].port}{path}"
        response = await self.http.request(method, url, content=content, headers=headers)
        return Reply(response.status_code, response.json() if response.content else {}, response.headers)

    async def probe(self, node: int) -> int:
        """Status of the node's readiness; 0 when nobody answers."""
        try:
            return (await self.http.get(f"http://127.0.0.1:{self.nodes[node].admin_port}/readyz")).status_code
        except httpx.TransportError:
            return 0

    async def course(self, room: str, **roles: str) -> None:
        members = [{"user": user, "role": role, "name": user.upper()} for user, role in roles.items()]
        reply = await self.ask("PUT", f"/v1/rooms/{room}", {"kind": "course", "title": room, "members": members})
        assert reply.status == 200, reply.body

    async def socket(self, user: str, *, node: int = 0) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.nodes[node].port}/v1/ws"
        connection = await connect(url, subprotocols=["chat.v1"])  # type: ignore[list-item]
        await say(connection, type="connect", id="c", token=self.token(user))
        assert (await said(connection))["type"] == "welcome"
        return connection


async def say(connection: ClientConnection, **frame: object) -> None:
    await connection.send(msgspec.json.encode(frame).decode())


async def said(connection: ClientConnection) -> dict:
    return msgspec.json.decode(await asyncio.wait_for(connection.recv(), 5.0))


async def until_said(connection: ClientConnection, **fields: object) -> dict:
    async with asyncio.timeout(5.0):
        while True:
            frame = msgspec.json.decode(await connection.recv())
            if all(frame.get(name) == value for name, value in fields.items()):
                return frame


async def eventually(check: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not await check():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(server: NatsServer, uri: str, **changes: object) -> AsyncIterator[Site]:
    """Two nodes and a worker, in this process and loop, over real servers."""
    secret = secrets.token_hex(32)

    def settings(name: str) -> Settings:
        return replace(
            Settings(
                nats_url=server.url,
                mongodb_uri=uri,
                mongodb_database=f"test-{secret[:12]}",
                node_id=name,
                port=free_port(),
                admin_port=free_port(),
                local_mode=True,
                jwt_secret=secret,
                stream_max_bytes=16 * 1024 * 1024,
                drain_settle_s=0.0,
                drain_window_s=0.0,
            ),
            **changes,
        )

    nodes = [settings("node-1"), settings("node-2")]
    stop_worker = asyncio.Event()
    signals = [Signals() for _ in nodes]
    async with httpx.AsyncClient(timeout=15.0) as http:
        worker = asyncio.create_task(run_worker(settings("worker"), stop_worker))
        running = [asyncio.create_task(run_node(each, signal)) for each, signal in zip(nodes, signals, strict=True)]
        site = Site(nodes, server, http)

        async def ready() -> bool:
            for task in (worker, *running):
                if task.done():
                    task.result()
            return all([await site.probe(number) == 200 for number in range(len(nodes))])

        try:
            await eventually(ready, within=30.0)
            yield site
        finally:
            for signal in signals:
                signal.received()
                signal.received()
            await asyncio.gather(*running)
            stop_worker.set()
            await worker
    with MongoClient[dict[str, object]](uri) as client:
        client.drop_database(f"test-{secret[:12]}")
