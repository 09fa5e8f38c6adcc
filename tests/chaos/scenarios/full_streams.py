"""No worker for longer than the streams have room: sends are refused, retryably, and nothing is lost afterwards."""

import asyncio
from typing import Final

from chatnode.broker.subjects import PARTITIONS, stream_name
from tests.chaos.breaker import Breaker
from tests.chaos.cluster import Cluster
from tests.chaos.plan import Kind, Target
from tests.chaos.scenarios.steps import ends, fault, until

_FULL_S: Final = 180.0
_STUCK_S: Final = 15.0
_RELIEVED_S: Final = 150.0
"""Retention looks once a minute."""


async def play(breaker: Breaker) -> None:
    cluster = breaker.cluster
    await asyncio.sleep(5.0)
    async with fault(breaker, Kind.KILL, Target.WORKER, cluster.workers):
        await asyncio.gather(*(worker.kill() for worker in cluster.workers))
        await until("streams are full", lambda: _full(cluster), _FULL_S)
        breaker.say("streams are full")
        await asyncio.sleep(_STUCK_S)
        stuck = await ends(cluster)
        await asyncio.gather(*(worker.launch() for worker in cluster.workers))
        await until("sends go on", lambda: _all_beyond(cluster, stuck), _RELIEVED_S)
        breaker.say("sends go on")
    await asyncio.sleep(5.0)


async def _full(cluster: Cluster) -> bool:
    """Nearly: a batch that does not fit is refused whole."""
    states = [await cluster.ask_streams(f"INFO.{stream_name(partition)}") for partition in range(PARTITIONS)]
    used = [state for state in states if state.get("state", {}).get("last_seq")]
    return bool(used) and all(state["state"]["bytes"] > 0.97 * state["config"]["max_bytes"] for state in used)


async def _all_beyond(cluster: Cluster, before: dict[int, int | None]) -> bool:
    now = await ends(cluster)
    return all((now[partition] or 0) > (seq or 0) for partition, seq in before.items() if seq)
