"""The stored events of rooms, by room name: streams and subjects stay in this package."""

from chatnode.broker.direct import DirectReader
from chatnode.broker.subjects import partition_of, room_subject, stream_name
from chatnode.rooms.ports import Stored


class StreamRoomLog:
    def __init__(self, reader: DirectReader) -> None:
        self._reader = reader

    def partition_of(self, room: str) -> int:
        return partition_of(room)

    async def last(self, room: str) -> Stored | None:
        return await self._reader.last(stream_name(partition_of(room)), room_subject(room))

    async def at(self, room: str, seq: int) -> Stored | None:
        found = await self._reader.at(stream_name(partition_of(room)), seq)
        return found if found is not None and found.subject == room_subject(room) else None

    async def upto(self, room: str, seq: int, end: int, limit: int) -> list[Stored] | None:
        return await self._reader.upto(stream_name(partition_of(room)), room_subject(room), seq, end, limit)

    async def newest(self, room: str, end: int, limit: int) -> tuple[int, list[Stored]]:
        return await self._reader.newest(stream_name(partition_of(room)), room_subject(room), end, limit)
