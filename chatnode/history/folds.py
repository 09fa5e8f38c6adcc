"""What each stored event does to MongoDB, as operations. Pure.

Every operation is conditional, so that it may be repeated, and may come late from a worker that was paused: it then
changes nothing. Events about a message may come before it. The rules are those of :mod:`chatnode.protocol.fold`; of
events with the same room, user and id the lowest counts, and the later ones (*copies*) have no effect.

Workers apply a partition's events in order. That a copy is applied before its original is therefore not to be expected;
should it happen, a message is put right (the copy is marked void), while an edit or reaction keeps the copy's place.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct
from pymongo import UpdateOne

from chatnode.history.client import Document
from chatnode.protocol.envelope import Envelope
from chatnode.protocol.frames import MemberChange, Position
from chatnode.protocol.ids import event_hash


class Entry(Struct, frozen=True):
    """One event at its place in the stream."""

    seq: int
    envelope: Envelope


class CommandKey(Struct, frozen=True):
    user: str
    id: str
    room: str


class Claim(Struct, frozen=True, rename={"key": "_id"}):
    """What ``commands`` holds of a key: where its lowest copy is, and which others were taken for it before."""

    key: CommandKey
    at: Position
    void: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of the events of a batch, once the claims are known."""

    effective: tuple[Entry, ...]
    void: tuple[Entry, ...]
    displaced: tuple[tuple[CommandKey, Position], ...]
    """Rows that were written for a copy before its original came."""


@dataclass(frozen=True, slots=True)
class Effects:
    messages: list[UpdateOne]
    reactions: list[UpdateOne]


def key_of(envelope: Envelope) -> CommandKey:
    return CommandKey(envelope.user, envelope.id, envelope.room)


def sender_of(envelope: Envelope) -> str:
    return envelope.actor or envelope.user


def position_document(position: Position) -> Document:
    return {"epoch": position.epoch, "seq": position.seq}


def key_document(key: CommandKey) -> Document:
    return {"user": key.user, "id": key.id, "room": key.room}


def message_key(room: str, position: Position) -> Document:
    return {"room": room, "epoch": position.epoch, "seq": position.seq}


def _literal(value: object) -> Document:
    """A value that an aggregation expression must not read: what people write may begin with a dollar sign."""
    return {"$literal": value}


def _missing(field: str) -> Document:
    return {"$eq": [{"$type": field}, "missing"]}


def _merge_if(condition: object, fields: Mapping[str, object]) -> Document:
    merged = {"$mergeObjects": ["$$ROOT", _literal(fields)]}
    return {"$replaceWith": {"$cond": [condition, merged, "$$ROOT"]}}


def first_copies(entries: Iterable[Entry]) -> dict[CommandKey, Entry]:
    """The lowest entry of each command."""
    first: dict[CommandKey, Entry] = {}
    for entry in entries:
        key = key_of(entry.envelope)
        held = first.get(key)
        if held is None or entry.seq < held.seq:
            first[key] = entry
    return first


def claim_operation(epoch: int, entry: Entry) -> UpdateOne:
    """Take the command's key, unless it is taken."""
    return UpdateOne(
        {"_id": key_document(key_of(entry.envelope))}, {"$setOnInsert": claim_fields(epoch, entry)}, upsert=True
    )


def claim_fields(epoch: int, entry: Entry) -> Document:
    envelope = entry.envelope
    return {
        "at": {"epoch": epoch, "seq": entry.seq},
        "kind": envelope.kind,
        "digest": envelope.digest,
        "ts": envelope.ts,
    }


def displace_operation(epoch: int, entry: Entry) -> UpdateOne:
    """Take the command's key from a higher copy, and remember that one as void."""
    fields = claim_fields(epoch, entry)
    void = {"$concatArrays": [{"$ifNull": ["$void", []]}, ["$at"]]}
    return UpdateOne(
        {"_id": key_document(key_of(entry.envelope)), "at": {"$gt": fields["at"]}},
        [{"$set": {"void": void, **{name: _literal(value) for name, value in fields.items()}}}],
    )


def settle(epoch: int, entries: Sequence[Entry], claims: Iterable[Claim]) -> Settlement:
    """``claims``: of every key of the batch that was taken before it. An entry counts where no lower copy does."""
    taken = {claim.key: claim for claim in claims}
    first = first_copies(entries)
    effective: list[Entry] = []
    void: list[Entry] = []
    for entry in entries:
        key = key_of(entry.envelope)
        claim = taken.get(key)
        at = Position(epoch, entry.seq)
        counts = first[key].seq == entry.seq if claim is None else claim.at == at
        (effective if counts else void).append(entry)
    displaced = tuple((claim.key, at) for claim in taken.values() for at in claim.void)
    return Settlement(tuple(effective), tuple(void), displaced)


def effects_of(epoch: int, settlement: Settlement) -> Effects:
    effects = Effects([], [])
    for entry in settlement.effective:
        _add_effect(effects, Position(epoch, entry.seq), entry.envelope)
    for key, at in settlement.displaced:
        effects.messages.append(_void_operation(key, at))
    return effects


def _add_effect(effects: Effects, at: Position, envelope: Envelope) -> None:
    match envelope.kind:
        case "message" | "member":
            effects.messages.append(_insert_operation(at, envelope))
            return
        case _:
            target = envelope.target
    if target is None or target >= at:
        return
    match envelope.kind:
        case "edit":
            effects.messages.append(_edit_operation(target, at, envelope))
        case "delete" | "erased":
            effects.messages.append(_delete_operation(target, at, envelope))
        case "reaction":
            effects.reactions.append(_reaction_operation(target, at, envelope))


_BURY: Final[Document] = {
    "$set": {
        "body": {"$cond": [_missing("$deleted"), "$body", "$$REMOVE"]},
        "edited": {"$cond": [_missing("$deleted"), "$edited", "$$REMOVE"]},
        "mentions": {"$cond": [_missing("$deleted"), "$mentions", []]},
    },
}
"""Nothing is kept of what was deleted, whichever came first."""


def _body(envelope: Envelope) -> Document | None:
    return None if envelope.body is None else {"kid": envelope.body.kid, "data": envelope.body.data}


def _insert_operation(at: Position, envelope: Envelope) -> UpdateOne:
    """The row of a message or notice, under what came before it; nothing where it is there already."""
    row: Document = {
        "kind": envelope.kind,
        "sender": sender_of(envelope),
        "id": envelope.id,
        "ts": envelope.ts,
        "rev": position_document(at),
    }
    if envelope.kind == "member":
        change = envelope.change or MemberChange(user=sender_of(envelope), role=None)
        row["change"] = {"user": change.user, "role": change.role, "name": change.name}
    else:
        row["body"] = _body(envelope)
        row["mentions"] = list(envelope.mentions)
        if envelope.reply_to is not None:
            row["reply_to"] = position_document(envelope.reply_to)
    under = {"$mergeObjects": [_literal(row), "$$ROOT"]}
    return UpdateOne(
        {"_id": message_key(envelope.room, at)},
        [{"$replaceWith": {"$cond": [_missing("$kind"), under, "$$ROOT"]}}, _BURY],
        upsert=True,
    )


def _edit_operation(target: Position, at: Position, envelope: Envelope) -> UpdateOne:
    place = position_document(at)
    newer = {"$and": [{"$lt": ["$rev", _literal(place)]}, _missing("$deleted")]}
    fields = {"body": _body(envelope), "mentions": list(envelope.mentions), "edited": envelope.ts, "rev": place}
    return UpdateOne({"_id": message_key(envelope.room, target)}, [_merge_if(newer, fields)], upsert=True)


def _delete_operation(target: Position, at: Position, envelope: Envelope) -> UpdateOne:
    """A tombstone; the first delete counts."""
    place = position_document(at)
    first = {"$or": [_missing("$deleted"), {"$gt": ["$deleted.at", _literal(place)]}]}
    fields = {"deleted": {"by": sender_of(envelope), "ts": envelope.ts, "at": place}, "rev": place}
    return UpdateOne({"_id": message_key(envelope.room, target)}, [_merge_if(first, fields), _BURY], upsert=True)


def _void_operation(key: CommandKey, at: Position) -> UpdateOne:
    return UpdateOne({"_id": message_key(key.room, at)}, {"$set": {"void": True}}, upsert=True)


def _reaction_operation(target: Position, at: Position, envelope: Envelope) -> UpdateOne:
    key = {**message_key(envelope.room, target), "user": sender_of(envelope), "emoji": envelope.emoji or ""}
    fields = {"at": position_document(at), "on": envelope.on}
    newer = {"$lt": ["$at", _literal(fields["at"])]}
    return UpdateOne({"_id": key}, [_merge_if(newer, fields)], upsert=True)


def head_operations(epoch: int, entries: Sequence[Entry], settlement: Settlement) -> list[UpdateOne]:
    """One per room: its last event of the batch, void or not, and its last message."""
    heads: dict[str, Entry] = {}
    for entry in entries:
        held = heads.get(entry.envelope.room)
        if held is None or held.seq < entry.seq:
            heads[entry.envelope.room] = entry
    messages: dict[str, Entry] = {}
    for entry in settlement.effective:
        held = messages.get(entry.envelope.room)
        if entry.envelope.kind == "message" and (held is None or held.seq < entry.seq):
            messages[entry.envelope.room] = entry
    return [_head_operation(epoch, entry, messages.get(room)) for room, entry in heads.items()]


def _head_operation(epoch: int, entry: Entry, message: Entry | None) -> UpdateOne:
    at: Document = {"epoch": epoch, "seq": entry.seq}
    event = {"at": at, "hash": event_hash(entry.envelope.user, entry.envelope.id)}
    stages = [_merge_if({"$lt": ["$at", _literal(at)]}, event)]
    if message is not None:
        last: Document = {"epoch": epoch, "seq": message.seq}
        latest = {"last": last, "last_ts": message.envelope.ts}
        stages.append(_merge_if({"$lt": ["$last", _literal(last)]}, latest))
    return UpdateOne({"_id": entry.envelope.room}, stages, upsert=True)


def advance_stages(at: Position, event: str, ts: int) -> list[Document]:
    """Move a watermark forward, never back. ``highest`` and ``ts`` are the highest that it ever had, in all epochs."""
    place = position_document(at)
    return [
        _merge_if({"$lt": ["$at", _literal(place)]}, {"at": place, "hash": event}),
        {"$set": {"highest": {"$max": ["$highest", _literal(at.seq)]}, "ts": {"$max": ["$ts", _literal(ts)]}}},
    ]


def receipt_operation(user: str, room: str, at: Position) -> UpdateOne:
    place = position_document(at)
    moves_on = {"$lt": ["$at", _literal(place)]}
    return UpdateOne({"_id": {"room": room, "user": user}}, [_merge_if(moves_on, {"at": place})], upsert=True)


def decode_claim(document: Mapping[str, object]) -> Claim:
    return msgspec.convert(document, Claim)
