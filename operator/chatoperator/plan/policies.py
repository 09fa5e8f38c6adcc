"""What protects the cluster: service accounts without rights, disruption budgets, and who may talk to whom."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from chatoperator.objects import Json, Object
from chatoperator.plan.naming import ADMIN_PORT, CLIENT_PORT, COMPONENTS, MONGODB_PORT, NATS_PORT, child, metadata
from chatoperator.plan.naming import selector as pod_selector
from chatoperator.spec import ChatCluster

OPERATOR: Final[Mapping[str, str]] = {"app.kubernetes.io/name": "chat-operator"}
"""The label by which the operator's own pods are let in, in whatever namespace they are."""


def components(cluster: ChatCluster) -> tuple[str, ...]:
    """Those that run here."""
    absent = {"nats"} if cluster.spec.nats.managed is None else set()
    absent |= {"mongodb"} if cluster.spec.mongodb.managed is None else set()
    return tuple(component for component in COMPONENTS if component not in absent)


def service_account(cluster: ChatCluster, component: str) -> Object:
    """An identity without any right; its token is mounted nowhere."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(cluster, child(cluster, component), component),
        "automountServiceAccountToken": False,
    }


def disruption_budget(cluster: ChatCluster, component: str, *, hold: bool = False) -> Object:
    """One at a time, and none with ``hold``; pods that are not ready anyway may always go."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(cluster, child(cluster, component), component),
        "spec": {
            "maxUnavailable": 0 if hold else 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": pod_selector(cluster, component)},
        },
    }


def network_policies(cluster: ChatCluster) -> tuple[Object, ...]:
    """Default deny both ways, and for each component what it needs."""
    return (_deny(cluster), *(_policy(cluster, component) for component in components(cluster)))


def _deny(cluster: ChatCluster) -> Object:
    everybody = {
        key: value for key, value in pod_selector(cluster, "node").items() if key != "app.kubernetes.io/component"
    }
    return _object(cluster, "default-deny", "policy", {"matchLabels": everybody}, ingress=[], egress=[])


def _policy(cluster: ChatCluster, component: str) -> Object:
    entering, leaving = _RULES[component]
    if component in {"node", "worker"}:
        leaving = (*_data(cluster), (_ANYBODY, _outside(cluster, component)))
    return _object(
        cluster,
        component,
        component,
        {"matchLabels": pod_selector(cluster, component)},
        ingress=[_rule("from", [_peer(cluster, who) for who in peers], ports) for peers, ports in entering],
        egress=[_DNS, *(_rule("to", [_peer(cluster, who) for who in peers], ports) for peers, ports in leaving)],
    )


_ANYBODY: Final[tuple[str, ...]] = ()
_OUTSIDE: Final = (443, 80, 4318)
"""Where identity providers and trace collectors usually are."""
_Rules = tuple[tuple[tuple[str, ...], tuple[int, ...]], ...]


def _data(cluster: ChatCluster) -> _Rules:
    """Datastores that somebody else runs may be anywhere, at the port that is theirs by default."""
    nats = ("nats",) if cluster.spec.nats.managed is not None else _ANYBODY
    mongodb = ("mongodb",) if cluster.spec.mongodb.managed is not None else _ANYBODY
    return ((nats, (NATS_PORT,)), (mongodb, (MONGODB_PORT,)))


def _outside(cluster: ChatCluster, component: str) -> tuple[int, ...]:
    """The usual ports, and those of the addresses that the spec names."""
    named = [cluster.spec.tracing.otlp_endpoint, *([cluster.spec.auth.jwks_url] if component == "node" else [])]
    ports = (_port(address) for address in named)
    return tuple(dict.fromkeys((*_OUTSIDE, *(port for port in ports if port))))


def _port(address: str) -> int | None:
    """None where it names none, or what cannot be one."""
    try:
        return urlsplit(address).port
    except ValueError:
        return None


_RULES: Final[Mapping[str, tuple[_Rules, _Rules]]] = {
    "node": (
        ((_ANYBODY, (CLIENT_PORT,)), (_ANYBODY, (ADMIN_PORT,))),
        (),
    ),
    "worker": (((_ANYBODY, (ADMIN_PORT,)),), ()),
    "nats": (
        ((("node", "worker", "operator"), (NATS_PORT,)), (("nats",), (6222,)), (("operator",), (8222,))),
        ((("nats",), (6222,)),),
    ),
    "mongodb": (
        ((("node", "worker", "mongodb", "operator"), (MONGODB_PORT,)),),
        ((("mongodb",), (MONGODB_PORT,)),),
    ),
}
_DNS: Final[Object] = {
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}


def _peer(cluster: ChatCluster, who: str) -> Object:
    if who == "operator":
        return {"namespaceSelector": {}, "podSelector": {"matchLabels": OPERATOR}}
    return {"podSelector": {"matchLabels": pod_selector(cluster, who)}}


def _rule(side: str, peers: Sequence[Json], ports: Sequence[int]) -> Object:
    rule: dict[str, Json] = {"ports": [{"protocol": "TCP", "port": port} for port in ports]}
    if peers:
        rule[side] = peers
    return rule


def _object(
    cluster: ChatCluster,
    name: str,
    component: str,
    pods: Object,
    *,
    ingress: Sequence[Json],
    egress: Sequence[Json],
) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(cluster, child(cluster, name), component),
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }
