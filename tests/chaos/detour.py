"""A way from clients to servers on which what clients say can be held, as in a proxy that stands still.

The client gives its connection up after a while; the server's end stays open, and in the end all that was held comes
out there, in order.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 64 * 1024
_HELD_MAX: Final = 32 * 1024 * 1024
"""Of one connection: who says more is cut off."""
_LINGER_S: Final = 2.0
"""The server's end stays open for so long after the last byte: it answers into it."""


class Detour:
    """One port at ``host`` for each of ``servers`` (host and port); an asynchronous context manager."""

    def __init__(self, host: str, servers: Sequence[tuple[str, int]]) -> None:
        self._host = host
        self._servers = tuple(servers)
        self._listeners: list[asyncio.Server] = []
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[str]:
        """``host:port`` of each server's detour, in their order."""
        return [f"{self._host}:{listener.sockets[0].getsockname()[1]}" for listener in self._listeners]

    def hold(self) -> int:
        """From now on nothing goes on that clients say on connections which are open now; how many these are."""
        for line in self._lines:
            line.hold()
        return len(self._lines)

    def let_go(self) -> int:
        """All that was held comes out; how many bytes that were."""
        return sum(line.let_go() for line in self._lines if line.held is not None)

    async def __aenter__(self) -> Self:
        for server in self._servers:
            self._listeners.append(
                await asyncio.start_server(lambda *ends, to=server: self._accept(to, *ends), self._host)
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._listeners:
            listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, server: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(server, reader, writer), name=f"detour to {server[0]}:{server[1]}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, server: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(*server)
        except OSError:
            writer.close()
            return
        line = _Line((reader, writer), there)
        self._lines.add(line)
        try:
            await line.run()
        finally:
            self._lines.discard(line)
            writer.close()
            there[1].close()


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Line:
    """One client's connection and the one that was opened for it."""

    def __init__(self, client: _Ends, server: _Ends) -> None:
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._let_go = asyncio.Event()
        self.held: bytearray | None = None
        """None: everything goes on at once."""

    def hold(self) -> None:
        self.held = bytearray()
        self._let_go.clear()

    def let_go(self) -> int:
        held = bytes(self.held or b"")
        self.held = None
        self._to_server.write(held)
        self._let_go.set()
        return len(held)

    async def run(self) -> None:
        """Until the server's end is closed, or the client's is and nothing is held."""
        ends = [asyncio.create_task(self._back(), name="back"), asyncio.create_task(self._onward(), name="onward")]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _onward(self) -> None:
        while data := await _read(self._from_client):
            if self.held is None:
                self._to_server.write(data)
                try:
                    await self._to_server.drain()
                except OSError:
                    return
            elif len(self.held) + len(data) <= _HELD_MAX:
                self.held += data
            else:
                return
        if self.held is not None:
            await self._let_go.wait()
            await asyncio.sleep(_LINGER_S)

    async def _back(self) -> None:
        """To a client that has gone nothing is sent, and the server is not kept waiting."""
        while data := await _read(self._from_server):
            if self._to_client.is_closing():
                continue
            self._to_client.write(data)
            try:
                await self._to_client.drain()
            except OSError:
                self._to_client.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Empty at the end, also where that was a reset."""
    try:
        return await reader.read(_CHUNK)
    except OSError:
        return b""
