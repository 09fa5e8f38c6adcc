"""What was seen of one cluster: the only input of ``plan`` beside the spec and the time."""

from collections.abc import Mapping
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from chatoperator.autoscale.decide import Scaling
from chatoperator.autoscale.samples import Memory
from chatoperator.drain.batch import Batch
from chatoperator.plan.exposure import GatewaySupport
from chatoperator.plan.mongodb import MongoView
from chatoperator.plan.scale import NodesView
from chatoperator.plan.tls import Held
from chatoperator.plan.troubles import Trouble


class Workload(Struct, frozen=True):
    """A Deployment or StatefulSet, as its controller reports it."""

    desired: int = 0
    running: int = 0
    updated: int = 0
    ready: int = 0
    seen: bool = True
    """Whether its controller has seen the object's latest generation."""

    @property
    def settled(self) -> bool:
        return self.placed and self.ready == self.desired

    @property
    def placed(self) -> bool:
        """Whether as many are there as asked for, all of the latest template, ready or not."""
        return self.seen and self.running == self.updated == self.desired


class RouteView(Struct, frozen=True):
    """Whether somebody has taken up the route or Ingress."""

    accepted: bool
    message: str = ""


Status = Literal["True", "False", "Unknown"]


class Condition(Struct, frozen=True, rename="camel"):
    type: str
    status: Status
    reason: str
    message: str
    last_transition_time: str = ""
    observed_generation: int = 0


class Decision(Struct, frozen=True):
    """Something that the operator did and that a person may ask about."""

    time: str
    what: str
    why: str


class NodeCounts(Struct, frozen=True, rename="camel"):
    desired: int = 0
    running: int = 0
    ready: int = 0
    updated: int = 0
    summary: str = ""
    reason: str = ""


class WorkerCounts(Struct, frozen=True):
    desired: int = 0
    ready: int = 0


class Endpoints(Struct, frozen=True):
    service: str = ""
    url: str = ""


class Versions(Struct, frozen=True):
    operator: str = ""
    image: str = ""
    nats: str = ""
    mongodb: str = ""


class ClusterStatus(Struct, frozen=True, rename="camel"):
    """``status`` of a ChatCluster."""

    conditions: tuple[Condition, ...] = ()
    observed_generation: int = 0
    certificates: str = ""
    """``tls.certificates`` as it was last acted upon; from then on it is fixed, but for ``Off``."""
    connections: int = 0
    selector: str = ""
    nodes: NodeCounts = NodeCounts()
    workers: WorkerCounts = WorkerCounts()
    endpoints: Endpoints = Endpoints()
    versions: Versions = Versions()
    decisions: tuple[Decision, ...] = ()
    scaling: Scaling = Scaling()
    """What scaling goes on with after a restart."""
    drain: Batch | UnsetType = UNSET
    """The nodes that are being drained to be removed."""
    strangers: tuple[str, ...] = ()
    """Pods whose deletion cost somebody else has written."""
    troubles: tuple[str, ...] = ()
    """Causes of what is not as asked, in words."""

    def condition(self, kind: str) -> Condition | None:
        return next((each for each in self.conditions if each.type == kind), None)


class Observed(Struct, frozen=True):
    image: str
    """The image that the operator runs from; nodes run it unless the spec names another."""
    operator: str = ""
    """The operator's version."""
    credentials: Mapping[str, str] = {}
    """What the drawn Secret holds, decoded."""
    certificates: Mapping[str, Held] = {}
    """What the Secrets with certificates hold, by component."""
    outdated: Mapping[str, tuple[str, ...]] = {}
    """Members that show another certificate than is in their Secret, by component."""
    workloads: Mapping[str, Workload] = {}
    """By component; absent where there is none."""
    mongodb: MongoView | None = None
    """None while nobody was asked."""
    gateway: GatewaySupport = GatewaySupport()
    route: RouteView | None = None
    nodes: NodesView = NodesView()
    troubles: tuple[Trouble, ...] = ()
    """Why workloads are not as asked, and what the last visit could not do."""
    memory: Memory = Memory()
    """What this process remembers of the nodes from earlier visits."""
    status: ClusterStatus = ClusterStatus()
    """What the last visit wrote."""
