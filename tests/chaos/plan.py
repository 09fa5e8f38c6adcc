"""Which faults a seed makes, and when: pure."""

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chatnode.broker.subjects import PARTITIONS


class Target(enum.StrEnum):
    NODE = "node"
    WORKER = "worker"
    NATS = "nats"
    MONGO = "mongo"
    PEOPLE = "people"
    """The line of all who talk."""


class Kind(enum.StrEnum):
    KILL = "kill"
    PAUSE = "pause"
    RESTART = "restart"
    """All of the kind, one after the other."""
    STEP_DOWN = "step_down"
    STEP_STORM = "step_storm"
    """All streams again and again."""
    UNACKED = "unacked"
    """A worker writes, but cannot acknowledge, and dies."""
    CUT = "cut"
    """Off from everybody, both ways."""
    DEAF = "deaf"
    """Nothing reaches it; what it says does reach others."""
    MUTE = "mute"
    """What it says reaches nobody."""
    BRIDGE = "bridge"
    """Off from the next of its own kind only; both reach the third."""
    HALVES = "halves"
    """One member of each kind of server, and half of the nodes, are off from the others."""
    LOSSY = "lossy"
    SLOW = "slow"
    THIN = "thin"
    RESET = "reset"
    """All of its connections are reset."""
    HALF_OPEN = "half_open"
    """All of its connections are gone, and no other end is told."""
    DISK_FULL = "disk_full"
    CLOCK = "clock"
    """Its time of day jumps, and later jumps back."""
    RESTORE = "restore"
    """All of the kind go back to a backup; no plan has that, scenarios do."""
    HELD = "held"
    """What it says comes out minutes later; no plan has that, a scenario does."""
    DAMAGE = "damage"
    """It is killed, one of its message blocks is damaged, it is started again."""


NETWORKED: Final = frozenset(
    {Kind.CUT, Kind.DEAF, Kind.MUTE, Kind.BRIDGE, Kind.HALVES, Kind.LOSSY, Kind.RESET, Kind.HALF_OPEN, Kind.UNACKED}
)
"""Need a network of the run's own."""
SHAPED: Final = frozenset({Kind.SLOW, Kind.THIN})
"""Need packets to be held back, too."""
AT_ONCE: Final = {Target.NODE: 2, Target.WORKER: 2, Target.NATS: 1, Target.MONGO: 1, Target.PEOPLE: 1}
"""How many of a kind may be broken at the same time: what is stored keeps its quorum."""


@dataclass(frozen=True)
class Means:
    """What this machine lets a run do."""

    networked: bool = True
    shaped: bool = True
    disks: bool = True
    clocks: bool = True

    @property
    def all(self) -> bool:
        return self.networked and self.shaped and self.disks and self.clocks

    def allow(self, kind: Kind) -> bool:
        if kind in NETWORKED:
            return self.networked
        if kind in SHAPED:
            return self.networked and self.shaped
        return {Kind.DISK_FULL: self.disks, Kind.CLOCK: self.clocks}.get(kind, True)


@dataclass(frozen=True)
class Fault:
    after_s: float
    """Since the run began, if nothing before takes longer than planned."""
    kind: Kind
    target: Target
    which: int
    """An index, or a partition whose leader is meant."""
    leader: bool
    """Whether the leader is meant: of partition ``which``, or of the replica set."""
    lasts_s: float
    timed: bool = False
    """Whether it has to be over soon, since nothing else is broken."""
    dose: float = 0.0
    """How much: from 0 to 1."""

    def __str__(self) -> str:
        whom = f"{self.target} {'leader of ' if self.leader else ''}{self.which}"
        return f"{self.after_s:6.1f} s  {self.kind} {whom} for {self.lasts_s:.1f} s"


_WEIGHTS: Final = {
    (Kind.KILL, Target.NODE): 3,
    (Kind.PAUSE, Target.NODE): 4,
    (Kind.RESTART, Target.NODE): 1,
    (Kind.CUT, Target.NODE): 3,
    (Kind.DEAF, Target.NODE): 2,
    (Kind.MUTE, Target.NODE): 2,
    (Kind.LOSSY, Target.NODE): 2,
    (Kind.SLOW, Target.NODE): 3,
    (Kind.THIN, Target.NODE): 2,
    (Kind.RESET, Target.NODE): 3,
    (Kind.HALF_OPEN, Target.NODE): 3,
    (Kind.CLOCK, Target.NODE): 3,
    (Kind.KILL, Target.WORKER): 2,
    (Kind.PAUSE, Target.WORKER): 4,
    (Kind.UNACKED, Target.WORKER): 3,
    (Kind.CUT, Target.WORKER): 2,
    (Kind.MUTE, Target.WORKER): 2,
    (Kind.RESET, Target.WORKER): 2,
    (Kind.HALF_OPEN, Target.WORKER): 2,
    (Kind.SLOW, Target.WORKER): 1,
    (Kind.CLOCK, Target.WORKER): 3,
    (Kind.KILL, Target.NATS): 4,
    (Kind.PAUSE, Target.NATS): 4,
    (Kind.RESTART, Target.NATS): 1,
    (Kind.STEP_DOWN, Target.NATS): 4,
    (Kind.STEP_STORM, Target.NATS): 2,
    (Kind.CUT, Target.NATS): 3,
    (Kind.DEAF, Target.NATS): 2,
    (Kind.MUTE, Target.NATS): 2,
    (Kind.BRIDGE, Target.NATS): 2,
    (Kind.HALVES, Target.NATS): 2,
    (Kind.LOSSY, Target.NATS): 2,
    (Kind.SLOW, Target.NATS): 2,
    (Kind.THIN, Target.NATS): 2,
    (Kind.RESET, Target.NATS): 3,
    (Kind.HALF_OPEN, Target.NATS): 3,
    (Kind.DISK_FULL, Target.NATS): 2,
    (Kind.DAMAGE, Target.NATS): 3,
    (Kind.KILL, Target.MONGO): 2,
    (Kind.PAUSE, Target.MONGO): 2,
    (Kind.CUT, Target.MONGO): 2,
    (Kind.DEAF, Target.MONGO): 1,
    (Kind.MUTE, Target.MONGO): 1,
    (Kind.BRIDGE, Target.MONGO): 1,
    (Kind.SLOW, Target.MONGO): 2,
    (Kind.RESET, Target.MONGO): 2,
    (Kind.HALF_OPEN, Target.MONGO): 1,
    (Kind.DISK_FULL, Target.MONGO): 1,
    (Kind.CLOCK, Target.MONGO): 2,
    (Kind.CUT, Target.PEOPLE): 1,
    (Kind.LOSSY, Target.PEOPLE): 1,
    (Kind.SLOW, Target.PEOPLE): 2,
    (Kind.THIN, Target.PEOPLE): 1,
    (Kind.RESET, Target.PEOPLE): 1,
    (Kind.HALF_OPEN, Target.PEOPLE): 1,
}
_LASTS_S: Final = {
    Kind.RESTART: (0.0, 0.0),
    Kind.STEP_DOWN: (0.0, 0.0),
    Kind.RESET: (0.0, 0.0),
    Kind.STEP_STORM: (3.0, 8.0),
    Kind.KILL: (0.0, 4.0),
    Kind.DAMAGE: (0.0, 2.0),
    Kind.UNACKED: (1.0, 3.0),
    Kind.DISK_FULL: (2.0, 6.0),
    Kind.HALF_OPEN: (2.0, 8.0),
}
_ELSE_S: Final = (1.0, 8.0)
_LONG_PAUSE: Final = 0.07
"""Share of pauses that last as long as anybody waits for anything: up to 30 s, past every lease."""
_PEOPLE_S: Final = (1.0, 6.0)
_PAUSE_MAX_S: Final = 30.0

_QUIET_S: Final = 12.0
"""After the death of a leader that is timed: nothing else happens."""
_CALM_S: Final = 14.0
"""After a storm: what piled up is worked off."""
_STORM_S: Final = 36.0
_APART_S: Final = (0.1, 0.9)
_RECOVERS_S: Final = {Target.NATS: 2.0, Target.MONGO: 2.0}


def plan(seed: int, seconds: float, means: Means, *, nodes: int = 4, workers: int = 2) -> list[Fault]:
    """The faults of a run: the same for the same arguments.

    By turns a leader dies in quiet, which is timed, and a storm of faults, in which those of one kind of server overlap
    only where :data:`AT_ONCE` lets them, and those of different kinds do.
    """
    chance = random.Random(seed)
    counts = {Target.NODE: nodes, Target.WORKER: workers, Target.NATS: PARTITIONS, Target.MONGO: 3, Target.PEOPLE: 1}
    faults: list[Fault] = []
    now = 3.0
    while now < seconds:
        target = Target.MONGO if chance.random() < 0.3 and faults else Target.NATS
        lasts_s = chance.uniform(2.0, 4.0)
        faults.append(Fault(now, Kind.KILL, target, chance.randrange(counts[target]), True, lasts_s, timed=True))
        now += _QUIET_S
        storm = _storm(chance, now, min(seconds, now + _STORM_S), counts, means)
        faults += storm
        now = max([now, *(fault.after_s + fault.lasts_s for fault in storm)]) + _CALM_S
    return faults


def _storm(chance: random.Random, now: float, until: float, counts: Mapping[Target, int], means: Means) -> list[Fault]:
    faults: list[Fault] = []
    weights = {pair: weight for pair, weight in _WEIGHTS.items() if means.allow(pair[0])}
    if not means.networked:
        weights = {pair: weight for pair, weight in weights.items() if pair[1] is not Target.PEOPLE}
    free_at = {target: [now] * AT_ONCE[target] for target in Target}
    while now < until:
        kind, target = chance.choices(list(weights), list(weights.values()))[0]
        which = chance.randrange(counts[target])
        lasts_s = _lasts_s(chance, kind, target)
        leader = target in {Target.NATS, Target.MONGO} and chance.random() < 0.7
        dose = chance.random()
        taken = [target, Target.MONGO] if kind is Kind.HALVES else [target]
        if all(min(free_at[each]) <= now for each in taken):
            faults.append(Fault(now, kind, target, which, leader, lasts_s, dose=dose))
            for each in taken:
                free_at[each].remove(min(free_at[each]))
                free_at[each].append(now + lasts_s + _RECOVERS_S.get(each, 1.0))
        now += chance.uniform(*_APART_S)
    return faults


def _lasts_s(chance: random.Random, kind: Kind, target: Target) -> float:
    if kind is Kind.PAUSE and chance.random() < _LONG_PAUSE:
        return chance.uniform(_ELSE_S[1], _PAUSE_MAX_S)
    if target is Target.PEOPLE and kind is not Kind.RESET:
        return chance.uniform(*_PEOPLE_S)
    return chance.uniform(*_LASTS_S.get(kind, _ELSE_S))
