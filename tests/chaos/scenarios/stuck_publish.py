"""Publishes that wait in a paused nats-server come out after the duplicate window, when they were sent again elsewhere.

JetStream then stores a second copy: with a window of 1 s, as here, or 2 min, as in production. It has to be void.
"""

import asyncio
from typing import Any, Final

import msgspec

from chatnode.broker.subjects import PARTITIONS, stream_name
from tests.chaos.breaker import Breaker
from tests.chaos.cluster import Cluster
from tests.chaos.plan import Fault, Kind, Target
from tests.chaos.scenarios.steps import DidNotHappen

_WINDOW_NS: Final = 10**9
_PAUSED_S: Final = 13.0
_PAUSES: Final = 6
_COPY: Final = "is a copy of command"
"""What a worker says of each."""


async def play(breaker: Breaker) -> None:
    keeping = asyncio.create_task(_keep_short(breaker.cluster), name="short windows")
    try:
        await asyncio.sleep(5.0)
        for turn in range(_PAUSES):
            await breaker.run([Fault(0.0, Kind.PAUSE, Target.NATS, turn % 3, False, _PAUSED_S)])
            await asyncio.sleep(6.0)
    finally:
        keeping.cancel()
    copies = sum(
        (breaker.cluster.directory / "logs" / f"{worker.name}.log").read_text("utf-8").count(_COPY)
        for worker in breaker.cluster.workers
    )
    breaker.say(f"{copies} copies were stored and found to be void")
    if not copies:
        raise DidNotHappen("no publish came out late: no copy was stored")


async def _keep_short(cluster: Cluster) -> None:
    """Workers set what they find changed back to what it has to be."""
    while True:
        for partition in range(PARTITIONS):
            config: dict[str, Any] = (await cluster.ask_streams(f"INFO.{stream_name(partition)}")).get("config", {})
            if config and config["duplicate_window"] != _WINDOW_NS:
                config["duplicate_window"] = _WINDOW_NS
                await cluster.ask_streams(f"UPDATE.{stream_name(partition)}", msgspec.json.encode(config))
        await asyncio.sleep(0.5)
