"""Which faults a seed makes, when, and what each does."""

import asyncio
import enum
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from chatnode.broker.subjects import PARTITIONS
from tests.chaos.cluster import Cluster
from tests.chaos.network import Network
from tests.chaos.servers import Member


class Target(enum.StrEnum):
    NODE = "node"
    WORKER = "worker"
    NATS = "nats"
    MONGO = "mongo"


class Kind(enum.StrEnum):
    KILL = "kill"
    PAUSE = "pause"
    RESTART = "restart"
    STEP_DOWN = "step_down"
    CUT = "cut"
    """Off from everybody, both ways."""
    DEAF = "deaf"
    """Nothing reaches it; what it says does reach others."""
    MUTE = "mute"
    """What it says reaches nobody."""
    BRIDGE = "bridge"
    """Off from the next of its own kind only; both reach the third."""
    LOSSY = "lossy"


NETWORKED: Final = frozenset({Kind.CUT, Kind.DEAF, Kind.MUTE, Kind.BRIDGE, Kind.LOSSY})
"""Need a network of the run's own."""


@dataclass(frozen=True)
class Fault:
    after_s: float
    """Since the run began."""
    kind: Kind
    target: Target
    which: int
    """An index, or a partition whose leader is meant."""
    leader: bool
    """Whether the leader is meant: of partition ``which``, or of the replica set."""
    lasts_s: float
    timed: bool = False
    """Whether it has to be over soon, since nothing else is broken."""

    def __str__(self) -> str:
        whom = f"{self.target} {'leader of ' if self.leader else ''}{self.which}"
        return f"{self.after_s:6.1f} s  {self.kind} {whom} for {self.lasts_s:.1f} s"


_WEIGHTS: Final = {
    (Kind.KILL, Target.NODE): 4,
    (Kind.PAUSE, Target.NODE): 3,
    (Kind.RESTART, Target.NODE): 1,
    (Kind.KILL, Target.WORKER): 2,
    (Kind.PAUSE, Target.WORKER): 2,
    (Kind.KILL, Target.NATS): 5,
    (Kind.PAUSE, Target.NATS): 4,
    (Kind.RESTART, Target.NATS): 1,
    (Kind.STEP_DOWN, Target.NATS): 4,
    (Kind.KILL, Target.MONGO): 2,
    (Kind.PAUSE, Target.MONGO): 2,
    (Kind.CUT, Target.NATS): 3,
    (Kind.DEAF, Target.NATS): 2,
    (Kind.MUTE, Target.NATS): 2,
    (Kind.BRIDGE, Target.NATS): 2,
    (Kind.LOSSY, Target.NATS): 1,
    (Kind.CUT, Target.MONGO): 1,
    (Kind.DEAF, Target.MONGO): 1,
    (Kind.MUTE, Target.MONGO): 1,
    (Kind.CUT, Target.NODE): 2,
    (Kind.DEAF, Target.NODE): 1,
    (Kind.MUTE, Target.NODE): 1,
    (Kind.LOSSY, Target.NODE): 1,
    (Kind.CUT, Target.WORKER): 1,
    (Kind.MUTE, Target.WORKER): 1,
}
_LOSS: Final = 0.15


_QUIET_S: Final = 14.0
"""Around the death of a leader that is timed: nothing else happens."""
_STORM_S: Final = 25.0


def plan(seed: int, seconds: float, *, networked: bool, nodes: int = 4, workers: int = 2) -> list[Fault]:
    """The faults of a run: the same for the same arguments.

    By turns a leader dies in quiet, which is timed, and a storm of faults, in which those of one kind of server do not
    overlap, but those of different kinds do.
    """
    chance = random.Random(seed)
    counts = {Target.NODE: nodes, Target.WORKER: workers, Target.NATS: PARTITIONS, Target.MONGO: 3}
    faults: list[Fault] = []
    now = 3.0
    while now < seconds:
        target = Target.MONGO if chance.random() < 0.3 and faults else Target.NATS
        lasts_s = chance.uniform(3.0, 6.0)
        faults.append(Fault(now, Kind.KILL, target, chance.randrange(counts[target]), True, lasts_s, timed=True))
        now += _QUIET_S
        storm = _storm(chance, now, min(seconds, now + _STORM_S), counts, networked=networked)
        faults += storm
        now = max([now, *(fault.after_s + fault.lasts_s for fault in storm)]) + _QUIET_S
    return faults


def _storm(
    chance: random.Random, now: float, until: float, counts: Mapping[Target, int], *, networked: bool
) -> list[Fault]:
    faults: list[Fault] = []
    weights = {pair: weight for pair, weight in _WEIGHTS.items() if networked or pair[0] not in NETWORKED}
    free_at = dict.fromkeys(Target, now)
    while now < until:
        kind, target = chance.choices(list(weights), list(weights.values()))[0]
        which = chance.randrange(counts[target])
        lasts_s = _lasts_s(chance, kind)
        leader = target in {Target.NATS, Target.MONGO} and chance.random() < 0.7
        if free_at[target] <= now:
            faults.append(Fault(now, kind, target, which, leader, lasts_s))
            free_at[target] = now + lasts_s + (3.0 if target in {Target.NATS, Target.MONGO} else 1.0)
        now += chance.uniform(0.2, 2.0)
    return faults


def _lasts_s(chance: random.Random, kind: Kind) -> float:
    if kind in {Kind.RESTART, Kind.STEP_DOWN}:
        return 0.0
    if kind is Kind.KILL:
        return chance.uniform(0.0, 4.0)
    return chance.uniform(1.0, 10.0) if kind is Kind.PAUSE else chance.uniform(2.0, 15.0)


@dataclass
class Done:
    """A fault that happened: to whom, from when to when (monotonic seconds)."""

    fault: Fault
    victims: tuple[str, ...]
    began_at: float
    led: tuple[int, ...] = ()
    """Partitions that the victim led; all for the primary, whose death none of them may feel."""
    healed_at: float = 0.0


@dataclass
class Breaker:
    cluster: Cluster
    network: Network | None = None
    done: list[Done] = field(default_factory=list)
    _busy: dict[Target, asyncio.Lock] = field(default_factory=lambda: {target: asyncio.Lock() for target in Target})

    async def run(self, faults: Sequence[Fault]) -> None:
        """Each at its time; returns when all are healed."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.after_s - time.monotonic()))
                group.create_task(self._do(fault))

    async def _do(self, fault: Fault) -> None:
        async with self._busy[fault.target]:
            if fault.kind is Kind.STEP_DOWN:
                await self._step_down(fault)
            elif fault.kind is Kind.RESTART:
                await self._roll(fault)
            else:
                await self._break(fault)

    async def _step_down(self, fault: Fault) -> None:
        partitions = range(PARTITIONS) if fault.which % 2 else (fault.which,)
        done = Done(fault, tuple(f"CHAT_{partition}" for partition in partitions), time.monotonic(), tuple(partitions))
        self.done.append(done)
        await asyncio.gather(*(self.cluster.step_down(partition) for partition in partitions))
        done.healed_at = time.monotonic()

    async def _roll(self, fault: Fault) -> None:
        members = self._of(fault.target)
        done = Done(fault, tuple(member.name for member in members), time.monotonic())
        self.done.append(done)
        for member in members:
            await member.stop()
            await self._start(member)
            if fault.target is Target.NATS:
                await asyncio.sleep(2.0)
        done.healed_at = time.monotonic()

    async def _break(self, fault: Fault) -> None:
        victim = await self._victim(fault)
        leaders = await self.cluster.leaders() if fault.target is Target.NATS else {}
        led = tuple(partition for partition, name in leaders.items() if name == victim.name)
        if fault.target is Target.MONGO and fault.leader:
            led = tuple(range(PARTITIONS))
        done = Done(fault, (victim.name,), time.monotonic(), led)
        self.done.append(done)
        if fault.kind is Kind.KILL:
            await victim.kill()
            await asyncio.sleep(fault.lasts_s)
            await self._start(victim)
        elif self.network is not None and fault.kind in NETWORKED:
            await self._separate(self.network, fault, victim)
        else:
            victim.pause()
            try:
                await asyncio.sleep(fault.lasts_s)
            finally:
                victim.resume()
        done.healed_at = time.monotonic()

    async def _separate(self, network: Network, fault: Fault, victim: Member) -> None:
        """Rules are set in threads: each is a process of its own."""
        name = victim.name
        others = [member.name for member in self.cluster.members if member is not victim]
        if fault.kind is Kind.BRIDGE:
            kin = [member.name for member in self._of(fault.target)]
            others = [kin[(kin.index(name) + 1) % len(kin)]]
        cuts = [(name, other) for other in others] if fault.kind is not Kind.DEAF else []
        cuts += [(other, name) for other in others] if fault.kind is not Kind.MUTE else []
        try:
            if fault.kind is Kind.LOSSY:
                await asyncio.to_thread(network.lose, name, _LOSS)
            else:
                await asyncio.to_thread(network.cut_all, cuts)
            await asyncio.sleep(fault.lasts_s)
        finally:
            network.mend(name, others)

    async def _start(self, member: Member) -> None:
        """Nodes and workers wait for what they need, which may be broken by another fault: they are not waited for."""
        if member in self.cluster.nodes or member in self.cluster.workers:
            await member.launch()
        else:
            await member.start()

    async def _victim(self, fault: Fault) -> Member:
        members = self._of(fault.target)
        chosen: Member | None = None
        if fault.leader and fault.target is Target.NATS:
            chosen = await self.cluster.stream_leader(fault.which)
        elif fault.leader:
            chosen = await self.cluster.primary()
        return chosen or members[fault.which % len(members)]

    def _of(self, target: Target) -> Sequence[Member]:
        return {
            Target.NODE: self.cluster.nodes,
            Target.WORKER: self.cluster.workers,
            Target.NATS: self.cluster.nats,
            Target.MONGO: self.cluster.mongo,
        }[target]
