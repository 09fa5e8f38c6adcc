"""Reads of history, from the primary and majority-committed only."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from bson.max_key import MaxKey
from msgspec import Struct

from chatnode.history.client import Database, Document, reaching
from chatnode.history.folds import message_key
from chatnode.history.progress import chat_watermark, decode_watermark
from chatnode.history.schema import COMMANDS, HEADS, MESSAGES, REACTIONS, RECEIPTS, WATERMARKS
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.envelope import EventKind, Sealed
from chatnode.protocol.frames import Deletion, MemberChange, Message, Position, Receipt
from chatnode.protocol.sealing import BodyErased, Sealer
from chatnode.rooms.gathered import Gathered
from chatnode.rooms.ports import CommandRecord, Page, Watermark

_END: Final = MaxKey()
_FIRST: Final = Position(0, 0)
_SHOWN: Final[Document] = {"kind": {"$exists": True}, "void": {"$exists": False}}


class _MessageKey(Struct, frozen=True):
    room: str
    epoch: int
    seq: int


class _Body(Struct, frozen=True):
    kid: str
    data: bytes


class _Tombstone(Struct, frozen=True):
    by: str
    ts: int


class _MessageRow(Struct, frozen=True, rename={"key": "_id"}):
    key: _MessageKey
    kind: EventKind
    sender: str
    id: str
    ts: int
    rev: Position
    body: _Body | None = None
    edited: int | None = None
    reply_to: Position | None = None
    mentions: tuple[str, ...] = ()
    deleted: _Tombstone | None = None
    change: MemberChange | None = None

    @property
    def position(self) -> Position:
        return Position(self.key.epoch, self.key.seq)


class _ReactionKey(Struct, frozen=True):
    epoch: int
    seq: int
    user: str
    emoji: str


class _ReactionRow(Struct, frozen=True, rename={"key": "_id"}):
    key: _ReactionKey


class _HeadRow(Struct, frozen=True):
    at: Position
    hash: str


class _CommandKey(Struct, frozen=True):
    user: str
    id: str
    room: str


class _CommandRow(Struct, frozen=True, rename={"key": "_id"}):
    key: _CommandKey
    at: Position
    kind: EventKind
    digest: str
    ts: int


class _ReceiptKey(Struct, frozen=True):
    room: str
    user: str


class _ReceiptRow(Struct, frozen=True, rename={"key": "_id"}):
    key: _ReceiptKey
    at: Position


def whole_room(room: str) -> Document:
    """Keys of everything in a room."""
    return {"$gt": {"room": room}, "$lt": {"room": room, "epoch": _END}}


class MongoHistory:
    """Implements :class:`chatnode.rooms.ports.HistoryReader`."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._messages = database[MESSAGES]
        self._reactions = database[REACTIONS]
        self._commands = database[COMMANDS]
        self._heads = database[HEADS]
        self._receipts = database[RECEIPTS]
        self._watermarks = database[WATERMARKS]
        self._sealer = sealer
        self._marks = Gathered(self._read_marks)
        self._read_by_room = Gathered(self._read_receipts)

    async def watermark(self, partition: int) -> Watermark | None:
        return await self._marks.ask(partition)

    async def page(
        self,
        room: str,
        *,
        before: Position | None = None,
        after: Position | None = None,
        around: Position | None = None,
        limit: int,
    ) -> Page:
        """At most ``limit`` messages in the room's order; ``around``: half on each side, the target among the earlier,
        more of one side where the other has less."""
        with reaching(f"read a page of {room}"):
            if around is not None:
                rows, more_before, more_after = await self._around(room, around, limit)
            elif after is not None:
                rows, more_before = await asyncio.gather(
                    self._range(room, above=after, count=limit + 1), self._any(room, upto=after)
                )
                more_after = len(rows) > limit
                rows = rows[:limit]
            elif before is not None:
                rows, more_after = await asyncio.gather(
                    self._range(room, below=before, count=limit + 1, backwards=True), self._any(room, since=before)
                )
                more_before = len(rows) > limit
                rows = rows[:limit][::-1]
            else:
                rows = await self._range(room, count=limit + 1, backwards=True)
                more_before, more_after = len(rows) > limit, False
                rows = rows[:limit][::-1]
            messages = await self._with_reactions(room, rows)
        return Page(messages, more_before, more_after)

    async def message(self, room: str, position: Position) -> Message | None:
        with reaching(f"read a message of {room}"):
            found = await self._messages.find_one({"_id": message_key(room, position), **_SHOWN})
            if found is None:
                return None
            (message,) = await self._with_reactions(room, [msgspec.convert(found, _MessageRow)])
        return message

    async def commands(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], CommandRecord]:
        """By (user, id), those that are recorded; of an id that was used in several rooms the earliest."""
        if not keys:
            return {}
        ranges: list[Document] = [
            {"_id": {"$gt": {"user": user, "id": id_}, "$lt": {"user": user, "id": id_, "room": _END}}}
            for user, id_ in set(keys)
        ]
        with reaching(f"look {len(keys)} commands up"):
            found = await self._commands.find({"$or": ranges}).to_list(None)
        rows = [msgspec.convert(document, _CommandRow) for document in found]
        rows.sort(key=lambda row: (row.ts, row.at, row.key.room), reverse=True)
        return {
            (row.key.user, row.key.id): CommandRecord(
                row.key.room, row.at.epoch, row.at.seq, row.kind, row.digest, row.ts
            )
            for row in rows
        }

    async def head(self, room: str) -> Cursor | None:
        with reaching(f"read the head of {room}"):
            found = await self._heads.find_one({"_id": room})
        if found is None:
            return None
        row = msgspec.convert(found, _HeadRow)
        return Cursor(row.at.epoch, row.at.seq, row.hash)

    async def receipts(self, room: str) -> tuple[Receipt, ...]:
        """In the order of user ids."""
        return await self._read_by_room.ask(room) or ()

    async def _read_marks(self, partitions: Sequence[int]) -> dict[int, Watermark]:
        names = {chat_watermark(partition): partition for partition in partitions}
        with reaching(f"read the watermarks of {len(names)} partitions"):
            found = await self._watermarks.find({"_id": {"$in": list(names)}}).to_list(None)
        return {names[str(document["_id"])]: decode_watermark(document).watermark for document in found}

    async def _read_receipts(self, rooms: Sequence[str]) -> dict[str, tuple[Receipt, ...]]:
        ranges = [{"_id": {"$gt": {"room": room}, "$lt": {"room": room, "user": _END}}} for room in rooms]
        with reaching(f"read the receipts of {len(rooms)} rooms"):
            found = await self._receipts.find({"$or": ranges}).sort("_id", 1).to_list(None)
        by_room: dict[str, list[Receipt]] = {}
        for row in (msgspec.convert(document, _ReceiptRow) for document in found):
            by_room.setdefault(row.key.room, []).append(Receipt(row.key.user, row.at))
        return {room: tuple(receipts) for room, receipts in by_room.items()}

    async def _around(self, room: str, target: Position, limit: int) -> tuple[list[_MessageRow], bool, bool]:
        earlier, later = await asyncio.gather(
            self._range(room, upto=target, count=limit + 1, backwards=True),
            self._range(room, above=target, count=limit + 1),
        )
        share = max((limit + 1) // 2, limit - len(later))
        taken = earlier[:share]
        rest = limit - len(taken)
        return taken[::-1] + later[:rest], len(earlier) > len(taken), len(later) > rest

    async def _range(
        self,
        room: str,
        *,
        count: int,
        above: Position | None = None,
        below: Position | None = None,
        upto: Position | None = None,
        backwards: bool = False,
    ) -> list[_MessageRow]:
        keys = whole_room(room)
        if above is not None:
            keys["$gt"] = message_key(room, above)
        if below is not None:
            keys["$lt"] = message_key(room, below)
        if upto is not None:
            del keys["$lt"]
            keys["$lte"] = message_key(room, upto)
        found = self._messages.find({"_id": keys, **_SHOWN}).sort("_id", -1 if backwards else 1).limit(count)
        return [msgspec.convert(document, _MessageRow) for document in await found.to_list(count)]

    async def _any(self, room: str, *, since: Position | None = None, upto: Position | None = None) -> bool:
        keys = whole_room(room)
        if since is not None:
            del keys["$gt"]
            keys["$gte"] = message_key(room, since)
        if upto is not None:
            del keys["$lt"]
            keys["$lte"] = message_key(room, upto)
        return await self._messages.find_one({"_id": keys, **_SHOWN}, projection={"_id": 1}) is not None

    async def _with_reactions(self, room: str, rows: Sequence[_MessageRow]) -> tuple[Message, ...]:
        if not rows:
            return ()
        keys = {
            "$gt": message_key(room, rows[0].position),
            "$lt": {**message_key(room, rows[-1].position), "user": _END},
        }
        found = await self._reactions.find({"_id": keys, "on": True}, projection={"_id": 1}).to_list(None)
        reactions = _by_message(msgspec.convert(document, _ReactionRow) for document in found)
        return tuple(self._message(row, reactions.get(row.position, {})) for row in rows)

    def _message(self, row: _MessageRow, reactions: Mapping[str, tuple[str, ...]]) -> Message:
        return Message(
            room=row.key.room,
            epoch=row.key.epoch,
            seq=row.key.seq,
            id=row.id,
            sender=row.sender,
            ts=row.ts,
            text=self._open(row.body),
            reply_to=row.reply_to,
            mentions=row.mentions,
            edited=row.edited,
            rev=row.rev.seq,
            rev_epoch=0 if row.rev.epoch == row.key.epoch else row.rev.epoch,
            deleted=None if row.deleted is None else Deletion(row.deleted.by, row.deleted.ts),
            reactions={} if row.deleted is not None else dict(reactions),
            notice=row.change,
        )

    def _open(self, body: _Body | None) -> str:
        if body is None:
            return ""
        try:
            return self._sealer.open(Sealed(body.kid, body.data))
        except BodyErased:
            return ""


def _by_message(rows: Iterable[_ReactionRow]) -> dict[Position, dict[str, tuple[str, ...]]]:
    users: dict[Position, dict[str, list[str]]] = {}
    for row in rows:
        at = Position(row.key.epoch, row.key.seq)
        users.setdefault(at, {}).setdefault(row.key.emoji, []).append(row.key.user)
    return {
        at: {emoji: tuple(sorted(names)) for emoji, names in sorted(emojis.items())} for at, emojis in users.items()
    }
