"""What a person asks for: the ``spec`` of a ``ChatCluster``, typed, with its defaults.

The CRD's schema is generated from these structs (``crd``), so that the API server, the operator and the documentation
know one truth. Lengths of time are whole seconds unless a name says otherwise.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

GROUP: Final = "chat.skillhub.io"
VERSION: Final = "v1alpha1"
PLURAL: Final = "chatclusters"
KIND: Final = "ChatCluster"
PARTITIONS: Final = 8
"""How many streams hold the rooms. Part of what is stored, so never another number."""

Quantity = Annotated[int | str, Meta(description="A Kubernetes quantity, as `500m`, `2Gi` or `1`.")]
Url = Annotated[str, Meta(pattern=r"^https?://\S+$")]
Origin = Annotated[str, Meta(pattern=r"^https?://[^/\s]+$")]
Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


class _Part(Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of the spec. Fields that are not known are the API server's business, which prunes them."""


class Resources(_Part, frozen=True, kw_only=True, rename="camel"):
    requests: Annotated[dict[str, Quantity], Meta(description="What the scheduler sets aside.")] = {}
    limits: Annotated[dict[str, Quantity], Meta(description="What the container may not exceed.")] = {}


class Image(_Part, frozen=True, kw_only=True, rename="camel"):
    reference: Annotated[
        str, Meta(description="Image of nodes and workers; empty: the image that the operator itself runs from.")
    ] = ""
    pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], Meta(description="As for any container.")] = (
        "IfNotPresent"
    )
    pull_secrets: Annotated[tuple[str, ...], Meta(description="Names of Secrets in the cluster's namespace.")] = ()


class Nodes(_Part, frozen=True, kw_only=True, rename="camel"):
    min: Annotated[int, Meta(ge=1, le=1000, description="Fewest nodes.")] = 2
    max: Annotated[int, Meta(ge=1, le=1000, description="Most nodes.")] = 10
    replicas: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Nodes that run at first, and while the operator does not scale them; brought within min and "
            "max. The scale subresource, so an HPA too, writes here.",
        ),
    ] = 2
    target_connections: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Connections that one node should hold on average; 0: `autoscaling.targetPercent` of what "
            "nodes say that they take.",
        ),
    ] = 0
    resources: Annotated[Resources, Meta(description="Of each node.")] = field(
        default_factory=lambda: Resources(requests={"cpu": "500m", "memory": "512Mi"}, limits={"memory": "1Gi"})
    )
    topology_spread: Annotated[
        Literal["Zone", "Host", "None"], Meta(description="What nodes are spread over, as evenly as possible.")
    ] = "Zone"


class ScaleOut(_Part, frozen=True, kw_only=True, rename="camel"):
    tolerance_percent: Annotated[
        int, Meta(ge=0, le=100, description="By how much the need has to exceed the nodes that run.")
    ] = 5
    max_nodes: Annotated[int, Meta(ge=1, le=1000, description="Nodes that are added within one period.")] = 4
    max_percent: Annotated[
        int, Meta(ge=0, le=1000, description="The same, of the nodes that run; the larger of the two counts.")
    ] = 100
    period_seconds: Annotated[int, Meta(ge=1, le=3600, description="The period.")] = 15


class ScaleIn(_Part, frozen=True, kw_only=True, rename="camel"):
    tolerance_percent: Annotated[
        int, Meta(ge=0, le=90, description="By how much the need has to fall short of the nodes that run.")
    ] = 20
    window_seconds: Annotated[
        int, Meta(ge=1, le=86_400, description="The highest need within it counts; it passes whole after a restart.")
    ] = 300
    max_nodes: Annotated[int, Meta(ge=1, le=1000, description="Nodes that are taken away within one period.")] = 1
    max_percent: Annotated[
        int, Meta(ge=0, le=100, description="The same, of the nodes that run; the larger of the two counts.")
    ] = 10
    period_seconds: Annotated[int, Meta(ge=1, le=3600, description="The period.")] = 60
    survivor_percent: Annotated[
        int,
        Meta(ge=10, le=100, description="Of its target, how much each node that stays may hold once the others went."),
    ] = 90
    stale_intervals: Annotated[
        int, Meta(ge=1, le=60, description="Intervals after which what a node said is too old to take nodes away.")
    ] = 3


class Rebalance(_Part, frozen=True, kw_only=True, rename="camel"):
    percent_per_second: Annotated[
        int, Meta(ge=0, le=100, description="Of its clients, how many a node that has too many sends away; 0: none.")
    ] = 1
    above_percent: Annotated[
        int, Meta(ge=101, le=1000, description="Of the mean, above which a node has too many while another has few.")
    ] = 125
    below_percent: Annotated[int, Meta(ge=0, le=99, description="Of the mean, below which a node has few.")] = 75
    from_connections: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Mean of the nodes, below which they differ by chance alone.")
    ] = 50


class Autoscaling(_Part, frozen=True, kw_only=True, rename="camel"):
    mode: Annotated[
        Literal["Operator", "HPA", "Off"],
        Meta(
            description="Who decides how many nodes run: the operator by their connections, or `nodes.replicas`, "
            "written by an HPA or by hand. Nodes are drained before they go in every mode."
        ),
    ] = "Operator"
    interval_seconds: Annotated[int, Meta(ge=1, le=300, description="How often nodes are asked.")] = 10
    target_percent: Annotated[
        int, Meta(ge=10, le=100, description="Of what a node takes, how much it should hold on average.")
    ] = 70
    buffer_connections: Annotated[
        int, Meta(ge=0, le=100_000_000, description="Room for connections that come all at once.")
    ] = 0
    lead_seconds: Annotated[
        int, Meta(ge=0, le=3600, description="How far ahead a rise is followed: what a new node takes to be ready.")
    ] = 60
    zone_loss: Annotated[
        bool, Meta(description="Whether the nodes of the other zones have to hold everybody when one zone is lost.")
    ] = True
    lag_milliseconds: Annotated[
        int, Meta(ge=0, le=10_000, description="Event loop lag above which nodes are added; 0: it does not count.")
    ] = 0
    scale_out: Annotated[ScaleOut, Meta(description="When and how fast nodes are added.")] = field(
        default_factory=ScaleOut
    )
    scale_in: Annotated[ScaleIn, Meta(description="When and how fast nodes are taken away.")] = field(
        default_factory=ScaleIn
    )
    rebalance: Annotated[Rebalance, Meta(description="How clients move to nodes that were added.")] = field(
        default_factory=Rebalance
    )


class Drain(_Part, frozen=True, kw_only=True, rename="camel"):
    reconnects_per_second: Annotated[
        int, Meta(ge=1, le=100_000, description="Reconnects that all nodes together ask for.")
    ] = 200
    window_seconds: Annotated[
        int, Meta(ge=0, le=3600, description="Over how long at least a node spreads its clients' reconnects.")
    ] = 30
    settle_seconds: Annotated[
        int, Meta(ge=0, le=300, description="How long a node is unready before it tells its clients to go.")
    ] = 5
    deadline_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="How long after the window a node is waited for before it goes anyway.")
    ] = 60


class Workers(_Part, frozen=True, kw_only=True, rename="camel"):
    replicas: Annotated[int, Meta(ge=1, le=32, description="Workers; each partition is written by one at a time.")] = 2
    resources: Annotated[Resources, Meta(description="Of each worker.")] = field(
        default_factory=lambda: Resources(requests={"cpu": "250m", "memory": "256Mi"}, limits={"memory": "768Mi"})
    )


class GatewayExposure(_Part, frozen=True, kw_only=True, rename="camel"):
    name: Annotated[str, Meta(min_length=1, description="The Gateway that the route attaches to.")]
    namespace: Annotated[str, Meta(description="Its namespace; empty: the ChatCluster's own.")] = ""
    section: Annotated[str, Meta(description="One listener of it; empty: all that allow the route.")] = ""


class IngressExposure(_Part, frozen=True, kw_only=True, rename="camel"):
    profile: Annotated[
        Literal["traefik", "haproxy", "haproxytech", "contour", "nginx-legacy"],
        Meta(description="Which controller's annotations are written. nginx-legacy: retired in March 2026."),
    ]
    class_name: Annotated[str, Meta(description="`ingressClassName`; empty: the cluster's default class.")] = ""


class Exposure(_Part, frozen=True, kw_only=True, rename="camel"):
    type: Annotated[
        Literal["gateway", "ingress", "none"],
        Meta(description="How people outside reach the nodes; `none`: by the Service alone."),
    ] = "none"
    host: Annotated[str, Meta(description="The name that people use, as `chat.example.org`.")] = ""
    tls_secret: Annotated[
        str, Meta(description="Secret with the host's certificate, for `ingress`; a Gateway holds its own.")
    ] = ""
    gateway: Annotated[GatewayExposure | None, Meta(description="Needed for `gateway`.")] = None
    ingress: Annotated[IngressExposure | None, Meta(description="Needed for `ingress`.")] = None


class Storage(_Part, frozen=True, kw_only=True, rename="camel"):
    size: Annotated[str, Meta(pattern=r"^[0-9]+(Mi|Gi|Ti)$", description="Of each member's volume.")] = "10Gi"
    class_name: Annotated[str, Meta(description="Storage class; empty: the cluster's default.")] = ""


Members = Annotated[Literal[1, 3], Meta(description="One (no copy: for trying out) or three.")]


class ManagedNats(_Part, frozen=True, kw_only=True, rename="camel"):
    replicas: Members = 3
    image: Annotated[str, Meta(description="nats-server 2.14 or newer.")] = "docker.io/library/nats:2.15-alpine"
    storage: Annotated[Storage, Meta(description="Cannot be changed later.")] = field(default_factory=Storage)
    resources: Annotated[Resources, Meta(description="Of each server.")] = field(
        default_factory=lambda: Resources(requests={"cpu": "500m", "memory": "512Mi"}, limits={"memory": "2Gi"})
    )


class ExternalNats(_Part, frozen=True, kw_only=True, rename="camel"):
    secret: Annotated[
        str,
        Meta(min_length=1, description="Secret whose keys `node-url` and `worker-url` hold lists of nats:// URLs."),
    ]
    stream_replicas: Annotated[Literal[1, 3, 5], Meta(description="Copies of each stream.")] = 3
    ca_key: Annotated[
        str,
        Meta(
            description="Key of that Secret with the authorities (PEM) that the servers are checked against; with it, "
            "none without TLS is used."
        ),
    ] = ""


class Nats(_Part, frozen=True, kw_only=True, rename="camel"):
    managed: Annotated[ManagedNats | None, Meta(description="The operator runs it.")] = None
    external: Annotated[ExternalNats | None, Meta(description="Somebody else runs it.")] = None


class ManagedMongodb(_Part, frozen=True, kw_only=True, rename="camel"):
    replicas: Members = 3
    image: Annotated[str, Meta(description="MongoDB 6 or newer, as a replica set.")] = "docker.io/library/mongo:8.0"
    storage: Annotated[Storage, Meta(description="Cannot be changed later.")] = field(default_factory=Storage)
    resources: Annotated[Resources, Meta(description="Of each member.")] = field(
        default_factory=lambda: Resources(requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "2Gi"})
    )
    cache_mib: Annotated[int, Meta(ge=256, description="WiredTiger's cache of each member, in MiB.")] = 512


class ExternalMongodb(_Part, frozen=True, kw_only=True, rename="camel"):
    secret: Annotated[
        str, Meta(min_length=1, description="Secret whose keys `node-uri` and `worker-uri` hold mongodb:// URIs.")
    ]
    ca_key: Annotated[
        str,
        Meta(
            description="Key of that Secret with the authorities (PEM), for URIs that say "
            "`tls=true&tlsCAFile=/etc/chat/access/mongodb-ca.crt`."
        ),
    ] = ""


class Mongodb(_Part, frozen=True, kw_only=True, rename="camel"):
    database: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,63}$", description="Cannot be changed later.")] = "chat"
    managed: Annotated[ManagedMongodb | None, Meta(description="The operator runs it.")] = None
    external: Annotated[ExternalMongodb | None, Meta(description="Somebody else runs it.")] = None


class CertificateIssuer(_Part, frozen=True, kw_only=True, rename="camel"):
    name: Annotated[
        str, Meta(min_length=1, description="Of cert-manager; its certificates have to come with `ca.crt`.")
    ]
    kind: Annotated[Literal["Issuer", "ClusterIssuer"], Meta(description="Which of the two it is.")] = "Issuer"


class Tls(_Part, frozen=True, kw_only=True, rename="camel"):
    certificates: Annotated[
        Literal["Operator", "CertManager", "Secret", "Off"],
        Meta(
            description="Who issues them: the operator by an authority of the ChatCluster's own, cert-manager, or "
            "somebody who writes Secrets. Once acted upon it can be changed from `Off` alone."
        ),
    ] = "Operator"
    issuer: Annotated[CertificateIssuer | None, Meta(description="Needed for `CertManager`.")] = None
    nats_secret: Annotated[
        str, Meta(description="Needed for `Secret`, with the keys `tls.crt`, `tls.key` and `ca.crt`.")
    ] = ""
    mongodb_secret: Annotated[
        str, Meta(description="The same; also `tls-combined.pem`, which is key and certificate in one.")
    ] = ""


class Auth(_Part, frozen=True, kw_only=True, rename="camel"):
    issuer: Annotated[str, Meta(min_length=1, description="Issuer that tokens name.")]
    jwks_url: Annotated[Url, Meta(description="Where the issuer publishes its public keys.")]
    audience: Annotated[str, Meta(min_length=1, description="Audience that tokens name.")] = "skillhub-chat"
    allowed_origins: Annotated[
        tuple[Origin, ...],
        Meta(description="Origins of web pages that may connect; empty: the nodes' own host only."),
    ] = ()


class Limits(_Part, frozen=True, kw_only=True, rename="camel"):
    connections_per_node: Annotated[int, Meta(ge=1, le=1_000_000, description="More are refused.")] = 20_000
    connects_per_second: Annotated[
        int, Meta(ge=1, le=100_000, description="Connections that one node accepts, on average.")
    ] = 500
    rooms_per_connection: Annotated[int, Meta(ge=1, le=100_000, description="Rooms that one connection follows.")] = 500
    commands_per_second: Annotated[int, Meta(ge=1, le=100_000, description="Of one connection, on average.")] = 20
    command_burst: Annotated[int, Meta(ge=1, le=100_000, description="Of one connection, at once.")] = 40
    stream_max_mib: Annotated[
        int, Meta(ge=1, description="Size of one of the eight streams; when full, sends are refused as retryable.")
    ] = 512


class Tracing(_Part, frozen=True, kw_only=True, rename="camel"):
    otlp_endpoint: Annotated[
        str, Meta(pattern=r"^(https?://\S+)?$", description="Where traces go, OTLP over HTTP; empty: nowhere.")
    ] = ""


class Retention(_Part, frozen=True, kw_only=True, rename="camel"):
    hours: Annotated[
        int, Meta(ge=1, le=24 * 365, description="How long events stay in the streams once MongoDB holds them.")
    ] = 72
    volumes: Annotated[
        Literal["Keep", "Delete"],
        Meta(description="What becomes of the datastores' volumes when the ChatCluster is deleted."),
    ] = "Keep"


class ChatClusterSpec(_Part, frozen=True, kw_only=True, rename="camel"):
    auth: Annotated[Auth, Meta(description="Whose tokens are believed.")]
    image: Annotated[Image, Meta(description="What nodes and workers run.")] = field(default_factory=Image)
    nodes: Annotated[Nodes, Meta(description="The processes that hold the connections.")] = field(default_factory=Nodes)
    autoscaling: Annotated[Autoscaling, Meta(description="How the number of nodes follows the load.")] = field(
        default_factory=Autoscaling
    )
    drain: Annotated[Drain, Meta(description="How a node that goes sends its clients to others.")] = field(
        default_factory=Drain
    )
    workers: Annotated[Workers, Meta(description="The processes that write history.")] = field(default_factory=Workers)
    exposure: Annotated[Exposure, Meta(description="How people outside reach the nodes.")] = field(
        default_factory=Exposure
    )
    nats: Annotated[Nats, Meta(description="The log that every event is stored in first.")] = field(
        default_factory=lambda: Nats(managed=ManagedNats())
    )
    mongodb: Annotated[Mongodb, Meta(description="The history.")] = field(
        default_factory=lambda: Mongodb(managed=ManagedMongodb())
    )
    tls: Annotated[Tls, Meta(description="TLS of NATS and MongoDB, where the operator runs them.")] = field(
        default_factory=Tls
    )
    limits: Annotated[Limits, Meta(description="What one client and one node may take.")] = field(
        default_factory=Limits
    )
    tracing: Annotated[Tracing, Meta(description="Where traces go.")] = field(default_factory=Tracing)
    retention: Annotated[Retention, Meta(description="How long things are kept.")] = field(default_factory=Retention)
    partitions: Annotated[
        int, Meta(ge=PARTITIONS, le=PARTITIONS, description="Streams that hold the rooms; cannot be changed.")
    ] = PARTITIONS


class InvalidSpec(ValueError):
    """A spec that the API server should have refused; the words say where and why."""


class Metadata(Struct, frozen=True, rename="camel"):
    name: str
    namespace: str
    uid: str
    generation: int = 1
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None


class ChatCluster(Struct, frozen=True):
    """The resource without its status, which only ``plan.status`` reads."""

    metadata: Metadata
    spec: ChatClusterSpec


def parse(resource: object) -> ChatCluster:
    """The resource as the API server gives it. Raises :class:`InvalidSpec`."""
    try:
        return msgspec.convert(resource, ChatCluster)
    except msgspec.ValidationError as error:
        raise InvalidSpec(str(error)) from error
