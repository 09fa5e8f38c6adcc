"""ChatClusters and observations that the tests of the operator share."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml

from chatoperator.autoscale.samples import Memory, Pod, Sample
from chatoperator.objects import Json
from chatoperator.plan import access, tls
from chatoperator.plan.mongodb import Member, MongoView
from chatoperator.plan.observed import Observed, Workload
from chatoperator.plan.scale import NodesView
from chatoperator.plan.tls import Certificate, Held
from chatoperator.spec import ChatCluster, parse

EXAMPLES = Path(__file__).parents[2] / "manifests" / "examples"
NOW = datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC)
SOON = datetime(2026, 11, 24, 12, 0, 6, tzinfo=UTC)
"""Within the same tenth of a scaling window."""
LATER = datetime(2026, 11, 24, 13, 0, tzinfo=UTC)
CREDENTIALS = {key: f"p-{key}" for key in access.DRAWN}
AUTH = {"issuer": "https://login.example.org", "jwksUrl": "https://login.example.org/jwks.json"}


def resource(annotations: Mapping[str, str] | None = None, **spec: object) -> dict[str, object]:
    metadata = {"name": "chat", "namespace": "school", "uid": "uid-1", "generation": 3}
    return {"metadata": {**metadata, "annotations": dict(annotations or {})}, "spec": {"auth": AUTH, **spec}}


def cluster(annotations: Mapping[str, str] | None = None, **spec: object) -> ChatCluster:
    return parse(resource(annotations, **spec))


def example(name: str) -> ChatCluster:
    loaded = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text("utf-8"))
    loaded["metadata"] = {"name": "chat", "namespace": "school", "uid": "uid-1", "annotations": {}}
    return parse(loaded)


def settled(replicas: int) -> Workload:
    return Workload(desired=replicas, running=replicas, updated=replicas, ready=replicas)


def members(count: int) -> tuple[Member, ...]:
    return tuple(Member(n, f"chat-mongodb-{n}.chat-mongodb.school.svc:27017") for n in range(count))


def healthy_mongodb(count: int = 3) -> MongoView:
    hosts = tuple(member.host for member in members(count))
    return MongoView(
        answering=hosts, initiated=True, primary=hosts[0], members=members(count), healthy=hosts, users=True
    )


def pod(name: str, **changes: object) -> Pod:
    usual: dict[str, object] = {"uid": f"uid-{name}", "name": name, "machine": "m", "running": True, "ready": True}
    return Pod(**{**usual, "revision": "r1", "address": "192.0.2.7", **changes})  # type: ignore[arg-type]  # fields by name


def sample(name: str, connections: int = 0, **changes: object) -> Sample:
    """As heard now, by a node that hears no other."""
    now = NOW.timestamp()
    usual: dict[str, object] = {"node": name, "heard": now, "time": now, "capacity": 20_000}
    return Sample(**{**usual, "pod": f"uid-{name}", "connections": connections, **changes})  # type: ignore[arg-type]


def nodes(**connections: int) -> NodesView:
    """Nodes that serve and hear each other."""
    names = tuple(connections)
    peers = {name: {other: connections[other] for other in names if other != name} for name in names}
    return NodesView(
        revision="r1",
        pods=tuple(pod(name) for name in names),
        samples=tuple(sample(name, held, peers=peers[name]) for name, held in connections.items()),
    )


def held(component: str, *, trust: str = "authority-1", days: float = 80) -> Held:
    """A Secret with a certificate of 90 days, of which ``days`` are left."""
    until = NOW.timestamp() + days * 86_400
    names = () if component == tls.AUTHORITY else (f"*.chat-{component}.school.svc",)
    lasts = 3650 if component == tls.AUTHORITY else 90
    certificate = Certificate(names, until - lasts * 86_400, until, f"print-{component}")
    return Held(certificate, trust, tls.needed(component))


def certificates(**changes: Held) -> Mapping[str, Held]:
    usual = {"nats": held("nats"), "mongodb": held("mongodb"), tls.AUTHORITY: held(tls.AUTHORITY, days=3600)}
    return {**usual, **changes}


def observed(**changes: object) -> Observed:
    """Everything as the smallest ChatCluster asks for it."""
    usual: dict[str, object] = {
        "image": "chat:1",
        "credentials": CREDENTIALS,
        "certificates": certificates(),
        "workloads": {"node": settled(2), "worker": settled(2), "nats": settled(3), "mongodb": settled(3)},
        "mongodb": healthy_mongodb(),
        "nodes": nodes(a=10, b=20),
        "memory": Memory(),
    }
    return Observed(**{**usual, **changes})  # type: ignore[arg-type]  # fields by name


def plain(thing: Json) -> Json:
    return thing
