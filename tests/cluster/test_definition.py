"""The resource's definition against a real kube-apiserver: rules, defaults, and each field set, unset and spoilt."""

import copy
import re
from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest
import pytest_asyncio

from chatoperator.kube import Kube
from chatoperator.objects import Json, Ref, items, number
from chatoperator.plan.naming import PAUSED
from tests.cluster.harness.bare import AUTH, NAMES, asked, children, essence, reconciler, resource, resting, settle
from tests.cluster.harness.cache import HarnessError
from tests.cluster.harness.world import World
from tests.unit.operator_fields import FIELDS, changed, given, put

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

STORE = {"storage": {"size": "1Gi"}}
RULES: list[tuple[str, Mapping[str, object], Mapping[str, object], str]] = [
    ("min", {"nodes": {"min": 2, "max": 3}}, {"nodes": {"min": 4, "max": 3}}, "nodes.min is above nodes.max"),
    (
        "target",
        {"nodes": {"targetConnections": 20000}},
        {"nodes": {"targetConnections": 20001}},
        "nodes.targetConnections is more than a node takes",
    ),
    (
        "burst",
        {"limits": {"commandsPerSecond": 50, "commandBurst": 50}},
        {"limits": {"commandsPerSecond": 50}},
        "limits.commandBurst is below",
    ),
    (
        "nats",
        {"nats": {"external": {"secret": "s"}}},
        {"nats": {"external": {"secret": "s"}, "managed": {}}},
        "either nats.managed or nats.external",
    ),
    ("no nats", {"nats": {"managed": {}}}, {"nats": {}}, "either nats.managed or nats.external"),
    (
        "mongodb",
        {"mongodb": {"external": {"secret": "s"}}},
        {"mongodb": {"external": {"secret": "s"}, "managed": {}}},
        "either mongodb.managed or mongodb.external",
    ),
    (
        "gateway",
        {"exposure": {"type": "gateway", "gateway": {"name": "g"}}},
        {"exposure": {"type": "gateway"}},
        "exposure.gateway.name",
    ),
    (
        "ingress",
        {"exposure": {"type": "ingress", "host": "h.test", "ingress": {"profile": "contour"}}},
        {"exposure": {"type": "ingress", "host": "h.test"}},
        "exposure.ingress.profile",
    ),
    (
        "host",
        {"exposure": {"type": "ingress", "host": "h.test", "ingress": {"profile": "contour"}}},
        {"exposure": {"type": "ingress", "ingress": {"profile": "contour"}}},
        "exposure.host",
    ),
    (
        "issuer of certificates",
        {"tls": {"certificates": "CertManager", "issuer": {"name": "i"}}},
        {"tls": {"certificates": "CertManager"}},
        "tls.issuer.name",
    ),
    (
        "certificate of NATS",
        {"tls": {"certificates": "Secret", "natsSecret": "nats", "mongodbSecret": "mongodb"}},
        {"tls": {"certificates": "Secret", "mongodbSecret": "mongodb"}},
        "tls.natsSecret",
    ),
    (
        "certificate of MongoDB",
        {"tls": {"certificates": "Secret", "natsSecret": "nats"}, "mongodb": {"external": {"secret": "s"}}},
        {"tls": {"certificates": "Secret", "natsSecret": "nats"}},
        "tls.mongodbSecret",
    ),
    ("partitions", {"partitions": 8}, {"partitions": 16}, "spec.partitions"),
    ("members", {"nats": {"managed": {"replicas": 1}}}, {"nats": {"managed": {"replicas": 2}}}, "supported values"),
    ("url", {"auth": AUTH}, {"auth": {**AUTH, "jwksUrl": "ftp://x"}}, "jwksUrl"),
    ("issuer", {"auth": AUTH}, {"auth": {"jwksUrl": "https://x.test"}}, "issuer"),
]


@pytest.mark.parametrize(("what", "good", "bad", "words"), RULES, ids=[rule[0] for rule in RULES])
async def test_a_rule_accepts_and_refuses(
    what: str, good: Mapping[str, object], bad: Mapping[str, object], words: str, server: World
) -> None:
    name = next(NAMES)
    server.apply(resting(name, **good))
    with pytest.raises(HarnessError, match=re.escape(words)):
        server.apply(resting(next(NAMES), **bad))
    server.kubectl("delete", "chatcluster", name)


CHANGES: list[tuple[Mapping[str, object], Mapping[str, object], str]] = [
    ({"nats": {"managed": STORE}}, {"nats": {"managed": {"storage": {"size": "2Gi"}}}}, "nats.managed.storage"),
    (
        {"mongodb": {"managed": STORE}},
        {"mongodb": {"managed": {"storage": {"size": "2Gi"}}}},
        "mongodb.managed.storage",
    ),
    ({"mongodb": {"database": "a", "managed": {}}}, {"mongodb": {"database": "b", "managed": {}}}, "mongodb.database"),
    ({"nats": {"managed": {}}}, {"nats": {"external": {"secret": "s"}}}, "between managed and external"),
    ({"nats": {"managed": {"replicas": 3}}}, {"nats": {"managed": {"replicas": 1}}}, "nats.managed.replicas"),
]


@pytest.mark.parametrize(("before", "after", "words"), CHANGES, ids=[change[2] for change in CHANGES])
async def test_what_cannot_be_changed_is_refused(
    before: Mapping[str, object], after: Mapping[str, object], words: str, server: World
) -> None:
    name = next(NAMES)
    document = msgspec.json.encode(resting(name, **before)).decode()
    server.kubectl("create", "-f", "-", document=document)
    with pytest.raises(HarnessError, match=re.escape(words)):
        server.kubectl("replace", "-f", "-", document=msgspec.json.encode(resting(name, **after)).decode())
    server.kubectl("delete", "chatcluster", name)


async def test_certificates_may_be_chosen_until_the_operator_acts_upon_them_and_turned_to_later(
    api: World, kube: Kube
) -> None:
    """Thus who has a ChatCluster from before there was TLS is not turned to it by a default."""
    name = next(NAMES)
    api.apply(asked(name))
    api.kubectl("annotate", "chatcluster", name, f"{PAUSED}=all")
    await settle(reconciler(kube), name)
    api.apply(asked(name, tls={"certificates": "Off"}))
    api.kubectl("annotate", "chatcluster", name, f"{PAUSED}-")
    await settle(reconciler(kube), name)
    assert Ref("v1", "Secret", f"{name}-nats-tls") not in await children(kube, name)
    api.apply(asked(name))
    await settle(reconciler(kube), name)
    assert Ref("v1", "Secret", f"{name}-nats-tls") in await children(kube, name)
    for other in ({"certificates": "Off"}, {"certificates": "CertManager", "issuer": {"name": "i"}}):
        with pytest.raises(HarnessError, match=re.escape("tls.certificates cannot be changed but from Off")):
            api.apply(asked(name, tls=other))
    api.kubectl("delete", "chatcluster", name)


async def test_a_name_has_an_end(server: World) -> None:
    with pytest.raises(HarnessError, match="at most 40 characters"):
        server.apply(resting("x" * 41))


async def test_defaults_scale_and_short_name(server: World) -> None:
    name = next(NAMES)
    server.apply(resting(name))
    found = server.get("chat", name, "default")
    assert found is not None
    spec = found["spec"]
    assert isinstance(spec, dict)
    assert spec["nodes"]["resources"]["limits"] == {"memory": "1Gi"}
    assert spec["nats"]["managed"]["replicas"] == 3
    server.kubectl("scale", "chatcluster", name, "--replicas=7")
    assert server.kubectl("get", "chat", name, "-o", "jsonpath={.spec.nodes.replicas}") == "7"
    server.kubectl("delete", "chatcluster", name)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def by_context(api: World) -> AsyncIterator[dict[str, str]]:
    """ChatClusters by what is given beside the field that is changed, so that few have to be made."""
    names: dict[str, str] = {}
    yield names
    for name in names.values():
        api.kubectl("delete", "chatcluster", name, "--ignore-not-found")


FIXED = {
    "mongodb.database",
    "mongodb.managed.storage.className",
    "mongodb.managed.storage.size",
    "nats.managed.storage.className",
    "nats.managed.storage.size",
    "nats.managed.replicas",
    "tls.certificates",
}
"""Fields that cannot be changed, or not this way."""


UNSEEN = (
    "exposure.gateway",
    "exposure.ingress.profile",
    "nodes.min",
    "nodes.targetConnections",
    "tls.issuer",
    "tls.mongodbSecret",
    "tls.natsSecret",
)
"""Fields that change annotations alone, or nothing without pods, a Gateway API, or certificates of somebody else."""


@pytest.mark.long
@pytest.mark.parametrize("path", sorted(FIELDS))
async def test_each_property_set_unset_and_invalid_is_told_truthfully(
    path: str, api: World, kube: Kube, by_context: dict[str, str]
) -> None:
    context = given(path)
    name = by_context.setdefault(str(context), f"fields-{len(by_context)}")
    before = await _brought_about(api, kube, name, context)
    if path in FIXED:
        with pytest.raises(HarnessError, match="cannot be"):
            api.apply(asked(name, **changed(path)))
    else:
        after = await _brought_about(api, kube, name, changed(path))
        assert after != before or path.startswith(UNSEEN)
    invalid = copy.deepcopy(context)
    put(invalid, path, {"no": ["such", "value"]})
    generation = _generation(api, name)
    with pytest.raises(HarnessError):
        api.apply(asked(name, **invalid))
    assert _generation(api, name) == generation
    after = await _brought_about(api, kube, name, context)
    if path not in {"nodes.max", "nodes.min", "nodes.replicas"}:  # fewer nodes only by draining, and there are none
        assert after == before


async def _brought_about(api: World, kube: Kube, name: str, spec: Mapping[str, object]) -> Mapping[Ref, Json]:
    """What there is once ``spec`` is asked for; its status is about just that."""
    api.apply(asked(name, **spec))
    await settle(reconciler(kube), name)
    found = await resource(kube, name)
    told = {number(each, "observedGeneration") for each in items(found, "status", "conditions")}
    assert told == {number(found, "status", "observedGeneration")} == {_generation(api, name)}
    assert api.condition(name, "default", "Ready")["status"] == "False"
    return {where: essence(thing) for where, thing in (await children(kube, name)).items()}


def _generation(api: World, name: str) -> int:
    return int(api.kubectl("get", "chatcluster", name, "-o", "jsonpath={.metadata.generation}"))
