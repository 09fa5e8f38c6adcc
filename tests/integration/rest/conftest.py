"""Two nodes, for the tests of one file; rooms and people, for each of these tests alone."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from chatnode.local.servers import NatsServer
from tests.integration.conftest import MongoAddress
from tests.integration.rest.site import Person, Site, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(module_folder: Path, mongo: MongoAddress) -> AsyncIterator[Site]:
    """Shared by the tests of one file, which use rooms of their own and break nothing."""
    async with NatsServer(module_folder) as server, running(server, mongo.uri) as found:
        yield found


@pytest.fixture
def room() -> str:
    """A room of this test alone."""
    return f"room-{secrets.token_hex(6)}"


@pytest.fixture
def person() -> Person:
    """Users of this test alone."""
    suffix = secrets.token_hex(4)
    return lambda name: f"{name}-{suffix}"
