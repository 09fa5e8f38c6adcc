"""ChatClusters on an API server alone: asked for, visited as the operator does, and what there is of them then."""

import copy
import itertools
import time
from collections.abc import Mapping

import msgspec

from chatoperator import __version__
from chatoperator.apply import Applier
from chatoperator.kube import Kube
from chatoperator.nodes import Nodes
from chatoperator.objects import Json, Object, Ref, at, ref
from chatoperator.observe import LISTED, Observer
from chatoperator.plan.naming import MANAGER, PAUSED
from chatoperator.reconcile import Reconciler
from chatoperator.spec import GROUP, KIND, VERSION

AUTH = {"issuer": "https://i.test", "jwksUrl": "https://i.test/jwks.json"}
NAMES = (f"c{number}" for number in itertools.count(1))


def asked(name: str, **spec: object) -> dict[str, Json]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"auth": AUTH, **spec},  # type: ignore[dict-item]  # parts of a spec
    }


def resting(name: str, **spec: object) -> dict[str, Json]:
    """One that an operator leaves alone, where there is one."""
    plain = asked(name, **spec)
    return {**plain, "metadata": {**plain["metadata"], "annotations": {PAUSED: "all"}}}  # type: ignore[dict-item]


def reconciler(kube: Kube) -> Reconciler:
    nodes = Nodes()
    observer = Observer(kube, nodes, image="chat:1", version=__version__, clock=time.monotonic)
    return Reconciler(kube, observer, Applier(kube, nodes), clock=time.monotonic, instance="test")


async def settle(visitor: Reconciler, name: str) -> None:
    """Visit until a visit writes nothing."""
    for _ in range(6):
        before = visitor.writes
        await visitor.visit(("default", name))
        if visitor.writes == before:
            return
    raise AssertionError("every visit writes")


async def children(kube: Kube, name: str) -> Mapping[Ref, Object]:
    labels = f"app.kubernetes.io/managed-by={MANAGER},app.kubernetes.io/instance={name}"
    kinds = (*LISTED, ("v1", "Secret"))
    found = [await kube.list(*kind, "default", labels) for kind in kinds]
    return {ref(thing): thing for things in found for thing in things}


def essence(thing: Object) -> Json:
    """An object without what every write changes."""
    plain: dict[str, Json] = copy.deepcopy(msgspec.to_builtins(thing))
    plain["metadata"] = {"labels": at(plain, "metadata", "labels"), "name": at(plain, "metadata", "name")}
    plain.pop("status", None)
    return {} if plain.get("kind") == "Secret" else plain


async def resource(kube: Kube, name: str) -> Object:
    found = await kube.get(Ref(f"{GROUP}/{VERSION}", KIND, name), "default")
    assert found is not None
    return found


async def replicas(kube: Kube, name: str) -> int:
    """Of its nodes' Deployment."""
    found = await kube.get(Ref("apps/v1", "Deployment", f"{name}-node"), "default")
    wanted = at(found, "spec", "replicas")
    return wanted if isinstance(wanted, int) else 0
