"""Reading: everything that ``plan`` wants to know of one cluster, and the live objects to compare with."""

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import aiohttp
from msgspec import Struct, ValidationError, convert
from prometheus_client.parser import text_string_to_metric_families

from chatoperator import mongo
from chatoperator.kube import Kube
from chatoperator.objects import Object, Ref, at, items, mapping, number, ref, text
from chatoperator.plan import access
from chatoperator.plan.exposure import ROUTE_API, TRAFFIC_API, GatewaySupport
from chatoperator.plan.mongodb import MongoView, wanted_members
from chatoperator.plan.naming import ADMIN_PORT, MANAGER, child, selector, selector_text
from chatoperator.plan.observed import ClusterStatus, NodeSample, Observed, RouteView, Workload
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
_SAMPLE_S: Final = 2.0
_SUPPORT_S: Final = 60.0


class Seen(Struct, frozen=True):
    observed: Observed
    live: Mapping[Ref, Object]


class Observer:
    """Reads one cluster at a time; what the API server can do is asked once a minute for all of them."""

    def __init__(self, kube: Kube, *, image: str, version: str, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._image = image
        self._version = version
        self._clock = clock
        self._support = GatewaySupport()
        self._support_at: float | None = None

    async def see(self, cluster: ChatCluster, status: object) -> Seen:
        """Raises :class:`chatoperator.kube.ApiError`."""
        namespace = cluster.metadata.namespace
        labels = f"app.kubernetes.io/managed-by={MANAGER},app.kubernetes.io/instance={cluster.metadata.name}"
        support = await self._gateway_support()
        kinds = [*LISTED, *_gateway_kinds(support)]
        found = await asyncio.gather(*(self._kube.list(*kind, namespace, labels) for kind in kinds))
        live = {ref(thing): thing for things in found for thing in things if owned(thing, cluster)}
        for secret in await asyncio.gather(*(self._kube.get(where, namespace) for where in secrets(cluster))):
            if secret is not None:
                live[ref(secret)] = secret
        credentials = _decoded(live.get(Ref("v1", "Secret", access.credentials_name(cluster))))
        workloads = _workloads(cluster, live)
        observed = Observed(
            image=self._image,
            operator=self._version,
            credentials=credentials,
            workloads=workloads,
            mongodb=await _mongodb(cluster, credentials, workloads),
            gateway=support,
            route=_route(cluster, live),
            samples=await self._samples(cluster, workloads),
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

    async def _samples(self, cluster: ChatCluster, workloads: Mapping[str, Workload]) -> tuple[NodeSample, ...]:
        node = workloads.get("node")
        if node is None or node.running == 0:
            return ()
        pods = await self._kube.list("v1", "Pod", cluster.metadata.namespace, selector_text(selector(cluster, "node")))
        timeout = aiohttp.ClientTimeout(total=_SAMPLE_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            samples = await asyncio.gather(*(_sample(session, pod) for pod in pods))
        return tuple(sample for sample in samples if sample is not None)


def secrets(cluster: ChatCluster) -> Sequence[Ref]:
    names = (access.credentials_name(cluster), child(cluster, "node-access"), child(cluster, "worker-access"))
    return [Ref("v1", "Secret", name) for name in names]


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


def _decoded(secret: Object | None) -> Mapping[str, str]:
    if secret is None:
        return {}
    data = mapping(secret, "data")
    return {key: base64.b64decode(value).decode() for key, value in data.items() if isinstance(value, str)}


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
    cluster: ChatCluster, credentials: Mapping[str, str], workloads: Mapping[str, Workload]
) -> MongoView | None:
    managed = cluster.spec.mongodb.managed
    running = workloads.get("mongodb")
    if managed is None or running is None or running.ready == 0 or any(key not in credentials for key in access.DRAWN):
        return None
    members = wanted_members(cluster, max(managed.replicas, running.desired))
    return await mongo.look([member.host for member in members], credentials, cluster.spec.mongodb.database)


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


async def _sample(session: aiohttp.ClientSession, pod: Object) -> NodeSample | None:
    """What a node tells on its admin port; None where it does not answer."""
    address = text(pod, "status", "podIP")
    if not address:
        return None
    host = f"[{address}]" if ":" in address else address
    try:
        async with session.get(f"http://{host}:{ADMIN_PORT}/metrics", headers={"Accept": "text/plain"}) as answer:
            body = await answer.text()
            values = read_metrics(body) if answer.status == 200 else {}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    if "chat_connections" not in values:
        return None
    return NodeSample(
        text(pod, "metadata", "uid"), round(values["chat_connections"]), values.get("chat_draining", 0) > 0
    )


def read_metrics(body: str) -> Mapping[str, float]:
    """Metrics without labels, by name. Raises ValueError for what is no exposition."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if not sample.labels
    }
