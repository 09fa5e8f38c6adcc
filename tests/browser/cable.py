"""A cable between one window and the cluster that can be pulled, whole or for some transports only."""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

import httpx

_REFUSED: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Way(enum.Enum):
    """What a request is for."""

    SOCKET = "/v1/ws"
    EVENTS = "/v1/events"
    POLL = "/v1/poll"
    COMMANDS = "/v1/commands"
    OTHER = "/"


CHAT: Final = frozenset(Way) - {Way.OTHER}


@dataclass(eq=False)
class _Flow:
    way: Way
    writer: asyncio.StreamWriter


class Cable:
    """A proxy in front of the cluster with one request per TCP connection, so that each can be let through or not."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._pulled = False
        self._blocked: frozenset[Way] = frozenset()
        self._mute = False
        self._flows: set[_Flow] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.replaces: Mapping[bytes, bytes] = {}
        """In what comes back; as long as what they stand for. Another build of the page, say."""

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
            cable._abort(frozenset(Way))
            await asyncio.gather(*cable._tasks)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Break off everything that chat needs, and let none of it begin; pages still load."""
        self.block(*CHAT)

    def pull(self) -> None:
        """Nothing passes any more."""
        self._pulled = True
        self._abort(frozenset(Way))

    def mute(self) -> None:
        """What is asked arrives; no answer comes back, not even later."""
        self._mute = True

    def block(self, *ways: Way) -> None:
        """Break these off, and answer 502 to new ones, as a proxy does that does not know them."""
        self._blocked |= set(ways)
        self._abort(frozenset(ways))

    def mend(self, *ways: Way) -> None:
        """Let these pass again; all without an argument."""
        self._pulled = self._mute = False
        self._blocked = self._blocked - set(ways) if ways else frozenset()

    def _abort(self, ways: frozenset[Way]) -> None:
        for flow in self._flows:
            if flow.way in ways:
                flow.writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        flow = _Flow(Way.OTHER, writer)
        self._flows.add(flow)
        try:
            await self._carry(reader, flow)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._flows.discard(flow)
            self._tasks.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, flow: _Flow) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        flow.way = _way_of(head)
        if self._pulled:
            flow.writer.transport.abort()
            return
        if flow.way in self._blocked:
            flow.writer.write(_REFUSED)
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            far_writer.write(head if flow.way is Way.SOCKET else _once(head))
            there = asyncio.create_task(_pump(reader, far_writer))
            back = asyncio.create_task(self._pump_back(far_reader, flow.writer))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            far_writer.close()

    async def _pump_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            for old, new in self.replaces.items():
                data = data.replace(old, new)
            if not self._mute:
                writer.write(data)
                await writer.drain()


def _way_of(head: bytes) -> Way:
    path = head.split(b" ", 2)[1].split(b"?", 1)[0].decode()
    return next((way for way in CHAT if way.value == path), Way.OTHER)


def _once(head: bytes) -> bytes:
    """The head of a request after which the connection is closed; what comes back is whole and plain."""
    changed = (b"connection:", b"accept-encoding:", b"if-none-match:")
    lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(changed)]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
