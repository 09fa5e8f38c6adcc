"""Nodes and workers: the two Deployments that run the chat itself, and what they are told."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from chatoperator.autoscale.samples import Pod
from chatoperator.drain import pace
from chatoperator.objects import Json, Object
from chatoperator.plan import access, pods
from chatoperator.plan.exposure import service_annotations
from chatoperator.plan.naming import ADMIN_PORT, CLIENT_PORT, ENTRY, child, metadata, selector
from chatoperator.spec import ChatCluster

Role = Literal["node", "worker"]

_ROLL_S: Final = 600
"""After which a rollout that does not get on is said to fail."""


def settings(cluster: ChatCluster, role: Role) -> Mapping[str, str]:
    """``CHAT_*`` variables of one role; what a role does not read is not in it, so that it is not rolled for it."""
    spec = cluster.spec
    nats = spec.nats
    copies = nats.managed.replicas if nats.managed else nats.external.stream_replicas if nats.external else 1
    common = {
        "CHAT_ADMIN_HOST": "0.0.0.0",  # noqa: S104  of the pod; NetworkPolicies say who reaches it
        "CHAT_ADMIN_PORT": str(ADMIN_PORT),
        "CHAT_MONGODB_DATABASE": spec.mongodb.database,
        "CHAT_MONGODB_URI_FILE": f"{access.FOLDER}/mongodb-uri",
        **({"CHAT_NATS_CA_FILE": access.nats_trust(cluster)} if access.nats_trust(cluster) else {}),
        "CHAT_NATS_URL_FILE": f"{access.FOLDER}/nats-url",
        "CHAT_OTLP_ENDPOINT": spec.tracing.otlp_endpoint,
    }
    if role == "worker":
        return {
            **common,
            "CHAT_RETENTION_HOURS": str(spec.retention.hours),
            "CHAT_STREAM_MAX_BYTES": str(spec.limits.stream_max_mib * 1024**2),
            "CHAT_STREAM_REPLICAS": str(copies),
        }
    return {
        **common,
        "CHAT_ALLOWED_ORIGINS": ",".join(spec.auth.allowed_origins),
        "CHAT_COMMAND_BURST": str(spec.limits.command_burst),
        "CHAT_COMMAND_RATE_PER_S": str(spec.limits.commands_per_second),
        "CHAT_CONNECTS_PER_S": str(spec.limits.connects_per_second),
        "CHAT_CONTROL_TOKEN_FILE": f"{access.FOLDER}/control-token",
        "CHAT_DRAIN_RATE_PER_S": str(spec.drain.reconnects_per_second),
        "CHAT_DRAIN_SETTLE_S": str(spec.drain.settle_seconds),
        "CHAT_DRAIN_WINDOW_S": str(spec.drain.window_seconds),
        "CHAT_HOST": "0.0.0.0",  # noqa: S104  of the pod
        "CHAT_JWKS_URL": spec.auth.jwks_url,
        "CHAT_JWT_AUDIENCE": spec.auth.audience,
        "CHAT_JWT_ISSUER": spec.auth.issuer,
        "CHAT_MAX_CONNECTIONS": str(spec.limits.connections_per_node),
        "CHAT_PORT": str(CLIENT_PORT),
        "CHAT_ROOMS_PER_CONNECTION": str(spec.limits.rooms_per_connection),
    }


def config_map(cluster: ChatCluster, role: Role) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(cluster, child(cluster, role), role),
        "data": settings(cluster, role),
    }


def deployment(
    cluster: ChatCluster, role: Role, image: str, secret: Object | None, trust: tuple[str, ...] = ()
) -> Object:
    """``trust``: the authorities that they read when they start.

    Without the nodes' replicas, which belong to the autoscaler's field manager.

    A rollout takes the next old node only when the clients of the one before have gone (``minReadySeconds``).
    """
    ready_s = pace.min_ready_s(cluster.spec) if role == "node" else 0
    surge: Json = pace.surge(cluster.spec) if role == "node" else "25%"
    spec: dict[str, Json] = {
        "selector": {"matchLabels": selector(cluster, role)},
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": ready_s + _ROLL_S,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": surge}},
        "template": pods.template(
            cluster,
            role,
            _container(cluster, role, image),
            volumes=[
                pods.TMP,
                {
                    "name": "access",
                    "projected": {"defaultMode": 0o440, "sources": list(access.access_files(cluster, role))},
                },
            ],
            configuration=pods.checksum(settings(cluster, role), secret["data"] if secret else None, *trust),
            grace_s=grace_s(cluster, role),
            over=cluster.spec.nodes.topology_spread if role == "node" else "Host",
            marked={ENTRY: "open"} if role == "node" else {},
        ),
    }
    if role == "worker":
        spec["replicas"] = cluster.spec.workers.replicas
    else:
        spec["minReadySeconds"] = ready_s
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(cluster, child(cluster, role), role),
        "spec": spec,
    }


def grace_s(cluster: ChatCluster, role: Role) -> int:
    """How long a pod may take to end: for a node the whole drain."""
    return 30 if role == "worker" else pace.grace_s(cluster.spec)


def _container(cluster: ChatCluster, role: Role, image: str) -> Object:
    asked = cluster.spec.nodes.resources if role == "node" else cluster.spec.workers.resources
    ports: list[Json] = [{"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"}]
    rest: dict[str, Json] = {}
    if role == "node":
        ports.insert(0, {"name": "http", "containerPort": CLIENT_PORT, "protocol": "TCP"})
        rest["lifecycle"] = {"preStop": {"sleep": {"seconds": pace.LEAVE_S}}}
    return pods.container(
        role,
        image,
        cluster.spec.image.pull_policy,
        args=["chatcluster", role],
        envFrom=[{"configMapRef": {"name": child(cluster, role)}}],
        ports=ports,
        startupProbe=pods.probe("/healthz", "admin", period=1, failures=60),
        readinessProbe=pods.probe("/readyz", "admin", period=2, failures=1),
        livenessProbe=pods.probe("/healthz", "admin", period=10, failures=6, timeout=5),
        resources=pods.resources(asked),
        volumeMounts=[pods.TMP_MOUNT, {"name": "access", "mountPath": access.FOLDER, "readOnly": True}],
        **rest,
    )


def service(cluster: ChatCluster, nodes: Iterable[Pod] = ()) -> Object:
    """Where clients come in; ``appProtocol`` tells proxies that sockets come here.

    It leads to pods whose entry is open; to all of them while one that is ready has no such label.
    """
    labelled = all(pod.labelled for pod in nodes if pod.ready)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, cluster.metadata.name, "node", service_annotations(cluster)),
        "spec": {
            "type": "ClusterIP",
            "selector": {**selector(cluster, "node"), **({ENTRY: "open"} if labelled else {})},
            "ports": [
                {
                    "name": "http",
                    "port": 80,
                    "targetPort": "http",
                    "protocol": "TCP",
                    "appProtocol": "kubernetes.io/ws",
                }
            ],
        },
    }
