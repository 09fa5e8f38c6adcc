"""Real servers for integration tests; nothing here stands in for one."""

import asyncio
import gc
import threading
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from pymongo import MongoClient

from chatnode.local.cluster import LocalCluster
from chatnode.local.servers import Mongod, NatsServer
from tests.integration import promises
from tests.integration.blocking_proxy import BlockingProxy

_LONGEST: Final = (
    *(
        "promises_faults",
        "worker_faults",
        "promises_mix",
        "local_up",
        "hostile",
        "local_cluster",
        "client_ladder",
        "node_faults",
    ),
    *("worker_streams", "without_mongodb", "transports", "promises", "without_nats", "socket_bounds"),
    *("worker", "fallbacks", "client_outbox", "promises_resends", "control"),
)
"""Files that take longest, half a minute and more: begun first, so that at the end no core waits for one of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}": place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A nats-server of this test alone, with an empty JetStream on disk."""
    async with NatsServer(tmp_path / "nats") as server:
        yield server


@dataclass(frozen=True)
class MongoAddress:
    """A running replica set. Tests that kill or pause one start a :class:`Mongod` of their own."""

    uri: str


class _MongodThread(threading.Thread):
    """Runs mongod in an event loop of its own, because it outlives the loops of single tests.

    The thread lasts as long as the server does, which the tether of children asks for.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(name="mongod")
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._enough = asyncio.Event()
        self.settled = threading.Event()
        self.uri: str | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001  shown by the fixture, in the thread that waits for it
            self.error = error
        finally:
            self._loop.close()
            self.settled.set()

    async def _serve(self) -> None:
        async with Mongod(self._directory) as server:
            self.uri = server.uri
            self.settled.set()
            await self._enough.wait()

    def end(self) -> None:
        if self.is_alive() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._enough.set)
        self.join()


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoAddress]:
    """One replica set of one member for all tests of this process."""
    thread = _MongodThread(tmp_path_factory.mktemp("mongod"))
    thread.start()
    thread.settled.wait()
    try:
        if thread.uri is None:
            raise RuntimeError("mongod did not start") from thread.error
        yield MongoAddress(thread.uri)
    finally:
        thread.end()


@pytest.fixture
def pymongo_sockets() -> Iterator[None]:
    """For tests that end a client of MongoDB while it connects, or whose TLS fails: pymongo 4 leaves that socket to the
    garbage collector, which would tell it to whatever test comes next."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def database(mongo: MongoAddress) -> Iterator[str]:
    """Name of a database of this test alone, dropped afterwards."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    with MongoClient[dict[str, object]](mongo.uri) as client:
        client.drop_database(name)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(module_folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[LocalCluster]:
    """Two nodes for all tests of a module, set by its ``SETTINGS``, or as the tests of the promises are.

    What kills nats-server says ``SYNC_ALWAYS = True``, as it is in production.
    """
    settings = getattr(request.module, "SETTINGS", promises.SETTINGS)
    sync_always = getattr(request.module, "SYNC_ALWAYS", False)
    async with LocalCluster(module_folder, nodes=2, settings=settings, sync_always=sync_always) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def talk(cluster: LocalCluster) -> promises.Talk:
    return await promises.begin_talk(cluster)


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(cluster: LocalCluster) -> AsyncIterator[BlockingProxy]:
    async with BlockingProxy(cluster.url) as running:
        yield running
