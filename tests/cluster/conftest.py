"""One real Kubernetes for all tests here, and a folder for what they measured."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness.cache import ROOT
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


class Figures:
    """What was measured; written to ``build/cluster.json`` as it comes in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, object] = {"lost_messages": 0, "recovery_s": {}}

    def set(self, name: str, value: object) -> None:
        self.values[name] = value
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(self.values, indent=2, sort_keys=True) + "\n")

    def recovered(self, what: str, seconds: float) -> None:
        found = self.values["recovery_s"]
        assert isinstance(found, dict)
        self.set("recovery_s", {**found, what: round(seconds, 2)})


@pytest.fixture(scope="session")
def figures() -> Figures:
    return Figures(ROOT / "build" / "cluster.json")
