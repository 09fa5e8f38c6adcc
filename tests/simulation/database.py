"""MongoDB as :mod:`chatnode.history` uses it: documents by key, updates as pipelines, ranges of keys.

Only the operators that the package uses are known; any other one is an error. Every operation on one document is
atomic, a bulk is not: other writers may come between its operations, and it may end half-way when the primary goes.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from pymongo import UpdateOne
from pymongo.errors import AutoReconnect

from tests.simulation.expressions import MISSING, REMOVE, Document, Expressions, rank, value_at
from tests.simulation.streams import WALL_0
from tests.simulation.virtual_time import Clock

Key = str | tuple[Any, ...]


def key_of(value: object) -> Key:
    return tuple(value.values()) if isinstance(value, dict) else value  # type: ignore[return-value]


class Result:
    """Of a bulk."""

    def __init__(self, upserted: dict[int, object]) -> None:
        self.upserted_ids = upserted


class Cursor:
    def __init__(self, collection: "Collection", query: Mapping[str, Any]) -> None:
        self._collection = collection
        self._query = query
        self._reverse = False
        self._limit: int | None = None
        self._rows: list[Document] | None = None

    def sort(self, _field: str, direction: int) -> Self:
        self._reverse = direction < 0
        return self

    def limit(self, count: int) -> Self:
        self._limit = count
        return self

    async def to_list(self, _count: int | None) -> list[Document]:
        asked = self._collection.database.asked
        if asked is not None:
            asked(self._collection.name)
        await self._collection.database.reach()
        found = self._collection.matching(self._query)
        if self._reverse:
            found.reverse()
        return found if self._limit is None else found[: self._limit]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Document:
        if self._rows is None:
            self._rows = await self.to_list(None)
            self._rows.reverse()
        if not self._rows:
            raise StopAsyncIteration
        return self._rows.pop()


class Collection:
    def __init__(self, database: "Database", name: str) -> None:
        self.database = database
        self.name = name
        self.documents: dict[Key, Document] = {}

    # Reading.

    def matching(self, query: Mapping[str, Any]) -> list[Document]:
        """In the order of their keys."""
        documents = self.documents
        if len(query) == 1 and (wanted := query.get("_id", MISSING)) is not MISSING and not _is_test(wanted):
            found = documents.get(key_of(wanted))
            return [] if found is None else [found]
        branches = query.get("$or")
        if branches is not None:
            keys = {key for branch in branches for key in self._keys(branch)}
        else:
            keys = set(self._keys(query))
        return [documents[key] for key in sorted(keys)]

    def _keys(self, query: Mapping[str, Any]) -> list[Key]:
        documents = self.documents
        wanted = query.get("_id", MISSING)
        rest = [(name, test) for name, test in query.items() if name != "_id"]
        if _is_test(wanted):
            tests = [
                (name, [key_of(one) for one in bound] if name == "$in" else key_of(bound))
                for name, bound in wanted.items()
            ]
            found = [key for key in documents if all(_within(key, name, bound) for name, bound in tests)]
        elif wanted is MISSING:
            found = list(documents)
        else:
            key = key_of(wanted)
            found = [key] if key in documents else []
        return [key for key in found if all(_passes(value_at(documents[key], name), test) for name, test in rest)]

    async def find_one(self, query: Mapping[str, Any], projection: object = None) -> Document | None:
        await self.database.reach()
        found = self.matching(query)
        return found[0] if found else None

    def find(self, query: Mapping[str, Any], projection: object = None) -> Cursor:
        return Cursor(self, query)

    # Writing.

    async def bulk_write(self, operations: Sequence[UpdateOne], *, ordered: bool) -> Result:
        database = self.database
        await database.reach(writing=True)
        upserted: dict[int, object] = {}
        half = len(operations) // 2 if len(operations) > 1 and database.chance.random() < 0.1 else -1
        for index, operation in enumerate(operations):
            if index == half:
                await database.pause()
            if self._update(operation._filter, operation._doc, bool(operation._upsert)):
                upserted[index] = index
        database.confirm()
        return Result(upserted)

    async def update_one(self, query: Mapping[str, Any], update: Any, upsert: bool = False) -> None:
        await self.database.reach(writing=True)
        self._update(query, update, upsert)
        self.database.confirm()

    async def find_one_and_update(
        self, query: Mapping[str, Any], update: Any, *, upsert: bool, return_document: bool
    ) -> Document:
        await self.database.reach(writing=True)
        self._update(query, update, upsert)
        found = self.documents[key_of(query["_id"])]
        self.database.confirm()
        return found

    async def delete_one(self, query: Mapping[str, Any]) -> None:
        await self.database.reach(writing=True)
        for key in self._keys(query)[:1]:
            del self.documents[key]
        self.database.confirm()

    def _update(self, query: Mapping[str, Any], update: Any, upsert: bool) -> bool:
        """Whether it made the document."""
        key = key_of(query["_id"])
        held = self.documents.get(key)
        matches = held is not None and all(
            _passes(value_at(held, name), test) for name, test in query.items() if name != "_id"
        )
        if not matches and (not upsert or held is not None):
            return False
        document = dict(held) if matches and held is not None else {"_id": query["_id"]}
        if isinstance(update, list):
            for stage in update:
                document = self._stage(document, stage)
        else:
            self._modify(document, update, made=not matches)
        self.documents[key] = document
        if self.database.wrote is not None:
            self.database.wrote(self.name, document)
        return not matches

    def _stage(self, document: Document, stage: Mapping[str, Any]) -> Document:
        value = self.database.expressions.value
        ((name, operand),) = stage.items()
        if name == "$replaceWith":
            replaced = value(operand, document)
            return replaced if "_id" in replaced else {"_id": document["_id"], **replaced}
        if name != "$set":
            raise NotImplementedError(name)
        changed = dict(document)
        for field, expression in operand.items():
            found = value(expression, document)
            if found is REMOVE or found is MISSING:
                changed.pop(field, None)
            else:
                changed[field] = found
        return changed

    @staticmethod
    def _modify(document: Document, update: Mapping[str, Any], *, made: bool) -> None:
        for name, fields in update.items():
            match name:
                case "$set":
                    document.update(fields)
                case "$setOnInsert":
                    if made:
                        document.update(fields)
                case "$max":
                    for field, value in fields.items():
                        if field not in document or document[field] < value:
                            document[field] = value
                case _:
                    raise NotImplementedError(name)


def _is_test(value: Any) -> bool:
    return isinstance(value, dict) and next(iter(value), "")[:1] == "$"


def _within(key: Key, test: str, bound: Any) -> bool:
    match test:
        case "$gt":
            return key > bound  # type: ignore[no-any-return]
        case "$gte":
            return key >= bound  # type: ignore[no-any-return]
        case "$lt":
            return key < bound  # type: ignore[no-any-return]
        case "$lte":
            return key <= bound  # type: ignore[no-any-return]
        case "$in":
            return key in bound
    raise NotImplementedError(test)


def _passes(value: Any, test: Any) -> bool:
    if _is_test(test):
        for name, bound in test.items():
            match name:
                case "$exists":
                    if (value is not MISSING) != bound:
                        return False
                case "$ne":
                    if value == bound or (value is MISSING and bound is None):
                        return False
                case "$gt":
                    if value is MISSING or not rank(value) > rank(bound):
                        return False
                case _:
                    raise NotImplementedError(name)
        return True
    return bool(value == test)


class Database:
    """``away_until``: nobody answers. ``unsure``: so many of the next writes are done and their answer is lost."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self.clock = clock
        self.chance = chance
        self.away_until = -1.0
        self.unsure = 0
        self.asked: Callable[[str], None] | None = None
        """Told of which collection somebody reads several documents, from within the process that does."""
        self.wrote: Callable[[str, Document], None] | None = None
        """Told of each document that somebody writes, and of which collection."""
        self.expressions = Expressions(lambda: round((WALL_0 + clock.now) * 1000))
        self._collections: dict[str, Collection] = {}

    def __getitem__(self, name: str) -> Collection:
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = Collection(self, name)
        return found

    def reach(self, *, writing: bool = False) -> Awaitable[None]:
        """The time that an operation takes; AutoReconnect when nobody answers."""
        if self.clock.now < self.away_until:
            return self._wait(writing)
        process: Any = asyncio.get_running_loop()
        return process.passing(0.001 + (0.004 if writing else 0.002) * self.chance.random())  # type: ignore[no-any-return]

    async def _wait(self, writing: bool) -> None:
        await asyncio.sleep(min(0.5, self.away_until - self.clock.now))
        if self.clock.now < self.away_until:
            raise AutoReconnect("no primary")
        await self.reach(writing=writing)

    async def pause(self) -> None:
        """Between two operations of a bulk."""
        await asyncio.sleep(0.002)
        if self.clock.now < self.away_until:
            raise AutoReconnect("the primary went")

    def confirm(self) -> None:
        if self.unsure > 0:
            self.unsure -= 1
            raise AutoReconnect("the primary went before it answered")
