"""Ranges of a stream, where the servers that answer are not all equally far."""

from collections.abc import Iterator
from itertools import chain, repeat

import pytest
from nats.aio.client import Client

from chatnode.broker.direct import DirectReader
from chatnode.rooms.ports import Stored, StreamState, Unavailable


def stored(seq: int) -> Stored:
    return Stored("chat.0.room.one", seq, 0, {}, b"")


class Answering(DirectReader):
    """Each request is answered by the next server in turn, which holds everything up to its number, but ``purged``."""

    def __init__(self, servers: Iterator[int], *, purged: int = 0) -> None:
        super().__init__(Client())
        self._servers = servers
        self._purged = purged

    async def state(self, stream: str) -> StreamState:
        return StreamState(self._purged + 1, next(self._servers), {})

    async def at(self, stream: str, seq: int) -> Stored | None:
        return stored(seq) if self._purged < seq <= next(self._servers) else None

    async def after(self, stream: str, subject: str, seq: int, limit: int = 256) -> tuple[list[Stored], int]:
        return [stored(n) for n in range(max(seq, self._purged) + 1, next(self._servers) + 1)][:limit], 0


async def seqs(reader: DirectReader) -> list[int]:
    found = await reader.upto("CHAT_0", "chat.0.room.one", 2, 6, 100)
    assert found is not None
    return [message.seq for message in found]


async def test_a_leader_that_was_paused_cuts_no_range_short() -> None:
    """The range, its state and its end are all asked of somebody who is behind, then of somebody who is not."""
    assert await seqs(Answering(chain([4, 4, 4, 4], repeat(6)))) == [3, 4, 5, 6]


async def test_nor_where_only_some_of_the_answers_are_its() -> None:
    assert await seqs(Answering(chain([4, 4, 6, 4], repeat(6)))) == [3, 4, 5, 6]


async def test_what_was_purged_is_not_waited_for() -> None:
    assert await seqs(Answering(repeat(6), purged=6)) == []


async def test_a_range_that_nobody_can_complete_is_not_given() -> None:
    with pytest.raises(Unavailable):
        await seqs(Answering(repeat(4)))
