"""A TCP proxy that lets some paths through and cuts others, as proxies of companies do."""

import asyncio
from typing import Self
from urllib.parse import urlsplit

SOCKET, EVENTS, POLL, COMMANDS = "/v1/ws", "/v1/events", "/v1/poll", "/v1/commands"


class BlockingProxy:
    """In front of ``url``. ``blocked`` paths are cut as soon as they are asked for."""

    def __init__(self, url: str) -> None:
        self._upstream = urlsplit(url)
        self._blocked: frozenset[str] = frozenset()
        self._paths: dict[asyncio.Task[None], str] = {}
        self.held = asyncio.Event()
        """Cleared, what is asked arrives, and no answer comes back."""
        self.held.set()
        self.socket_url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.socket_url = f"ws://127.0.0.1:{port}/v1/ws"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._paths):
            task.cancel()
        await asyncio.gather(*self._paths, return_exceptions=True)
        await self._server.wait_closed()

    def block(self, *paths: str) -> None:
        """From now on; what is open of these paths is cut."""
        self._blocked = frozenset(paths)
        for task, path in self._paths.items():
            if path in self._blocked:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._paths[task] = ""
        try:
            theirs, ours = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
            ways = [
                asyncio.create_task(self._forward(reader, ours, task)),
                asyncio.create_task(self._forward(theirs, writer, None)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                ours.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            del self._paths[task]
            writer.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asking: asyncio.Task[None] | None
    ) -> None:
        while data := await reader.read(65_536):
            if asking is not None and data.startswith((b"GET /", b"POST /")):
                path = data.split(b" ", 2)[1].partition(b"?")[0].decode()
                self._paths[asking] = path
                if path in self._blocked:
                    return
            if asking is None:
                await self.held.wait()
            writer.write(data)
            await writer.drain()
