"""Asking for causes: what is looked at only while a workload is not as it should be."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from chatoperator.kube import ApiError, Kube
from chatoperator.nodes import Nodes
from chatoperator.objects import Object, Ref, text
from chatoperator.plan.naming import COMPONENTS, MANAGER, child
from chatoperator.plan.observed import Workload
from chatoperator.plan.troubles import Trouble, by_event, by_itself, of_pod, of_workload, short
from chatoperator.spec import ChatCluster

_KINDS: Final = ("Deployment", "StatefulSet")


async def diagnose(
    kube: Kube,
    nodes: Nodes,
    cluster: ChatCluster,
    live: Mapping[Ref, Object],
    workloads: Mapping[str, Workload],
    *,
    now: float,
) -> tuple[Trouble, ...]:
    """Nothing is asked while every workload is settled. ``now``: seconds since 1970.

    Raises :class:`chatoperator.kube.ApiError`.
    """
    if all(workload.settled for workload in workloads.values()):
        return ()
    namespace = cluster.metadata.namespace
    labels = f"app.kubernetes.io/managed-by={MANAGER},app.kubernetes.io/instance={cluster.metadata.name}"
    pods = await kube.list("v1", "Pod", namespace, labels)
    sick = [trouble for pod in pods if (trouble := of_pod(pod, now)) is not None]
    things = {
        part: thing
        for part in COMPONENTS
        for kind in _KINDS
        if (thing := live.get(Ref("apps/v1", kind, child(cluster, part)))) is not None
    }
    warnings: Sequence[Object] = ()
    if any(each.ask == "events" for each in sick) or any(short(thing) for thing in things.values()):
        warnings = await _warnings(kube, namespace)
    addresses = {text(pod, "metadata", "name"): text(pod, "status", "podIP") for pod in pods}

    async def told(trouble: Trouble) -> Trouble | None:
        match trouble.ask:
            case "events":
                return by_event(trouble, warnings)
            case "itself":
                return by_itself(trouble, await nodes.unready(addresses[trouble.about]))
            case _:
                return trouble

    found = await asyncio.gather(*(told(trouble) for trouble in sick))
    unmade = [of_workload(thing, part, warnings) for part, thing in things.items()]
    return tuple(trouble for trouble in (*unmade, *found) if trouble is not None)


async def _warnings(kube: Kube, namespace: str) -> Sequence[Object]:
    """None where the operator may not read them, as with the rights of an older chart: causes are no condition."""
    try:
        return await kube.list("v1", "Event", namespace, fields="type=Warning")
    except ApiError as error:
        if error.status != 403:
            raise
        return ()
