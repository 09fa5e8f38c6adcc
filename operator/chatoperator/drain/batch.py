"""A batch of nodes on their way out, and its steps. Kept in the status, so that any operator can go on with it."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from chatoperator.autoscale.samples import Pod, Sample
from chatoperator.drain.pace import GRACE_S, window_s
from chatoperator.drain.ranking import goes_instead
from chatoperator.spec import ChatClusterSpec

Phase = Literal["Cordon", "Settle", "Leave", "Remove", "Going"]
"""Unready and out of the endpoints → all proxies know it → clients leave → replicas are lowered → they are gone."""


class Victim(Struct, frozen=True):
    uid: str
    pod: str
    connections: int = 0
    """When it was chosen."""


class Batch(Struct, frozen=True, kw_only=True, rename="camel"):
    victims: tuple[Victim, ...]
    phase: Phase = "Cordon"
    began: int
    """Of the batch, seconds since 1970."""
    since: int
    """Of the phase."""
    window_seconds: int = 0
    replicas: int
    """Asked for before it."""
    patient: bool = True
    """Whether it is given up when the nodes cannot be told; else they go by SIGTERM, which drains them too."""

    @property
    def uids(self) -> frozenset[str]:
        return frozenset(victim.uid for victim in self.victims)

    @property
    def names(self) -> str:
        return ", ".join(victim.pod for victim in self.victims)


class Scene(Struct, frozen=True, kw_only=True):
    """What was seen of the nodes."""

    now: float
    pods: Mapping[str, Pod]
    samples: Mapping[str, Sample]
    """Fresh ones, by UID."""
    replicas: int
    """Asked for now."""
    endpoints: frozenset[str] | None = None
    """UIDs to which the Service leads; None while nobody knows."""


class Progress(Struct, frozen=True, kw_only=True):
    batch: Batch | None
    scale_to: int | None = None
    told: tuple[str, ...] = ()
    """What happened, each a sentence for an Event."""
    waits: str = ""
    """What the batch waits for."""


def begin(pods: tuple[Pod, ...], connections: Mapping[str, int], replicas: int, now: float, *, patient: bool) -> Batch:
    victims = tuple(Victim(pod.uid, pod.name, connections.get(pod.uid, 0)) for pod in pods)
    return Batch(victims=victims, began=int(now), since=int(now), replicas=replicas, patient=patient)


def keep(batch: Batch, count: int, samples: Mapping[str, Sample]) -> tuple[Batch | None, str]:
    """``count`` of them are needed after all: those with the most clients left. Too late once they are going."""
    if count <= 0 or batch.phase == "Going":
        return batch, ""
    order = sorted(batch.victims, key=lambda victim: -samples[victim.uid].connections if victim.uid in samples else 0)
    staying, going = order[:count], order[count:]
    told = f"kept {', '.join(victim.pod for victim in staying)}: the load came back while it was being drained"
    return (replace(batch, victims=tuple(going)) if going else None), told


def advance(spec: ChatClusterSpec, batch: Batch, scene: Scene) -> Progress:
    """The next step, if it is time for it. Called again with the same scene it does the same."""
    if batch.phase == "Going":
        return _going(batch, scene)
    if scene.replicas == batch.replicas - len(batch.victims) and batch.phase == "Remove":
        return Progress(batch=_enter(batch, "Going", scene.now), waits="the pods to end")
    if scene.replicas != batch.replicas:
        words = f"gave up draining {batch.names}: somebody else set {scene.replicas} replicas"
        return Progress(batch=None, told=(words,))
    lost = [v for v in batch.victims if v.uid not in scene.pods or scene.pods[v.uid].terminating]
    if lost:
        left = tuple(victim for victim in batch.victims if victim not in lost)
        words = f"{', '.join(victim.pod for victim in lost)} went by itself while it was being drained"
        return Progress(batch=replace(batch, victims=left) if left else None, told=(words,))
    steps = {"Cordon": _cordon, "Settle": _settle, "Leave": _leave, "Remove": _remove}
    return steps[batch.phase](spec, batch, scene)


def _enter(batch: Batch, phase: Phase, now: float) -> Batch:
    return replace(batch, phase=phase, since=int(now))


def _cordon(spec: ChatClusterSpec, batch: Batch, scene: Scene) -> Progress:
    led = [
        victim.pod
        for victim in batch.victims
        if scene.pods[victim.uid].ready or (scene.endpoints is not None and victim.uid in scene.endpoints)
    ]
    if not led:
        return Progress(batch=_enter(batch, "Settle", scene.now), waits="proxies to know it")
    if scene.now - batch.since <= spec.drain.settle_seconds + spec.drain.deadline_seconds:
        return Progress(batch=batch, waits=f"the Service to lead no longer to {', '.join(led)}")
    if batch.patient:
        return Progress(batch=None, told=(f"gave up draining {batch.names}: {', '.join(led)} stays ready",))
    words = f"{', '.join(led)} could not be told to drain: it is ended, and drains by itself"
    return Progress(batch=_enter(batch, "Remove", scene.now), told=(words,))


def _settle(spec: ChatClusterSpec, batch: Batch, scene: Scene) -> Progress:
    if scene.now - batch.since < spec.drain.settle_seconds:
        return Progress(batch=batch, waits="proxies to know it")
    others = [
        scene.pods[uid].name
        for uid, sample in scene.samples.items()
        if uid not in batch.uids and uid in scene.pods and sample.state == "draining" and sample.connections
    ]
    if others:
        # The budget of reconnects is one for the whole cluster.
        return Progress(batch=batch, waits=f"{', '.join(others)} to be drained first")
    connections = sum(_connections(victim, scene) for victim in batch.victims)
    survivors = sum(pod.ready and not pod.terminating for pod in scene.pods.values() if pod.uid not in batch.uids)
    over = window_s(spec, connections, max(1, survivors))
    entered = replace(_enter(batch, "Leave", scene.now), window_seconds=over)
    words = f"{batch.names}: {connections} clients are told to reconnect over {over} s"
    return Progress(batch=entered, told=(words,), waits="clients to leave")


def _connections(victim: Victim, scene: Scene) -> int:
    sample = scene.samples.get(victim.uid)
    return sample.connections if sample is not None else victim.connections


def _leave(spec: ChatClusterSpec, batch: Batch, scene: Scene) -> Progress:
    there = {victim.pod: _connections(victim, scene) for victim in batch.victims}
    empty = all(
        victim.uid in scene.samples
        and scene.samples[victim.uid].state == "draining"
        and scene.samples[victim.uid].connections == 0
        for victim in batch.victims
    )
    if empty:
        words = f"{batch.names} drained in {scene.now - batch.since:.0f} s"
        return Progress(batch=_enter(batch, "Remove", scene.now), told=(words,), waits="replicas to be lowered")
    if scene.now - batch.since <= batch.window_seconds + GRACE_S + spec.drain.deadline_seconds:
        return Progress(batch=batch, waits=f"{sum(there.values())} clients to leave")
    words = f"{batch.names}: the deadline has passed with {sum(there.values())} clients left; it goes anyway"
    return Progress(batch=_enter(batch, "Remove", scene.now), told=(words,), waits="replicas to be lowered")


def _remove(spec: ChatClusterSpec, batch: Batch, scene: Scene) -> Progress:
    wrong = goes_instead(scene.pods.values(), batch.uids)
    if not wrong:
        return Progress(batch=batch, scale_to=batch.replicas - len(batch.victims), waits="replicas to be lowered")
    names = ", ".join(pod.name for pod in wrong)
    waited = scene.now - batch.since
    if batch.patient and waited > spec.drain.deadline_seconds:
        return Progress(batch=None, told=(f"gave up removing {batch.names}: {names} could be deleted instead",))
    return Progress(batch=batch, waits=f"{names}, which could be deleted instead, to be ready or dearer")


def _going(batch: Batch, scene: Scene) -> Progress:
    staying = [v for v in batch.victims if v.uid in scene.pods and not scene.pods[v.uid].terminating]
    if not staying:
        return Progress(batch=None, told=(f"{batch.names} removed",))
    alive = [pod for pod in scene.pods.values() if not pod.terminating]
    if scene.replicas == batch.replicas - len(batch.victims) and len(alive) <= scene.replicas:
        names = ", ".join(victim.pod for victim in staying)
        return Progress(batch=None, told=(f"another node was deleted instead of {names}, which stays",))
    if scene.replicas >= batch.replicas:
        return Progress(batch=None, told=(f"{batch.names} stays: somebody set {scene.replicas} replicas",))
    return Progress(batch=batch, waits="the pods to end")
