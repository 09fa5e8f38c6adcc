"""Publishes that are held on their way to nats-servers come out after the duplicate window, when they were sent again.

JetStream then stores a second copy of each; it has to be void everywhere. A nats-server of three that is paused for as
long does not bring that about: the others close their routes to it within 90 s, and what it was told finds no stream.
"""

import asyncio
from typing import Final

from chatnode.broker.streams import DUPLICATE_WINDOW_NS
from tests.chaos.breaker import Breaker
from tests.chaos.cluster import Cluster
from tests.chaos.detour import Detour
from tests.chaos.network import HUB
from tests.chaos.plan import Kind, Target
from tests.chaos.scenarios.steps import fault, until

_TALK_S: Final = 10.0
_HELD_S: Final = DUPLICATE_WINDOW_NS / 1e9 + 25.0
"""The window begins when the resend is stored: up to some seconds after the node has left its connection."""
_NODES: Final = 2
_COPY: Final = "is a copy of command"
"""What a worker says of each."""


async def play(breaker: Breaker) -> None:
    cluster = breaker.cluster
    here = HUB if breaker.network is not None else cluster.nats[0].site.host
    nodes = cluster.nodes[:_NODES]
    async with Detour(here, [(server.site.host, server.port) for server in cluster.nats]) as detour:
        url = ",".join(f"nats://{address}" for address in detour.addresses)
        for node in nodes:
            node.environ("CHAT_NATS_URL", url)
            await node.restart()
        await asyncio.sleep(_TALK_S)
        async with fault(breaker, Kind.HELD, Target.NODE, nodes):
            breaker.say(f"what {detour.hold()} connections to nats-servers carry is held")
            await asyncio.sleep(_HELD_S)
            breaker.say(f"{detour.let_go()} bytes come out")
        await until("a late publish was stored and found to be void", lambda: _copied(cluster))
        await asyncio.sleep(_TALK_S)
    breaker.say(f"{_copies(cluster)} copies were stored and found to be void")


async def _copied(cluster: Cluster) -> bool:
    return _copies(cluster) > 0


def _copies(cluster: Cluster) -> int:
    return sum(
        (cluster.directory / "logs" / f"{worker.name}.log").read_text("utf-8").count(_COPY)
        for worker in cluster.workers
    )
