"""Kept HTTP connections that are reset while nobody uses them, under both event loops."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine

import httpx
import pytest
import uvloop

from chatclient.lines.network import CarefulNetwork, LinkTransport

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


LOOPS = [asyncio.run, uvloop.run]
_TURNS = 20
"""Of the loop, until both ends know."""


async def ask_twice_with_a_reset_between() -> list[str]:
    kept: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    transport = LinkTransport(verify=ssl.create_default_context(), limits=httpx.Limits(max_connections=4))
    async with server, httpx.AsyncClient(transport=transport, trust_env=False, timeout=5.0) as http:
        texts = [(await http.get(url)).text]
        kept[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        kept[0].transport.abort()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        texts.append((await http.get(url)).text)
    for writer in kept:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return texts


async def what_is_said_of_an_aborted_connection() -> tuple[object, object]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        stream = await CarefulNetwork().connect_tcp(*server.sockets[0].getsockname())
        stream._stream._stream._transport.abort()  # type: ignore[attr-defined]
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return stream.get_extra_info("is_readable"), stream.get_extra_info("ssl_object")


@pytest.mark.parametrize("run", LOOPS)
def test_of_a_connection_that_is_gone_its_end_can_be_read(
    run: Callable[[Coroutine[None, None, tuple[object, object]]], tuple[object, object]],
) -> None:
    assert run(what_is_said_of_an_aborted_connection()) == (True, None)


@pytest.mark.parametrize("run", LOOPS)
def test_a_kept_connection_that_was_reset_is_replaced(
    run: Callable[[Coroutine[None, None, list[str]]], list[str]],
) -> None:
    assert run(ask_twice_with_a_reset_between()) == ["ok", "ok"]
