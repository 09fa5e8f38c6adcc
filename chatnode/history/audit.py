"""What history lacks of events that it should hold."""

from collections.abc import Sequence

from chatnode.history.client import Database, Document, reaching
from chatnode.history.folds import CommandKey, decode_claim, key_document, key_of, message_key
from chatnode.history.schema import COMMANDS, MESSAGES
from chatnode.protocol.envelope import Envelope
from chatnode.protocol.frames import Position


class HistoryAudit:
    """Implements :class:`chatnode.worker.repair.Audit`. Reads only."""

    def __init__(self, database: Database) -> None:
        self._commands = database[COMMANDS]
        self._messages = database[MESSAGES]

    async def lacking(self, events: Sequence[tuple[int, Envelope]]) -> list[int]:
        """Which of these (seq, event) are not there: neither under their command, nor, for what makes a message or a
        notice, as a row at the place that the command names."""
        if not events:
            return []
        keys = [key_document(key_of(envelope)) for _, envelope in events]
        with reaching(f"look {len(events)} events up"):
            claims = [decode_claim(found) async for found in self._commands.find({"_id": {"$in": keys}})]
        places: dict[CommandKey, Position] = {claim.key: claim.at for claim in claims}
        shown = [envelope for _, envelope in events if envelope.kind in ("message", "member")]
        rows: list[Document] = [
            message_key(envelope.room, places[key_of(envelope)]) for envelope in shown if key_of(envelope) in places
        ]
        with reaching(f"look {len(rows)} messages up"):
            found = await self._messages.find(
                {"_id": {"$in": rows}, "kind": {"$exists": True}}, projection={"_id": 1}
            ).to_list(None)
        there = {_place(document["_id"]) for document in found}
        return [seq for seq, envelope in events if not _is_there(envelope, places.get(key_of(envelope)), there)]


def _is_there(envelope: Envelope, at: Position | None, there: set[tuple[str, Position]]) -> bool:
    if at is None:
        return False
    return envelope.kind not in ("message", "member") or (envelope.room, at) in there


def _place(key: object) -> tuple[str, Position]:
    if not isinstance(key, dict):
        raise TypeError(f"not the key of a message: {key!r}")
    return str(key["room"]), Position(int(key["epoch"]), int(key["seq"]))
