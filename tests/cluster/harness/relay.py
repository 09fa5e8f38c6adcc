"""Loopback ports of this machine that lead into the cluster's network, for people and their browsers."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.cluster.harness.kubernetes import Kubernetes

_CHUNK: Final = 65_536
_CONNECT_S: Final = 5.0


@contextlib.asynccontextmanager
async def relayed(kubernetes: Kubernetes, target: str, port: int = 0) -> AsyncIterator[str]:
    """``127.0.0.1:port`` that reaches ``target`` (``host:port`` inside); ``port`` 0 takes a free one.

    A socket belongs to the network in which it was made: those to ``target`` are made by a thread that lives inside.
    """
    host, _, inner = target.rpartition(":")
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def dial() -> socket.socket:
        with kubernetes.entered():
            return socket.create_connection((host, int(inner)), timeout=_CONNECT_S)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            made = await loop.run_in_executor(inside, dial)
        except OSError:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(sock=made)
        async with contextlib.AsyncExitStack() as stack:
            for each in (writer, back):
                stack.callback(each.transport.abort)
            await asyncio.gather(_copy(reader, back), _copy(there, writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    with ThreadPoolExecutor(1) as inside:
        server = await asyncio.start_server(accept, "127.0.0.1", port)
        try:
            found = server.sockets[0].getsockname()[1]
            yield f"127.0.0.1:{found}"
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
        target.write_eof()
