"""Carries a plan out: what each fault does to the cluster, and how it is healed."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chatnode.broker.subjects import PARTITIONS, stream_name
from chatnode.local.children import ServerError
from tests.chaos.cluster import PEOPLE, Cluster
from tests.chaos.damage import damage
from tests.chaos.network import Network
from tests.chaos.plan import AT_ONCE, Fault, Kind, Target
from tests.chaos.servers import ChatMember, Member, MongoMember, NatsMember

_LOSS: Final = 0.15
_DELAY_MS: Final = (10.0, 250.0)
_RATE_KBIT: Final = (300.0, 4000.0)
_JUMP_S: Final = (5.0, 900.0)
_STEPS_APART_S: Final = 0.3
_SOUND_WITHIN_S: Final = 20.0
_CALM_WITHIN_S: Final = 60.0
_ALONE_S: Final = 3.0
"""Nothing is broken for so long before a death is timed."""


@dataclass
class Done:
    """A fault that happened: to whom, from when to when (monotonic seconds)."""

    fault: Fault
    victims: tuple[str, ...]
    began_at: float
    led: tuple[int, ...] = ()
    """Partitions that the victim led; all for the primary, whose death none of them may feel."""
    healed_at: float = 0.0
    note: str = ""


@dataclass
class Breaker:
    cluster: Cluster
    network: Network | None = None
    seed: int = 0
    say: Callable[[str], None] = print
    calm: Callable[[], bool] = lambda: True
    """Whether people wait for nothing that piled up."""
    done: list[Done] = field(default_factory=list)
    caught_up_s: list[float] = field(default_factory=list)
    """After each storm: until people waited for nothing that piled up."""

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._free = {target: asyncio.Semaphore(count) for target, count in AT_ONCE.items()}
        self._victims: set[str] = set()

    async def run(self, faults: Sequence[Fault]) -> None:
        """Each at its time, later where others took longer than planned; returns when all are healed."""
        began = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                if fault.timed and self.done:
                    if under_way:
                        await asyncio.wait(under_way)
                    await self._until_calm()
                    began = max(began, time.monotonic() + _ALONE_S - fault.after_s)
                await asyncio.sleep(max(0.0, began + fault.after_s - time.monotonic()))
                task = group.create_task(self._do(fault))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    async def _until_calm(self) -> None:
        """A death is timed where it finds a cluster that works, not one that catches up."""
        healed_at = time.monotonic()
        while not self.calm() and time.monotonic() < healed_at + _CALM_WITHIN_S:
            await asyncio.sleep(0.5)
        self.caught_up_s.append(round(time.monotonic() - healed_at, 1))

    async def _do(self, fault: Fault) -> None:
        targets = [fault.target, Target.MONGO] if fault.kind is Kind.HALVES else [fault.target]
        for target in targets:
            await self._free[target].acquire()
        try:
            await self._ways()[fault.kind](fault)
        finally:
            for target in targets:
                self._free[target].release()

    def _ways(self) -> dict[Kind, Callable[[Fault], Awaitable[None]]]:
        return {
            Kind.STEP_DOWN: self._step_down,
            Kind.STEP_STORM: self._step_storm,
            Kind.RESTART: self._roll,
            Kind.HALVES: self._halve,
        } | dict.fromkeys(set(Kind) - {Kind.STEP_DOWN, Kind.STEP_STORM, Kind.RESTART, Kind.HALVES}, self._break)

    async def _step_down(self, fault: Fault) -> None:
        partitions = range(PARTITIONS) if fault.which % 2 else (fault.which,)
        done = self._begin(fault, [stream_name(partition) for partition in partitions], partitions)
        await asyncio.gather(*(self.cluster.step_down(partition) for partition in partitions))
        done.healed_at = time.monotonic()

    async def _step_storm(self, fault: Fault) -> None:
        done = self._begin(fault, [stream_name(partition) for partition in range(PARTITIONS)], range(PARTITIONS))
        until = time.monotonic() + fault.lasts_s
        while time.monotonic() < until:
            await asyncio.gather(*(self.cluster.step_down(partition) for partition in range(PARTITIONS)))
            await asyncio.sleep(_STEPS_APART_S)
        done.healed_at = time.monotonic()

    async def _roll(self, fault: Fault) -> None:
        members = self._of(fault.target)
        done = self._begin(fault, [member.name for member in members])
        for member in members:
            if member.name in self._victims:
                continue
            self._victims.add(member.name)
            try:
                await member.stop()
                await self._heal(member)
            finally:
                self._victims.discard(member.name)
        done.healed_at = time.monotonic()

    async def _halve(self, fault: Fault) -> None:
        if self.network is None:
            return
        network = self.network
        here = [self.cluster.nats[fault.which % 3], self.cluster.mongo[(fault.which + 1) % 3], self.cluster.workers[0]]
        names = [member.name for member in (*here, *self.cluster.nodes[::2])]
        there = [member.name for member in self.cluster.members if member.name not in names]
        done = self._begin(fault, names)
        cut: list[str] = []
        try:
            for name in names:
                await asyncio.to_thread(network.cut, name, there)
                cut.append(name)
            await asyncio.sleep(fault.lasts_s)
        finally:
            for name in cut:
                network.mend(name, there)
        done.healed_at = time.monotonic()
        await self._heal(here[0])

    async def _break(self, fault: Fault) -> None:
        if fault.target is Target.PEOPLE:
            done = self._begin(fault, [PEOPLE])
            await self._line(fault, PEOPLE)
            done.healed_at = time.monotonic()
            return
        victim = await self._victim(fault)
        if victim is None:
            return
        self._victims.add(victim.name)
        try:
            leaders = await self.cluster.leaders() if fault.target is Target.NATS else {}
            led = [partition for partition, name in leaders.items() if name == victim.name]
            if fault.target is Target.MONGO and fault.leader:
                led = list(range(PARTITIONS))
            done = self._begin(fault, [victim.name], led)
            await self._hurt(fault, victim, done)
            done.healed_at = time.monotonic()
            await self._heal(victim)
        finally:
            self._victims.discard(victim.name)

    async def _hurt(self, fault: Fault, victim: Member, done: Done) -> None:
        match fault.kind:
            case Kind.KILL:
                await victim.kill()
                await asyncio.sleep(fault.lasts_s)
            case Kind.PAUSE:
                victim.pause()
                try:
                    await asyncio.sleep(fault.lasts_s)
                finally:
                    victim.resume()
            case Kind.DISK_FULL:
                await self._fill(fault, victim)
            case Kind.CLOCK:
                await self._jump(fault, victim, done)
            case Kind.DAMAGE if isinstance(victim, NatsMember):
                await victim.kill()
                stream = stream_name(done.led[0] if done.led else fault.which % PARTITIONS)
                done.note = await asyncio.to_thread(damage, victim.store, stream, self._chance)
                await asyncio.sleep(fault.lasts_s)
            case Kind.UNACKED:
                await self._unacked(fault, victim)
            case _:
                await self._line(fault, victim.name)

    async def _line(self, fault: Fault, name: str) -> None:
        """What a network does to the member of this name. Rules are set in threads: each is a process of its own."""
        network = self.network
        if network is None:
            return
        others = [*(member.name for member in self.cluster.members), PEOPLE]
        others.remove(name)
        hears, reaches = fault.kind is Kind.MUTE, fault.kind is Kind.DEAF
        match fault.kind:
            case Kind.LOSSY:
                await asyncio.to_thread(network.lose, name, _LOSS)
                await self._for(fault, lambda: network.lose_no_more(name, _LOSS))
            case Kind.SLOW:
                delay_ms = _within(_DELAY_MS, fault.dose)
                await asyncio.to_thread(lambda: network.shape(name, delay_ms=delay_ms, jitter_ms=delay_ms / 4))
                await self._for(fault, lambda: network.unshape(name))
            case Kind.THIN:
                rate_kbit = _within(_RATE_KBIT, fault.dose)
                await asyncio.to_thread(lambda: network.shape(name, rate_kbit=rate_kbit))
                await self._for(fault, lambda: network.unshape(name))
            case Kind.RESET:
                await asyncio.to_thread(network.reset, name)
            case Kind.HALF_OPEN:
                await asyncio.to_thread(network.half_open, name)
                await self._for(fault, lambda: network.whole(name))
            case _:
                if fault.kind is Kind.BRIDGE:
                    kin = [member.name for member in self._of(fault.target)]
                    others = [kin[(kin.index(name) + 1) % len(kin)]]
                await asyncio.to_thread(network.cut, name, others, hears=hears, reaches=reaches)
                await self._for(fault, lambda: network.mend(name, others, hears=hears, reaches=reaches))

    @staticmethod
    async def _for(fault: Fault, heal: Callable[[], None]) -> None:
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            heal()

    async def _fill(self, fault: Fault, victim: Member) -> None:
        disk = self.cluster.disks[victim.name]
        try:
            await asyncio.to_thread(disk.fill)
            await asyncio.sleep(fault.lasts_s)
        finally:
            disk.free()

    async def _jump(self, fault: Fault, victim: Member, done: Done) -> None:
        jump_s = _within(_JUMP_S, fault.dose) * self._chance.choice((-1.0, 1.0))
        done.note = f"{jump_s:+.0f} s"
        clock = self.cluster.clocks[victim.name]
        clock.jump(jump_s)
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            clock.jump(0.0)

    async def _unacked(self, fault: Fault, victim: Member) -> None:
        """What it reads goes into MongoDB, and no acknowledgement reaches a stream before it dies."""
        network = self.network
        if network is None:
            return
        servers = [member.name for member in self.cluster.nats]
        await asyncio.to_thread(network.cut, victim.name, servers, hears=True)
        try:
            await asyncio.sleep(fault.lasts_s)
            await victim.kill()
        finally:
            network.mend(victim.name, servers, hears=True)

    async def _heal(self, member: Member) -> None:
        """Running again. Nodes and workers wait for what they need, which may be broken too: they are not waited for.

        Servers that store are: where two of three lack something, a quorum is no promise.
        """
        if isinstance(member, ChatMember):
            if not member.running:
                await member.launch()
            return
        try:
            if not member.running:
                await member.start()
            await self._until_sound(member)
        except (ServerError, TimeoutError) as error:
            self.say(f"{member.name} is not sound: {error}; it is started again")
            await member.restart()

    async def _until_sound(self, member: Member) -> None:
        if not isinstance(member, NatsMember | MongoMember):
            return
        async with asyncio.timeout(_SOUND_WITHIN_S):
            while not await member.sound():
                if not member.running or (isinstance(member, NatsMember) and await member.gave_up()):
                    self.say(f"{member.name} gave up: it is started again")
                    await member.restart()
                await asyncio.sleep(0.25)

    async def _victim(self, fault: Fault) -> Member | None:
        """Somebody who is not broken already; None where there is nobody."""
        members = [member for member in self._of(fault.target) if member.name not in self._victims and member.running]
        chosen: Member | None = None
        if fault.leader and fault.target is Target.NATS:
            chosen = await self.cluster.stream_leader(fault.which)
        elif fault.leader:
            chosen = await self.cluster.primary()
        if chosen in members:
            return chosen
        return members[fault.which % len(members)] if members else None

    def _begin(self, fault: Fault, victims: Sequence[str], led: Sequence[int] = ()) -> Done:
        done = Done(fault, tuple(victims), time.monotonic(), tuple(led))
        self.done.append(done)
        self.say(f"{len(self.done):4d} {fault.kind} {', '.join(victims)} for {fault.lasts_s:.1f} s")
        return done

    def _of(self, target: Target) -> Sequence[Member]:
        return {
            Target.NODE: self.cluster.nodes,
            Target.WORKER: self.cluster.workers,
            Target.NATS: self.cluster.nats,
            Target.MONGO: self.cluster.mongo,
        }[target]


def _within(bounds: tuple[float, float], dose: float) -> float:
    """From the one bound to the other, small doses more often than large ones."""
    low, high = bounds
    return low * (high / low) ** dose
