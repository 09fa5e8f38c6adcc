"""One real Kubernetes for all tests here, and a folder for what they measured."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from chatoperator.crd import definition
from chatoperator.kube import Kube
from tests.cluster.harness.bare import NAMES, asked, reconciler, settle
from tests.cluster.harness.cache import ROOT
from tests.cluster.harness.figures import Figures
from tests.cluster.harness.issuer import Issuer
from tests.cluster.harness.world import World, world


@pytest.fixture(scope="session")
def kube_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running


@pytest.fixture(scope="session")
def issuer(kube_world: World) -> Issuer:
    """Tokens that the ChatClusters of the tests believe."""
    made = Issuer()
    kube_world.apply(*made.objects(kube_world.image))
    kube_world.kubectl("-n", "identity", "rollout", "status", "deploy/identity", "--timeout=120s")
    return made


@pytest.fixture(scope="session")
def operator(kube_world: World) -> World:
    """The operator, installed by its chart with the real Helm."""
    kube_world.install_chart()
    return kube_world


@pytest.fixture(scope="session")
def figures() -> Figures:
    return Figures(ROOT / "build" / "cluster.json")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    """An API server with the definition: one alone, or that of somebody's cluster, where an operator runs."""
    if os.environ.get("CHAT_TEST_KUBECONFIG"):
        yield request.getfixturevalue("operator")
        return
    with world(tmp_path_factory.mktemp("api"), nodes=False) as running:
        running.apply(definition())
        running.kubectl("wait", "--for=condition=Established", "crd/chatclusters.chat.skillhub.io", "--timeout=60s")
        yield running


@pytest.fixture(scope="module")
def api(server: World) -> World:
    """One on which nobody else acts upon what is written."""
    if server.kubernetes is None:
        pytest.skip("asks an API server on which nobody else acts upon what is written")
    return server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def kube(server: World) -> AsyncIterator[Kube]:
    async with await Kube.connect(str(server.kubeconfig)) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(api: World, kube: Kube) -> AsyncIterator[str]:
    """A ChatCluster whose objects are all there."""
    name = next(NAMES)
    api.apply(asked(name))
    await settle(reconciler(kube), name)
    yield name
    api.kubectl("delete", "chatcluster", name, "--ignore-not-found")
