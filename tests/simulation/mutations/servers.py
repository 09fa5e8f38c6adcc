"""What single servers answer is not believed (§3.5, §3.6)."""

from collections.abc import Sequence
from typing import Any, Final

import chatnode.rooms.tail
from chatnode.broker.direct import DirectReader
from chatnode.rooms.ports import Stored
from chatnode.worker.stream import StreamWorker
from tests.simulation.mutations.mutation import Mutation, Patch
from tests.simulation.streams import Entry, Staged, Stream


async def _nothing_between(*_args: object) -> list[Any]:
    """The leader, who is asked what lies between, covers what ranges leave out: it is left out with them."""
    return []


def _believe_the_end() -> Sequence[Patch]:
    async def upto(self: DirectReader, stream: str, subject: str, seq: int, end: int, limit: int) -> Any:
        found: list[Any] = []
        position = seq
        while position < end:
            messages, _ = await self.after(stream, subject, position, min(256, limit + 1))
            found.extend(message for message in messages if message.seq <= end)
            if not messages:
                break
            position = messages[-1].seq
        return found

    return [(DirectReader, "upto", upto), (DirectReader, "_between", _nothing_between)]


def _believe_the_answer() -> Sequence[Patch]:
    async def upto(self: DirectReader, stream: str, subject: str, seq: int, end: int, limit: int) -> Any:
        if seq >= end:
            return []
        messages, _ = await self.after(stream, subject, seq, min(256, limit + 1))
        return [message for message in messages if message.seq <= end]

    return [(DirectReader, "upto", upto), (DirectReader, "_between", _nothing_between)]


def _replicas_believed() -> Sequence[Patch]:
    async def missed(*_args: object) -> list[Stored]:
        return []

    return [(DirectReader, "_missed", missed)]


def _tails_believe_replicas() -> Sequence[Patch]:
    return [(chatnode.rooms.tail, "_CHECKED", 0)]


def _feed_believed() -> Sequence[Patch]:
    async def rescue(*_args: object) -> Sequence[Stored]:
        return ()

    return [(StreamWorker, "_rescue", rescue)]


def _shown_before_storage() -> Sequence[Patch]:
    """A leader that does not know yet that it leads no longer republishes what it takes in."""
    original = Stream._stage

    def stage(self: Stream, members: list[Staged]) -> None:
        original(self, members)
        if self.leaderless:
            for place, member in enumerate(members, start=self.last_seq + 1):
                entry = Entry(place, member.subject, member.data, self.nats.clock.now, None, self.epoch)
                self.nats.republish(self, entry, self.last_seq)

    return [(Stream, "_stage", stage)]


SERVERS: Final = (
    Mutation("shown-before-storage", "§2.3 nobody sees an event that was not stored first", _shown_before_storage),
    Mutation("believe-404", "§3.6 neither 204 nor 404 proves the end", _believe_the_end),
    Mutation("believe-one-answer", "§3.6 loop while 204 has pending", _believe_the_answer),
    Mutation("replicas-believed", "§3.6 the leader is asked what lies between a range's events", _replicas_believed),
    Mutation("tails-believe-replicas", "§2.2, §3.6 and between those of a tail", _tails_believe_replicas),
    Mutation("feed-believed", "§3.5 what was not fed is asked of other servers", _feed_believed),
)
