"""A link to NATS that takes nothing in is left, whatever number of people wait for it."""

import asyncio
import time

from chatnode.broker.connection import AWAY, connect
from chatnode.local.servers import NatsServer

PUBLISHERS = 3_000


async def test_a_server_that_takes_nothing_in_is_left_while_thousands_publish(nats_server: NatsServer) -> None:
    left, back = asyncio.Event(), asyncio.Event()

    async def lost() -> None:
        left.set()

    async def returned() -> None:
        back.set()

    client = await connect(nats_server.url, name="test", on_disconnect=lost, on_reconnect=returned)

    async def ask() -> bool:
        try:
            await client.request("nobody", b"x" * 16_000, timeout=1.0)
        except AWAY:
            return True
        return False

    nats_server.pause()
    began = time.monotonic()
    try:
        asking = [asyncio.create_task(ask()) for _ in range(PUBLISHERS)]
        async with asyncio.timeout(15):
            await left.wait()
        assert time.monotonic() - began < 12
    finally:
        nats_server.resume()
    async with asyncio.timeout(20):
        await back.wait()
        await asyncio.gather(*asking)
        assert await ask()
    await client.close()
