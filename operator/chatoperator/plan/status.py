"""``status``: what is true now, in words for people and as conditions for machines."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from chatoperator.plan import tls
from chatoperator.plan.exposure import Exposed
from chatoperator.plan.mongodb import MongoView
from chatoperator.plan.naming import PAUSED, selector, selector_text
from chatoperator.plan.observed import (
    ClusterStatus,
    Condition,
    Decision,
    Endpoints,
    NodeCounts,
    Observed,
    Status,
    Versions,
    WorkerCounts,
    Workload,
)
from chatoperator.plan.scale import Scale
from chatoperator.plan.troubles import Trouble, told
from chatoperator.spec import ChatCluster, ManagedMongodb, ManagedNats

KEPT_DECISIONS: Final = 10
_AGAIN: Final = timedelta(minutes=10)
_Say = Callable[[str, bool | None, str, str], Condition]


def stamp(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def halted(cluster: ChatCluster) -> bool:
    """Whether nothing at all is to be changed."""
    return cluster.metadata.annotations.get(PAUSED) == "all"


def report(
    cluster: ChatCluster,
    observed: Observed,
    now: datetime,
    *,
    scale: Scale,
    exposed: Exposed,
    decisions: Sequence[Decision],
) -> ClusterStatus:
    """The status as of this visit; equal to the last one where nothing changed."""
    node = observed.workloads.get("node", Workload())
    worker = observed.workloads.get("worker", Workload())
    exposure = cluster.spec.exposure
    scheme = "https" if exposure.type == "gateway" or exposure.tls_secret else "http"
    nats, mongodb = cluster.spec.nats.managed, cluster.spec.mongodb.managed
    troubles = told(observed.troubles, now, whole=not datastores_lack(cluster, observed, now))
    return ClusterStatus(
        conditions=_conditions(cluster, observed, now, scale, exposed=exposed, troubles=troubles),
        observed_generation=cluster.metadata.generation,
        certificates=observed.status.certificates if halted(cluster) else cluster.spec.tls.certificates,
        connections=scale.stock.connections,
        selector=selector_text(selector(cluster, "node")),
        nodes=NodeCounts(
            desired=scale.desired,
            running=node.running,
            ready=node.ready,
            updated=node.updated,
            summary=f"{node.ready}/{scale.desired}",
            reason=scale.verdict.why,
        ),
        workers=WorkerCounts(cluster.spec.workers.replicas, worker.ready),
        endpoints=Endpoints(
            service=f"{cluster.metadata.name}.{cluster.metadata.namespace}.svc:80",
            url=f"{scheme}://{exposure.host}/" if exposure.host and exposure.type != "none" else "",
        ),
        versions=Versions(
            observed.operator,
            cluster.spec.image.reference or observed.image,
            nats.image if nats else "external",
            mongodb.image if mongodb else "external",
        ),
        decisions=_with(decisions, observed.status.decisions, now),
        scaling=scale.verdict.state,
        drain=UNSET if scale.batch is None else scale.batch,
        strangers=scale.strangers,
        troubles=tuple(str(trouble) for trouble in troubles),
    )


def hindered(cluster: ChatCluster, before: ClusterStatus, words: str, now: datetime) -> ClusterStatus:
    """The last status, with what keeps the operator from finding a new one: nothing is known to be as asked."""
    was = before.condition("Ready")
    since = was.last_transition_time if was and was.status == "False" else stamp(now)
    ready = Condition("Ready", "False", "NotLookedAt", words, since, cluster.metadata.generation)
    return replace(
        before,
        conditions=(ready, *(each for each in before.conditions if each.type != "Ready")),
        troubles=(words,),
    )


def _with(decisions: Sequence[Decision], before: Sequence[Decision], now: datetime) -> tuple[Decision, ...]:
    """Newest first. What is decided again because it did not come about is not told again at once.

    Else a visit that never gets further than its status would have another status to write each time.
    """
    lately = {(each.what, each.why) for each in before[: len(decisions)] if each.time >= stamp(now - _AGAIN)}
    fresh = [each for each in decisions if (each.what, each.why) not in lately]
    return (*fresh, *before)[:KEPT_DECISIONS]


def _conditions(
    cluster: ChatCluster,
    observed: Observed,
    now: datetime,
    scale: Scale,
    *,
    exposed: Exposed,
    troubles: Sequence[Trouble],
) -> tuple[Condition, ...]:
    def say(kind: str, holds: bool | None, reason: str, message: str) -> Condition:
        status: Status = "Unknown" if holds is None else "True" if holds else "False"
        before = observed.status.condition(kind)
        since = before.last_transition_time if before and before.status == status else stamp(now)
        return Condition(kind, status, reason, message, since, cluster.metadata.generation)

    lacking, moving = datastores_lack(cluster, observed, now), _moving(cluster, observed, scale)
    causes = [str(each) for each in troubles if each.component in {"nats", "mongodb"}]
    datastores = _datastores(cluster, observed, now, [*lacking, *causes] if lacking else [], say)
    entry = _entry(cluster, observed, exposed, say)
    node = observed.workloads.get("node", Workload())
    worker = observed.workloads.get("worker", Workload())
    available = datastores.status == "True" and node.ready > 0 and worker.ready > 0
    wanting = [*lacking, *([] if entry.status == "True" else [entry.message]), *moving, *map(str, troubles)]
    return (
        say(
            "Ready", not wanting, "AsWanted" if not wanting else "NotAsWanted", "; ".join(wanting) or "all is as asked"
        ),
        say(
            "Available",
            available,
            "Serving" if available else "NotServing",
            f"{node.ready} nodes and {worker.ready} workers are ready",
        ),
        _progressing(moving, troubles, say),
        _draining(scale, say),
        say("ScalingActive", scale.mode == "Operator", scale.mode, scale.verdict.why),
        _limited(scale, say),
        _fresh(observed, scale, say),
        entry,
        datastores,
        _paused(cluster, say),
    )


def _draining(scale: Scale, say: _Say) -> Condition:
    batch = scale.batch
    if batch is not None:
        waits = f", waiting for {scale.waits}" if scale.waits else ""
        return say("Draining", True, batch.phase, f"{batch.names} of {batch.replicas} nodes{waits}")
    if scale.leaving:
        return say("Draining", True, "Stopping", "; ".join(scale.leaving))
    return say("Draining", False, "Nothing", "no node is being drained")


def _limited(scale: Scale, say: _Say) -> Condition:
    verdict = scale.verdict
    if verdict.limited:
        return say("ScalingLimited", True, "Clamped", verdict.limited)
    if verdict.waits:
        return say("ScalingLimited", True, "Waiting", f"{verdict.wanted} nodes would do: {'; '.join(verdict.waits)}")
    if scale.strangers:
        words = f"the deletion cost of {', '.join(scale.strangers)} was written by somebody else"
        return say("ScalingLimited", True, "ForeignDeletionCost", words)
    return say("ScalingLimited", False, "Within", f"{verdict.wanted} nodes are asked for")


def _fresh(observed: Observed, scale: Scale, say: _Say) -> Condition:
    doubts = scale.stock.doubts
    if doubts:
        return say("MetricsFresh", False, "Doubtful", "; ".join(doubts))
    ready = observed.workloads.get("node", Workload()).ready
    heard = scale.stock.heard
    return say("MetricsFresh", heard >= ready, "AllAnswer" if heard >= ready else "SomeSilent", f"{heard} nodes answer")


def _datastores(
    cluster: ChatCluster, observed: Observed, now: datetime, lacking: Sequence[str], say: _Say
) -> Condition:
    nats, mongodb = cluster.spec.nats.managed, cluster.spec.mongodb.managed
    if lacking:
        return say("DatastoresReady", False, "Lacking", "; ".join(lacking))
    ending = tls.ending(cluster, observed.certificates, now)
    if ending:
        return say("DatastoresReady", True, "CertificateEnds", "; ".join(ending))
    managed = (("NATS", nats), ("MongoDB", mongodb))
    single = [name for name, asked in managed if asked is not None and asked.replicas == 1]
    if single:
        words = f"ready, with one member of {' and '.join(single)}: what it loses is lost"
        return say("DatastoresReady", True, "SingleMember", words)
    external = [name for name, asked in managed if asked is None]
    words = f"{' and '.join(external)} are run by somebody else and not looked at" if external else "all are ready"
    return say("DatastoresReady", True, "Ready", words)


def datastores_lack(cluster: ChatCluster, observed: Observed, now: datetime) -> list[str]:
    """What is not whole of those that the operator runs, in words."""
    nats, mongodb = cluster.spec.nats.managed, cluster.spec.mongodb.managed
    lacking = [
        *tls.lacking(cluster, observed.certificates),
        *tls.strangers(cluster, observed.certificates),
        *tls.ended(cluster, observed.certificates, now),
    ]
    return lacking or _nats_lacks(nats, observed) + _mongodb_lacks(mongodb, observed.mongodb)


def _nats_lacks(managed: ManagedNats | None, observed: Observed) -> list[str]:
    ready = observed.workloads.get("nats", Workload()).ready
    if managed is None or ready >= managed.replicas:
        return []
    return [f"{ready} of {managed.replicas} NATS servers are ready"]


def _mongodb_lacks(managed: ManagedMongodb | None, view: MongoView | None) -> list[str]:
    if managed is None:
        return []
    if view is None:
        return ["no MongoDB member is ready yet"]
    silent = f"; {view.silence}" if view.silence else ""
    if not view.initiated:
        if len(view.answering) < managed.replicas:
            return [f"{len(view.answering)} of {managed.replicas} MongoDB members answer the operator{silent}"]
        return ["MongoDB's replica set is not initiated yet"]
    if not view.primary:
        words = f"MongoDB has no primary; {len(view.answering)} of {managed.replicas} members answer{silent}"
        return [f"{words}; more than half of them have to reach each other"]
    if len(view.healthy) < managed.replicas:
        return [f"{len(view.healthy)} of {managed.replicas} MongoDB members are healthy"]
    return [] if view.users else ["MongoDB's users are not made yet"]


def _entry(cluster: ChatCluster, observed: Observed, exposed: Exposed, say: _Say) -> Condition:
    if not exposed.possible:
        return say("ExposureAccepted", False, exposed.reason, exposed.message)
    if not exposed.objects:
        return say("ExposureAccepted", True, exposed.reason, exposed.message)
    route = observed.route
    if route is None:
        words = f"{exposed.message}; nobody has taken it up yet: {_taker(cluster)}"
        return say("ExposureAccepted", None, "Waiting", words)
    reason = "Accepted" if route.accepted else "Refused"
    words = f"{exposed.message}; {route.message}" if route.message else exposed.message
    return say("ExposureAccepted", route.accepted, reason, words)


def _taker(cluster: ChatCluster) -> str:
    """Who should take the way in up, as a question."""
    exposure, namespace = cluster.spec.exposure, cluster.metadata.namespace
    if exposure.type == "gateway" and exposure.gateway is not None:
        where = f"{exposure.gateway.namespace or namespace}/{exposure.gateway.name}"
        return f"is there a Gateway {where} with a controller, and do its listeners allow routes from {namespace}?"
    name = exposure.ingress.class_name if exposure.ingress is not None else ""
    return f"is there a controller for the class {name}?" if name else "is there a default class, with a controller?"


def _progressing(moving: Sequence[str], troubles: Sequence[Trouble], say: _Say) -> Condition:
    if troubles:
        return say("Progressing", True, "Stuck", "; ".join([*moving, *map(str, troubles)]))
    if moving:
        return say("Progressing", True, "Changing", "; ".join(moving))
    return say("Progressing", False, "Settled", "every workload is as asked")


def _moving(cluster: ChatCluster, observed: Observed, scale: Scale) -> list[str]:
    """Workloads that are not as asked, in words."""
    wanted = {"node": scale.desired, "worker": cluster.spec.workers.replicas}
    if cluster.spec.nats.managed is not None:
        wanted["nats"] = cluster.spec.nats.managed.replicas
    if cluster.spec.mongodb.managed is not None:
        wanted["mongodb"] = cluster.spec.mongodb.managed.replicas
    moving = []
    for component, replicas in wanted.items():
        workload = observed.workloads.get(component)
        if workload is None:
            moving.append(f"{component} is not there yet")
        elif not workload.settled or workload.desired != replicas:
            moving.append(f"{component}: {workload.ready} ready and {workload.updated} up to date of {replicas} wanted")
    return moving


def _paused(cluster: ChatCluster, say: _Say) -> Condition:
    paused = cluster.metadata.annotations.get(PAUSED, "")
    words = {
        "all": "nothing is changed until the annotation is taken away",
        "scale-in": "no node is taken away",
        "scale-out": "no node is added",
    }.get(paused)
    if words is None:
        return say("Paused", False, "Running", "the operator acts")
    return say("Paused", True, "Annotation", f"{PAUSED}={paused}: {words}")
