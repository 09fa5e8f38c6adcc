"""What workers write to MongoDB (§3.5)."""

from collections.abc import Sequence
from typing import Any, Final

import chatnode.history.progress
from chatnode.history import folds
from chatnode.history.client import Document
from chatnode.protocol.frames import Position
from chatnode.rooms.ports import Watermark
from chatnode.worker.stream import StreamWorker
from tests.simulation.mutations.mutation import Mutation, Patch


def _folds_unconditional() -> Sequence[Patch]:
    def merge(condition: object, fields: Any) -> Any:
        return {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": fields}]}}

    return [(folds, "_merge_if", merge)]


def _watermark_first() -> Sequence[Patch]:
    original = StreamWorker._step

    async def step(self: StreamWorker, session: Any, feed: Any, wait: float) -> bool:
        class Early:
            async def next(self, seconds: float) -> Any:
                arrivals = await feed.next(seconds)
                if arrivals:
                    last = arrivals[-1].stored
                    mark = Watermark(session.epoch, last.seq, worker._job.hash_of(last))
                    await worker._ledger.advance(worker.name, mark, last.ts)
                return arrivals

            async def acknowledge(self) -> None:
                await feed.acknowledge()

        worker = self
        return await original(self, session, Early(), wait)

    return [(StreamWorker, "_step", step)]


def _watermark_goes_back() -> Sequence[Patch]:
    def stages(at: Position, event: str, ts: int) -> list[Document]:
        place = folds.position_document(at)
        return [{"$set": {"at": {"$literal": place}, "hash": {"$literal": event}, "highest": at.seq, "ts": ts}}]

    return [(chatnode.history.progress, "advance_stages", stages)]


HISTORY: Final = (
    Mutation("watermark-goes-back", "§3.5 the watermark only moves forward", _watermark_goes_back),
    Mutation("folds-unconditional", "§3.5 every fold is conditional", _folds_unconditional),
    Mutation("watermark-first", "§3.5 the watermark is written after the bulk", _watermark_first),
)
