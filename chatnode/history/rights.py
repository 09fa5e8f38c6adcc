"""Reads of the projections of control events: rooms, members, revocations, and a user's list of rooms."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from bson.max_key import MaxKey
from msgspec import Struct

from chatnode.history.client import Database, Document, aggregate, reaching
from chatnode.history.folds import message_key
from chatnode.history.progress import CONTROL, decode_watermark
from chatnode.history.schema import HEADS, MEMBERS, MESSAGES, RECEIPTS, REVOCATIONS, ROOMS, WATERMARKS
from chatnode.protocol.control import Member, Role, RoomKind
from chatnode.protocol.frames import Position
from chatnode.rooms.gathered import Gathered
from chatnode.rooms.ports import RoomRecord, UserRoom

UNREAD_MAX: Final = 100
_END: Final = MaxKey()
_ROOMS_PER_COUNT: Final = 50
"""Rooms whose unread messages one aggregation counts; a pipeline holds at most 1,000 stages."""


class _RoomRow(Struct, frozen=True, rename={"room": "_id"}):
    room: str
    kind: RoomKind
    title: str
    closed: bool
    seq: int


class _MemberKey(Struct, frozen=True):
    room: str
    user: str


class _MemberRow(Struct, frozen=True, rename={"key": "_id"}):
    key: _MemberKey
    role: Role | None
    seq: int
    name: str = ""


class _HeadRow(Struct, frozen=True, rename={"room": "_id"}):
    room: str
    last: Position | None = None
    last_ts: int = 0


class _ReceiptKey(Struct, frozen=True):
    room: str


class _ReceiptRow(Struct, frozen=True, rename={"key": "_id"}):
    key: _ReceiptKey
    at: Position


class _RevocationRow(Struct, frozen=True, rename={"user": "_id"}):
    user: str
    before: int


class _CountRow(Struct, frozen=True):
    room: str
    unread: int


def _members_of(room: str) -> Document:
    return {"$gt": {"room": room}, "$lt": {"room": room, "user": _END}}


class MongoRights:
    """Implements :class:`chatnode.rooms.ports.RightsReader`."""

    def __init__(self, database: Database) -> None:
        self._rooms = database[ROOMS]
        self._members = database[MEMBERS]
        self._revocations = database[REVOCATIONS]
        self._heads = database[HEADS]
        self._receipts = database[RECEIPTS]
        self._messages = database[MESSAGES]
        self._watermarks = database[WATERMARKS]
        self._applied = Gathered(self._read_applied)
        self._revoked = Gathered(self._read_revoked)

    async def control_applied(self) -> int:
        return await self._applied.ask(CONTROL) or 0

    async def room(self, room: str) -> RoomRecord | None:
        with reaching(f"read the room {room}"):
            found, members = await asyncio.gather(
                self._rooms.find_one({"_id": room}),
                self._members.find({"_id": _members_of(room)}).sort("_id", 1).to_list(None),
            )
        if found is None:
            return None
        row = msgspec.convert(found, _RoomRow)
        rows = [msgspec.convert(member, _MemberRow) for member in members]
        return RoomRecord(
            room=row.room,
            kind=row.kind,
            title=row.title,
            closed=row.closed,
            members=tuple(Member(each.key.user, each.role, each.name) for each in rows if each.role is not None),
            applied=max([row.seq, *(each.seq for each in rows)]),
        )

    async def revoked_before(self, user: str) -> int:
        return await self._revoked.ask(user) or 0

    async def rooms_of(self, user: str) -> tuple[UserRoom, ...]:
        """The latest first; six queries, however many rooms there are (and one more per 50 with unread messages)."""
        with reaching(f"read the rooms of {user}"):
            found = await self._members.find({"_id.user": user, "role": {"$ne": None}}).to_list(None)
            own = {row.key.room: row for row in (msgspec.convert(document, _MemberRow) for document in found)}
            if not own:
                return ()
            names = list(own)
            rooms, heads, receipts = await asyncio.gather(
                self._rooms.find({"_id": {"$in": names}}).to_list(None),
                self._heads.find({"_id": {"$in": names}}).to_list(None),
                self._receipts.find({"_id": {"$in": [{"room": room, "user": user} for room in names]}}).to_list(None),
            )
            last = {row.room: row for row in (msgspec.convert(document, _HeadRow) for document in heads)}
            read = {row.key.room: row.at for row in (msgspec.convert(document, _ReceiptRow) for document in receipts)}
            known = [msgspec.convert(document, _RoomRow) for document in rooms]
            peers, unread = await asyncio.gather(
                self._peers(user, [room.room for room in known if room.kind == "direct"]),
                self._unread(user, _behind(last, read)),
            )
        lines = [
            _line(
                room,
                own[room.room],
                head=last.get(room.room),
                read=read.get(room.room),
                peer=peers.get(room.room),
                unread=unread.get(room.room, 0),
            )
            for room in known
        ]
        return tuple(sorted(lines, key=lambda line: (-line.last_ts, line.room)))

    async def _read_applied(self, keys: Sequence[str]) -> dict[str, int]:
        with reaching("read the watermark of control events"):
            found = await self._watermarks.find_one({"_id": CONTROL})
        return {} if found is None else dict.fromkeys(keys, decode_watermark(found).watermark.seq)

    async def _read_revoked(self, users: Sequence[str]) -> dict[str, int]:
        with reaching(f"read the revocations of {len(users)} users"):
            found = await self._revocations.find({"_id": {"$in": list(users)}}).to_list(None)
        rows = [msgspec.convert(document, _RevocationRow) for document in found]
        return {row.user: row.before for row in rows}

    async def _peers(self, user: str, rooms: Sequence[str]) -> dict[str, _MemberRow]:
        """The other person of each direct room, also when they have left."""
        if not rooms:
            return {}
        ranges = [{"_id": _members_of(room)} for room in rooms]
        rows = [msgspec.convert(found, _MemberRow) async for found in self._members.find({"$or": ranges})]
        return {row.key.room: row for row in rows if row.key.user != user}

    async def _unread(self, user: str, behind: Sequence[tuple[str, Position | None]]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for start in range(0, len(behind), _ROOMS_PER_COUNT):
            pipelines = [_count(user, room, read) for room, read in behind[start : start + _ROOMS_PER_COUNT]]
            union = [{"$unionWith": {"coll": MESSAGES, "pipeline": pipeline}} for pipeline in pipelines[1:]]
            for found in await aggregate(self._messages, [*pipelines[0], *union]):
                row = msgspec.convert(found, _CountRow)
                counts[row.room] = row.unread
        return counts


def _behind(last: Mapping[str, _HeadRow], read: Mapping[str, Position]) -> list[tuple[str, Position | None]]:
    """Rooms whose last message lies after what was read, and up to where that is."""
    rooms: list[tuple[str, Position | None]] = []
    for room, head in last.items():
        at = read.get(room)
        if head.last is not None and (at is None or head.last > at):
            rooms.append((room, at))
    return rooms


def _count(user: str, room: str, read: Position | None) -> list[Document]:
    """Counts one room's messages of others after ``read``, to the limit, along the index."""
    above = {"room": room} if read is None else message_key(room, read)
    unread: Document = {
        "_id": {"$gt": above, "$lt": {"room": room, "epoch": _END}},
        "kind": "message",
        "sender": {"$ne": user},
        "deleted": {"$exists": False},
        "void": {"$exists": False},
    }
    return [
        {"$match": unread},
        {"$limit": UNREAD_MAX},
        {"$group": {"_id": None, "unread": {"$sum": 1}}},
        {"$project": {"_id": 0, "unread": 1, "room": {"$literal": room}}},
    ]


def _line(
    room: _RoomRow,
    own: _MemberRow,
    *,
    head: _HeadRow | None,
    read: Position | None,
    peer: _MemberRow | None,
    unread: int,
) -> UserRoom:
    return UserRoom(
        room=room.room,
        kind=room.kind,
        title=room.title,
        closed=room.closed,
        role=own.role or "",
        last=head.last if head else None,
        last_ts=head.last_ts if head else 0,
        unread=unread,
        read=read,
        peer=peer.key.user if peer else None,
        peer_name=peer.name if peer else "",
    )
