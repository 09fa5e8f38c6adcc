"""Reading: everything that ``plan`` wants to know of one cluster, and the live objects to compare with."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct, ValidationError, convert

from chatoperator import mongo
from chatoperator.autoscale.samples import Memory, Pod, Sample
from chatoperator.certificates import read as certificates_in
from chatoperator.diagnose import diagnose
from chatoperator.kube import Kube
from chatoperator.nodes import Nodes
from chatoperator.objects import Object, Ref, at, decoded, items, mapping, number, owned_by, ref, text
from chatoperator.plan import access, tls
from chatoperator.plan.exposure import ROUTE_API, TRAFFIC_API, GatewaySupport
from chatoperator.plan.mongodb import MongoView, wanted_members
from chatoperator.plan.naming import (
    AUTOSCALER,
    DELETION_COST,
    ENTRY,
    MANAGER,
    MONGODB_PORT,
    NATS_PORT,
    child,
    member_hosts,
    selector,
    selector_text,
)
from chatoperator.plan.observed import ClusterStatus, Observed, RouteView, Workload
from chatoperator.plan.scale import NodesView
from chatoperator.plan.troubles import Trouble, moment
from chatoperator.showing import shown
from chatoperator.spec import ChatCluster

LISTED: Final = (
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("networking.k8s.io/v1", "Ingress"),
)
"""Kinds that are listed by label. Secrets are not: they are read by name, so that no others need be readable."""
_ZONE: Final = "topology.kubernetes.io/zone"
_TEMPLATE: Final = "pod-template-hash"
_REVISION: Final = "deployment.kubernetes.io/revision"
_SUPPORT_S: Final = 60.0
_SHOWN_S: Final = 30.0


class Seen(Struct, frozen=True):
    observed: Observed
    live: Mapping[Ref, Object]


class Observer:
    """Reads one cluster at a time; what the API server can do is asked once a minute for all of them."""

    def __init__(
        self,
        kube: Kube,
        nodes: Nodes,
        *,
        image: str,
        version: str,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._kube = kube
        self._nodes = nodes
        self._samples: dict[tuple[str, str], dict[str, Sample]] = {}
        self._zones: dict[tuple[str, str], dict[str, str]] = {}
        """Kept for as long as a pod lives, because one that is being drained is no endpoint any more."""
        self._looked_at: dict[tuple[str, str], float] = {}
        self._image = image
        self._version = version
        self._clock = clock
        self._wall = wall
        self._support = GatewaySupport()
        self._support_at: float | None = None

    def forget(self, namespace: str, name: str) -> None:
        """What is known of the nodes of a cluster that is gone."""
        self._samples.pop((namespace, name), None)
        self._zones.pop((namespace, name), None)
        self._looked_at.pop((namespace, name), None)

    async def see(self, cluster: ChatCluster, status: object, memory: Memory, hindered: Sequence[Trouble] = ()) -> Seen:
        """``hindered``: what the visit before could not do. Raises :class:`chatoperator.kube.ApiError`."""
        namespace = cluster.metadata.namespace
        labels = f"app.kubernetes.io/managed-by={MANAGER},app.kubernetes.io/instance={cluster.metadata.name}"
        support = await self._gateway_support()
        kinds = [*LISTED, *_gateway_kinds(support), *_certificate_kinds(cluster)]
        found = await asyncio.gather(*(self._kube.list(*kind, namespace, labels) for kind in kinds))
        live = {ref(thing): thing for things in found for thing in things if owned(thing, cluster)}
        for secret in await asyncio.gather(*(self._kube.get(where, namespace) for where in secrets(cluster))):
            if secret is not None:
                live[ref(secret)] = secret
        credentials = decoded(live.get(Ref("v1", "Secret", access.credentials_name(cluster))))
        workloads = _workloads(cluster, live)
        held = {
            component: _held(live.get(Ref("v1", "Secret", name)), component)
            for component, name in tls.secrets(cluster).items()
        }
        observed = Observed(
            image=self._image,
            operator=self._version,
            credentials=credentials,
            workloads=workloads,
            certificates=held,
            outdated=await self._outdated(cluster, held, workloads),
            mongodb=await _mongodb(cluster, credentials, held, workloads),
            gateway=support,
            route=_route(cluster, live),
            nodes=await self._view(cluster, live, workloads),
            troubles=(*hindered, *await diagnose(self._kube, self._nodes, cluster, live, workloads, now=self._wall())),
            memory=memory,
            status=last_status(status),
        )
        return Seen(observed, live)

    async def _gateway_support(self) -> GatewaySupport:
        now = self._clock()
        if self._support_at is None or now - self._support_at > _SUPPORT_S:
            route, traffic = await asyncio.gather(
                self._kube.document(f"/openapi/v3/apis/{ROUTE_API}"), self._kube.document(f"/apis/{TRAFFIC_API}")
            )
            self._support = gateway_support(route, traffic)
            self._support_at = now
        return self._support

    async def _outdated(
        self, cluster: ChatCluster, held: Mapping[str, tls.Held], workloads: Mapping[str, Workload]
    ) -> Mapping[str, tuple[str, ...]]:
        """Looked at every half minute; members that do not answer are not in it."""
        key, now = (cluster.metadata.namespace, cluster.metadata.name), self._clock()
        if now - self._looked_at.get(key, -_SHOWN_S) < _SHOWN_S:
            return {}
        self._looked_at[key] = now
        found: dict[str, tuple[str, ...]] = {}
        for component, port in (("nats", NATS_PORT), ("mongodb", MONGODB_PORT)):
            certificate, running = held.get(component, tls.Held()).certificate, workloads.get(component, Workload())
            if certificate is None or running.ready == 0:
                continue
            members = [f"{host}:{port}" for host in member_hosts(cluster, component, running.desired)]
            prints = await asyncio.gather(*(shown(member, greets=component == "nats") for member in members))
            fresh = {None, certificate.fingerprint}
            behind = tuple(member for member, each in zip(members, prints, strict=True) if each not in fresh)
            found |= {component: behind} if behind else {}
        return found

    async def _view(
        self, cluster: ChatCluster, live: Mapping[Ref, Object], workloads: Mapping[str, Workload]
    ) -> NodesView:
        if "node" not in workloads:
            return NodesView()
        namespace, labels = cluster.metadata.namespace, selector_text(selector(cluster, "node"))
        found, slices = await asyncio.gather(
            self._kube.list("v1", "Pod", namespace, labels),
            self._kube.list(
                "discovery.k8s.io/v1", "EndpointSlice", namespace, f"kubernetes.io/service-name={cluster.metadata.name}"
            ),
        )
        things = [thing for thing in found if text(thing, "status", "phase") not in {"Succeeded", "Failed"}]
        zones = self._zones.setdefault((namespace, cluster.metadata.name), {})
        zones.update(zones_of(slices))
        pods = tuple(pod(thing, zones) for thing in things)
        told = self._samples.setdefault((namespace, cluster.metadata.name), {})
        told.update({sample.pod: sample for sample in await self._nodes.ask(pods)})
        for uid in told.keys() - {each.uid for each in pods}:
            del told[uid]
        for uid in zones.keys() - {each.uid for each in pods}:
            del zones[uid]
        revision = ""
        if len({each.revision for each in pods}) > 1:
            sets = await self._kube.list("apps/v1", "ReplicaSet", namespace, labels)
            revision = current_revision(live[Ref("apps/v1", "Deployment", child(cluster, "node"))], sets)
        return NodesView(
            revision=revision or next((each.revision for each in pods), ""),
            pods=pods,
            samples=tuple(told.values()),
            endpoints=led_to(slices),
            ours=frozenset(text(thing, "metadata", "uid") for thing in things if _priced_by_us(thing)),
        )


def pod(thing: Object, zones: Mapping[str, str] | None = None) -> Pod:
    """What scaling and draining want to know of a pod. ``zones``: by UID, for pods that do not say theirs.

    They do so from Kubernetes 1.35 on; before, only the endpoints of a Service name zones to who may not read machines.
    """
    labels, annotations = mapping(thing, "metadata", "labels"), mapping(thing, "metadata", "annotations")
    conditions = {text(each, "type"): text(each, "status") for each in items(thing, "status", "conditions")}
    return Pod(
        uid=text(thing, "metadata", "uid"),
        name=text(thing, "metadata", "name"),
        address=text(thing, "status", "podIP"),
        zone=text(labels, _ZONE) or (zones or {}).get(text(thing, "metadata", "uid"), ""),
        machine=text(thing, "spec", "nodeName"),
        ready=conditions.get("Ready") == "True",
        running=text(thing, "status", "phase") == "Running",
        terminating=at(thing, "metadata", "deletionTimestamp") is not None,
        revision=text(labels, _TEMPLATE),
        deletion_cost=_whole(text(annotations, DELETION_COST)),
        entry=text(labels, ENTRY) != "closed",
        labelled=ENTRY in labels,
        created=moment(text(thing, "metadata", "creationTimestamp")),
    )


def _whole(words: str) -> int | None:
    """None too for what no controller could read."""
    try:
        return int(words)
    except ValueError:
        return None


def _priced_by_us(thing: Object) -> bool:
    owned = owned_by(thing, AUTOSCALER)
    return at(owned, "f:metadata", "f:annotations", f"f:{DELETION_COST}") is not None


def current_revision(deployment: Object, sets: Sequence[Object]) -> str:
    """The template hash of the ReplicaSet that a Deployment is at; empty: none of them."""
    wanted, uid = text(deployment, "metadata", "annotations", _REVISION), text(deployment, "metadata", "uid")
    for each in sets:
        owners = [text(owner, "uid") for owner in items(each, "metadata", "ownerReferences")]
        if uid in owners and text(each, "metadata", "annotations", _REVISION) == wanted:
            return text(each, "metadata", "labels", _TEMPLATE)
    return ""


def led_to(slices: Sequence[Object]) -> frozenset[str] | None:
    """UIDs of pods that a Service leads to; None where nobody has written its endpoints yet."""
    if not slices:
        return None
    return frozenset(
        text(endpoint, "targetRef", "uid")
        for each in slices
        for endpoint in items(each, "endpoints")
        if at(endpoint, "conditions", "ready") is not False
    )


def zones_of(slices: Sequence[Object]) -> Mapping[str, str]:
    """UID of a pod → zone, as a Service's endpoints name it."""
    return {
        text(endpoint, "targetRef", "uid"): text(endpoint, "zone")
        for each in slices
        for endpoint in items(each, "endpoints")
        if text(endpoint, "zone")
    }


def secrets(cluster: ChatCluster) -> Sequence[Ref]:
    names = (access.credentials_name(cluster), child(cluster, "node-access"), child(cluster, "worker-access"))
    return [Ref("v1", "Secret", name) for name in (*names, *tls.secrets(cluster).values())]


def owned(thing: Object, cluster: ChatCluster) -> bool:
    """Whether it is this very cluster's, and not one's of the same name that was deleted before."""
    owners = items(thing, "metadata", "ownerReferences")
    return any(text(owner, "uid") == cluster.metadata.uid for owner in owners)


def gateway_support(route: Object | None, traffic: Object | None) -> GatewaySupport:
    """From the API server's OpenAPI document of the Gateway API and its list of Envoy Gateway's kinds."""
    schemas = mapping(route, "components", "schemas")
    schema = next((value for key, value in schemas.items() if key.endswith(".HTTPRoute")), None)
    rules = at(schema, "properties", "spec", "properties", "rules", "items", "properties")
    kinds = {text(resource, "kind") for resource in items(traffic, "resources")}
    return GatewaySupport(
        routes=schema is not None,
        session_persistence=frozenset(mapping(rules, "sessionPersistence", "properties")),
        envoy_traffic_policy="BackendTrafficPolicy" in kinds,
    )


def _gateway_kinds(support: GatewaySupport) -> list[tuple[str, str]]:
    kinds = [(ROUTE_API, "HTTPRoute")] if support.routes else []
    return kinds + ([(TRAFFIC_API, "BackendTrafficPolicy")] if support.envoy_traffic_policy else [])


def last_status(status: object) -> ClusterStatus:
    """What was written last; one that somebody made unreadable is begun anew."""
    try:
        return convert(status or {}, ClusterStatus)
    except ValidationError:
        return ClusterStatus()


def _workloads(cluster: ChatCluster, live: Mapping[Ref, Object]) -> Mapping[str, Workload]:
    kinds = {"node": "Deployment", "worker": "Deployment", "nats": "StatefulSet", "mongodb": "StatefulSet"}
    found = {part: live.get(Ref("apps/v1", kind, child(cluster, part))) for part, kind in kinds.items()}
    return {part: workload(thing) for part, thing in found.items() if thing is not None}


def workload(thing: Object) -> Workload:
    return Workload(
        desired=number(thing, "spec", "replicas"),
        running=number(thing, "status", "replicas"),
        updated=number(thing, "status", "updatedReplicas"),
        ready=number(thing, "status", "readyReplicas"),
        seen=number(thing, "status", "observedGeneration") >= number(thing, "metadata", "generation"),
    )


async def _mongodb(
    cluster: ChatCluster,
    credentials: Mapping[str, str],
    held: Mapping[str, tls.Held],
    workloads: Mapping[str, Workload],
) -> MongoView | None:
    managed = cluster.spec.mongodb.managed
    running = workloads.get("mongodb")
    if managed is None or running is None or running.ready == 0 or any(key not in credentials for key in access.DRAWN):
        return None
    members = wanted_members(cluster, max(managed.replicas, running.desired))
    entry = mongo.Entry(credentials, held["mongodb"].trust if "mongodb" in held else "")
    return await mongo.look([member.host for member in members], entry, cluster.spec.mongodb.database)


def _held(secret: Object | None, component: str) -> tls.Held:
    data = decoded(secret, tls.needed(component))
    certificates = certificates_in(data.get(tls.CERTIFICATE, ""))
    return tls.Held(certificates[0] if certificates else None, data.get(tls.TRUST, ""), frozenset(data))


def _certificate_kinds(cluster: ChatCluster) -> list[tuple[str, str]]:
    return [("cert-manager.io/v1", "Certificate")] if cluster.spec.tls.certificates == "CertManager" else []


def _route(cluster: ChatCluster, live: Mapping[Ref, Object]) -> RouteView | None:
    route = live.get(Ref(ROUTE_API, "HTTPRoute", cluster.metadata.name))
    if route is not None:
        return _http_route(route)
    ingress = live.get(Ref("networking.k8s.io/v1", "Ingress", child(cluster, "ingress")))
    if ingress is not None and items(ingress, "status", "loadBalancer", "ingress"):
        return RouteView(accepted=True)
    return None


def _http_route(route: Object) -> RouteView | None:
    for parent in items(route, "status", "parents"):
        conditions = [
            each for each in items(parent, "conditions") if text(each, "type") in {"Accepted", "ResolvedRefs"}
        ]
        if conditions:
            bad = [each for each in conditions if text(each, "status") != "True"]
            return RouteView(not bad, "; ".join(text(each, "message") for each in bad))
    return None
