"""ChatClusters that fit on one small machine."""

from collections.abc import Mapping

from tests.cluster.harness.issuer import ISSUER, Issuer
from tests.cluster.harness.world import World

_SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}}


def begin_namespace(world: World, name: str) -> None:
    """One in which the API server takes no pod but those of the restricted standard.

    Where a session before has left it, it goes first.
    """
    if world.get("namespace", name) is not None:
        world.kubectl("delete", "namespace", name, "--timeout=180s")
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    world.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def chat_cluster(name: str, namespace: str, world: World, *, members: int = 3, **spec: object) -> Mapping[str, object]:
    """``members``: of NATS and of MongoDB. ``spec`` replaces whole parts."""
    image = {"image": world.datastores} if world.datastores else {}
    store = {"replicas": members, "storage": {"size": "1Gi"}, "resources": _SMALL, **image}
    return {
        "apiVersion": "chat.skillhub.io/v1alpha1",
        "kind": "ChatCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "auth": {"issuer": ISSUER, "jwksUrl": Issuer.jwks_url},
            "nodes": {"resources": _SMALL, "topologySpread": "None"},
            "workers": {"resources": _SMALL},
            "drain": {"windowSeconds": 3, "settleSeconds": 2},
            "limits": {"connectionsPerNode": 500, "streamMaxMib": 32, "commandsPerSecond": 2000, "commandBurst": 2000},
            "nats": {"managed": store},
            "mongodb": {"managed": {**store, "cacheMib": 256}},
            **spec,
        },
    }
