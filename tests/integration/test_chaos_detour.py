"""What clients say on a detour comes at once, or when it is let go; the server's answers come back meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.chaos.detour import Detour

HOST: Final = "127.0.0.1"


class Hearer:
    """A server that keeps what it hears on each connection, and says what it is told to on all that are open."""

    def __init__(self) -> None:
        self.heard: list[bytearray] = []
        self.ended: list[asyncio.Event] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard, ended = bytearray(), asyncio.Event()
        self.heard.append(heard)
        self.ended.append(ended)
        self._writers.append(writer)
        while data := await reader.read(1 << 16):
            async with self._changed:
                heard += data
                self._changed.notify_all()
        ended.set()
        writer.close()

    def say(self, words: bytes) -> None:
        for writer in self._writers:
            writer.write(words)

    async def until_heard(self, connection: int, words: bytes) -> None:
        async with asyncio.timeout(5.0), self._changed:
            await self._changed.wait_for(lambda: len(self.heard) > connection and self.heard[connection] == words)


@pytest.fixture
async def hearer() -> AsyncIterator[tuple[Hearer, int]]:
    hearer = Hearer()
    server = await asyncio.start_server(hearer.serve, HOST)
    try:
        yield hearer, server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_what_is_held_comes_out_in_order_after_its_client_has_gone(hearer: tuple[Hearer, int]) -> None:
    server, port = hearer
    async with Detour(HOST, [(HOST, port)]) as detour:
        (address,) = detour.addresses
        there = int(address.rpartition(":")[2])
        _, writer = await asyncio.open_connection(HOST, there)
        writer.write(b"first ")
        await server.until_heard(0, b"first ")
        assert detour.hold() == 1
        for number in range(1000):
            writer.write(b"%d " % number)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

        reader, other = await asyncio.open_connection(HOST, there)
        other.write(b"other")
        await server.until_heard(1, b"other")
        assert server.heard[0] == b"first "
        server.say(b"answer")
        assert await asyncio.wait_for(reader.read(6), 5.0) == b"answer"

        held = b"".join(b"%d " % number for number in range(1000))
        detour.let_go()
        await server.until_heard(0, b"first " + held)
        await asyncio.wait_for(server.ended[0].wait(), 5.0)
        other.close()


async def test_who_stays_is_heard_on_in_order(hearer: tuple[Hearer, int]) -> None:
    server, port = hearer
    async with Detour(HOST, [(HOST, port)]) as detour:
        _, writer = await asyncio.open_connection(HOST, int(detour.addresses[0].rpartition(":")[2]))
        writer.write(b"one ")
        await server.until_heard(0, b"one ")
        detour.hold()
        writer.write(b"two ")
        await asyncio.sleep(0)
        detour.let_go()
        writer.write(b"three")
        await server.until_heard(0, b"one two three")
        writer.close()
        await asyncio.wait_for(server.ended[0].wait(), 5.0)


async def test_a_detour_to_nobody_closes_the_connection() -> None:
    async with Detour(HOST, [(HOST, 1)]) as detour:
        reader, writer = await asyncio.open_connection(HOST, int(detour.addresses[0].rpartition(":")[2]))
        assert await asyncio.wait_for(reader.read(), 5.0) == b""
        writer.close()
