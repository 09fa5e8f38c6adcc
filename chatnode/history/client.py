"""The one place that constructs a MongoDB client, and the one import of motor.

Motor is past its end of life, so only that part of its API is used which PyMongo's ``AsyncMongoClient`` shares. Where
the two differ (``aggregate`` has to be awaited there, ``close`` too) the difference is hidden in this module: changing
over means changing this file.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import pymongo
from bson.errors import InvalidDocument
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    PyMongoError,
    WaitQueueTimeoutError,
    WriteError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from chatnode.rooms.ports import HistoryAway

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase

Document: TypeAlias = dict[str, object]
"""A document at the edge; past it there are structs."""
Database: TypeAlias = "AsyncIOMotorDatabase[Document]"
Collection: TypeAlias = "AsyncIOMotorCollection[Document]"

READ_S: Final = 5.0
"""Deadline of a read that somebody waits for."""
WRITE_S: Final = 15.0
"""Deadline of a worker's bulk write; it tries again for as long as it takes."""

_AWAY_CODES: Final = frozenset({11600, 11602, 91, 189, 10107, 13435, 13, 18, 14031})
"""Server codes of a primary that is stopping or stepping down, that does not let us in, or whose disk is full."""

REFUSALS: Final = (BulkWriteError, WriteError, InvalidDocument, OverflowError)
"""What :func:`is_refusal` looks into."""
_REFUSAL_CODES: Final = frozenset({2, 121, 10334, 17419})
"""Bad value, failed validation, too large."""


class Mongo:
    """A connection pool to one database: majority reads from the primary, journalled majority writes."""

    def __init__(self, uri: str, database: str, *, name: str) -> None:
        """``name`` is shown by the server (``appName``). Nothing is sent before the first operation."""
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            uri,
            appname=name,
            serverSelectionTimeoutMS=round(READ_S * 1000),
            connectTimeoutMS=round(READ_S * 1000),
            retryReads=True,
            retryWrites=True,
        )
        self.database: Database = self._client.get_database(
            database,
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern(w="majority", j=True),
        )

    async def ping(self) -> None:
        """Returns when the primary answers; :class:`HistoryAway` when it does not."""
        with reaching("ping"):
            await self.database.command("ping")

    async def close(self) -> None:
        self._client.close()


async def aggregate(collection: Collection, pipeline: Sequence[Mapping[str, object]]) -> list[Document]:
    """All results of an aggregation; for small results only."""
    return await collection.aggregate(pipeline).to_list(None)


@contextmanager
def reaching(operation: str, seconds: float = READ_S) -> Iterator[None]:
    """A deadline over everything inside; what says that MongoDB is away or too slow becomes :class:`HistoryAway`."""
    try:
        with pymongo.timeout(seconds):
            yield
    except PyMongoError as error:
        if is_away(error):
            raise HistoryAway(f"MongoDB: {operation}: {_first_line(error)}") from error
        raise


def is_away(error: PyMongoError) -> bool:
    """Whether trying again later can help: no connection, no primary, no majority, no answer in time."""
    if isinstance(error, ConnectionFailure | ExecutionTimeout | WTimeoutError | WaitQueueTimeoutError):
        return True
    if error.timeout or error.has_error_label("RetryableWriteError"):
        return True
    if isinstance(error, BulkWriteError):
        failures = error.details.get("writeErrors", [])
        return all(failure.get("code") in _AWAY_CODES for failure in failures)
    return getattr(error, "code", None) in _AWAY_CODES


def is_refusal(error: Exception) -> bool:
    """Whether MongoDB or its encoding can never take what it was given."""
    if isinstance(error, BulkWriteError):
        failures = error.details.get("writeErrors", [])
        return bool(failures) and all(failure.get("code") in _REFUSAL_CODES for failure in failures)
    return isinstance(error, InvalidDocument | OverflowError) or getattr(error, "code", None) in _REFUSAL_CODES


def _first_line(error: PyMongoError) -> str:
    return str(error).partition("\n")[0].partition(", Topology Description")[0][:300]
