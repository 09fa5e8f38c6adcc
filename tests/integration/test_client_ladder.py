"""A client whose network lets less and less through, then more: it goes down the ladder and up, and loses nothing."""

import asyncio
import time

import pytest

from chatclient import Timing, Transport
from chatnode.local.cluster import LocalCluster
from tests.integration.blocking_proxy import COMMANDS, EVENTS, POLL, SOCKET, BlockingProxy
from tests.integration.lines import TRANSPORTS
from tests.integration.promises import Chatter, Talk
from tests.oracle import Watched

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIFETIME_S = 5
"""Of a token: the client renews it after four fifths of it, and has the rest for that."""
TIMING = Timing(reply_s=4.0, ping_s=4.0, probe_s=1.0)


def behind(proxy: BlockingProxy, talk: Talk, timing: Timing = TIMING) -> Watched:
    return Watched(talk.log, "ana", proxy.socket_url, talk.cluster.token("ana"), timing=timing)


async def until_on(watched: Watched, transport: Transport, within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while watched.client.transport is not transport or not watched.client.connected:
            await asyncio.sleep(0.02)


async def test_a_client_goes_down_to_polls_and_up_to_a_socket_while_it_talks(talk: Talk, proxy: BlockingProxy) -> None:
    proxy.block(SOCKET)
    async with behind(proxy, talk) as ana, talk.client("tom", 1) as tom:
        assert ana.client.transport is Transport.SSE
        await ana.subscribe(talk.room)
        await tom.subscribe(talk.room)
        async with Chatter(ana, talk.room) as one, Chatter(tom, talk.room) as two:
            await one.until_acked(30)
            proxy.block(SOCKET, EVENTS)
            await until_on(ana, Transport.POLL)
            await one.until_acked(30)
            proxy.block()
            await until_on(ana, Transport.WEBSOCKET)
            await one.until_acked(30)
            await two.until_acked(30)
        verdict = await talk.keep(ana, tom)
        assert verdict.acked == verdict.sent


async def test_a_client_for_which_nothing_gets_through_waits_and_comes_back(talk: Talk, proxy: BlockingProxy) -> None:
    async with behind(proxy, talk) as ana, talk.client("tom", 1) as tom:
        assert ana.client.transport is Transport.WEBSOCKET
        await ana.subscribe(talk.room)
        proxy.block(SOCKET, EVENTS, POLL, COMMANDS)
        sending = asyncio.create_task(ana.send(talk.room, "in the dark"))
        await tom.send(talk.room, "meanwhile")
        async with asyncio.timeout(30.0):
            while ana.client.transport is not Transport.POLL:
                await asyncio.sleep(0.02)
        proxy.block(SOCKET, EVENTS)
        assert await sending is not None
        await talk.keep(ana)


async def test_a_network_that_is_offline_is_no_reason_to_go_down(talk: Talk, proxy: BlockingProxy) -> None:
    async with behind(proxy, talk) as ana:
        ana.client.network(online=False)
        proxy.block(SOCKET, EVENTS, POLL)
        async with asyncio.timeout(10.0):
            while ana.client.connected:
                await asyncio.sleep(0.02)
        await asyncio.sleep(3.0)  # the time for several attempts
        assert ana.client.transport is Transport.WEBSOCKET
        proxy.block()
        ana.client.network(online=True)
        await until_on(ana, Transport.WEBSOCKET, 2.0)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_short_tokens_are_renewed_without_a_break_over_every_transport(
    talk: Talk, cluster: LocalCluster, transport: str
) -> None:
    got = 0

    async def token() -> str:
        nonlocal got
        got += 1
        return cluster.token("ana", lifetime_s=LIFETIME_S)

    async with Watched(talk.log, "ana", talk.urls(0), token, timing=TIMING, transports=[transport]) as ana:
        await ana.subscribe(talk.room)
        began = time.monotonic()
        seen = False
        async with Chatter(ana, talk.room, pace=0.05) as chatter:
            # Past the end of the first token, with the third.
            while got < 3 or time.monotonic() - began < LIFETIME_S:
                await chatter.until_acked(5)
                seen = seen or not ana.client.connected
        assert not seen, "the connection was lost"
        assert await ana.client.refresh() > time.time() * 1000
        await talk.keep(ana)


async def test_a_probe_that_fails_disturbs_nobody(talk: Talk, proxy: BlockingProxy) -> None:
    proxy.block(SOCKET)
    async with behind(proxy, talk, Timing(probe_s=0.2)) as ana:
        await ana.subscribe(talk.room)
        async with Chatter(ana, talk.room) as chatter:
            for _ in range(5):
                await chatter.until_acked(20)
                await asyncio.sleep(0.2)
        assert ana.client.transport is Transport.SSE
        await talk.keep(ana)
