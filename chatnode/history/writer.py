"""Executes the folds of a partition's events, and keeps how far that has come."""

import logging
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from chatnode.history.client import REFUSALS, WRITE_S, Collection, Database, is_refusal, reaching
from chatnode.history.folds import (
    Claim,
    Entry,
    Settlement,
    claim_operation,
    decode_claim,
    displace_operation,
    effects_of,
    first_copies,
    head_operations,
    key_document,
    key_of,
    settle,
)
from chatnode.history.schema import COMMANDS, HEADS, MESSAGES, REACTIONS
from chatnode.protocol.envelope import Envelope
from chatnode.protocol.frames import Position

log = logging.getLogger(__name__)

_DUPLICATE_KEY: Final = 11000
_ATTEMPTS: Final = 5


class Written(Struct, frozen=True):
    """What a batch came to."""

    void: int = 0
    """Copies of other events, without effect."""
    refused: tuple[tuple[int, str], ...] = ()
    """(seq, reason) of events that MongoDB can never hold."""


class HistoryWriter:
    """Writes batches. Repeating one, whole or in part, at once with another worker or later, changes nothing."""

    def __init__(self, database: Database) -> None:
        self._commands = database[COMMANDS]
        self._messages = database[MESSAGES]
        self._reactions = database[REACTIONS]
        self._heads = database[HEADS]

    async def write(self, epoch: int, events: Sequence[tuple[int, Envelope]]) -> Written:
        """Write (seq, envelope) each; returns when a majority keeps everything, or says what it refused.

        Raises :class:`chatnode.rooms.ports.Unavailable` when MongoDB is away.
        """
        entries = [Entry(seq, envelope) for seq, envelope in events]
        if not entries:
            return Written()
        try:
            return Written(await self._write(epoch, entries))
        except REFUSALS as error:
            if not is_refusal(error):
                raise
            log.warning("a batch of %d events was refused, going one by one: %s", len(entries), error)
        return await self._write_singly(epoch, entries)

    async def _write_singly(self, epoch: int, entries: Sequence[Entry]) -> Written:
        void = 0
        refused: list[tuple[int, str]] = []
        for entry in entries:
            try:
                void += await self._write(epoch, [entry])
            except REFUSALS as error:
                if not is_refusal(error):
                    raise
                refused.append((entry.seq, f"MongoDB refuses it: {error}"))
        return Written(void, tuple(refused))

    async def _write(self, epoch: int, entries: Sequence[Entry]) -> int:
        """The claims come first: a crash after them is repaired by the same batch, which finds them to be its own."""
        with reaching(f"write {len(entries)} events", WRITE_S):
            settlement = await self.claim(epoch, entries)
            effects = effects_of(epoch, settlement)
            await execute(self._messages, effects.messages)
            await execute(self._reactions, effects.reactions)
            await execute(self._heads, head_operations(epoch, entries, settlement))
        for entry in settlement.void:
            log.info(
                "seq %d of epoch %d in %s is a copy of command %s of %s: void",
                *(entry.seq, epoch, entry.envelope.room, entry.envelope.id, entry.envelope.user),
            )
        return len(settlement.void)

    async def claim(self, epoch: int, entries: Sequence[Entry]) -> Settlement:
        """First step of a write: which of the entries count."""
        first = list(first_copies(entries).values())
        taken = await _upsert(self._commands, [claim_operation(epoch, entry) for entry in first])
        held = [first[index] for index in taken]
        claims = await self._claims(held)
        higher = {claim.key for claim in claims if claim.at > _lowest(epoch, claim, held)}
        if higher:
            log.warning("%d copies were written before their originals", len(higher))
            displacing = [displace_operation(epoch, entry) for entry in held if key_of(entry.envelope) in higher]
            await execute(self._commands, displacing)
            claims = await self._claims(held)
        return settle(epoch, entries, claims)

    async def _claims(self, held: Sequence[Entry]) -> list[Claim]:
        if not held:
            return []
        keys = [key_document(key_of(entry.envelope)) for entry in held]
        return [decode_claim(found) async for found in self._commands.find({"_id": {"$in": keys}})]


def _lowest(epoch: int, claim: Claim, held: Sequence[Entry]) -> Position:
    return next(Position(epoch, entry.seq) for entry in held if key_of(entry.envelope) == claim.key)


async def _upsert(collection: Collection, operations: Sequence[UpdateOne]) -> list[int]:
    """Indexes of those that found their document there already."""
    try:
        result = await collection.bulk_write(operations, ordered=False)
        created = set(result.upserted_ids or {})
    except BulkWriteError as error:
        collided(error, operations)
        created = {upserted["index"] for upserted in error.details["upserted"]}
    return [index for index in range(len(operations)) if index not in created]


async def execute(collection: Collection, operations: Sequence[UpdateOne]) -> None:
    """All of them, in any order. Two that create the same document at once: the loser goes again, and finds it."""
    remaining = list(operations)
    for attempt in range(1, _ATTEMPTS + 1):
        if not remaining:
            return
        try:
            await collection.bulk_write(remaining, ordered=False)
        except BulkWriteError as error:
            remaining = collided(error, remaining)
            if attempt == _ATTEMPTS:
                raise
        else:
            return


def collided(error: BulkWriteError, operations: Sequence[UpdateOne]) -> list[UpdateOne]:
    """The operations that failed for a duplicate key and nothing else; any other failure is raised."""
    failures = error.details.get("writeErrors", [])
    if error.details.get("writeConcernErrors") or any(failure["code"] != _DUPLICATE_KEY for failure in failures):
        raise error
    return [operations[failure["index"]] for failure in failures]
