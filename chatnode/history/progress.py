"""How far each stream has been applied, which epochs were given out, and what could not be applied."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from chatnode.history.client import WRITE_S, Database, reaching
from chatnode.history.folds import advance_stages
from chatnode.history.schema import EPOCHS, REJECTED, WATERMARKS
from chatnode.protocol.frames import Position
from chatnode.rooms.ports import Watermark

CONTROL: Final = "CTRL"
"""Watermarks and epochs are kept by the stream's name."""


class Progress(Struct, frozen=True):
    """A watermark, and the highest sequence that any watermark of its stream ever had."""

    watermark: Watermark
    highest: int
    ts: int = 0
    """When the event at the watermark was stored, in milliseconds; 0 before the first."""


class _Row(Struct):
    at: Position
    hash: str
    highest: int
    ts: int = 0


def chat_watermark(partition: int) -> str:
    return f"CHAT_{partition}"


def decode_watermark(document: Mapping[str, object]) -> Progress:
    row = msgspec.convert(document, _Row)
    return Progress(Watermark(row.at.epoch, row.at.seq, row.hash), row.highest, row.ts)


class Ledger:
    """Watermarks, epochs and rejected messages. Each write only ever moves forward."""

    def __init__(self, database: Database) -> None:
        self._watermarks = database[WATERMARKS]
        self._epochs = database[EPOCHS]
        self._rejected = database[REJECTED]

    async def progress(self, stream: str) -> Progress | None:
        """None before the stream's first event."""
        with reaching(f"read the watermark {stream}"):
            found = await self._watermarks.find_one({"_id": stream})
        return None if found is None else decode_watermark(found)

    async def advance(self, stream: str, watermark: Watermark, ts: int = 0) -> None:
        """Everything up to ``watermark``, stored at ``ts``, is applied. Nothing happens when a later one is known."""
        at = Position(watermark.epoch, watermark.seq)
        with reaching(f"advance the watermark {stream}", WRITE_S):
            await self._watermarks.update_one({"_id": stream}, advance_stages(at, watermark.hash, ts), upsert=True)

    async def epoch(self, stream: str) -> int:
        """The highest epoch that was ever given out for a stream; 0 for none."""
        with reaching(f"read the epoch of {stream}"):
            found = await self._epochs.find_one({"_id": stream})
        epoch = found.get("epoch") if found else 0
        return epoch if isinstance(epoch, int) else 0

    async def raise_epoch(self, stream: str, epoch: int) -> None:
        with reaching(f"raise the epoch of {stream}", WRITE_S):
            await self._epochs.update_one({"_id": stream}, {"$max": {"epoch": epoch}}, upsert=True)

    async def reject(self, stream: str, at: Position, reason: str, data: bytes) -> None:
        """Keep what could not be decoded, for people to look at."""
        key = {"stream": stream, "epoch": at.epoch, "seq": at.seq}
        with reaching(f"record a rejected message of {stream}", WRITE_S):
            await self._rejected.update_one(
                {"_id": key}, {"$setOnInsert": {"reason": reason[:1000], "data": data}}, upsert=True
            )
