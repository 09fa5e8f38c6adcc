"""The promises of the cluster while one of its parts is killed, paused or stopped; judged by the oracle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from chatclient import Timing
from chatnode.local.cluster import LocalCluster
from tests.integration.lines import TRANSPORTS
from tests.integration.promises import TIMING, Chatter, Talk, begin_talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYNC_ALWAYS = True


@pytest_asyncio.fixture(loop_scope="module", params=TRANSPORTS)
async def talk(cluster: LocalCluster, request: pytest.FixtureRequest) -> Talk:
    return await begin_talk(cluster, transport=request.param)


@asynccontextmanager
async def two_talk(talk: Talk, ana: Timing = TIMING, tom: Timing = TIMING) -> AsyncIterator[tuple[Chatter, Chatter]]:
    """Ana at the first node and Tom at the second; afterwards all that they said was acked, and every promise kept."""
    async with talk.client("ana", 0, timing=ana) as first, talk.client("tom", 1, timing=tom) as second:
        await first.subscribe(talk.room)
        await second.subscribe(talk.room)
        async with Chatter(first, talk.room) as one, Chatter(second, talk.room) as two:
            yield one, two
        verdict = await talk.keep(first, second)
        assert verdict.acked == verdict.sent


async def test_a_node_killed_while_people_talk_costs_nothing_that_was_acked(talk: Talk, cluster: LocalCluster) -> None:
    async with talk.client("ana", 0) as ana, talk.client("bob", 0) as bob, talk.client("tom", 1) as tom:
        for watched in (ana, bob, tom):
            await watched.subscribe(talk.room)
        async with Chatter(ana, talk.room) as one, Chatter(bob, talk.room) as two, Chatter(tom, talk.room) as three:
            for chatter in (one, two, three):
                await chatter.until_acked(50)
            await cluster.kill_node(0)
            for chatter in (one, two, three):
                await chatter.until_acked(50)
            await cluster.start_node(0)
        verdict = await talk.keep(ana, bob, tom)
        assert verdict.acked == verdict.sent
        assert ana.client.welcome is not None
        assert ana.client.welcome.node == "node-2"


async def test_a_worker_killed_while_people_talk_is_never_seen(talk: Talk, cluster: LocalCluster) -> None:
    async with talk.client("ana", 0) as ana, talk.client("tom", 1) as tom:
        await ana.subscribe(talk.room)
        await tom.subscribe(talk.room)
        async with Chatter(ana, talk.room) as one, Chatter(tom, talk.room) as two:
            await one.until_acked(25)
            await cluster.servers["worker"].kill()
            await two.until_acked(25)
            await tom.history(talk.room)
            async with talk.client("bob", 0) as bob:
                await bob.subscribe(talk.room, limit=20)
                await one.until_acked(25)
                await talk.keep_later(bob)
            await cluster.servers["worker"].start()
            await two.until_acked(25)
        verdict = await talk.keep(ana, tom)
        assert verdict.acked == verdict.sent


async def test_a_nats_server_killed_while_people_talk_costs_nothing_that_was_acked(
    talk: Talk, cluster: LocalCluster
) -> None:
    """Clients stay, and see what the node answers to what was under way."""
    async with two_talk(talk, Timing(), Timing()) as (one, two):
        await one.until_acked(25)
        await two.until_acked(25)
        await cluster.servers["nats-server"].kill()
        await asyncio.sleep(1.0)
        await cluster.servers["nats-server"].start()
        await one.until_acked(25)
        await two.until_acked(25)


async def test_a_paused_nats_server_costs_nothing_that_was_acked(talk: Talk, cluster: LocalCluster) -> None:
    """Longer than a publish waits: what was stuck comes out when it goes on."""
    async with two_talk(talk, Timing(), Timing()) as (one, two):
        await one.until_acked(25)
        cluster.servers["nats-server"].pause()
        await asyncio.sleep(7.0)
        cluster.servers["nats-server"].resume()
        await one.until_acked(25)
        await two.until_acked(25)


async def test_a_node_that_is_told_to_stop_loses_nobody_and_nothing(talk: Talk, cluster: LocalCluster) -> None:
    async with two_talk(talk) as (one, two):
        await one.until_acked(25)
        await cluster.node(0).stop()
        await one.until_acked(25)
        await cluster.node(0).start()
        await two.until_acked(25)


async def test_a_node_that_is_paused_is_left_and_wakes_up_to_nothing_false(talk: Talk, cluster: LocalCluster) -> None:
    async with two_talk(talk, Timing(reply_s=2.0, ping_s=2.0)) as (one, two):
        await one.until_acked(25)
        cluster.node(0).pause()
        await one.until_acked(25)
        cluster.node(0).resume()
        await one.until_acked(25)
        await two.until_acked(25)


async def test_clients_that_die_while_sending_leave_each_message_once_or_not_at_all(
    talk: Talk, cluster: LocalCluster
) -> None:
    """A client that is closed in mid-air; the next one sends again what it does not know about."""
    async with talk.client("tom", 1) as tom:
        await tom.subscribe(talk.room)
        for attempt in range(4):
            async with (
                talk.client("ana", attempt % 2, name=f"ana-{attempt}") as ana,
                Chatter(ana, talk.room, pace=0.0) as chatter,
            ):
                await chatter.until_acked(20)
                await ana.client.close()
        verdict = await talk.keep(tom)
        assert verdict.unknown > 0
