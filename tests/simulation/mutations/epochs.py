"""Cursors and epochs (§1)."""

import copy
from collections.abc import Sequence
from typing import Any, Final

import chatnode.worker.stream
from chatnode.node import Node
from chatnode.protocol.cursors import Cursor
from chatnode.rooms.catchup import CatchUp
from chatnode.rooms.hub import Hub
from chatnode.rooms.room import Room
from chatnode.worker.epochs import Decision, Keep, Observed, Raise, Recorded, decide
from chatnode.worker.stream import StreamWorker
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


def _ends_unchecked() -> Sequence[Patch]:
    """A cursor beyond the end of the room is taken for one at it."""
    original = CatchUp.recover

    async def recover(self: CatchUp, room: Room, cursor: Cursor) -> Any:
        beyond = cursor.epoch == room.epoch and cursor.seq > room.last
        return await original(self, room, room.cursor if beyond else cursor)

    return [(CatchUp, "recover", recover)]


def _went_back_unnoticed() -> Sequence[Patch]:
    def decided(recorded: Recorded, observed: Observed | None) -> Decision:
        decision = decide(recorded, observed)
        return Keep(decision.epoch - 1) if isinstance(decision, Raise) else decision

    return [(chatnode.worker.stream, "decide", decided)]


def _opened_at_once() -> Sequence[Patch]:
    original = StreamWorker._enter

    async def enter(self: StreamWorker, epoch: int, first_seq: int, *, announce: bool, settle: bool = False) -> None:
        await original(self, epoch, first_seq, announce=announce)

    return [(StreamWorker, "_enter", enter)]


def _begun_in_the_old_epoch() -> Sequence[Patch]:
    """As it was: a node that starts knows the epochs that streams name, not those that were given out."""
    original = Node.start

    class Unasked:
        async def epoch(self, stream: str) -> int:
            return 0

    async def start(self: Node) -> None:
        self._ledger = Unasked()  # type: ignore[assignment]
        await original(self)

    return [(Node, "start", start)]


EPOCHS: Final = (
    Mutation("ends-unchecked", "§1 a cursor beyond the end is not recovered", _ends_unchecked),
    Mutation("went-back-unnoticed", "§1 the epoch is raised where a stream went back", _went_back_unnoticed),
    Mutation("opened-at-once", "§1 nothing is stored before all have heard of an epoch", _opened_at_once),
    Mutation("begun-in-the-old-epoch", "§1 nodes begin with the epoch that was given out", _begun_in_the_old_epoch),
    Mutation("hash-unchecked", "§1 a cursor whose hash does not match is not recovered", _hash_unchecked),
    Mutation("epoch-unchecked", "§1 a cursor of another epoch is not recovered", _epoch_unchecked),
    Mutation("opening-keeps-epoch", "§1 a new epoch ends every room", _opening_rooms_keep_their_epoch),
)
