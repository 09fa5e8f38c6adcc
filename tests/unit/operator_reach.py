"""Who has to reach whom, and who must not: pods by what they are, in and around a ChatCluster of the defaults."""

from collections.abc import Mapping, Sequence

from chatoperator.plan.naming import selector
from chatoperator.plan.policies import OPERATOR
from tests.unit.operator_cases import cluster

HOME = "school"
Place = tuple[str, Mapping[str, str]]
"""Namespace and labels of a pod; without a namespace: no pod, an address outside."""
PLACES: Mapping[str, Place] = {
    **{name: (HOME, selector(cluster(), name)) for name in ("node", "worker", "nats", "mongodb")},
    "operator": ("chat-system", OPERATOR),
    "gateway": ("gateways", {"app": "envoy"}),
    "neighbour": (HOME, {"app": "something-else"}),
    "another cluster": (HOME, {**selector(cluster(), "node"), "app.kubernetes.io/instance": "another"}),
    "the world": ("", {}),
}
Way = tuple[str, str, int]
"""Source, target, TCP port."""
LET_IN: Sequence[Way] = [
    ("gateway", "node", 8081),
    ("the world", "node", 8081),
    ("operator", "node", 9100),
    ("operator", "nats", 4222),
    ("operator", "nats", 8222),
    ("operator", "mongodb", 27017),
    *((role, "nats", 4222) for role in ("node", "worker")),
    *((role, "mongodb", 27017) for role in ("node", "worker")),
    ("nats", "nats", 6222),
    ("mongodb", "mongodb", 27017),
    *((role, "the world", port) for role in ("node", "worker") for port in (443, 80, 4318)),
]
KEPT_OUT: Sequence[Way] = [
    *((who, "nats", 4222) for who in ("gateway", "neighbour", "another cluster", "the world", "mongodb")),
    *((who, "mongodb", 27017) for who in ("gateway", "neighbour", "another cluster", "the world", "nats")),
    *((who, "nats", 6222) for who in ("node", "worker", "operator", "neighbour")),
    *((who, "nats", 8222) for who in ("node", "worker", "neighbour")),
    *(("the world", target, 22) for target in ("node", "worker", "nats", "mongodb")),
    ("gateway", "worker", 8081),
    *((who, "the world", 443) for who in ("nats", "mongodb")),
    ("node", "the world", 22),
    ("node", "worker", 8081),
    ("node", "node", 8081),
]
