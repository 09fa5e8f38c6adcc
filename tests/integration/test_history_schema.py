"""Migrations, validators, leases and progress in a real MongoDB."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pymongo.errors import WriteError

from chatnode.history import schema
from chatnode.history.client import Mongo
from chatnode.history.leases import Leases
from chatnode.history.progress import Ledger
from chatnode.history.schema import SchemaBehind, check_schema, migrate, schema_version
from chatnode.protocol.frames import Position
from tests.integration.conftest import MongoAddress


@pytest.fixture
async def mongodb(mongo: MongoAddress, database: str) -> AsyncIterator[Mongo]:
    opened = Mongo(mongo.uri, database, name="test")
    yield opened
    await opened.close()


async def test_a_node_refuses_a_database_that_no_worker_has_migrated(mongodb: Mongo) -> None:
    with pytest.raises(SchemaBehind, match="start a worker"):
        await check_schema(mongodb.database)


async def test_a_migrated_database_is_accepted(mongodb: Mongo) -> None:
    assert await migrate(mongodb.database) == 0
    await check_schema(mongodb.database)


async def test_a_newer_database_is_accepted_and_left_as_it_is(mongodb: Mongo) -> None:
    await mongodb.database[schema.SCHEMA].insert_one({"_id": "schema", "version": schema.VERSION + 1})
    assert await migrate(mongodb.database) == schema.VERSION + 1
    await check_schema(mongodb.database)
    assert await schema_version(mongodb.database) == schema.VERSION + 1
    assert await mongodb.database.list_collection_names() == [schema.SCHEMA]


async def test_several_workers_may_migrate_at_once_and_again(mongodb: Mongo) -> None:
    await asyncio.gather(*(migrate(mongodb.database) for _ in range(5)))
    await mongodb.database[schema.SCHEMA].delete_many({})
    await asyncio.gather(*(migrate(mongodb.database) for _ in range(3)))
    names = set(await mongodb.database.list_collection_names())
    assert names == {*schema.VALIDATORS, schema.SCHEMA}
    indexes = await mongodb.database[schema.MEMBERS].index_information()
    assert set(indexes) == {"_id_", "rooms_of_user"}


async def test_a_migration_that_was_cut_short_is_completed(mongodb: Mongo) -> None:
    await mongodb.database.command({"create": schema.MESSAGES})
    await migrate(mongodb.database)
    (options,) = [
        each["options"] async for each in await mongodb.database.list_collections() if each["name"] == schema.MESSAGES
    ]
    assert options["validator"] == {"$jsonSchema": schema.VALIDATORS[schema.MESSAGES]}


@pytest.mark.parametrize(
    ("collection", "document"),
    [
        (schema.MESSAGES, {"_id": {"room": "r", "epoch": 1}}),
        (schema.MESSAGES, {"_id": {"room": "r", "epoch": 1, "seq": 1}, "kind": "nonsense"}),
        (schema.MESSAGES, {"_id": {"room": "r", "epoch": 1, "seq": 1}, "body": "plain"}),
        (schema.COMMANDS, {"_id": {"user": "u", "id": "i", "room": "r"}}),
        (schema.ROOMS, {"_id": "r", "kind": "secret", "title": "t", "closed": False, "seq": 1}),
        (schema.RECEIPTS, {"_id": {"room": "r", "user": "u"}, "at": 5}),
    ],
)
async def test_what_is_no_document_of_its_collection_is_refused(
    mongodb: Mongo, collection: str, document: dict[str, object]
) -> None:
    await migrate(mongodb.database)
    with pytest.raises(WriteError, match="Document failed validation"):
        await mongodb.database[collection].insert_one(document)


async def test_a_lease_has_one_holder(mongodb: Mongo) -> None:
    await migrate(mongodb.database)
    holders = [Leases(mongodb.database, holder=f"w{number}", ttl=30) for number in range(8)]
    taken = await asyncio.gather(*(each.take("CHAT_0") for each in holders))
    assert sum(taken) == 1
    holder = holders[taken.index(True)]
    assert await holder.take("CHAT_0")
    assert await holder.holder("CHAT_0") == f"w{taken.index(True)}"
    assert await holders[0].take("CHAT_1")


async def test_only_its_holder_can_give_a_lease_back(mongodb: Mongo) -> None:
    await migrate(mongodb.database)
    one, other = (Leases(mongodb.database, holder=name, ttl=30) for name in ("$holder", "other"))
    assert await one.take("CHAT_0")
    await other.release("CHAT_0")
    assert not await other.take("CHAT_0")
    await one.release("CHAT_0")
    assert await other.take("CHAT_0")


async def test_a_lease_that_is_not_renewed_runs_out(mongodb: Mongo) -> None:
    await migrate(mongodb.database)
    one, other = (Leases(mongodb.database, holder=name, ttl=0.2) for name in ("one", "other"))
    assert await one.take("CHAT_0")
    async with asyncio.timeout(5):
        while not await other.take("CHAT_0"):
            await asyncio.sleep(0.02)
    assert not await one.take("CHAT_0")


async def test_an_epoch_never_falls(mongodb: Mongo) -> None:
    await migrate(mongodb.database)
    ledger = Ledger(mongodb.database)
    assert await ledger.epoch("CHAT_0") == 0
    await ledger.raise_epoch("CHAT_0", 3)
    await ledger.raise_epoch("CHAT_0", 2)
    assert (await ledger.epoch("CHAT_0"), await ledger.epoch("CHAT_1")) == (3, 0)


async def test_what_was_rejected_is_kept_once(mongodb: Mongo) -> None:
    await migrate(mongodb.database)
    for _ in range(2):
        await Ledger(mongodb.database).reject("CHAT_0", Position(1, 5), "no envelope", b"\xff")
    found = [each async for each in mongodb.database[schema.REJECTED].find()]
    assert found == [{"_id": {"stream": "CHAT_0", "epoch": 1, "seq": 5}, "reason": "no envelope", "data": b"\xff"}]
