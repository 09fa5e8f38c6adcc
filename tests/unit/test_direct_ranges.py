"""Ranges of a stream, where the servers that answer are not all equally far."""

import asyncio
from collections.abc import Iterator
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


class Damaged(DirectReader):
    """A replica answers ranges, without what it has lost; the leader holds everything."""

    def __init__(self, held: set[int], lost: set[int]) -> None:
        super().__init__(Client())
        self._held = sorted(held)
        self._lost = lost
        self.questions = 0

    async def after(self, stream: str, subject: str, seq: int, limit: int = 256) -> tuple[list[Stored], int]:
        return [stored(n) for n in self._held if n > seq and n not in self._lost][:limit], 0

    async def state(self, stream: str) -> StreamState:
        return StreamState(1, self._held[-1], {})

    async def at(self, stream: str, seq: int) -> Stored | None:
        return stored(seq) if seq in self._held else None

    async def _get(self, stream: str, query: dict[str, str | int], what: str) -> Stored | None:
        self.questions += 1
        return next((stored(n) for n in self._held if n >= int(query["seq"])), None)


@given(
    held=st.sets(st.integers(3, 60), min_size=1),
    lost=st.sets(st.integers(3, 60)),
    seq=st.integers(0, 20),
)
async def test_what_a_damaged_replica_has_lost_is_had_from_the_leader(held: set[int], lost: set[int], seq: int) -> None:
    end = max(held)
    reader = Damaged(held, lost - {end})
    found = await reader.whole("CHAT_0", "chat.0.room.one", seq, end, 100)
    assert found is not None
    assert [message.seq for message in found] == sorted(n for n in held if n > seq)


async def test_where_events_follow_each_other_at_once_the_leader_is_not_asked() -> None:
    reader = Damaged({3, 4, 5, 6}, set())
    assert await reader.whole("CHAT_0", "chat.0.room.one", 2, 6, 100) is not None
    assert reader.questions == 0


async def test_with_what_was_lost_a_range_may_be_more_than_was_asked_for() -> None:
    reader = Damaged({3, 4, 5, 6}, {4, 5})
    assert await reader.whole("CHAT_0", "chat.0.room.one", 2, 6, 3) is None


async def test_of_a_long_range_only_the_end_can_be_checked() -> None:
    reader = Damaged(set(range(2, 400, 2)), {100, 390})
    found = await reader.whole("CHAT_0", "chat.0.room.one", 1, 398, 1000, checked=20)
    assert found is not None
    assert set(range(2, 400, 2)) - {message.seq for message in found} == {100}
    assert reader.questions <= 2 * 20


class Leaderless(Damaged):
    """The first question about what lies between fails, the others get no answer."""

    def __init__(self) -> None:
        super().__init__(set(range(2, 40, 2)), set())
        self.waiting = 0

    async def _get(self, stream: str, query: dict[str, str | int], what: str) -> Stored | None:
        if query["seq"] == 3:
            await asyncio.sleep(0)
            raise Unavailable(what)
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            self.waiting -= 1


async def test_where_one_question_fails_the_others_are_not_left_behind() -> None:
    reader = Leaderless()
    with pytest.raises(Unavailable):
        await reader.whole("CHAT_0", "chat.0.room.one", 1, 38, 100)
    assert reader.waiting == 0
