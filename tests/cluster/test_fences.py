"""NetworkPolicies as the operator writes them, enforced: real connections between the addresses of pods."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from chatoperator.objects import text
from chatoperator.plan.decide import plan
from tests.cluster.harness import fences
from tests.cluster.harness.fences import Ground
from tests.cluster.harness.world import World
from tests.unit.operator_cases import NOW, cluster, observed
from tests.unit.operator_reach import HOME, KEPT_OUT, LET_IN, PLACES

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

POLICIES = [thing for thing in plan(cluster(), observed(), NOW).objects if text(thing, "kind") == "NetworkPolicy"]
Verdict = Mapping[tuple[str, str, int], bool]


@pytest.fixture(scope="module")
def places(api: World) -> Iterator[Ground]:
    """Each place of the table as a Pod in its namespace: nobody runs it, but its address answers."""
    api.apply(*fences.account())
    spaces = sorted({space for space, _ in PLACES.values() if space})
    for space in spaces:
        api.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": space}},
        )
    ports = sorted({port for _, _, port in (*LET_IN, *KEPT_OUT)} | {53})
    with fences.ground(api) as ground:
        for number, (place, (space, labels)) in enumerate(PLACES.items()):
            ground.add(place, ports)
            if space:
                _pod(api, f"pod-{number}", space, labels, ground.addresses[place])
        yield ground


def _pod(api: World, name: str, space: str, labels: Mapping[str, str], address: str) -> None:
    container = {"name": "c", "image": "none:1"}
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": space, "labels": dict(labels)},
            "spec": {"containers": [container], "nodeName": "node1", "automountServiceAccountToken": False},
        }
    )
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    patch = msgspec.json.encode(status).decode()
    api.kubectl("-n", space, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)


def tried(ground: Ground) -> Verdict:
    """Every way of both tables, by whether a connection was made."""
    found: dict[tuple[str, str, int], bool] = {}
    everything = (*LET_IN, *KEPT_OUT)
    for source in dict.fromkeys(source for source, _, _ in everything):
        ways = [way for way in everything if way[0] == source]
        reached = ground.reached(source, [(_where(ground, source, target), port) for _, target, port in ways])
        found |= dict(zip(ways, reached, strict=True))
    return found


def _where(ground: Ground, source: str, target: str) -> str:
    """Of another pod of the same kind, where it talks with its like."""
    return ground.addresses[f"another {target}" if source == target else target]


def test_each_is_let_in_or_kept_out_as_it_should_be(places: Ground, api: World, tmp_path: Path) -> None:
    for kind in dict.fromkeys(source for source, target, _ in (*LET_IN, *KEPT_OUT) if source == target):
        places.add(f"another {kind}", sorted({port for _, _, port in (*LET_IN, *KEPT_OUT)}))
        space, labels = PLACES[kind]
        _pod(api, f"another-{kind}", space, labels, places.addresses[f"another {kind}"])
    with fences.enforced(api, tmp_path):
        assert all(tried(places).values()), "without a policy everybody reaches everybody"
        plain = [msgspec.to_builtins(policy) for policy in POLICIES]
        for policy in plain:
            del policy["metadata"]["ownerReferences"]
        api.apply(*plain)
        wanted = {**dict.fromkeys(LET_IN, True), **dict.fromkeys(KEPT_OUT, False)}
        deadline = time.monotonic() + 60
        while (found := tried(places)) != wanted and time.monotonic() < deadline:
            pass
        assert {way for way in wanted if found[way] != wanted[way]} == set()
        api.kubectl("-n", HOME, "delete", "networkpolicy", "--all")
        deadline = time.monotonic() + 60
        while not all(tried(places).values()):
            assert time.monotonic() < deadline, "what is gone is enforced no more"
