"""Nodes and workers: the two Deployments that run the chat itself, and what they are told."""

from collections.abc import Mapping
from typing import Final, Literal

from chatoperator.objects import Json, Object
from chatoperator.plan import access, pods
from chatoperator.plan.exposure import service_annotations
from chatoperator.plan.naming import ADMIN_PORT, CLIENT_PORT, child, metadata, selector
from chatoperator.spec import ChatCluster

Role = Literal["node", "worker"]

_ACCESS: Final = "/etc/chat/access"
_LEAVE_S: Final = 3
"""From the pod's end being known to SIGTERM, so that nobody connects to a port that is closing."""
_FINISH_S: Final = 20
"""After the last client: storing what is under way, closing connections."""


def settings(cluster: ChatCluster, role: Role) -> Mapping[str, str]:
    """``CHAT_*`` variables of one role; what a role does not read is not in it, so that it is not rolled for it."""
    spec = cluster.spec
    nats = spec.nats
    copies = nats.managed.replicas if nats.managed else nats.external.stream_replicas if nats.external else 1
    common = {
        "CHAT_ADMIN_HOST": "0.0.0.0",  # noqa: S104  of the pod; NetworkPolicies say who reaches it
        "CHAT_ADMIN_PORT": str(ADMIN_PORT),
        "CHAT_MONGODB_DATABASE": spec.mongodb.database,
        "CHAT_MONGODB_URI_FILE": f"{_ACCESS}/mongodb-uri",
        "CHAT_NATS_URL_FILE": f"{_ACCESS}/nats-url",
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


def deployment(cluster: ChatCluster, role: Role, image: str, secret: Object | None) -> Object:
    """Without the nodes' replicas, which belong to the autoscaler's field manager."""
    spec: dict[str, Json] = {
        "selector": {"matchLabels": selector(cluster, role)},
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
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
            configuration=pods.checksum(settings(cluster, role), secret["data"] if secret else None),
            grace_s=grace_s(cluster, role),
            over=cluster.spec.nodes.topology_spread if role == "node" else "Host",
        ),
    }
    if role == "worker":
        spec["replicas"] = cluster.spec.workers.replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(cluster, child(cluster, role), role),
        "spec": spec,
    }


def grace_s(cluster: ChatCluster, role: Role) -> int:
    """How long a pod may take to end: for a node the whole drain."""
    if role == "worker":
        return 30
    drain = cluster.spec.drain
    return _LEAVE_S + drain.settle_seconds + drain.window_seconds + _FINISH_S


def _container(cluster: ChatCluster, role: Role, image: str) -> Object:
    asked = cluster.spec.nodes.resources if role == "node" else cluster.spec.workers.resources
    ports: list[Json] = [{"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"}]
    rest: dict[str, Json] = {}
    if role == "node":
        ports.insert(0, {"name": "http", "containerPort": CLIENT_PORT, "protocol": "TCP"})
        rest["lifecycle"] = {"preStop": {"sleep": {"seconds": _LEAVE_S}}}
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
        volumeMounts=[pods.TMP_MOUNT, {"name": "access", "mountPath": _ACCESS, "readOnly": True}],
        **rest,
    )


def service(cluster: ChatCluster) -> Object:
    """Where clients come in; ``appProtocol`` tells proxies that sockets come here."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, cluster.metadata.name, "node", service_annotations(cluster)),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(cluster, "node"),
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
