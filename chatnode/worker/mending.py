"""``chatcluster repair``: wires :mod:`chatnode.worker.repair` to NATS and MongoDB, and carries it out."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from chatnode import __version__
from chatnode.broker.direct import DirectReader
from chatnode.broker.subjects import PARTITIONS, stream_name, stream_subjects
from chatnode.history.audit import HistoryAudit
from chatnode.history.client import Mongo
from chatnode.history.schema import SchemaBehind, check_schema
from chatnode.history.writer import HistoryWriter
from chatnode.rooms.ports import Stored, Unavailable
from chatnode.settings import Settings
from chatnode.telemetry.metrics import WorkerMetrics
from chatnode.telemetry.traces import Tracing
from chatnode.worker.epochs import Keep, decide
from chatnode.worker.main import LEASE_S, Worker
from chatnode.worker.repair import Finding, Repair, describe
from chatnode.worker.stream import Rhythm, StreamWorker

LACKING: Final = 3
"""Exit code where a stream or history lacks something, still or for good."""
_PUT_RIGHT_S: Final = 600.0
"""Longest that a stream may take to be put right, what it holds being applied again."""
_LOOK_S: Final = 0.5


class _StreamReader:
    def __init__(self, reader: DirectReader, partition: int) -> None:
        self._reader = reader
        self._partition = partition

    async def after(self, seq: int, limit: int) -> Sequence[Stored]:
        found, _ = await self._reader.after(stream_name(self._partition), stream_subjects(self._partition), seq, limit)
        return found


async def run_repair(
    settings: Settings, *, apply: bool, say: Callable[[str], None], rhythm: Rhythm | None = None
) -> int:
    """Compare every partition and say what lacks; with ``apply`` put it right. 0, or :data:`LACKING`.

    Raises :class:`Unavailable` where NATS or MongoDB is away, or where something takes too long to be put right.
    """
    async with AsyncExitStack() as stack:
        tracing = Tracing(None)
        mongo = Mongo(settings.mongodb_uri, settings.mongodb_database, name=f"chatrepair {settings.node_id}")
        stack.push_async_callback(mongo.close)
        try:
            await check_schema(mongo.database)
        except SchemaBehind as error:
            raise Unavailable(str(error)) from error
        worker = Worker(
            settings,
            mongo,
            WorkerMetrics(settings.node_id, __version__),
            tracing,
            set(),
            lease=LEASE_S,
            rhythm=rhythm or Rhythm(settle=settings.suspend_after_s + 1.0),
        )
        await worker.connect()
        stack.push_async_callback(worker.disconnect)
        reader = DirectReader(worker.client)
        await reader.start()
        stack.push_async_callback(reader.stop)
        healthy = True
        for partition in range(PARTITIONS):
            _, carrier = worker.chat(partition)
            repair = Repair(
                stream_name(partition),
                look=carrier.look,
                reader=_StreamReader(reader, partition),
                audit=HistoryAudit(mongo.database),
                history=HistoryWriter(mongo.database),
            )
            healthy = await _mend(repair, carrier, apply=apply, say=say) and healthy
        if not healthy and not apply:
            say("nothing was changed; --apply puts right what can be put right")
        return 0 if healthy else LACKING


async def _mend(repair: Repair, carrier: StreamWorker, *, apply: bool, say: Callable[[str], None]) -> bool:
    finding = await repair.find()
    for line in describe(finding):
        say(line)
    if finding.healthy or not apply:
        return finding.healthy
    if not isinstance(finding.decision, Keep):
        await _put_right(carrier, say)
        finding = await repair.find()
    written = await repair.fill(finding)
    if written:
        say(f"  {written} events of {len(finding.rooms)} rooms were written to history again")
    return _told(await repair.find(), finding, say)


def _told(after: Finding, before: Finding, say: Callable[[str], None]) -> bool:
    if after.healthy:
        say("  stream and history hold the same now")
    elif after.unfilled:
        say(f"  history still lacks {len(after.unfilled)} of {len(before.unfilled)} events; see the log of the worker")
    return after.healthy


async def _put_right(carrier: StreamWorker, say: Callable[[str], None]) -> None:
    """What a worker does when it begins, under the same lease: here, or in a worker that runs and holds it."""
    stop = asyncio.Event()
    working = asyncio.create_task(carrier.run(stop), name=f"put {carrier.name} right")
    try:
        async with asyncio.timeout(_PUT_RIGHT_S):
            goal: int | None = None
            while not working.done():
                recorded, observed = await carrier.look()
                if observed is not None and isinstance(decide(recorded, observed), Keep) and not observed.closed:
                    goal = observed.last_seq if goal is None else goal
                    if recorded.watermark is None or recorded.watermark.seq >= goal:
                        break
                await asyncio.sleep(_LOOK_S)
    except TimeoutError as error:
        raise Unavailable(f"{carrier.name} was not put right within {_PUT_RIGHT_S:.0f} s; look at the log") from error
    finally:
        stop.set()
        await working
    say(f"  {carrier.name} takes events in, above everything that was ever written to history")
