"""What surrounds the people of browser tests: the platform's backend, and a cable that can be pulled."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Self

import httpx

from chatclient import Client
from chatnode.identity.demo_users import DEMO_USERS
from chatnode.local.cluster import LocalCluster

_PEOPLE = {person.user: person for person in DEMO_USERS}


class Centre:
    """The platform's backend, with its service token."""

    def __init__(self, http: httpx.AsyncClient, cluster: LocalCluster) -> None:
        self._http = http
        self._cluster = cluster

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, cluster: LocalCluster) -> AsyncIterator[Self]:
        headers = {"Authorization": f"Bearer {cluster.service_token()}"}
        async with httpx.AsyncClient(base_url=cluster.url, headers=headers, timeout=20) as http:
            yield cls(http, cluster)

    async def course(self, *people: str, title: str = "Atelier", room: str | None = None) -> str:
        """A room of its own for one test, with these demo users in their roles; returns its id."""
        room = room or f"atelier-{secrets.token_hex(4)}"
        members = [{"user": user, "role": _PEOPLE[user].role, "name": _PEOPLE[user].name} for user in people]
        await self._put(f"/v1/rooms/{room}", {"kind": "course", "title": f"{title} {room[-4:]}", "members": members})
        return room

    async def close(self, room: str, *, closed: bool = True) -> None:
        title = (await self._http.get(f"/v1/rooms/{room}")).raise_for_status().json()["title"]
        await self._put(f"/v1/rooms/{room}", {"kind": "course", "title": title, "closed": closed})

    async def remove(self, room: str, user: str) -> None:
        (await self._http.delete(f"/v1/rooms/{room}/members/{user}")).raise_for_status()

    async def say(self, room: str, user: str, texts: Sequence[str]) -> None:
        """Say all this as ``user``, in this order."""
        async with Client(self._cluster.url.replace("http", "ws", 1) + "/v1/ws", self._cluster.token(user)) as client:
            for text in texts:
                await client.send(room, text)

    async def texts(self, room: str) -> list[str]:
        """What is stored of a room, oldest first."""
        response = await self._http.get(f"/v1/rooms/{room}/messages", params={"limit": 100})
        return [message["text"] for message in response.raise_for_status().json()["messages"] if "text" in message]

    async def _put(self, path: str, body: dict[str, object]) -> None:
        (await self._http.put(path, json=body)).raise_for_status()


class Cable:
    """A TCP forwarder between one window and the cluster, whose sockets for chat can be cut while pages still load."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._cut = False
        self._sockets: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator[Self]:
        address = httpx.URL(url)
        cable = cls(address.host, address.port or 80)
        cable._server = await asyncio.start_server(cable._accept, "127.0.0.1", 0)
        try:
            yield cable
        finally:
            cable._server.close()
            for writer in cable._writers:
                writer.transport.abort()
            await asyncio.gather(*cable._flows)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Drop every chat socket and refuse new ones."""
        self._cut = True
        for socket in self._sockets:
            socket.transport.abort()

    def mend(self) -> None:
        self._cut = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._flows.add(task)
        self._writers.add(writer)
        try:
            await self._carry(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._sockets.discard(writer)
            self._writers.discard(writer)
            self._flows.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/v1/ws" in head.split(b"\r\n", 1)[0]:
            if self._cut:
                return
            self._sockets.add(writer)
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            far_writer.write(head)
            there = asyncio.create_task(_pump(reader, far_writer))
            back = asyncio.create_task(_pump(far_reader, writer))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
