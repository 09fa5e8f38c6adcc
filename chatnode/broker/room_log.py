"""The stored events of rooms, by room name: streams and subjects stay in this package."""

import asyncio
from collections.abc import Sequence

from chatnode.broker.direct import DirectReader
from chatnode.broker.subjects import PARTITIONS, partition_of, room_subject, stream_name
from chatnode.rooms.gathered import Gathered
from chatnode.rooms.ports import Stored


class StreamRoomLog:
    """Many who ask for the end of one room at the same time, as after a node's death, share one question to the leader
    that is put after they asked."""

    def __init__(self, reader: DirectReader) -> None:
        self._reader = reader
        self._ends = tuple(Gathered(self._read_ends) for _ in range(PARTITIONS))

    def partition_of(self, room: str) -> int:
        return partition_of(room)

    async def last(self, room: str) -> Stored | None:
        return await self._ends[partition_of(room)].ask(room)

    async def at(self, room: str, seq: int) -> Stored | None:
        found = await self._reader.at(stream_name(partition_of(room)), seq)
        return found if found is not None and found.subject == room_subject(room) else None

    async def upto(self, room: str, seq: int, end: int, limit: int) -> list[Stored] | None:
        return await self._reader.upto(stream_name(partition_of(room)), room_subject(room), seq, end, limit)

    async def whole(
        self, room: str, seq: int, end: int, limit: int, *, checked: int | None = None
    ) -> list[Stored] | None:
        return await self._reader.whole(
            stream_name(partition_of(room)), room_subject(room), seq, end, limit, checked=checked
        )

    async def newest(self, room: str, end: int, limit: int) -> tuple[int, list[Stored]]:
        return await self._reader.newest(stream_name(partition_of(room)), room_subject(room), end, limit)

    async def _read_ends(self, rooms: Sequence[str]) -> dict[str, Stored]:
        """Of rooms of one partition."""
        stream = stream_name(partition_of(rooms[0]))
        found = await asyncio.gather(
            *(self._reader.last(stream, room_subject(room)) for room in rooms), return_exceptions=True
        )
        ends: dict[str, Stored] = {}
        for room, end in zip(rooms, found, strict=True):
            if isinstance(end, BaseException):
                raise end
            if end is not None:
                ends[room] = end
        return ends
