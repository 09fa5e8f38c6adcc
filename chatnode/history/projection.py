"""Folds control events into ``rooms``, ``members`` and ``revocations``, each conditional on the event's sequence."""

from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from chatnode.history.client import WRITE_S, Collection, Database, Document, reaching
from chatnode.history.progress import chat_watermark
from chatnode.history.schema import EPOCHS, MEMBERS, REVOCATIONS, ROOMS
from chatnode.protocol.control import ControlEvent, EpochRaised, Heartbeat, Member, MemberPut, Revoked, Role, RoomPut
from chatnode.protocol.frames import MemberChange
from chatnode.rooms.ports import Unavailable

_ATTEMPTS: Final = 5
_NOTHING: Final[Document] = {}
_BEFORE: Final[Document] = {"before": {"role": {"$ifNull": ["$role", None]}, "name": {"$ifNull": ["$name", ""]}}}


class _Before(Struct, frozen=True):
    role: Role | None = None
    name: str = ""


class _MemberRow(Struct, frozen=True):
    seq: int
    before: _Before = _Before()


class MembersChanged(Struct, frozen=True):
    """What a control event changed in its room's list of members, in the event's order."""

    changes: tuple[MemberChange, ...]


class ControlProjection:
    """Applies control events in any order and any number of times; the highest sequence decides."""

    def __init__(self, database: Database) -> None:
        self._rooms = database[ROOMS]
        self._members = database[MEMBERS]
        self._revocations = database[REVOCATIONS]
        self._epochs = database[EPOCHS]

    async def apply(self, seq: int, event: ControlEvent) -> MembersChanged | None:
        """Fold one event. Applied again, it tells the same changes as before, unless a later event overtook it:
        then it tells what it asked for."""
        with reaching(f"apply the control event {seq}", WRITE_S):
            match event:
                case RoomPut():
                    await self._put_room(seq, event)
                    return await self._put_members(seq, event.room, [_change(member) for member in event.members])
                case MemberPut():
                    change = MemberChange(event.user, event.role, event.name)
                    return await self._put_members(seq, event.room, [change])
                case Revoked():
                    await self._revocations.update_one(
                        {"_id": event.user}, {"$max": {"before": event.before}}, upsert=True
                    )
                case EpochRaised():
                    await self._epochs.update_one(
                        {"_id": chat_watermark(event.partition)}, {"$max": {"epoch": event.epoch}}, upsert=True
                    )
                case Heartbeat():
                    pass
        return None

    async def _put_room(self, seq: int, event: RoomPut) -> None:
        fields: Document = {"kind": event.room_kind, "title": event.title, "closed": event.closed, "seq": seq}
        await _put_newer(self._rooms, event.room, seq, fields)

    async def _put_members(self, seq: int, room: str, changes: list[MemberChange]) -> MembersChanged | None:
        changed = [change for change in changes if await self._put_member(seq, room, change)]
        return MembersChanged(tuple(changed)) if changed else None

    async def _put_member(self, seq: int, room: str, change: MemberChange) -> bool:
        """Whether it made a difference: to what was there before it, not to what is there now."""
        fields: Document = {"role": change.role, "seq": seq}
        if change.role is not None:
            fields["name"] = change.name
        row = await _put_newer(self._members, {"room": room, "user": change.user}, seq, fields, remember=_BEFORE)
        held = msgspec.convert(row, _MemberRow)
        if held.seq != seq:
            return True
        if change.role is None:
            return held.before.role is not None
        return (held.before.role, held.before.name) != (change.role, change.name)


async def _put_newer(
    collection: Collection, key: object, seq: int, fields: Document, *, remember: Document = _NOTHING
) -> Document:
    """The document as it is then: with ``fields`` where it had a lower sequence, unchanged otherwise. ``remember`` are
    expressions over what it was."""
    newer = {"$lt": ["$seq", {"$literal": seq}]}
    merged = {"$mergeObjects": ["$$ROOT", remember, {"$literal": fields}]}
    for _ in range(_ATTEMPTS):
        with suppress(DuplicateKeyError):
            return await collection.find_one_and_update(
                {"_id": key},
                [{"$replaceWith": {"$cond": [newer, merged, "$$ROOT"]}}],
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
    raise Unavailable(f"MongoDB: {key} in {collection.name} is being created by others all the time")


def _change(member: Member) -> MemberChange:
    return MemberChange(member.user, member.role, member.name)
