"""The resource and the operator's writing against a real kube-apiserver, without any pod."""

import asyncio
import copy
import itertools
import os
import random
import re
import resource as process
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec
import pytest
import pytest_asyncio

from chatoperator import certificates
from chatoperator.apply import Applier, marked
from chatoperator.autoscale.samples import Memory
from chatoperator.crd import definition
from chatoperator.drain.batch import Batch, Victim
from chatoperator.drain.wishes import Mark
from chatoperator.kube import ApiError, Kube
from chatoperator.lease import Lease, LeaseLost, LeaseTimes
from chatoperator.nodes import Nodes
from chatoperator.objects import Json, Object, Ref, at, decoded, items, mapping, number, ref, text
from chatoperator.observe import LISTED, Observer, last_status, pod
from chatoperator.plan.decide import plan
from chatoperator.plan.naming import AUTOSCALER, DELETION_COST, ENTRY, MANAGER, PAUSED, selector
from chatoperator.plan.tls import Issue
from chatoperator.reconcile import Reconciler
from chatoperator.spec import GROUP, KIND, VERSION, parse
from tests.cluster.conftest import Figures
from tests.cluster.harness import tools
from tests.cluster.harness.cache import HarnessError
from tests.cluster.harness.world import World, world
from tests.unit.operator_fields import FIELDS, changed, given, put

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

AUTH = {"issuer": "https://i.test", "jwksUrl": "https://i.test/jwks.json"}
NAMES = (f"c{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An API server alone, with the definition."""
    with world(tmp_path_factory.mktemp("api"), nodes=False) as running:
        running.apply(definition())
        running.kubectl("wait", "--for=condition=Established", "crd/chatclusters.chat.skillhub.io", "--timeout=60s")
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def kube(api: World) -> AsyncIterator[Kube]:
    async with await Kube.connect(str(api.kubeconfig)) as connected:
        yield connected


def asked(name: str, **spec: object) -> dict[str, Json]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"auth": AUTH, **spec},  # type: ignore[dict-item]  # parts of a spec
    }


def reconciler(kube: Kube) -> Reconciler:
    nodes = Nodes()
    observer = Observer(kube, nodes, image="chat:1", version="test", clock=time.monotonic)
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


# Rules: one that is accepted and one that is refused, with what it says.

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
    what: str, good: Mapping[str, object], bad: Mapping[str, object], words: str, api: World
) -> None:
    name = next(NAMES)
    api.apply(asked(name, **good))
    with pytest.raises(HarnessError, match=re.escape(words)):
        api.apply(asked(next(NAMES), **bad))
    api.kubectl("delete", "chatcluster", name)


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
    ({}, {"tls": {"certificates": "Off"}}, "tls.certificates cannot be changed"),
]


@pytest.mark.parametrize(("before", "after", "words"), CHANGES, ids=[change[2] for change in CHANGES])
async def test_what_cannot_be_changed_is_refused(
    before: Mapping[str, object], after: Mapping[str, object], words: str, api: World
) -> None:
    name = next(NAMES)
    document = msgspec.json.encode(asked(name, **before)).decode()
    api.kubectl("create", "-f", "-", document=document)
    with pytest.raises(HarnessError, match=re.escape(words)):
        api.kubectl("replace", "-f", "-", document=msgspec.json.encode(asked(name, **after)).decode())
    api.kubectl("delete", "chatcluster", name)


async def test_a_name_has_an_end(api: World) -> None:
    with pytest.raises(HarnessError, match="at most 40 characters"):
        api.apply(asked("x" * 41))


async def test_defaults_scale_and_short_name(api: World) -> None:
    name = next(NAMES)
    api.apply(asked(name))
    found = api.get("chat", name, "default")
    assert found is not None
    spec = found["spec"]
    assert isinstance(spec, dict)
    assert spec["nodes"]["resources"]["limits"] == {"memory": "1Gi"}
    assert spec["nats"]["managed"]["replicas"] == 3
    api.kubectl("scale", "chatcluster", name, "--replicas=7")
    assert api.kubectl("get", "chat", name, "-o", "jsonpath={.spec.nodes.replicas}") == "7"
    api.kubectl("delete", "chatcluster", name)


# Bringing about.


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(api: World, kube: Kube) -> AsyncIterator[str]:
    """A ChatCluster whose objects are all there."""
    name = next(NAMES)
    api.apply(asked(name))
    await settle(reconciler(kube), name)
    yield name
    api.kubectl("delete", "chatcluster", name, "--ignore-not-found")


async def test_a_second_visit_writes_nothing(kube: Kube, cluster: str) -> None:
    visitor = reconciler(kube)
    before = {
        where: text(thing, "metadata", "resourceVersion") for where, thing in (await children(kube, cluster)).items()
    }
    assert await visitor.visit(("default", cluster)) is not None
    assert visitor.writes == 0
    after = {
        where: text(thing, "metadata", "resourceVersion") for where, thing in (await children(kube, cluster)).items()
    }
    assert after == before
    assert len(after) > 20


async def test_every_child_that_is_deleted_comes_back(kube: Kube, cluster: str) -> None:
    before = await children(kube, cluster)
    for where in before:
        await kube.delete(where, "default")
    await settle(reconciler(kube), cluster)
    after = await children(kube, cluster)
    assert {where: essence(thing) for where, thing in after.items()}.keys() == before.keys()


async def test_every_owned_field_that_is_edited_is_put_right_and_those_of_others_stay(
    api: World, kube: Kube, cluster: str
) -> None:
    before = {where: essence(thing) for where, thing in (await children(kube, cluster)).items()}
    node, config = f"{cluster}-node", f"{cluster}-worker"
    image = '{"spec":{"template":{"spec":{"containers":[{"name":"node","image":"evil:1"}]}}}}'
    api.kubectl("patch", "deployment", node, "--type=strategic", "-p", image)
    api.kubectl("patch", "configmap", config, "--type=merge", "-p", '{"data":{"CHAT_RETENTION_HOURS":"1","MINE":"x"}}')
    api.kubectl(
        "patch", "service", cluster, "--type=merge", "-p", '{"spec":{"selector":{"app.kubernetes.io/name":"x"}}}'
    )
    api.kubectl("label", "deployment", node, "team=blue")
    api.kubectl("scale", "deployment", node, "--replicas=9")
    await settle(reconciler(kube), cluster)
    after = await children(kube, cluster)
    assert mapping(after[Ref("v1", "ConfigMap", config)], "data").get("MINE") == "x"
    assert mapping(after[Ref("apps/v1", "Deployment", node)], "metadata", "labels").get("team") == "blue"
    api.kubectl("patch", "configmap", config, "--type=json", "-p", '[{"op":"remove","path":"/data/MINE"}]')
    api.kubectl("label", "deployment", node, "team-")
    assert {where: essence(thing) for where, thing in (await children(kube, cluster)).items()} == before


async def test_credentials_are_drawn_once(kube: Kube, cluster: str) -> None:
    where = Ref("v1", "Secret", f"{cluster}-credentials")
    before = await kube.get(where, "default")
    await reconciler(kube).visit(("default", cluster))
    after = await kube.get(where, "default")
    assert before is not None
    assert after is not None
    assert before["data"] == after["data"]


async def test_a_certificate_that_is_lost_is_issued_again_by_the_same_authority(kube: Kube, cluster: str) -> None:
    authority, member = (Ref("v1", "Secret", f"{cluster}-{name}-tls") for name in ("authority", "nats"))
    before = {where: await _data(kube, where) for where in (authority, member)}
    await kube.delete(member, "default")
    await settle(reconciler(kube), cluster)
    assert await _data(kube, authority) == before[authority]
    after = await _data(kube, member)
    assert after["ca.crt"] == before[member]["ca.crt"]
    assert after["tls.key"] != before[member]["tls.key"]


async def test_an_authority_that_is_lost_stays_believed_beside_the_next(kube: Kube, cluster: str) -> None:
    authority, member = (Ref("v1", "Secret", f"{cluster}-{name}-tls") for name in ("authority", "nats"))
    before = await _data(kube, member)
    await kube.delete(authority, "default")
    await settle(reconciler(kube), cluster)
    after = await _data(kube, member)
    assert after["tls.crt"] == before["tls.crt"]
    assert len(certificates.read(after["ca.crt"])) == 2
    assert before["ca.crt"] in after["ca.crt"]


async def test_cert_manager_is_asked_in_words_that_it_takes_and_pods_wait_for_its_answer(
    api: World, kube: Kube
) -> None:
    folder = tools.module_folder("cert-manager", "github.com/cert-manager/cert-manager") / "deploy" / "crds"
    api.apply_file(folder / "cert-manager.io_certificates.yaml")
    api.kubectl("wait", "--for=condition=Established", "crd/certificates.cert-manager.io", "--timeout=60s")
    name = next(NAMES)
    api.apply(asked(name, tls={"certificates": "CertManager", "issuer": {"name": "internal"}}))
    await settle(reconciler(kube), name)
    deployment = Ref("apps/v1", "Deployment", f"{name}-node")
    assert deployment not in await children(kube, name)
    assert "its issuer ready" in api.condition(name, "default", "DatastoresReady")["message"]
    authority = certificates.successor("", "internal", datetime.now(UTC))
    for component in ("nats", "mongodb"):
        wanted = await kube.get(Ref("cert-manager.io/v1", "Certificate", f"{name}-{component}-tls"), "default")
        hosts = [str(host) for host in items(wanted, "spec", "dnsNames")]
        order = Issue({}, component, tuple(hosts), combined=component == "mongodb")
        data = certificates.member(order, {}, authority, datetime.now(UTC))
        api.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": text(wanted, "spec", "secretName"), "namespace": "default"},
                "stringData": dict(data),
            }
        )
    await settle(reconciler(kube), name)
    assert deployment in await children(kube, name)
    again = reconciler(kube)
    await again.visit(("default", name))
    assert again.writes == 0
    api.kubectl("delete", "chatcluster", name)
    api.kubectl("delete", "secret", f"{name}-nats-tls", f"{name}-mongodb-tls")


async def _data(kube: Kube, where: Ref) -> Mapping[str, str]:
    return decoded(await kube.get(where, "default"))


async def test_a_part_that_is_no_longer_wanted_goes(api: World, kube: Kube, cluster: str) -> None:
    exposure = {"type": "ingress", "host": "h.test", "ingress": {"profile": "traefik"}}
    api.apply(asked(cluster, exposure=exposure))
    await settle(reconciler(kube), cluster)
    ingress = Ref("networking.k8s.io/v1", "Ingress", f"{cluster}-ingress")
    service = Ref("v1", "Service", cluster)
    found = await children(kube, cluster)
    assert ingress in found
    assert any("sticky" in key for key in mapping(found[service], "metadata", "annotations"))
    api.apply(asked(cluster, exposure={"type": "none"}))
    await settle(reconciler(kube), cluster)
    found = await children(kube, cluster)
    assert ingress not in found
    assert not mapping(found[service], "metadata", "annotations")


async def test_replicas_have_an_owner_of_their_own(kube: Kube, cluster: str) -> None:
    found = await kube.get(Ref("apps/v1", "Deployment", f"{cluster}-node"), "default")
    assert found is not None
    managers = {
        text(entry, "manager"): "f:replicas" in mapping(entry, "fieldsV1", "f:spec")
        for entry in items(found, "metadata", "managedFields")
    }
    assert managers == {"chat-operator": False, "chat-autoscaler": True}


# Draining.


@pytest_asyncio.fixture(loop_scope="module")
async def pods(api: World, kube: Kube, cluster: str) -> AsyncIterator[list[str]]:
    """Two pods as the Deployment would have them; nothing runs them."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
    labels = {**selector(parse(await _read(kube, cluster)), "node"), ENTRY: "open", "pod-template-hash": "r1"}
    container = {"name": "node", "image": "chat:1"}
    spec = {"containers": [container], "automountServiceAccountToken": False, "nodeName": "nowhere"}
    names = [f"{cluster}-node-{letter}" for letter in "ab"]
    api.apply(
        account,
        *(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default", "labels": dict(labels)},
                "spec": spec,
            }
            for name in names
        ),
    )
    yield names
    api.kubectl("delete", "pod", *names, "--force", "--grace-period=0", "--ignore-not-found")


async def _read(kube: Kube, name: str) -> Object:
    found = await kube.get(Ref(f"{GROUP}/{VERSION}", KIND, name), "default")
    assert found is not None
    return found


async def _pod(kube: Kube, name: str) -> Object:
    found = await kube.get(Ref("v1", "Pod", name), "default")
    assert found is not None
    return found


async def test_a_pod_is_marked_by_its_uid_and_unmarked_again(kube: Kube, pods: list[str]) -> None:
    before = await _pod(kube, pods[0])
    uid = text(before, "metadata", "uid")
    await kube.apply(marked(Mark(uid, pods[0], entry=False, cost=-5), "default"), AUTOSCALER)
    found = await _pod(kube, pods[0])
    assert (pod(found).entry, pod(found).deletion_cost) == (False, -5)
    with pytest.raises(ApiError) as refused:
        await kube.apply(marked(Mark("another-uid", pods[0], entry=True), "default"), AUTOSCALER)
    assert refused.value.status == 422
    await kube.apply(marked(Mark(uid, pods[0], entry=True), "default"), AUTOSCALER)
    found = await _pod(kube, pods[0])
    assert (pod(found).entry, pod(found).deletion_cost) == (True, None)


async def test_what_was_seen_of_pods_is_whose_mark_is_whose(
    api: World, kube: Kube, cluster: str, pods: list[str]
) -> None:
    api.kubectl("annotate", "pod", pods[1], f"{DELETION_COST}=7")
    uid = text(await _pod(kube, pods[0]), "metadata", "uid")
    await kube.apply(marked(Mark(uid, pods[0], entry=True, cost=-5), "default"), AUTOSCALER)
    resource = await _read(kube, cluster)
    observer = Observer(kube, Nodes(), image="chat:1", version="test", clock=time.monotonic)
    seen = await observer.see(parse(resource), at(resource, "status"), Memory())
    assert {each.name: each.deletion_cost for each in seen.observed.nodes.pods} == {pods[0]: -5, pods[1]: 7}
    assert seen.observed.nodes.ours == {uid}
    await settle(reconciler(kube), cluster)
    found = api.get("chatcluster", cluster, "default")
    assert found is not None
    assert at(found["status"], "strangers") == [pods[1]]  # type: ignore[arg-type]  # JSON
    assert pod(await _pod(kube, pods[0])).deletion_cost is None, "what was left of a drain that is no more"


async def test_a_step_of_a_drain_is_refused_when_another_has_written(kube: Kube, cluster: str) -> None:
    applier = Applier(kube, Nodes())
    resource = await _read(kube, cluster)
    asked_for, before = parse(resource), last_status(at(resource, "status"))
    version = text(resource, "metadata", "resourceVersion")
    batch = Batch(victims=(Victim("u", "p"),), began=1, since=1, replicas=2)
    await applier.tell(asked_for, msgspec.structs.replace(before, drain=batch), before, version)
    other = Batch(victims=(Victim("v", "q"),), began=1, since=1, replicas=2)
    with pytest.raises(ApiError) as refused:
        await applier.tell(asked_for, msgspec.structs.replace(before, drain=other), before, version)
    assert refused.value.conflict
    kept = last_status(at(await _read(kube, cluster), "status"))
    assert kept.drain == batch
    await settle(reconciler(kube), cluster)
    assert last_status(at(await _read(kube, cluster), "status")).drain is msgspec.UNSET, "its pods do not exist"


async def test_replicas_are_not_lowered_by_what_was_read_before_another_wrote(
    api: World, kube: Kube, cluster: str
) -> None:
    where = Ref("apps/v1", "Deployment", f"{cluster}-node")
    stale = await kube.get(where, "default")
    assert stale is not None
    api.kubectl("annotate", "deployment", where.name, "touched=yes")
    resource = await _read(kube, cluster)
    observer = Observer(kube, Nodes(), image="chat:1", version="test", clock=time.monotonic)
    seen = await observer.see(parse(resource), at(resource, "status"), Memory())
    desired = plan(parse(resource), seen.observed, datetime.now(UTC))
    assert desired.scale is not None
    lower = msgspec.structs.replace(desired, scale=msgspec.structs.replace(desired.scale, replicas=1, lowered=True))
    applier = Applier(kube, Nodes())
    done = await applier.bring(parse(resource), lower, {**seen.live, where: stale}, seen.observed)
    assert len(done.refused) == 1
    assert await _replicas(kube, cluster) == 2
    done = await applier.bring(parse(resource), lower, seen.live, seen.observed)
    assert (done.refused, await _replicas(kube, cluster)) == ((), 1)


async def test_a_pause_leaves_everything_alone(api: World, kube: Kube, cluster: str) -> None:
    api.kubectl("annotate", "chatcluster", cluster, f"{PAUSED}=all")
    api.kubectl("delete", "configmap", f"{cluster}-node")
    await settle(reconciler(kube), cluster)
    assert Ref("v1", "ConfigMap", f"{cluster}-node") not in await children(kube, cluster)
    assert api.condition(cluster, "default", "Paused")["status"] == "True"
    api.kubectl("annotate", "chatcluster", cluster, f"{PAUSED}-")
    await settle(reconciler(kube), cluster)
    assert Ref("v1", "ConfigMap", f"{cluster}-node") in await children(kube, cluster)


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
    found = await _read(kube, name)
    told = {number(each, "observedGeneration") for each in items(found, "status", "conditions")}
    assert told == {number(found, "status", "observedGeneration")} == {_generation(api, name)}
    assert api.condition(name, "default", "Ready")["status"] == "False"
    return {where: essence(thing) for where, thing in (await children(kube, name)).items()}


def _generation(api: World, name: str) -> int:
    return int(api.kubectl("get", "chatcluster", name, "-o", "jsonpath={.metadata.generation}"))


class _Crash(Exception):
    """The operator dies here."""


class CrashingKube(Kube):
    """Dies after its n-th write."""

    left: int

    async def _call(self, method: str, path: str, *rest: object) -> Object:
        answer = await super()._call(method, path, *rest)  # type: ignore[arg-type]
        if method != "GET":
            self.left -= 1
            if self.left == 0:
                raise _Crash
        return answer


async def test_a_crash_after_every_single_write_comes_to_the_same_end(api: World, kube: Kube) -> None:
    name = next(NAMES)
    api.apply(asked(name))
    crashes = 0
    while True:
        async with await CrashingKube.connect(str(api.kubeconfig)) as crashing:
            crashing.left = 1
            try:
                await reconciler(crashing).visit(("default", name))
            except _Crash:
                crashes += 1
                continue
            break
    assert crashes > 20
    whole = next(NAMES)
    api.apply(asked(whole))
    await settle(reconciler(kube), whole)

    def renamed(things: Mapping[Ref, Object], own: str) -> list[str]:
        return sorted(
            re.sub(
                r'"chat\.skillhub\.io/configuration":"\w+"', "", msgspec.json.encode(essence(thing)).decode()
            ).replace(own, "NAME")
            for thing in things.values()
            if thing["kind"] != "Service"
        )

    assert renamed(await children(kube, name), name) == renamed(await children(kube, whole), whole)
    for each in (name, whole):
        api.kubectl("delete", "chatcluster", each)


async def test_events_that_are_lost_doubled_and_reordered_come_to_the_same_end(api: World, kube: Kube) -> None:
    name = next(NAMES)
    visitor = reconciler(kube)
    draw = random.Random(7)
    for replicas in (3, 5, 4, 6):
        api.apply(asked(name, nodes={"replicas": replicas}, autoscaling={"mode": "Off"}))
        for _ in range(draw.randrange(4)):
            visitor.wake(("default", name))
        await asyncio.sleep(draw.random() * 0.3)
    async with asyncio.timeout(60):
        while await _replicas(kube, name) != 6:
            await asyncio.sleep(0.1)
    await visitor.stop()
    api.kubectl("delete", "chatcluster", name)


async def _replicas(kube: Kube, name: str) -> int:
    found = await kube.get(Ref("apps/v1", "Deployment", f"{name}-node"), "default")
    replicas = at(found, "spec", "replicas")
    return replicas if isinstance(replicas, int) else 0


# One acts.


def _lease(kube: Kube, name: str, holder: str) -> Lease:
    times = LeaseTimes(duration_s=2, renew_s=0.3)
    return Lease(kube, namespace="default", name=name, holder=holder, clock=time.monotonic, times=times)


async def _holder(kube: Kube, name: str) -> str:
    return text(await kube.get(Ref("coordination.k8s.io/v1", "Lease", name), "default"), "spec", "holderIdentity")


async def test_a_lease_is_handed_on_at_once_by_who_releases_it(kube: Kube) -> None:
    first, second = _lease(kube, "handed-on", "a"), _lease(kube, "handed-on", "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(3)
    assert not waiting.done()
    keeping.cancel()
    began = time.monotonic()
    await first.release()
    await waiting
    assert time.monotonic() - began < 1.5
    assert await _holder(kube, "handed-on") == "b"


async def test_a_lease_whose_holder_is_gone_is_taken_when_its_time_is_over(kube: Kube) -> None:
    await _lease(kube, "left", "a").acquire()
    began = time.monotonic()
    await _lease(kube, "left", "b").acquire()
    assert 2 <= time.monotonic() - began < 4
    assert await _holder(kube, "left") == "b"


async def test_who_wakes_up_and_finds_its_lease_taken_stops(kube: Kube) -> None:
    first = _lease(kube, "taken", "a")
    await first.acquire()
    await _lease(kube, "taken", "b").acquire()
    with pytest.raises(LeaseLost):
        await first.keep()
    await first.release()
    assert await _holder(kube, "taken") == "b"


async def test_an_operator_whose_lease_is_taken_ends_with_an_error(api: World) -> None:
    env = {
        **os.environ,
        "CHAT_OPERATOR_IMAGE": "chat:1",
        "CHAT_OPERATOR_KUBECONFIG": str(api.kubeconfig),
        "CHAT_OPERATOR_HEALTH_PORT": "0",
        "CHAT_OPERATOR_INSTANCE": "first",
        "CHAT_OPERATOR_WATCH": "nowhere",
    }
    command = (sys.executable, "-m", "chatoperator.main", "run")
    running = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    assert running.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"holding the lease" not in await running.stderr.readline():
                pass
            patch = '{"spec":{"holderIdentity":"second"}}'
            api.kubectl("patch", "lease", "chat-operator", "--type=merge", "-p", patch)
            _, told = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    assert running.returncode == 1
    assert "the lease chat-operator could not be renewed" in told.decode()


async def test_many_clusters_are_looked_at_again_without_a_write(api: World, kube: Kube, figures: Figures) -> None:
    names = [f"many-{number}" for number in range(200)]
    visitor = reconciler(kube)
    began = time.monotonic()
    api.apply(*(asked(name) for name in names))
    for _ in range(4):
        await _each(names, lambda name: _visit(visitor, name))
    figures.set("clusters_created_s", round(time.monotonic() - began, 1))
    fresh = reconciler(kube)
    began = time.monotonic()
    await _each(names, lambda name: _visit(fresh, name))
    took = time.monotonic() - began
    figures.set("clusters_resynced_s", round(took, 1))
    assert fresh.writes == 0
    assert took <= 60
    figures.set("resync_process_rss_mib", round(process.getrusage(process.RUSAGE_SELF).ru_maxrss / 1024))


async def _visit(visitor: Reconciler, name: str) -> None:
    await visitor.visit(("default", name))


async def _each(names: list[str], work: Callable[[str], object]) -> None:
    gate = asyncio.Semaphore(16)

    async def one(name: str) -> None:
        async with gate:
            await work(name)  # type: ignore[misc]  # a coroutine

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(name))
