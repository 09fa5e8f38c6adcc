"""Who works on what, by MongoDB's clock. A lease saves work; correctness rests on the folds being conditional."""

from typing import Final

import msgspec
from msgspec import Struct
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from chatnode.history.client import Database, Document, reaching
from chatnode.history.schema import LEASES

_WORKER: Final = "worker:"
_WORKER_END: Final = "worker;"
"""The least text above all that begin with :data:`_WORKER`."""
_FORGET_MS: Final = 3_600_000


class _Row(Struct):
    holder: str


class Leases:
    """Leases of one holder, whose name is unique among workers, restarts of the same one included."""

    def __init__(self, database: Database, *, holder: str, ttl: float, deadline: float = 2.0) -> None:
        """``ttl``: seconds until an unrenewed lease is free; ``deadline``: of each call, in seconds."""
        self._collection = database[LEASES]
        self._holder = holder
        self._ttl_ms = round(ttl * 1000)
        self._deadline = deadline

    async def take(self, name: str) -> bool:
        """Take or renew; False while another holds it."""
        me = {"$literal": self._holder}
        free = {"$or": [{"$eq": ["$holder", me]}, {"$lte": ["$expires", "$$NOW"]}]}
        mine = {"holder": me, "expires": {"$add": ["$$NOW", self._ttl_ms]}}
        stages = [{"$replaceWith": {"$cond": [free, {"$mergeObjects": ["$$ROOT", mine]}, "$$ROOT"]}}]
        with reaching(f"take the lease {name}", self._deadline):
            try:
                found = await self._collection.find_one_and_update(
                    {"_id": name}, stages, upsert=True, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                return False
        return msgspec.convert(found, _Row).holder == self._holder

    async def release(self, name: str) -> None:
        """Let another take it at once; nothing when it is not held."""
        with reaching(f"release the lease {name}", self._deadline):
            await self._collection.delete_one({"_id": name, "holder": self._holder})

    async def announce(self) -> int:
        """Say that this holder lives, for as long as a lease lasts; how many holders do."""
        mine = {"$set": {"holder": {"$literal": self._holder}, "expires": {"$add": ["$$NOW", self._ttl_ms]}}}
        workers: Document = {"_id": {"$gte": _WORKER, "$lt": _WORKER_END}}
        with reaching("say that this worker lives", self._deadline):
            await self._collection.update_one({"_id": _WORKER + self._holder}, [mine], upsert=True)
            forgotten = {"$lt": ["$expires", {"$subtract": ["$$NOW", _FORGET_MS]}]}
            await self._collection.delete_many({**workers, "$expr": forgotten})
            living = {"$gt": ["$expires", "$$NOW"]}
            return await self._collection.count_documents({**workers, "$expr": living})

    async def leave(self) -> None:
        """This holder does not live any more."""
        with reaching("say that this worker goes", self._deadline):
            await self._collection.delete_one({"_id": _WORKER + self._holder})

    async def holder(self, name: str) -> str | None:
        """Who holds it, expired or not."""
        with reaching(f"read the lease {name}", self._deadline):
            found = await self._collection.find_one({"_id": name})
        return None if found is None else msgspec.convert(found, _Row).holder
