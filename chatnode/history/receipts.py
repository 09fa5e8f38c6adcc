"""Read receipts: how far each member has read each room."""

from collections.abc import Sequence

from pymongo import UpdateOne

from chatnode.history.client import Database, reaching
from chatnode.history.folds import receipt_operation
from chatnode.history.schema import RECEIPTS
from chatnode.history.writer import execute
from chatnode.protocol.frames import Position


class MongoReceipts:
    """Implements :class:`chatnode.rooms.ports.ReceiptWriter`."""

    def __init__(self, database: Database) -> None:
        self._receipts = database[RECEIPTS]

    async def write_receipts(self, receipts: Sequence[tuple[str, str, Position]]) -> None:
        """(user, room, position) each, in one bulk write; a receipt never moves back."""
        latest: dict[tuple[str, str], Position] = {}
        for user, room, at in receipts:
            held = latest.get((user, room))
            if held is None or held < at:
                latest[user, room] = at
        operations: list[UpdateOne] = [receipt_operation(user, room, at) for (user, room), at in latest.items()]
        if not operations:
            return
        with reaching(f"write {len(operations)} receipts"):
            await execute(self._receipts, operations)
