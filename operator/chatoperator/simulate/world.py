"""Nodes, their Deployment and their clients, as a model that moves on second by second."""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from chatoperator.autoscale.samples import Memory, Pod, Sample, State
from chatoperator.drain.pace import LEAVE_S, grace_s
from chatoperator.drain.ranking import rank
from chatoperator.drain.wishes import Mark, Order, ShedOrder
from chatoperator.plan.scale import NodesView, Remembered, Scale, steer
from chatoperator.simulate.trace import Trace
from chatoperator.spec import ChatCluster

EPOCH: Final = 1_700_000_000
"""When a simulation begins, seconds since 1970."""
_PROBE_S: Final = 2
_BUSY_S: Final = 2
Telling = Callable[[Sample], Sample | None]
"""What becomes of a node's word on its way: itself, another one, or nothing."""


@dataclass(slots=True)
class Node:
    name: str
    zone: str
    created: int
    ready_at: int
    connections: int = 0
    stance: State = "serving"
    stance_at: int = 0
    leaving: int = 0
    """Clients when it began to drain."""
    window_s: float = 0.0
    shed: int = 0
    """Clients that are still to go although it stays."""
    shed_rate: float = 0.0
    entry: bool = True
    cost: int | None = None
    ended_at: int | None = None

    @property
    def uid(self) -> str:
        return f"uid-{self.name}"

    def ready(self, now: int) -> bool:
        told = self.stance in {"cordoned", "draining"} and now - self.stance_at >= _PROBE_S
        return now >= self.ready_at and not told

    def take_stance(self, stance: State, now: int, window_s: float = 0.0) -> None:
        if stance != self.stance:
            self.stance, self.stance_at, self.leaving, self.window_s = stance, now, self.connections, window_s

    def told_to_go(self, now: int) -> int:
        """Clients who leave in this second."""
        if self.stance == "draining" and self.connections:
            passed = now - self.stance_at
            if passed >= self.window_s:
                return self.connections
            due = math.ceil(self.leaving * passed / self.window_s)
            return min(self.connections, max(0, due - (self.leaving - self.connections)))
        going = min(self.connections, self.shed, math.ceil(self.shed_rate))
        self.shed -= going
        return going


@dataclass(slots=True)
class Second:
    """What one second looked like, for pictures and for tests."""

    at: int
    load: int
    connected: int
    replicas: int
    ready: int
    capacity: int
    """Connections that the ready nodes should hold: their target, together."""
    fullest: int
    reconnects: int
    refused: int


@dataclass(slots=True)
class Told:
    at: int
    what: str
    why: str


@dataclass
class World:
    """``cluster`` is what the operator is told; what nodes say passes through ``telling``."""

    cluster: ChatCluster
    load: Trace
    start_s: int = 20
    """From a pod's creation to its being ready."""
    zones: tuple[str, ...] = ("a", "b", "c")
    telling: Telling = lambda sample: sample
    seed: int = 1
    now: int = EPOCH
    replicas: int = 0
    nodes: list[Node] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    remembered: Remembered = field(default_factory=Remembered)
    seconds: list[Second] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    removed: list[Node] = field(default_factory=list)
    """Pods that the ReplicaSet chose to delete, with what they held at that moment."""
    last: Scale | None = None
    datastores: str = ""
    hears_orders: bool = True

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  a simulation
        self._samples: dict[str, Sample] = {}
        self._count = 0
        self._visit_at = self.now
        nodes = self.cluster.spec.nodes
        first = -(-self.load.at(0) // max(1, self._target()))
        self.replicas = min(max(nodes.min, first), nodes.max)
        self._reconcile()
        for node in self.nodes:
            node.ready_at = self.now
        self._arrive(self.load.at(0))

    def _target(self) -> int:
        spec = self.cluster.spec
        return spec.nodes.target_connections or (
            spec.limits.connections_per_node * spec.autoscaling.target_percent // 100
        )

    @property
    def elapsed(self) -> int:
        return self.now - EPOCH

    @property
    def connected(self) -> int:
        return sum(node.connections for node in self.nodes)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.tick()

    def restart(self) -> None:
        """Another operator goes on with what the first has written."""
        self.memory = Memory()
        self._samples = {}

    def tick(self) -> None:
        """One second."""
        self.now += 1
        moving = 0
        for node in self.nodes:
            going = node.told_to_go(self.now)
            node.connections -= going
            moving += going
        self._end()
        load = self.load.at(self.elapsed)
        self._leave(self.connected + moving - load)
        refused = self._arrive(load - self.connected)
        if self.now >= self._visit_at:
            self.visit()
        ready = [node for node in self.nodes if node.ready(self.now) and node.ended_at is None]
        self.seconds.append(
            Second(
                at=self.elapsed,
                load=load,
                connected=self.connected,
                replicas=self.replicas,
                ready=len(ready),
                capacity=len(ready) * self._target(),
                fullest=max((node.connections for node in ready), default=0),
                reconnects=moving,
                refused=refused,
            )
        )

    def _end(self) -> None:
        for node in self.nodes:
            if node.ended_at is not None and self.now >= node.ended_at + LEAVE_S and node.stance != "draining":
                rate = self.cluster.spec.drain.reconnects_per_second
                window = max(self.cluster.spec.drain.window_seconds, math.ceil(node.connections / rate))
                node.take_stance("draining", self.now, window)
        self.nodes = [node for node in self.nodes if node.ended_at is None or not self._has_ended(node, node.ended_at)]

    def _has_ended(self, node: Node, told_at: int) -> bool:
        """Once its clients have gone, or the grace of its pod is over."""
        passed = self.now - told_at
        return passed >= LEAVE_S and (not node.connections or passed >= grace_s(self.cluster.spec))

    def _open(self) -> list[Node]:
        return [node for node in self.nodes if node.ready(self.now) and node.entry and node.ended_at is None]

    def _arrive(self, count: int) -> int:
        """So many connect, each to one of those that hold fewest; who finds no room is refused."""
        limits = self.cluster.spec.limits
        opened = sorted(self._open(), key=lambda node: node.connections)
        room = {node.name: min(limits.connects_per_second, limits.connections_per_node) for node in opened}
        if self.now == EPOCH:
            room = {node.name: limits.connections_per_node for node in opened}
        while count > 0 and opened:
            share = max(1, count // len(opened))
            for node in opened:
                taken = min(share, count, room[node.name], limits.connections_per_node - node.connections)
                node.connections += taken
                room[node.name] -= taken
                count -= taken
            opened = [node for node in opened if room[node.name] > 0 and node.connections < limits.connections_per_node]
        return max(0, count)

    def _leave(self, count: int) -> None:
        """So many go for good, from all nodes alike."""
        total = self.connected
        count = min(max(0, count), total)
        for node in self.nodes:
            if total <= 0:
                return
            share = min(node.connections, round(count * node.connections / total))
            total -= node.connections
            node.connections -= share
            count -= share

    def visit(self) -> None:
        """What the operator does when it looks."""
        for node in self.nodes:
            sample = self.telling(self._sample(node)) if self.now >= node.ready_at else None
            if sample is not None:
                self._samples[node.uid] = sample
        present = {node.uid for node in self.nodes}
        self._samples = {uid: sample for uid, sample in self._samples.items() if uid in present}
        scale = steer(
            self.cluster, self.view(), self.remembered, self.memory, float(self.now), datastores=self.datastores
        )
        self.last = scale
        self.memory = scale.memory
        self.remembered = Remembered(desired=scale.desired, scaling=scale.verdict.state, batch=scale.batch)
        self.told += [Told(self.elapsed, what, why) for what, why in scale.told]
        self._mark(scale.marks)
        self._order(scale.orders, scale.sheds)
        self.replicas = scale.replicas
        self._reconcile()
        interval = self.cluster.spec.autoscaling.interval_seconds
        self._visit_at = self.now + (min(_BUSY_S, interval) if scale.batch is not None else interval)

    def view(self) -> NodesView:
        pods = tuple(self._pod(node) for node in self.nodes)
        staying = [pod for pod in pods if not pod.terminating]
        return NodesView(
            replicas=self.replicas,
            settled=len(staying) == self.replicas,
            revision="r1",
            pods=pods,
            samples=tuple(self._samples.values()),
            endpoints=frozenset(node.uid for node in self._open()),
            ours=frozenset(node.uid for node in self.nodes if node.cost is not None),
        )

    def _pod(self, node: Node) -> Pod:
        return Pod(
            uid=node.uid,
            name=node.name,
            zone=node.zone,
            machine="m",
            ready=node.ready(self.now) and node.ended_at is None,
            running=True,
            terminating=node.ended_at is not None,
            revision="r1",
            deletion_cost=node.cost,
            entry=node.entry,
            created=float(node.created),
        )

    def _sample(self, node: Node) -> Sample:
        peers = {other.name: other.connections for other in self.nodes if other is not node and other.ended_at is None}
        return Sample(
            pod=node.uid,
            node=node.name,
            heard=float(self.now),
            time=float(self.now),
            state=node.stance,
            connections=node.connections,
            capacity=self.cluster.spec.limits.connections_per_node,
            peers=peers,
        )

    def _mark(self, marks: Iterable[Mark]) -> None:
        nodes = {node.uid: node for node in self.nodes}
        for mark in marks:
            nodes[mark.uid].entry, nodes[mark.uid].cost = mark.entry, mark.cost

    def _order(self, orders: Iterable[Order], sheds: Iterable[ShedOrder]) -> None:
        nodes = {node.uid: node for node in self.nodes}
        for order in orders if self.hears_orders else ():
            nodes[order.uid].take_stance(order.stance, self.now, order.window_s)
        for shed in sheds:
            node = nodes[shed.uid]
            node.shed, node.shed_rate = shed.clients, shed.clients / max(1.0, shed.window_s)

    def _reconcile(self) -> None:
        """What the Deployment's controllers do."""
        staying = [node for node in self.nodes if node.ended_at is None]
        for _ in range(len(staying), self.replicas):
            self._count += 1
            sizes = {zone: sum(node.zone == zone for node in self.nodes) for zone in self.zones}
            zone = min(self.zones, key=lambda zone: sizes[zone])
            jitter = self._random.randint(0, max(0, self.start_s // 4))
            self.nodes.append(Node(f"node-{self._count}", zone, self.now, self.now + self.start_s + jitter))
        ordered = sorted(staying, key=lambda node: (rank(self._pod(node)), -node.created))
        for node in ordered[: max(0, len(staying) - self.replicas)]:
            node.ended_at = self.now
            self.removed.append(Node(node.name, node.zone, node.created, node.ready_at, connections=node.connections))
