"""What the two managed datastores have in common: a headless Service, a StatefulSet on volumes of its own."""

from collections.abc import Sequence

from chatoperator.objects import Json, Object
from chatoperator.plan.naming import child, labels, metadata, selector
from chatoperator.quantities import canonical
from chatoperator.spec import ChatCluster, Storage


def headless_service(cluster: ChatCluster, component: str, ports: Sequence[Json]) -> Object:
    """Names for the members; also of those that are not ready, because they have to find each other first."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, child(cluster, component), component),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(cluster, component),
            "ports": ports,
        },
    }


def stateful_set(cluster: ChatCluster, component: str, replicas: int, template: Object, storage: Storage) -> Object:
    keep = "Delete" if cluster.spec.retention.volumes == "Delete" else "Retain"
    claim: dict[str, Json] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": canonical(storage.size)}},
    }
    if storage.class_name:
        claim["storageClassName"] = storage.class_name
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(cluster, child(cluster, component), component),
        "spec": {
            "serviceName": child(cluster, component),
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "minReadySeconds": 10,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": keep, "whenScaled": "Retain"},
            "selector": {"matchLabels": selector(cluster, component)},
            "template": template,
            "volumeClaimTemplates": [
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "data", "labels": labels(cluster, component)},
                    "spec": claim,
                }
            ],
        },
    }
