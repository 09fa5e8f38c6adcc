"""Cursors and epochs (§1)."""

import copy
from collections.abc import Sequence
from typing import Any, Final

from chatnode.protocol.cursors import Cursor
from chatnode.rooms.catchup import CatchUp
from chatnode.rooms.hub import Hub
from chatnode.rooms.room import Room
from tests.simulation.mutations.mutation import Mutation, Patch


def _hash_unchecked() -> Sequence[Patch]:
    def knows(self: Room, cursor: Cursor) -> bool:
        return True

    return [(Room, "knows", knows)]


def _epoch_unchecked() -> Sequence[Patch]:
    original = CatchUp.recover

    async def recover(self: CatchUp, room: Room, cursor: Cursor) -> Any:
        return await original(self, room, Cursor(room.epoch, cursor.seq, cursor.hash))

    return [(CatchUp, "recover", recover)]


def _opening_rooms_keep_their_epoch() -> Sequence[Patch]:
    """As it was: a room that is being opened when its epoch rises goes live in the old one."""
    original = Hub._open

    async def opened(self: Hub, name: str) -> Room:
        epochs: dict[int, int] = {}
        current = self._epoch_of

        def first(partition: int) -> int:
            return epochs.setdefault(partition, current(partition))

        hub = copy.copy(self)
        hub._epoch_of = first
        return await original(hub, name)

    return [(Hub, "_open", opened)]


EPOCHS: Final = (
    Mutation("hash-unchecked", "§1 a cursor whose hash does not match is not recovered", _hash_unchecked),
    Mutation("epoch-unchecked", "§1 a cursor of another epoch is not recovered", _epoch_unchecked),
    Mutation("opening-keeps-epoch", "§1 a new epoch ends every room", _opening_rooms_keep_their_epoch),
)
