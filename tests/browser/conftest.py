"""A real cluster and real Chromium for all browser tests; nothing here stands in for either.

One cluster of two nodes serves the whole run. A test that kills a node starts it again; every test makes rooms of its
own, so that tests run in any order.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from chatnode.local.cluster import LocalCluster
from chatnode.transports.pages import STATIC
from tests.browser.cable import Cable
from tests.browser.centre import Centre
from tests.browser.people import Crowd

INSTALLED = Path("/usr/bin/chromium")
CHROMIUM = INSTALLED if INSTALLED.exists() else None
"""Without one on the machine, Playwright's own."""
OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cluster and browser live in one event loop, and so do the tests that use them."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalCluster]:
    if not (STATIC / "index.html").is_file():
        pytest.fail("the web client is not built; run `make web` first")
    async with LocalCluster(tmp_path_factory.mktemp("cluster"), nodes=2, sync_always=False) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=OPTIONS,
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def centre(cluster: LocalCluster) -> AsyncIterator[Centre]:
    """The training platform: makes rooms and members over HTTP."""
    async with Centre.of(cluster) as centre:
        yield centre


@pytest_asyncio.fixture(loop_scope="session")
async def crowd(chromium: Browser, cluster: LocalCluster) -> AsyncIterator[Crowd]:
    """Opens windows for people. Afterwards no page may have reported an error or asked another origin for anything."""
    crowd = Crowd(chromium, cluster)
    yield crowd
    await crowd.close()
    assert crowd.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def cable(cluster: LocalCluster, crowd: Crowd) -> AsyncIterator[Cable]:
    """Between a window and the cluster; that Chromium reports lost connections is forgiven."""
    crowd.forgives_lost_connections = True
    async with Cable.to(cluster.url) as cable:
        yield cable
