"""The managed MongoDB: members on volumes (objects), and what has to be said to them next (pure decisions).

Members are added and removed by ordinal, one vote at a time, by ordinary reconfigurations. A forced one is decided
only while the ChatCluster carries the annotation that asks for it.
"""

from typing import Final, TypeAlias

from msgspec import Struct

from chatoperator.objects import Object
from chatoperator.plan import access, datastores, pods, tls
from chatoperator.plan.naming import FORCE_RECONFIG, MONGODB_PORT, child, member_hosts
from chatoperator.spec import ChatCluster, ManagedMongodb

_KEYFILE: Final = "/keys/keyfile"
_TLS: Final = (
    *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", f"{tls.FOLDER}/{tls.COMBINED}"),
    *("--tlsCAFile", f"{tls.FOLDER}/{tls.TRUST}", "--tlsAllowConnectionsWithoutCertificates"),
)
"""Clients are known by their passwords, members by the key file."""
_COPY: Final = f"cp -f /etc/mongodb/keyfile {_KEYFILE} && chmod 0400 {_KEYFILE}"
"""mongod takes a key that its own user alone can read, which the files of a Secret are not."""


class Member(Struct, frozen=True):
    """A member as the replica set's configuration names it."""

    id: int
    host: str


class MongoView(Struct, frozen=True):
    """What the members said when they were last asked."""

    answering: tuple[str, ...] = ()
    """``host:port`` of those that answered."""
    initiated: bool = False
    """Whether one of them knows a configuration."""
    primary: str = ""
    members: tuple[Member, ...] = ()
    healthy: tuple[str, ...] = ()
    """Primary and secondaries, as the primary sees them."""
    users: bool = False
    """Whether both users are there with the passwords that are wanted."""
    silence: str = ""
    """What kept the first of those that did not answer from it."""


class Initiate(Struct, frozen=True, tag=True):
    members: tuple[Member, ...]


class Reconfigure(Struct, frozen=True, tag=True):
    members: tuple[Member, ...]
    force: bool = False


class PutUsers(Struct, frozen=True, tag=True):
    """Create or correct the users of nodes and workers, with the least rights that they can work with."""


MongoStep: TypeAlias = Initiate | Reconfigure | PutUsers


def wanted_members(cluster: ChatCluster, replicas: int) -> tuple[Member, ...]:
    hosts = member_hosts(cluster, "mongodb", replicas)
    return tuple(Member(ordinal, f"{host}:{MONGODB_PORT}") for ordinal, host in enumerate(hosts))


def next_step(cluster: ChatCluster, managed: ManagedMongodb, view: MongoView) -> MongoStep | None:
    """The one thing to do now; None when there is nothing or when it has to wait."""
    wanted = wanted_members(cluster, managed.replicas)
    answering = set(view.answering)
    if not view.initiated:
        everybody = all(member.host in answering for member in wanted)
        return Initiate(wanted) if everybody else None
    if not view.primary:
        survivors = tuple(member for member in view.members if member.host in answering)
        forced = cluster.metadata.annotations.get(FORCE_RECONFIG) == "true"
        return Reconfigure(survivors, force=True) if forced and 0 < len(survivors) < len(view.members) else None
    have = {member.host: member for member in view.members}
    spare = [member for member in view.members if member.host not in {each.host for each in wanted}]
    if spare:
        last = max(spare, key=lambda member: member.id)
        return Reconfigure(tuple(member for member in view.members if member != last))
    missing = [member for member in wanted if member.host not in have]
    if missing and missing[0].host in answering:
        return Reconfigure((*view.members, missing[0]))
    return None if view.users else PutUsers()


def running_members(managed: ManagedMongodb, view: MongoView | None) -> int:
    """How many pods: a member that still votes is not taken away."""
    return max(managed.replicas, len(view.members) if view else 0)


def service(cluster: ChatCluster) -> Object:
    return datastores.headless_service(
        cluster,
        "mongodb",
        [{"name": "mongodb", "port": MONGODB_PORT, "targetPort": "mongodb", "protocol": "TCP"}],
    )


def stateful_set(cluster: ChatCluster, managed: ManagedMongodb, replicas: int) -> Object:
    tcp: Object = {"tcpSocket": {"port": "mongodb"}, "timeoutSeconds": 2}
    main = pods.container(
        "mongodb",
        managed.image,
        cluster.spec.image.pull_policy,
        command=[
            "mongod",
            *("--dbpath", "/data/db", "--port", str(MONGODB_PORT), "--bind_ip_all", "--nounixsocket"),
            *("--replSet", access.REPLICA_SET, "--keyFile", _KEYFILE),
            *("--wiredTigerCacheSizeGB", f"{managed.cache_mib / 1024:g}"),
            *(_TLS if tls.components(cluster) else ()),
        ],
        ports=[{"name": "mongodb", "containerPort": MONGODB_PORT, "protocol": "TCP"}],
        startupProbe={**tcp, "periodSeconds": 1, "failureThreshold": 180},
        readinessProbe={**tcp, "periodSeconds": 5, "failureThreshold": 2},
        livenessProbe={**tcp, "periodSeconds": 15, "failureThreshold": 4},
        resources=pods.resources(managed.resources),
        volumeMounts=[
            pods.TMP_MOUNT,
            {"name": "data", "mountPath": "/data/db"},
            {"name": "own-key", "mountPath": "/keys", "readOnly": True},
            *pods.tls_mounts(cluster),
        ],
    )
    key = pods.file_volume(
        "keyfile", secret=access.credentials_name(cluster), files={access.MONGODB_KEYFILE: "keyfile"}
    )
    copy = pods.container(
        "keyfile",
        managed.image,
        cluster.spec.image.pull_policy,
        command=["sh", "-c", _COPY],
        volumeMounts=[
            {"name": "keyfile", "mountPath": "/etc/mongodb", "readOnly": True},
            {"name": "own-key", "mountPath": "/keys"},
        ],
    )
    template = pods.template(
        cluster,
        "mongodb",
        main,
        before=copy,
        volumes=[
            pods.TMP,
            key,
            {"name": "own-key", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            *pods.tls_volumes(cluster, "mongodb"),
        ],
        configuration=pods.checksum(child(cluster, "mongodb")),
        grace_s=60,
        over="Zone",
    )
    return datastores.stateful_set(cluster, "mongodb", replicas, template, managed.storage)
