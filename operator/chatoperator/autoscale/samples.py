"""Who there is and what each said, and how much of it is to be believed."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from chatoperator.spec import ChatClusterSpec

State = Literal["starting", "serving", "cordoned", "draining", "suspended"]

_MORE_THAN_TAKEN: Final = 1.1
"""A node may hold a little more than it takes: requests that were let in together."""
_PEERS_SLACK: Final = 1.25
_PEERS_ALLOWANCE: Final = 50
"""People whom the others still count to a node some seconds after they left it."""


class Pod(Struct, frozen=True, kw_only=True):
    """A pod of the nodes' Deployment, as the API server has it."""

    uid: str
    name: str
    address: str = ""
    zone: str = ""
    machine: str = ""
    ready: bool = False
    running: bool = False
    """Bound to a machine and not pending."""
    terminating: bool = False
    revision: str = ""
    """Its ReplicaSet's hash."""
    deletion_cost: int | None = None
    entry: bool = True
    """Whether its labels let the Service lead to it."""
    labelled: bool = True
    """Whether they say so at all."""
    created: float = 0.0


class Sample(Struct, frozen=True, kw_only=True):
    """What one node said of itself, and when it was heard."""

    pod: str
    """UID of the pod that was asked."""
    node: str
    """Who answered."""
    heard: float
    """By this process's wall clock, seconds."""
    time: float
    """By the node's."""
    state: State = "serving"
    connections: int = 0
    capacity: int = 0
    lag_ms: float = 0.0
    refused: int = 0
    peers: Mapping[str, int] = {}
    """Other nodes that it hears → people connected there."""


class Known(Struct, frozen=True):
    """The last that was believed of a pod."""

    connections: int
    heard: float


class Memory(Struct, frozen=True, kw_only=True):
    """What one process remembers from visit to visit; lost when it ends, and then a full window passes first."""

    since: float | None = None
    """Since when it has looked without a break."""
    looked: float = 0.0
    known: Mapping[str, Known] = {}
    totals: tuple[tuple[float, int], ...] = ()
    """Time and connections, newest last."""


class Stock(Struct, frozen=True, kw_only=True):
    """All nodes together, as far as they are known."""

    connections: int = 0
    """Of all pods, draining ones included as long as they answer; who else is missing counts as its last word."""
    assumed: int = 0
    """More than that where a pod that was never heard counts as one at its target: for taking nodes away."""
    capacity: int = 1
    """Connections that one node takes: the median of those who were believed."""
    target: int = 1
    lag_ms: float = 0.0
    """The median of those who serve."""
    rate: float = 0.0
    """Growth in connections per second, which every moment of the last intervals bears out; never below 0."""
    zones: int = 0
    """In which pods that stay are; unknown ones are not counted."""
    pending: int = 0
    heard: int = 0
    """Pods whose word is fresh and believed."""
    doubts: tuple[str, ...] = ()
    """Why no node is taken away on these words, each about one pod."""
    by_pod: Mapping[str, int] = {}
    """Connections by UID, as counted."""
    watched_s: float = 0.0
    """For how long the load has been looked at without a break."""


class _Scene(Struct, frozen=True):
    spec: ChatClusterSpec
    pods: tuple[Pod, ...]
    latest: Mapping[str, Sample]
    now: float


def stale_after(spec: ChatClusterSpec) -> float:
    return float(spec.autoscaling.interval_seconds * spec.autoscaling.scale_in.stale_intervals)


def target_of(spec: ChatClusterSpec, capacity: int) -> int:
    """T: connections that one node should hold."""
    return max(1, spec.nodes.target_connections or capacity * spec.autoscaling.target_percent // 100)


def take_stock(
    spec: ChatClusterSpec,
    pods: Iterable[Pod],
    samples: Iterable[Sample],
    memory: Memory,
    now: float,
    *,
    drained: frozenset[str] = frozenset(),
) -> tuple[Stock, Memory]:
    """``drained``: UIDs of pods that were told to cordon or drain. The memory returned is for the next call."""
    latest = {sample.pod: sample for sample in sorted(samples, key=lambda sample: sample.heard)}
    scene = _Scene(spec, tuple(pods), latest, now)
    fresh, doubts = _believe(scene, drained)
    believed = [sample for sample in fresh.values() if sample.state != "starting"]
    capacity = round(median(s.capacity for s in believed)) if believed else spec.limits.connections_per_node
    target = target_of(spec, capacity)
    counted, unheard = _count(scene, fresh, memory, target)
    total = sum(counted.values())
    staying = [pod for pod in scene.pods if not pod.terminating]
    serving = [sample.lag_ms for sample in believed if sample.state == "serving"]
    remembered = _remember(scene, memory, fresh, total)
    stock = Stock(
        connections=total,
        assumed=total + unheard * target,
        capacity=max(1, capacity),
        target=target,
        lag_ms=median(serving) if serving else 0.0,
        rate=growth(remembered.totals, now),
        zones=len({pod.zone for pod in staying if pod.zone}),
        pending=sum(not pod.ready for pod in staying if pod.uid not in drained),
        heard=sum(pod.uid in fresh for pod in staying),
        doubts=tuple(doubts),
        by_pod=counted,
        watched_s=now - remembered.since if remembered.since is not None else 0.0,
    )
    return stock, remembered


def _believe(scene: _Scene, drained: frozenset[str]) -> tuple[dict[str, Sample], list[str]]:
    fresh: dict[str, Sample] = {}
    doubts: list[str] = []
    for pod in scene.pods:
        sample = scene.latest.get(pod.uid)
        if sample is None or scene.now - sample.heard > stale_after(scene.spec):
            if pod.ready and not pod.terminating:
                doubts.append(f"{pod.name} was not heard for {stale_after(scene.spec):.0f} s")
            continue
        doubt = _doubt(scene, pod, sample, told=pod.uid in drained or pod.terminating)
        if doubt:
            doubts.append(f"{pod.name} {doubt}")
        else:
            fresh[pod.uid] = sample
    return fresh, doubts


def _doubt(scene: _Scene, pod: Pod, sample: Sample, *, told: bool) -> str:
    """Why a fresh word is not believed; empty: it is."""
    limit, patience = scene.spec.limits.connections_per_node, stale_after(scene.spec)
    if sample.node != pod.name:
        return f"answered as {sample.node}"
    if abs(sample.time - sample.heard) > patience:
        return f"has a clock that is {sample.time - sample.heard:+.0f} s off"
    if sample.heard - scene.now > patience:
        return "was heard in the future"
    if sample.state == "starting":
        return ""
    if not limit / 2 <= sample.capacity <= limit * 2:
        return f"says that it takes {sample.capacity} connections, not {limit}"
    if not 0 <= sample.connections <= sample.capacity * _MORE_THAN_TAKEN:
        return f"says that it holds {sample.connections} of {sample.capacity} connections"
    if sample.state in {"cordoned", "draining"} and not told:
        return f"is {sample.state}, which nobody asked for"
    return _gossip_doubt(scene, pod, sample)


def _gossip_doubt(scene: _Scene, pod: Pod, sample: Sample) -> str:
    """What the other nodes hear of it over NATS has to fit what it says itself."""
    if sample.state != "serving" or not pod.ready:
        return ""
    others = [
        scene.latest[other.uid]
        for other in scene.pods
        if other.uid != pod.uid and other.ready and not other.terminating and other.uid in scene.latest
    ]
    told = [other.peers[pod.name] for other in others if pod.name in other.peers]
    if not told:
        new = scene.now - pod.created <= stale_after(scene.spec)
        return "is heard by none of the other nodes" if others and not new else ""
    people = median(told)
    if people > sample.connections * _PEERS_SLACK + _PEERS_ALLOWANCE:
        return f"says that it holds {sample.connections} connections, but the others know {people:.0f} people there"
    return ""


def _count(scene: _Scene, fresh: Mapping[str, Sample], memory: Memory, target: int) -> tuple[Mapping[str, int], int]:
    """Connections by pod, and how many pods are there that were never heard."""
    counted: dict[str, int] = {}
    unheard, interval = 0, scene.spec.autoscaling.interval_seconds
    for pod in scene.pods:
        last = memory.known.get(pod.uid)
        if pod.terminating:
            # One that no longer answers has ended: its clients are with the others already, or on their way.
            answered = pod.uid in fresh and scene.now - fresh[pod.uid].heard <= interval / 2
            counted[pod.uid] = fresh[pod.uid].connections if answered else 0
        elif pod.uid in fresh:
            counted[pod.uid] = fresh[pod.uid].connections
        elif last is not None:
            counted[pod.uid] = max(last.connections, target)
        elif pod.ready:
            # Not a reason to add nodes: those would be as silent, and so on without an end.
            counted[pod.uid] = 0
            unheard += 1
    return counted, unheard


def _remember(scene: _Scene, memory: Memory, fresh: Mapping[str, Sample], total: int) -> Memory:
    now, span = scene.now, stale_after(scene.spec)
    present = {pod.uid for pod in scene.pods}
    known = {uid: last for uid, last in memory.known.items() if uid in present}
    known |= {
        uid: Known(sample.connections, sample.heard) for uid, sample in fresh.items() if sample.state != "starting"
    }
    broken = memory.since is None or not 0 <= now - memory.looked <= span
    totals = () if broken else tuple(entry for entry in memory.totals if now - entry[0] <= span)
    if not totals or now - totals[-1][0] >= scene.spec.autoscaling.interval_seconds / 2:
        totals = (*totals, (now, total))
    return replace(memory, since=now if broken else memory.since, looked=now, known=known, totals=totals)


def growth(totals: Sequence[tuple[float, int]], now: float) -> float:
    """The least slope from any earlier moment to now, so that who left and came back is no rise."""
    if len(totals) < 3:
        return 0.0
    last = totals[-1][1]
    slopes = [(last - then) / (now - at) for at, then in totals[:-1] if now > at]
    return max(0.0, min(slopes, default=0.0))
