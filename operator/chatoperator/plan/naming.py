"""What things are called and how they are labelled; the one place that makes names."""

from collections.abc import Mapping
from typing import Final

from chatoperator.objects import Json, Object
from chatoperator.spec import GROUP, KIND, VERSION, ChatCluster

MANAGER: Final = "chat-operator"
"""Field manager of everything but replicas; also the label that says whose an object is."""
AUTOSCALER: Final = "chat-autoscaler"
"""Field manager of the nodes' replicas, so that they have one owner."""
CLIENT_PORT: Final = 8081
ADMIN_PORT: Final = 9100
NATS_PORT: Final = 4222
MONGODB_PORT: Final = 27017

PAUSED: Final = f"{GROUP}/paused"
"""Annotation of a ChatCluster: ``all``, ``scale-in`` or ``scale-out``."""
FORCE_RECONFIG: Final = f"{GROUP}/force-mongodb-reconfiguration"
ENTRY: Final = f"{GROUP}/entry"
"""Label of a node's pod: ``open`` while the Service is to lead to it, else ``closed``."""
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
CHECKSUM: Final = f"{GROUP}/configuration"
"""Annotation of a pod template: a digest of what its containers read only when they start."""

COMPONENTS: Final = ("node", "worker", "nats", "mongodb")


def child(cluster: ChatCluster, component: str) -> str:
    return f"{cluster.metadata.name}-{component}"


def selector(cluster: ChatCluster, component: str) -> Mapping[str, str]:
    """The labels by which pods are found; never changed, because selectors of workloads cannot be."""
    return {
        "app.kubernetes.io/name": "chatcluster",
        "app.kubernetes.io/instance": cluster.metadata.name,
        "app.kubernetes.io/component": component,
    }


def selector_text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def labels(cluster: ChatCluster, component: str) -> Mapping[str, str]:
    return {**selector(cluster, component), "app.kubernetes.io/managed-by": MANAGER}


def metadata(cluster: ChatCluster, name: str, component: str, annotations: Mapping[str, str] | None = None) -> Object:
    """Of an object that goes when its cluster goes."""
    owner: Object = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": cluster.metadata.name,
        "uid": cluster.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    result: dict[str, Json] = {
        "name": name,
        "namespace": cluster.metadata.namespace,
        "labels": labels(cluster, component),
        "ownerReferences": [owner],
    }
    if annotations:
        result["annotations"] = annotations
    return result


def member_hosts(cluster: ChatCluster, component: str, replicas: int) -> tuple[str, ...]:
    """The names of a StatefulSet's pods within the cluster, by ordinal."""
    service = child(cluster, component)
    return tuple(f"{service}-{ordinal}.{service}.{cluster.metadata.namespace}.svc" for ordinal in range(replicas))
