"""What is left when ChatClusters, the operator and its rights go: on a real Kubernetes, with the real Helm."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.harness.cache import ROOT, HarnessError
from tests.cluster.harness.issuer import Issuer
from tests.cluster.harness.kubernetes import wait_until
from tests.cluster.harness.resources import begin_namespace, chat_cluster
from tests.cluster.harness.talk import Talk
from tests.cluster.harness.world import OPERATOR_NAMESPACE, World

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

NAMESPACE = "leaving"
OURS = "app.kubernetes.io/managed-by=chat-operator"
KINDS = (
    "pods,services,configmaps,secrets,serviceaccounts,deployments,statefulsets,replicasets,"
    "poddisruptionbudgets,networkpolicies,ingresses"
)


@pytest.fixture(scope="module")
def place(operator: World, issuer: Issuer) -> Iterator[World]:
    begin_namespace(operator, NAMESPACE)
    yield operator
    operator.install_chart()
    operator.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def begin(world: World, name: str, **spec: object) -> None:
    world.apply(chat_cluster(name, NAMESPACE, world, members=1, autoscaling={"mode": "Off"}, **spec))
    world.wait_condition(name, NAMESPACE, "Ready", seconds=240)


def left(world: World, name: str, kinds: str = KINDS) -> list[str]:
    labels = f"app.kubernetes.io/instance={name}"
    return world.kubectl("-n", NAMESPACE, "get", kinds, "-l", labels, "-o", "name").split()


def delete(world: World, name: str) -> None:
    """Nothing hangs, and nothing is left of what the cluster was made of, but volumes."""
    world.kubectl("-n", NAMESPACE, "delete", "chat", name, "--timeout=30s")
    wait_until(f"everything of {name} to go", lambda: not left(world, name), 150, every=1)


async def said(world: World, issuer: Issuer, name: str, room: str = "") -> tuple[str, list[str]]:
    """The room, and who said what in it; in a new room something is said first."""
    with world.reach(NAMESPACE, name, 80) as address:
        talk = Talk(address, issuer)
        if not room:
            await talk.begin()
            room = talk.room
        async with talk.client("ana") as ana:
            await ana.subscribe(room)
            if talk.room == room:
                await ana.send(room, "before it went")
            history = await ana.whole_history(room)
        return room, [str(message.text) for message in history if message.text]


async def test_helm_test_says_that_the_operator_is_well(place: World) -> None:
    told = await asyncio.to_thread(place.helm, "test", "chat", "-n", OPERATOR_NAMESPACE, "--timeout", "90s")
    assert "Succeeded" in told


def older_chart(folder: Path) -> Path:
    """The chart as it was before ChatClusters had ``tls``."""
    chart = folder / "chart"
    shutil.copytree(ROOT / "chart", chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text("utf-8"))
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "0.0.1"}), "utf-8")
    definition = yaml.safe_load((chart / "files" / "crd.yaml").read_text("utf-8"))
    whole = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec = whole["properties"]["spec"]
    del spec["properties"]["tls"]
    for part, words in ((spec, "self.tls"), (whole, "self.spec.tls")):
        rules = part["x-kubernetes-validations"]
        part["x-kubernetes-validations"] = [rule for rule in rules if words not in rule["rule"]]
    (chart / "files" / "crd.yaml").write_text(yaml.safe_dump(definition), "utf-8")
    return chart


async def test_an_upgrade_of_the_chart_brings_the_new_definition_and_rolls_nobody(place: World, tmp_path: Path) -> None:
    await asyncio.to_thread(place.install_chart, chart=older_chart(tmp_path))
    await asyncio.to_thread(begin, place, "zero")
    before = left(place, "zero", "pods")
    assert _asked(place, "zero", "tls") is None
    await asyncio.to_thread(place.install_chart)
    assert _asked(place, "zero", "tls") == {"certificates": "Operator", "mongodbSecret": "", "natsSecret": ""}
    await asyncio.to_thread(place.wait_condition, "zero", NAMESPACE, "Ready", "True", 60)
    assert left(place, "zero", "pods") == before
    await asyncio.to_thread(delete, place, "zero")


def _asked(world: World, name: str, part: str) -> object:
    found = world.get("chatcluster", name, NAMESPACE) or {}
    spec = found["spec"]
    assert isinstance(spec, dict)
    return spec.get(part)


async def test_a_cluster_goes_with_the_operator_there_and_one_of_its_name_finds_its_volumes(
    place: World, issuer: Issuer
) -> None:
    await asyncio.to_thread(begin, place, "one")
    room, before = await said(place, issuer, "one")
    assert before == ["before it went"]
    await asyncio.to_thread(delete, place, "one")
    assert len(left(place, "one", "pvc")) == 2
    await asyncio.to_thread(begin, place, "one", retention={"volumes": "Delete"})
    assert await said(place, issuer, "one", room) == (room, before)
    await asyncio.to_thread(delete, place, "one")
    await asyncio.to_thread(wait_until, "the volumes to go", lambda: not left(place, "one", "pvc"), 60)


async def test_a_cluster_goes_with_the_operator_away(place: World) -> None:
    await asyncio.to_thread(begin, place, "two")
    scale = ("-n", OPERATOR_NAMESPACE, "scale", "deploy/chat-operator")
    place.kubectl(*scale, "--replicas=0")
    gone = ("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=chat-operator", "--timeout=60s")
    place.kubectl("-n", OPERATOR_NAMESPACE, *gone)
    try:
        await asyncio.to_thread(delete, place, "two")
    finally:
        place.kubectl(*scale, "--replicas=1")


async def test_with_rights_in_one_namespace_alone_and_then_without_the_operator(place: World, issuer: Issuer) -> None:
    """Its cluster is cared for, another's is not touched. Then the chart goes, and people stay."""
    await asyncio.to_thread(place.install_chart, f"watchNamespaces={{{NAMESPACE}}}")
    roles = place.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").split()
    assert not [role for role in roles if "chat-operator" in role]
    account = f"--as=system:serviceaccount:{OPERATOR_NAMESPACE}:chat-operator"
    assert place.kubectl("-n", NAMESPACE, "auth", "can-i", "create", "secrets", account).strip() == "yes"
    with pytest.raises(HarnessError):  # kubectl says no by its exit code
        place.kubectl("-n", "default", "auth", "can-i", "get", "secrets", account)
    place.apply(chat_cluster("elsewhere", "default", place, members=1))
    try:
        await asyncio.to_thread(begin, place, "three")
        elsewhere = place.get("chatcluster", "elsewhere", "default")
        assert elsewhere is not None
        assert "status" not in elsewhere
        labels = "app.kubernetes.io/instance=elsewhere"
        assert place.kubectl("-n", "default", "get", KINDS, "-l", labels, "-o", "name").split() == []
    finally:
        place.kubectl("-n", "default", "delete", "chat", "elsewhere")
    room, before = await said(place, issuer, "three")
    await asyncio.to_thread(place.helm, "uninstall", "chat", "-n", OPERATOR_NAMESPACE, "--timeout", "90s")
    assert place.get("crd", "chatclusters.chat.skillhub.io") is not None
    assert place.get("role", "chat-operator", NAMESPACE) is None
    assert await said(place, issuer, "three", room) == (room, before)
    await asyncio.to_thread(delete, place, "three")
