"""ChatClusters and observations that the tests of the operator share."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml

from chatoperator.objects import Json
from chatoperator.plan import access
from chatoperator.plan.mongodb import Member, MongoView
from chatoperator.plan.observed import NodeSample, Observed, Workload
from chatoperator.spec import ChatCluster, parse

EXAMPLES = Path(__file__).parents[2] / "manifests" / "examples"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
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


def observed(**changes: object) -> Observed:
    """Everything as the smallest ChatCluster asks for it."""
    usual: dict[str, object] = {
        "image": "chat:1",
        "credentials": CREDENTIALS,
        "workloads": {"node": settled(2), "worker": settled(2), "nats": settled(3), "mongodb": settled(3)},
        "mongodb": healthy_mongodb(),
        "samples": (NodeSample("a", 10), NodeSample("b", 20)),
    }
    return Observed(**{**usual, **changes})  # type: ignore[arg-type]  # fields by name


def plain(thing: Json) -> Json:
    return thing
