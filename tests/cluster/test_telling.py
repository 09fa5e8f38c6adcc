"""Ready tells the truth about each property: False until the workloads have followed, of the generation that is there.

On an API server alone: what controllers would report is written here, when the test wants them to have followed.
"""

from collections.abc import Mapping

import msgspec
import pytest

from chatoperator import crd
from chatoperator.kube import Kube
from chatoperator.objects import Ref, at, items, number
from tests.cluster.harness.bare import AUTH, NAMES, asked, reconciler, resource
from tests.cluster.harness.world import World
from tests.unit.operator_fields import given, leaves, other, put, whole

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

ELSEWHERE = {"nats": {"external": {"secret": "s"}}, "mongodb": {"external": {"secret": "s"}}}
"""Datastores that nobody looks at: what is there to be ready are nodes and workers."""
ASIDE = ("nats.", "mongodb.", "tls.", "exposure.")
"""Properties of what nobody runs here, or of a way in that nobody takes up: those are never ready here."""
SCHEMAS = dict(leaves(crd.spec_schema()))
PATHS = [path for path in sorted(SCHEMAS) if not path.startswith((*ASIDE, "partitions"))]


def varied(path: str) -> Mapping[str, object]:
    """What is given for it to have a meaning, with another value of this one property."""
    spec: dict[str, object] = {"auth": dict(AUTH), **given(path)}
    put(spec, path, other(SCHEMAS[path], at(whole(spec), *path.split("."))))
    return spec


async def workloads(kube: Kube, name: str) -> Mapping[str, tuple[int, int, int]]:
    """Of each Deployment its generation, the one that its controller has seen, and its replicas."""
    found = {}
    for role in ("node", "worker"):
        thing = await kube.get(Ref("apps/v1", "Deployment", f"{name}-{role}"), "default")
        seen = number(thing, "status", "observedGeneration")
        found[role] = (number(thing, "metadata", "generation"), seen, number(thing, "spec", "replicas"))
    return found


async def follow(api: World, kube: Kube, name: str) -> None:
    """As if controllers had brought about what the Deployments ask for."""
    for role, (generation, _, replicas) in (await workloads(kube, name)).items():
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        status = {"observedGeneration": generation, **dict.fromkeys(counts, replicas)}
        patch = msgspec.json.encode({"status": status}).decode()
        where = ("deployment", f"{name}-{role}")
        api.kubectl("patch", *where, "--subresource=status", "--type=merge", "-p", patch)


async def told(api: World, kube: Kube, name: str) -> tuple[str, bool]:
    """What Ready says after a visit, and whether the workloads had followed by then."""
    visitor = reconciler(kube)
    await visitor.visit(("default", name))
    # The second one sees what the first has written.
    await visitor.visit(("default", name))
    found = await resource(kube, name)
    generation = number(found, "metadata", "generation")
    assert {number(each, "observedGeneration") for each in items(found, "status", "conditions")} == {generation}
    assert number(found, "status", "observedGeneration") == generation
    followed = all(seen == now for now, seen, _ in (await workloads(kube, name)).values())
    return api.condition(name, "default", "Ready")["status"], followed


async def test_ready_is_true_when_every_workload_has_followed_and_false_until_then(api: World, kube: Kube) -> None:
    name = next(NAMES)
    rolled: set[str] = set()

    async def brought_about(path: str, spec: Mapping[str, object]) -> None:
        api.apply(asked(name, **{**spec, **ELSEWHERE}))
        for _ in range(4):
            ready, followed = await told(api, kube, name)
            assert (ready == "True") == followed, (path, api.condition(name, "default", "Ready"))
            if followed:
                return
            rolled.add(path)
            await follow(api, kube, name)
        raise AssertionError(f"{path}: it is never ready")

    await brought_about("", {})
    for path in PATHS:
        for spec in (given(path), varied(path), given(path)):
            await brought_about(path, spec)
    assert len(rolled) > 20, "these roll somebody, or change how many there are"
    api.kubectl("delete", "chatcluster", name)
