"""Reads that many ask for at the same time, made together.

One read is under way; who asks meanwhile shares the next one. So whoever asks gets what was read after they asked,
exactly as if they had read alone, while a thousand clients that come back at once cost a handful of queries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from chatnode.rooms.ports import Unavailable

MOST: Final = 64
"""Keys of one read."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Batch(Generic[Key, Value]):
    __slots__ = ("error", "found", "keys")

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self.found: Mapping[Key, Value] | None = None
        self.error: Unavailable | None = None


class Gathered(Generic[Key, Value]):
    """``read`` is given different keys, at most :data:`MOST`, and leaves out those for which there is nothing.

    It needs no task of its own: the first of those who wait reads for the others; when that one is cancelled, the next
    one does.
    """

    def __init__(self, read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        self._read = read
        self._reading = asyncio.Lock()
        self._next: _Batch[Key, Value] = _Batch()

    async def ask(self, key: Key) -> Value | None:
        """What ``read`` has for the key. :class:`Unavailable`, to all who share a read, when it cannot be had."""
        if len(self._next.keys) >= MOST:
            self._next = _Batch()
        batch = self._next
        batch.keys[key] = None
        async with self._reading:
            if batch.error is not None:
                raise type(batch.error)(str(batch.error)) from batch.error
            if batch.found is None:
                if self._next is batch:
                    self._next = _Batch()
                try:
                    batch.found = await self._read(tuple(batch.keys))
                except Unavailable as error:
                    batch.error = error
                    raise
        return batch.found.get(key)
