"""Collections, their validators and indexes, and the migrations that bring a database there.

A worker applies the migrations at its start; they are idempotent, so that several workers may do so at once. The
document ``schema`` of the collection of that name holds the version. Nodes only check it.

Keys are documents, ordered field by field, so that the index on ``_id`` that every collection has serves the ranges
that are read: all of a room, a room from a position on, all rooms of a command id.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from pymongo.errors import OperationFailure

from chatnode.history.client import WRITE_S, Database, Document, reaching

MESSAGES: Final = "messages"
"""``_id {room, epoch, seq}``: messages and notices as they stand. A row without ``kind`` is an edit or delete that
came before its message; ``void`` marks a later copy of another event. Neither is shown."""
REACTIONS: Final = "reactions"
"""``_id {room, epoch, seq, user, emoji}`` (of the message): the last word of one user with one emoji."""
COMMANDS: Final = "commands"
"""``_id {user, id, room}``: what a command came to. The room is part of the key because streams of two partitions have
no common order: an id that was used in two rooms must not let one make the other's message disappear."""
HEADS: Final = "heads"
"""``_id room``: its last event, and its last message."""
WATERMARKS: Final = "watermarks"
"""``_id`` of a stream: how far it has been applied."""
EPOCHS: Final = "epochs"
"""``_id`` of a stream: the highest epoch that was ever given out."""
RECEIPTS: Final = "receipts"
"""``_id {room, user}``: read up to here."""
ROOMS: Final = "rooms"
MEMBERS: Final = "members"
"""``_id {room, user}``: role, or null as a tombstone that keeps older events from reviving it."""
REVOCATIONS: Final = "revocations"
LEASES: Final = "leases"
REJECTED: Final = "rejected"
"""``_id {stream, seq}``: stored messages that could not be decoded."""
SCHEMA: Final = "schema"

_WHOLE: Final[Document] = {"bsonType": ["int", "long"]}
_TEXT: Final[Document] = {"bsonType": "string"}
_POSITION: Final[Document] = {
    "bsonType": "object",
    "required": ["epoch", "seq"],
    "properties": {"epoch": _WHOLE, "seq": _WHOLE},
}
_SEALED: Final[Document] = {
    "bsonType": ["object", "null"],
    "required": ["kid", "data"],
    "properties": {"kid": _TEXT, "data": {"bsonType": "binData"}},
}


def _key(**properties: Document) -> Document:
    return {
        "bsonType": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def _rows(*required: str, **properties: object) -> Document:
    return {"bsonType": "object", "required": ["_id", *required], "properties": properties}


VALIDATORS: Final[dict[str, Document]] = {
    MESSAGES: _rows(
        _id=_key(room=_TEXT, epoch=_WHOLE, seq=_WHOLE),
        kind={"enum": ["message", "member"]},
        sender=_TEXT,
        id=_TEXT,
        ts=_WHOLE,
        body=_SEALED,
        rev=_POSITION,
        edited=_WHOLE,
        reply_to=_POSITION,
        mentions={"bsonType": "array", "items": _TEXT},
        deleted={"bsonType": "object", "required": ["by", "ts", "at"], "properties": {"at": _POSITION}},
        change={"bsonType": "object", "required": ["user", "role"]},
        void={"bsonType": "bool"},
    ),
    REACTIONS: _rows(
        "at",
        "on",
        _id=_key(room=_TEXT, epoch=_WHOLE, seq=_WHOLE, user=_TEXT, emoji=_TEXT),
        at=_POSITION,
        on={"bsonType": "bool"},
    ),
    COMMANDS: _rows(
        "at",
        "kind",
        "digest",
        "ts",
        _id=_key(user=_TEXT, id=_TEXT, room=_TEXT),
        at=_POSITION,
        kind=_TEXT,
        digest=_TEXT,
        ts=_WHOLE,
        void={"bsonType": "array", "items": _POSITION},
    ),
    HEADS: _rows("at", "hash", _id=_TEXT, at=_POSITION, hash=_TEXT, last=_POSITION, last_ts=_WHOLE),
    WATERMARKS: _rows("at", "hash", "highest", _id=_TEXT, at=_POSITION, hash=_TEXT, highest=_WHOLE, ts=_WHOLE),
    EPOCHS: _rows("epoch", _id=_TEXT, epoch=_WHOLE),
    RECEIPTS: _rows("at", _id=_key(room=_TEXT, user=_TEXT), at=_POSITION),
    ROOMS: _rows("kind", "title", "closed", "seq", _id=_TEXT, kind={"enum": ["course", "direct"]}, seq=_WHOLE),
    MEMBERS: _rows("role", "seq", _id=_key(room=_TEXT, user=_TEXT), role={"bsonType": ["string", "null"]}, seq=_WHOLE),
    REVOCATIONS: _rows("before", _id=_TEXT, before=_WHOLE),
    LEASES: _rows("holder", "expires", _id=_TEXT, holder=_TEXT, expires={"bsonType": "date"}),
    REJECTED: _rows("reason", _id=_key(stream=_TEXT, epoch=_WHOLE, seq=_WHOLE), reason=_TEXT),
}

_NAMESPACE_EXISTS: Final = 48


class SchemaBehind(Exception):
    """The database is older than this program; a worker of this version has to run first."""


async def _put_collection(database: Database, name: str) -> None:
    validator = {"$jsonSchema": VALIDATORS[name]}
    try:
        await database.command({"create": name, "validator": validator})
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise
        await database.command({"collMod": name, "validator": validator})


async def _begin(database: Database) -> None:
    for name in VALIDATORS:
        await _put_collection(database, name)
    await database[MEMBERS].create_index([("_id.user", 1), ("role", 1)], name="rooms_of_user")


MIGRATIONS: Final[tuple[tuple[int, Callable[[Database], Awaitable[None]]], ...]] = ((1, _begin),)
"""(version, what brings the database there), ascending. Each may run again, at once with itself, and while nodes of the
version before still read."""

VERSION: Final = MIGRATIONS[-1][0]


async def schema_version(database: Database) -> int:
    """0 for an empty database."""
    with reaching("read the schema's version"):
        found = await database[SCHEMA].find_one({"_id": "schema"})
    version = found.get("version") if found else 0
    return version if isinstance(version, int) else 0


async def migrate(database: Database) -> int:
    """Bring the database to :data:`VERSION`; returns the version that it had. A newer one is left as it is."""
    had = await schema_version(database)
    for version, migration in MIGRATIONS:
        if version > had:
            with reaching(f"migrate the schema to version {version}", WRITE_S * 4):
                await migration(database)
                await database[SCHEMA].update_one({"_id": "schema"}, {"$max": {"version": version}}, upsert=True)
    return had


async def check_schema(database: Database) -> None:
    """:class:`SchemaBehind` unless a worker has brought the database at least to this program's version."""
    version = await schema_version(database)
    if version < VERSION:
        raise SchemaBehind(
            f"database {database.name} has schema version {version}, this node needs {VERSION}: "
            "start a worker of this version, which migrates it"
        )
