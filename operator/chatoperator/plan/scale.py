"""How many nodes run, and how those that go are sent away: ``autoscale`` and ``drain`` put together for one visit."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from chatoperator.autoscale.decide import Circumstances, Held, Scaling, Verdict, batch_size, decide
from chatoperator.autoscale.rebalance import Shed, rebalance
from chatoperator.autoscale.samples import Memory, Pod, Sample, Stock, stale_after, take_stock
from chatoperator.drain import batch as batches
from chatoperator.drain.batch import Batch, Scene
from chatoperator.drain.victims import bearable, choose
from chatoperator.drain.wishes import Mark, Order, ShedOrder, closed, marks, orders, strangers
from chatoperator.plan.naming import PAUSED
from chatoperator.spec import ChatCluster, ChatClusterSpec


class NodesView(Struct, frozen=True, kw_only=True):
    """The nodes' Deployment with its pods, as they were seen."""

    replicas: int | None = None
    """Asked for now; None while there is no Deployment."""
    settled: bool = True
    """Whether its controller has brought about what was asked for, with one template."""
    revision: str = ""
    """Hash of the ReplicaSet of the current template; empty: unknown."""
    pods: tuple[Pod, ...] = ()
    samples: tuple[Sample, ...] = ()
    """The last of each pod, however old."""
    endpoints: frozenset[str] | None = None
    """UIDs to which the Service leads."""
    ours: frozenset[str] = frozenset()
    """UIDs of pods whose deletion cost the operator has written."""

    @property
    def rolling(self) -> bool:
        """Whether pods of two templates are there."""
        return len({pod.revision for pod in self.pods if not pod.terminating}) > 1


class Remembered(Struct, frozen=True, kw_only=True):
    """What the last visit wrote."""

    desired: int = 0
    scaling: Scaling = Scaling()
    batch: Batch | None = None


class Scale(Struct, frozen=True, kw_only=True):
    replicas: int
    """To be asked for now."""
    lowered: bool = False
    """Whether that is fewer than run, after a drain: to be written only if nothing changed meanwhile."""
    desired: int
    """To be remembered as decided."""
    mode: str
    verdict: Verdict
    stock: Stock = Stock()
    memory: Memory = Memory()
    batch: Batch | None = None
    waits: str = ""
    """What the batch waits for."""
    leaving: tuple[str, ...] = ()
    """Nodes that end by themselves while clients are still there, in words."""
    told: tuple[tuple[str, str], ...] = ()
    """What was decided and why."""
    orders: tuple[Order, ...] = ()
    sheds: tuple[ShedOrder, ...] = ()
    marks: tuple[Mark, ...] = ()
    strangers: tuple[str, ...] = ()


def steer(
    cluster: ChatCluster, view: NodesView, before: Remembered, memory: Memory, now: float, *, datastores: str = ""
) -> Scale:
    """``datastores``: why they are not whole. Nothing is told or marked while everything is paused."""
    spec = cluster.spec
    mode = spec.autoscaling.mode
    if view.replicas is None:
        asked = _asked_for(spec)
        first = before.desired if before.desired and mode == "Operator" else asked.wanted
        return Scale(replicas=first, desired=first, mode=mode, verdict=replace(asked, replicas=first))
    batch = before.batch
    uids = batch.uids if batch is not None else frozenset[str]()
    stock, remembered = take_stock(spec, view.pods, view.samples, memory, now, drained=uids)
    running, drift = _running(view, view.replicas, before)
    seen = Circumstances(
        now=now,
        running=running,
        # Once replicas are lowered, those that are left are the ones that stay.
        leaving=len(uids) if batch is not None and running != batch.replicas - len(uids) else 0,
        rollout=not view.settled or view.rolling,
        datastores=datastores,
        held=_held(cluster),
    )
    verdict = decide(spec, stock, before.scaling, seen) if mode == "Operator" else _as_asked(spec, before.scaling, seen)
    told: list[tuple[str, str]] = [("nodes", drift)] if drift else []
    fresh = {sample.pod: sample for sample in view.samples if now - sample.heard <= stale_after(spec)}
    scale = Scale(
        replicas=verdict.replicas,
        desired=verdict.replicas,
        mode=mode,
        verdict=verdict,
        stock=stock,
        memory=remembered,
        batch=batch,
        leaving=_leaving(view, fresh),
        strangers=strangers(view.pods, view.ours),
    )
    if seen.held == "all":
        return replace(scale, verdict=verdict, told=tuple(told))
    scale = _drain(cluster, scale, view, fresh, seen)
    told += scale.told
    if verdict.replicas != running:
        told.append((f"nodes {running} → {verdict.replicas}", verdict.why))
    sheds = _sheds(spec, scale, view, seen, fresh)
    shut = closed(scale.batch, view.pods, view.revision, sheds, rolling=view.rolling)
    return replace(
        scale,
        told=tuple(told),
        orders=orders(scale.batch, view.pods, fresh),
        sheds=tuple(
            ShedOrder(shed.pod, fresh[shed.pod].node, shed.clients, float(spec.autoscaling.interval_seconds))
            for shed in sheds
            # Only once nobody is led back there.
            if view.endpoints is None or shed.pod not in view.endpoints
        ),
        marks=marks(scale.batch, view.pods, shut, view.ours),
    )


def _running(view: NodesView, live: int, before: Remembered) -> tuple[int, str]:
    """Replicas that count as asked for, and a word when somebody else had changed them.

    What somebody raised is adopted once there are pods for it: they may hold clients, so that they go by being drained.
    """
    batch, decided = before.batch, before.desired
    lowered = batch is not None and live == batch.replicas - len(batch.victims) and batch.phase in {"Remove", "Going"}
    staying = sum(not pod.terminating for pod in view.pods)
    if not decided or live == decided or lowered or (live > decided and staying > decided):
        return live, ""
    return decided, f"{live} replicas are asked for, {decided} were decided: asked for again"


def _leaving(view: NodesView, fresh: Mapping[str, Sample]) -> tuple[str, ...]:
    return tuple(
        f"{pod.name}: {fresh[pod.uid].connections} clients left"
        for pod in view.pods
        if pod.uid in fresh and fresh[pod.uid].connections and (pod.terminating or fresh[pod.uid].state == "draining")
    )


def _held(cluster: ChatCluster) -> Held:
    paused = cluster.metadata.annotations.get(PAUSED, "")
    known: Mapping[str, Held] = {"all": "all", "scale-in": "scale-in", "scale-out": "scale-out"}
    return known.get(paused, "")


def _asked_for(spec: ChatClusterSpec) -> Verdict:
    nodes = spec.nodes
    wanted = min(max(nodes.replicas, nodes.min), nodes.max)
    limited = f"{nodes.replicas} asked for, between {nodes.min} and {nodes.max}" if wanted != nodes.replicas else ""
    why = {
        "Operator": "nodes.replicas, to begin with",
        "HPA": "nodes.replicas, which an autoscaler writes through the scale subresource",
        "Off": "nodes.replicas as it stands",
    }[spec.autoscaling.mode]
    return Verdict(replicas=wanted, wanted=wanted, why=why, limited=limited)


def _as_asked(spec: ChatClusterSpec, state: Scaling, seen: Circumstances) -> Verdict:
    """``nodes.replicas``; fewer by draining."""
    asked = replace(_asked_for(spec), state=state)
    staying = seen.running - seen.leaving
    if asked.wanted >= staying:
        held = asked.wanted > seen.running and seen.held in {"scale-out", "all"}
        replicas = seen.running if held else max(seen.running, asked.wanted)
        limited = "scale-out is paused" if held else asked.limited
        return replace(asked, replicas=replicas, keep=min(seen.leaving, asked.wanted - staying), limited=limited)
    waits = []
    if seen.held in {"scale-in", "all"}:
        waits.append("scale-in is paused")
    if seen.leaving:
        waits.append(f"{seen.leaving} nodes are being drained")
    if seen.rollout:
        waits.append("a rollout is under way")
    if 0 <= seen.now - state.in_at < spec.autoscaling.scale_in.period_seconds:
        waits.append("the last node has only begun to go")
    remove = 0 if waits else min(batch_size(spec, seen.running), seen.running - asked.wanted)
    return replace(asked, replicas=seen.running, remove=remove, waits=tuple(waits))


def _drain(
    cluster: ChatCluster, scale: Scale, view: NodesView, fresh: Mapping[str, Sample], seen: Circumstances
) -> Scale:
    """One step of the batch that is under way, or the beginning of one."""
    spec, verdict = cluster.spec, scale.verdict
    told: list[tuple[str, str]] = []
    batch = scale.batch
    if batch is not None and verdict.keep:
        batch, words = batches.keep(batch, verdict.keep, fresh)
        told += [("drain", words)] if words else []
    if batch is not None and view.replicas is not None:
        scene = Scene(
            now=seen.now,
            pods={pod.uid: pod for pod in view.pods},
            samples=fresh,
            replicas=view.replicas,
            endpoints=view.endpoints,
        )
        held = seen.held == "scale-in" and batch.phase == "Remove"
        step = (
            batches.Progress(batch=batch, waits="scale-in is paused") if held else batches.advance(spec, batch, scene)
        )
        told += [("drain", words) for words in step.told]
        lowered = step.scale_to is not None and verdict.replicas == seen.running
        return replace(
            scale,
            batch=step.batch,
            waits=step.waits,
            told=tuple(told),
            replicas=step.scale_to if lowered and step.scale_to is not None else scale.replicas,
            lowered=lowered,
        )
    if not verdict.remove or scale.batch is not None:
        return replace(scale, batch=batch, told=tuple(told))
    return _begin(spec, replace(scale, told=tuple(told)), view, seen)


def _begin(spec: ChatClusterSpec, scale: Scale, view: NodesView, seen: Circumstances) -> Scale:
    verdict, operator = scale.verdict, scale.mode == "Operator"
    staying = [pod for pod in view.pods if not pod.terminating]
    if not operator and len(staying) <= verdict.wanted:
        return replace(scale, replicas=verdict.wanted, desired=verdict.wanted, lowered=True)
    if operator:
        victims, words = bearable(spec, scale.stock, staying, verdict.remove)
    else:
        victims, words = choose(staying, scale.stock.by_pod, min(verdict.remove, len(staying) - 1)), ""
    if not victims:
        return replace(scale, verdict=replace(verdict, limited=words or verdict.limited))
    begun = batches.begin(victims, scale.stock.by_pod, seen.running, seen.now, patient=operator)
    state = replace(verdict.state, in_at=int(seen.now))
    return replace(
        scale,
        batch=begun,
        waits="the Service to lead no longer there",
        verdict=replace(verdict, state=state),
        told=(*scale.told, (f"drain {begun.names}", verdict.why)),
    )


def _sheds(
    spec: ChatClusterSpec, scale: Scale, view: NodesView, seen: Circumstances, fresh: Mapping[str, Sample]
) -> tuple[Shed, ...]:
    if scale.batch is not None or seen.rollout or seen.held or scale.stock.doubts or scale.stock.pending:
        return ()
    serving = {
        pod.uid: fresh[pod.uid].connections
        for pod in view.pods
        if pod.ready and not pod.terminating and pod.uid in fresh and fresh[pod.uid].state == "serving"
    }
    if scale.leaving:
        return ()
    return rebalance(spec, serving)
