"""Steps that several scenarios take."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from chatnode.broker.subjects import HISTORY_CONSUMER, PARTITIONS, stream_name
from tests.chaos.breaker import Breaker, Done
from tests.chaos.cluster import PEOPLE, Cluster
from tests.chaos.plan import Fault, Kind, Target
from tests.chaos.servers import Member

_WITHIN_S: Final = 120.0


class DidNotHappen(Exception):
    """What the scenario is about; its verdict would say nothing."""


@asynccontextmanager
async def fault(breaker: Breaker, kind: Kind, target: Target, victims: Sequence[Member]) -> AsyncIterator[Done]:
    """Is in the run's figures, from here to the end of the block."""
    done = Done(Fault(0.0, kind, target, 0, False, 0.0), tuple(each.name for each in victims), time.monotonic())
    breaker.done.append(done)
    breaker.say(f"{kind} of {', '.join(done.victims)}")
    yield done
    done.healed_at = time.monotonic()


async def until(what: str, true: Callable[[], Awaitable[bool]], within_s: float = _WITHIN_S) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not await true():
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise DidNotHappen(f"{what}: not within {within_s:g} s") from None


@asynccontextmanager
async def people_away(breaker: Breaker) -> AsyncIterator[None]:
    """Nobody reaches a node inside the block; what had been sent is in MongoDB when it begins."""
    if breaker.network is None:
        raise DidNotHappen("people cannot be cut off: that needs a network of the run's own")
    names = [node.name for node in breaker.cluster.nodes]
    await asyncio.to_thread(breaker.network.cut, PEOPLE, names)
    try:
        await until("everything is in MongoDB", lambda: _is_written(breaker.cluster))
        yield
    finally:
        breaker.network.mend(PEOPLE, names)


async def _is_written(cluster: Cluster) -> bool:
    """Twice, a second apart: what is on its way in a node may yet come."""
    before = await ends(cluster)
    await asyncio.sleep(1.5)
    return None not in before.values() and before == await ends(cluster) and await _acknowledged(cluster)


async def ends(cluster: Cluster) -> dict[int, int | None]:
    """The last sequence of each partition; None where nobody says."""
    states = [await cluster.ask_streams(f"INFO.{stream_name(partition)}") for partition in range(PARTITIONS)]
    return {number: state.get("state", {}).get("last_seq") for number, state in enumerate(states)}


async def told_ends(cluster: Cluster) -> dict[int, int]:
    """The last sequence of each partition, once all of them have somebody who says."""
    told: dict[int, int] = {}

    async def all_tell() -> bool:
        told.update({number: end for number, end in (await ends(cluster)).items() if end is not None})
        return len(told) == PARTITIONS

    await until("every partition tells where it ends", all_tell)
    return told


async def _acknowledged(cluster: Cluster) -> bool:
    """Whether the workers have acknowledged, and so written, all of it."""
    for partition in range(PARTITIONS):
        answer = await cluster.ask_consumer(f"INFO.{stream_name(partition)}.{HISTORY_CONSUMER}")
        if not answer or answer.get("num_pending") or answer.get("num_ack_pending"):
            return False
    return True


async def stopped(members: Sequence[Member], work: Callable[[], None]) -> None:
    """All of them down at the same time, their files at rest while ``work`` goes on; then up again."""
    await asyncio.gather(*(member.stop() for member in members))
    await asyncio.to_thread(work)
    await asyncio.gather(*(member.start() for member in members))


def copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def restore(source: Path, target: Path) -> None:
    """``target`` may be where a file system is mounted: what is in it is replaced, not itself."""
    for each in target.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
