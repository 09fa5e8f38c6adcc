"""Secrets: which are drawn once, and what nodes and workers are given to reach NATS and MongoDB."""

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from chatoperator.objects import Object
from chatoperator.plan import tls
from chatoperator.plan.naming import MONGODB_PORT, NATS_PORT, child, member_hosts, metadata
from chatoperator.spec import ChatCluster

REPLICA_SET: Final = "chat"
FOLDER: Final = "/etc/chat/access"
"""Where nodes and workers have their files."""
NATS_TRUST: Final = "nats-ca.crt"
MONGODB_TRUST: Final = "mongodb-ca.crt"
NATS_ROUTE: Final = "nats-route"
NATS_SYSTEM: Final = "nats-system"
MONGODB_KEYFILE: Final = "mongodb-keyfile"
NODE_CONTROL: Final = "node-control"
"""What the operator shows to a node that it drains."""
DRAWN: Final = (
    "nats-node",
    "nats-worker",
    NATS_ROUTE,
    NATS_SYSTEM,
    MONGODB_KEYFILE,
    "mongodb-node",
    "mongodb-worker",
    NODE_CONTROL,
)
"""Keys of the one Secret whose values are drawn: once, and never written again."""


class Draw(Struct, frozen=True):
    """A Secret to be created with random values; one that exists only gets the keys that it lacks."""

    metadata: Object
    keys: tuple[str, ...]


def credentials_name(cluster: ChatCluster) -> str:
    return child(cluster, "credentials")


def draw(cluster: ChatCluster, known: Mapping[str, str]) -> Draw | None:
    """What has to be drawn before anything else can be planned; None once all is there."""
    external = cluster.spec.nats.managed is None and cluster.spec.mongodb.managed is None
    missing = tuple(key for key in ((NODE_CONTROL,) if external else DRAWN) if key not in known)
    if not missing:
        return None
    return Draw(metadata(cluster, credentials_name(cluster), "credentials"), missing)


def access_secret(cluster: ChatCluster, role: str, known: Mapping[str, str]) -> Object | None:
    """The Secret that a node or a worker reads; None where it would be empty."""
    data: dict[str, str] = {}
    if cluster.spec.nats.managed is not None:
        data["nats-url"] = nats_url(cluster, role, known[f"nats-{role}"])
    if cluster.spec.mongodb.managed is not None:
        data["mongodb-uri"] = mongodb_uri(cluster, role, known[f"mongodb-{role}"])
    if role == "node":
        data["control-token"] = known[NODE_CONTROL]
    if not data:
        return None
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(cluster, child(cluster, f"{role}-access"), role),
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def access_files(cluster: ChatCluster, role: str) -> tuple[Object, ...]:
    """Where a pod finds its two URLs, whom it believes at them, and a node the token of those who may drain it."""
    own = child(cluster, f"{role}-access")
    nats, mongodb = cluster.spec.nats.external, cluster.spec.mongodb.external
    urls = (
        _source(nats.secret if nats else own, f"{role}-url" if nats else "nats-url", "nats-url"),
        _source(mongodb.secret if mongodb else own, f"{role}-uri" if mongodb else "mongodb-uri", "mongodb-uri"),
    )
    token = (_source(own, "control-token", "control-token"),) if role == "node" else ()
    return (*urls, *_trusted(cluster), *token)


def _trusted(cluster: ChatCluster) -> tuple[Object, ...]:
    nats, mongodb = cluster.spec.nats.external, cluster.spec.mongodb.external
    sources = [
        _source(tls.secret_name(cluster, component), tls.TRUST, f"{component}-ca.crt")
        for component in tls.components(cluster)
    ]
    if nats is not None and nats.ca_key:
        sources.append(_source(nats.secret, nats.ca_key, NATS_TRUST))
    if mongodb is not None and mongodb.ca_key:
        sources.append(_source(mongodb.secret, mongodb.ca_key, MONGODB_TRUST))
    return tuple(sources)


def nats_trust(cluster: ChatCluster) -> str:
    """The file with the authorities that NATS is checked against; empty without TLS of its own."""
    external = cluster.spec.nats.external
    there = external.ca_key if external is not None else "nats" in tls.components(cluster)
    return f"{FOLDER}/{NATS_TRUST}" if there else ""


def _source(secret: str, key: str, path: str) -> Object:
    return {"secret": {"name": secret, "items": [{"key": key, "path": path}]}}


def nats_url(cluster: ChatCluster, user: str, password: str) -> str:
    managed = cluster.spec.nats.managed
    hosts = member_hosts(cluster, "nats", managed.replicas if managed else 0)
    scheme = "tls" if tls.components(cluster) else "nats"
    return ",".join(f"{scheme}://{user}:{quote(password, safe='')}@{host}:{NATS_PORT}" for host in hosts)


def mongodb_uri(cluster: ChatCluster, user: str, password: str) -> str:
    managed = cluster.spec.mongodb.managed
    hosts = ",".join(
        f"{host}:{MONGODB_PORT}" for host in member_hosts(cluster, "mongodb", managed.replicas if managed else 0)
    )
    options = f"replicaSet={REPLICA_SET}&authSource={quote(cluster.spec.mongodb.database)}"
    if tls.components(cluster):
        options += f"&tls=true&tlsCAFile={FOLDER}/{MONGODB_TRUST}"
    return f"mongodb://{user}:{quote(password, safe='')}@{hosts}/?{options}"
