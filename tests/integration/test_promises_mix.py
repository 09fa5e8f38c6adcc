"""The promises of the cluster under faults of all kinds, one on the heels of another; judged by the oracle."""

import asyncio
import random

import pytest
import pytest_asyncio

from chatnode.local.cluster import LocalCluster
from tests.integration.lines import TRANSPORTS
from tests.integration.promises import Chatter, Talk, begin_talk
from tests.oracle import Watched

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYNC_ALWAYS = True


@pytest_asyncio.fixture(loop_scope="module", params=TRANSPORTS)
async def talk(cluster: LocalCluster, request: pytest.FixtureRequest) -> Talk:
    return await begin_talk(cluster, transport=request.param)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_mix_of_faults_breaks_no_promise(talk: Talk, cluster: LocalCluster, seed: int) -> None:
    chance = random.Random(seed)
    async with talk.client("ana", 0) as ana, talk.client("bob", 1) as bob, talk.client("tom", 0) as tom:
        everybody = (ana, bob, tom)
        for watched in everybody:
            await watched.subscribe(talk.room)
        async with Chatter(ana, talk.room) as one, Chatter(bob, talk.room) as two, Chatter(tom, talk.room):
            for _ in range(8):
                await FAULTS[chance.choice(sorted(FAULTS))](
                    cluster, chance.choice(everybody), talk, chance.randrange(2)
                )
                await asyncio.sleep(chance.uniform(0.0, 0.3))
            await one.until_acked(10)
            await two.until_acked(10)
        verdict = await talk.keep(*everybody)
        assert verdict.acked == verdict.sent


async def cut(_cluster: LocalCluster, watched: Watched, _talk: Talk, _node: int) -> None:
    watched.client.cut()


async def subscribe_again(_cluster: LocalCluster, watched: Watched, talk: Talk, _node: int) -> None:
    await watched.subscribe(talk.room, limit=10)


async def look_back(_cluster: LocalCluster, watched: Watched, talk: Talk, _node: int) -> None:
    await watched.whole_history(talk.room)


async def kill_a_node(cluster: LocalCluster, _watched: Watched, _talk: Talk, node: int) -> None:
    await cluster.kill_node(node)
    await cluster.start_node(node)


async def kill_the_worker(cluster: LocalCluster, _watched: Watched, _talk: Talk, _node: int) -> None:
    await cluster.servers["worker"].restart()


async def pause_nats(cluster: LocalCluster, _watched: Watched, _talk: Talk, _node: int) -> None:
    cluster.servers["nats-server"].pause()
    await asyncio.sleep(1.5)
    cluster.servers["nats-server"].resume()


FAULTS = {
    fault.__name__: fault for fault in (cut, subscribe_again, look_back, kill_a_node, kill_the_worker, pause_nats)
}
