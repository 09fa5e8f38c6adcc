"""No worker for longer than a stream has room: sends are refused, retryably, and nothing is lost afterwards."""

import asyncio
from typing import Final

from chatnode.broker.subjects import PARTITIONS, stream_name
from tests.chaos.breaker import Breaker
from tests.chaos.cluster import Cluster
from tests.chaos.plan import Kind, Target
from tests.chaos.scenarios.steps import ends, fault, until

_FULL_S: Final = 180.0
_NEARLY: Final = 0.97
_STUCK_S: Final = 15.0
_RELIEVED_S: Final = 150.0
"""Retention looks once a minute."""


async def play(breaker: Breaker) -> None:
    cluster = breaker.cluster
    await asyncio.sleep(5.0)
    async with fault(breaker, Kind.KILL, Target.WORKER, cluster.workers):
        await asyncio.gather(*(worker.kill() for worker in cluster.workers))
        await until("a stream is full", lambda: _any_full(cluster), _FULL_S)
        await asyncio.sleep(_STUCK_S)
        full = await _full(cluster)
        breaker.say(f"full: {', '.join(map(stream_name, full))}")
        await asyncio.gather(*(worker.launch() for worker in cluster.workers))
        await until("sends go on", lambda: _all_beyond(cluster, full), _RELIEVED_S)
        breaker.say("sends go on")
    await asyncio.sleep(5.0)


async def _any_full(cluster: Cluster) -> bool:
    return bool(await _full(cluster))


async def _full(cluster: Cluster) -> dict[int, int]:
    """Their last sequences. Nearly full is full: a batch that does not fit is refused whole."""
    states = {number: await cluster.ask_streams(f"INFO.{stream_name(number)}") for number in range(PARTITIONS)}
    return {
        number: state["state"]["last_seq"]
        for number, state in states.items()
        if "state" in state and state["state"]["bytes"] > _NEARLY * state["config"]["max_bytes"]
    }


async def _all_beyond(cluster: Cluster, before: dict[int, int]) -> bool:
    now = await ends(cluster)
    return all((now[partition] or 0) > seq for partition, seq in before.items())
