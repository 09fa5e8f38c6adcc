"""Reads that are made together answer each who asked as if it had read alone."""

import asyncio
from collections.abc import Sequence

import pytest

from chatnode.rooms.gathered import MOST, Gathered
from chatnode.rooms.ports import Unavailable


class Store:
    """Values that change, read when the gate is open; remembers what was read together."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.reads: list[tuple[str, ...]] = []
        self.gate = asyncio.Event()
        self.away = False

    async def read(self, keys: Sequence[str]) -> dict[str, int]:
        self.reads.append(tuple(keys))
        found = {key: self.values[key] for key in keys if key in self.values}
        await self.gate.wait()
        if self.away:
            raise Unavailable("the store is away")
        return found


async def begin(asking: "asyncio.Task[int | None]") -> None:
    """Let it run until it waits."""
    await asyncio.sleep(0)
    assert not asking.done()


async def test_one_who_asks_alone_is_read_for_at_once() -> None:
    store = Store()
    store.values["ann"] = 1
    store.gate.set()
    gathered = Gathered(store.read)
    assert await gathered.ask("ann") == 1
    assert await gathered.ask("bob") is None
    assert store.reads == [("ann",), ("bob",)]


async def test_who_asks_meanwhile_shares_the_next_read_and_sees_what_changed_before_they_asked() -> None:
    store = Store()
    gathered = Gathered(store.read)
    first = asyncio.create_task(gathered.ask("ann"))
    await begin(first)
    store.values["ann"] = 2
    later = [asyncio.create_task(gathered.ask(key)) for key in ("ann", "bob", "ann", "cid")]
    await begin(later[-1])
    store.gate.set()
    assert await first is None
    assert await asyncio.gather(*later) == [2, None, 2, None]
    assert store.reads == [("ann",), ("ann", "bob", "cid")]


async def test_a_read_that_fails_fails_for_those_who_shared_it_and_for_nobody_else() -> None:
    store = Store()
    gathered = Gathered(store.read)
    asking = [asyncio.create_task(gathered.ask(key)) for key in "abc"]
    await begin(asking[-1])
    store.away = True
    store.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert store.reads == [("a",), ("b", "c")]
    store.away = False
    assert await gathered.ask("a") is None


async def test_when_the_one_who_reads_is_cancelled_the_next_one_reads() -> None:
    store = Store()
    store.values["bob"] = 5
    gathered = Gathered(store.read)
    tasks = [asyncio.create_task(gathered.ask(key)) for key in ("ann", "bob")]
    await begin(tasks[0])
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    store.gate.set()
    assert await tasks[1] == 5


async def test_no_read_is_for_more_keys_than_allowed() -> None:
    store = Store()
    gathered = Gathered(store.read)
    keys = [f"k{number}" for number in range(3 * MOST)]
    asking = [asyncio.create_task(gathered.ask(key)) for key in keys]
    await begin(asking[-1])
    store.gate.set()
    await asyncio.gather(*asking)
    assert max(map(len, store.reads)) == MOST
    assert sorted(key for read in store.reads for key in read) == sorted(keys)
