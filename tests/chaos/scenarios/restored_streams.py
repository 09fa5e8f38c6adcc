"""The streams are restored from a backup that is older than what people have: MongoDB stays the truth, clients reload.

What was acked after the backup is in MongoDB and in no stream. The epoch of each partition is raised.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from chatnode.broker.streams import epoch_in
from chatnode.broker.subjects import stream_name
from tests.chaos.breaker import Breaker
from tests.chaos.plan import Kind, Target
from tests.chaos.scenarios.steps import copy, fault, people_away, restore, stopped, told_ends, until

_TALK_S: Final = 20.0
_RAISED_S: Final = 90.0


async def play(breaker: Breaker) -> None:
    cluster = breaker.cluster
    backups = {member.name: cluster.directory / "backup" / member.name for member in cluster.nats}

    def back_up() -> None:
        for member in cluster.nats:
            copy(member.store, backups[member.name])

    def go_back() -> None:
        for member in cluster.nats:
            restore(backups[member.name], member.store)

    await asyncio.sleep(_TALK_S)
    await stopped(cluster.nats, back_up)
    backed_up = await told_ends(cluster)
    breaker.say("the streams are backed up")
    await asyncio.sleep(_TALK_S)
    async with people_away(breaker), fault(breaker, Kind.RESTORE, Target.NATS, cluster.nats):
        gone_on = [partition for partition, end in (await told_ends(cluster)).items() if end != backed_up[partition]]
        await stopped(cluster.nats, go_back)
        await until("epochs are raised", lambda: _raised(breaker, gone_on), _RAISED_S)
    breaker.say(f"in a new epoch: {', '.join(map(stream_name, gone_on))}")
    await asyncio.sleep(_TALK_S)


async def _raised(breaker: Breaker, partitions: Sequence[int]) -> bool:
    """What went back is empty by then: everything in it is in MongoDB, under sequences that were used."""
    states = [await breaker.cluster.ask_streams(f"INFO.{stream_name(partition)}") for partition in partitions]
    return bool(states) and all(_epoch(state) > 1 for state in states)


def _epoch(state: dict) -> int:
    return epoch_in(state.get("config", {}).get("metadata") or {})
