"""The chart by the real Helm on a real kube-apiserver: from the version before, away, and back."""

import shutil
from pathlib import Path

import pytest
import yaml

from chatoperator.objects import at
from tests.cluster.harness.bare import resting
from tests.cluster.harness.cache import ROOT, HarnessError
from tests.cluster.harness.world import World

pytestmark = pytest.mark.timeout(600)

RELEASE, PLACE = "chat", "chat-system"


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The chart of a version from before there was TLS or a list of troubles."""
    folder = tmp_path / "chart"
    shutil.copytree(ROOT / "chart", folder)
    about = yaml.safe_load((folder / "Chart.yaml").read_text("utf-8"))
    (folder / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "0.0.9", "appVersion": "0.0.9"}), "utf-8")
    definition = yaml.safe_load((folder / "files" / "crd.yaml").read_text("utf-8"))
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["properties"]["tls"]
    del schema["properties"]["status"]["properties"]["troubles"]
    for part in (schema, schema["properties"]["spec"]):
        rules = part["x-kubernetes-validations"]
        part["x-kubernetes-validations"] = [rule for rule in rules if ".tls." not in rule["rule"]]
    (folder / "files" / "crd.yaml").write_text(yaml.safe_dump(definition), "utf-8")
    return folder


@pytest.fixture
def empty(api: World) -> World:
    """The definition comes with the chart here."""
    api.kubectl("delete", "crd", "chatclusters.chat.skillhub.io", "--ignore-not-found")
    return api


def knows_tls(world: World) -> bool:
    path = "{.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.tls.type}"
    return world.kubectl("get", "crd", "chatclusters.chat.skillhub.io", "-o", f"jsonpath={path}") == "object"


def test_an_upgrade_brings_the_definition_and_keeps_what_is_there_through_an_uninstall_too(
    empty: World, previous: Path
) -> None:
    world, place = empty, ("-n", PLACE)
    world.helm("install", RELEASE, previous, *place, "--create-namespace")
    world.kubectl("wait", "--for=condition=Established", "crd/chatclusters.chat.skillhub.io", "--timeout=60s")
    assert not knows_tls(world)
    world.apply(resting("old"))
    before = world.get("chatcluster", "old", "default")
    assert before is not None
    world.helm("upgrade", RELEASE, ROOT / "chart", *place)
    assert knows_tls(world)
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    shown = world.kubectl(*place, "get", "deploy", "chat-operator", "-o", image)
    assert shown.endswith(f":{yaml.safe_load((ROOT / 'chart' / 'Chart.yaml').read_text('utf-8'))['appVersion']}")
    after = world.get("chatcluster", "old", "default")
    assert after is not None
    assert at(after, "metadata", "uid") == at(before, "metadata", "uid")  # type: ignore[arg-type]  # JSON
    assert at(after, "metadata", "generation") == at(before, "metadata", "generation")  # type: ignore[arg-type]
    assert at(after, "spec", "tls", "certificates") == "Operator"  # type: ignore[arg-type]
    world.helm("uninstall", RELEASE, *place)
    assert world.get("deploy", "chat-operator", PLACE) is None
    assert world.get("chatcluster", "old", "default") is not None
    with pytest.raises(HarnessError, match="invalid ownership metadata"):
        world.helm("install", "another", ROOT / "chart", *place)
    world.helm("install", "another", ROOT / "chart", *place, "--set", "crd.install=false")
    world.helm("uninstall", "another", *place)
    world.helm("install", RELEASE, ROOT / "chart", *place)
    assert world.get("deploy", "chat-operator", PLACE) is not None
    world.helm("uninstall", RELEASE, *place)
    world.kubectl("delete", "chatcluster", "old")


def test_going_back_to_the_version_before_keeps_every_cluster(empty: World, previous: Path) -> None:
    world, place = empty, ("-n", PLACE)
    world.helm("install", RELEASE, ROOT / "chart", *place, "--create-namespace")
    world.kubectl("wait", "--for=condition=Established", "crd/chatclusters.chat.skillhub.io", "--timeout=60s")
    world.apply(resting("new"))
    world.helm("upgrade", RELEASE, previous, *place)
    assert not knows_tls(world)
    assert world.get("chatcluster", "new", "default") is not None
    world.helm("rollback", RELEASE, "1", *place)
    assert knows_tls(world)
    world.helm("uninstall", RELEASE, *place)
    world.kubectl("delete", "chatcluster", "new")
