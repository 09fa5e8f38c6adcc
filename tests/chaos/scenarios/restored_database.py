"""MongoDB is restored from a backup: workers go on from its watermark and read the rest from the streams."""

import asyncio
from typing import Final

from tests.chaos.breaker import Breaker
from tests.chaos.plan import Kind, Target
from tests.chaos.scenarios.steps import copy, fault, restore, stopped, until

_TALK_S: Final = 20.0


async def play(breaker: Breaker) -> None:
    cluster = breaker.cluster
    folders = {member.name: cluster.directory / member.name for member in cluster.mongo}
    backups = {name: cluster.directory / "backup" / name for name in folders}

    def back_up() -> None:
        for name, folder in folders.items():
            copy(folder, backups[name])

    def go_back() -> None:
        for name, folder in folders.items():
            restore(backups[name], folder)

    await asyncio.sleep(_TALK_S)
    await stopped(cluster.mongo, back_up)
    breaker.say("MongoDB is backed up")
    await asyncio.sleep(_TALK_S)
    async with fault(breaker, Kind.RESTORE, Target.MONGO, cluster.mongo):
        await stopped(cluster.mongo, go_back)
        await until("a primary", lambda: _led(breaker))
    await asyncio.sleep(_TALK_S)


async def _led(breaker: Breaker) -> bool:
    return await breaker.cluster.primary() is not None
