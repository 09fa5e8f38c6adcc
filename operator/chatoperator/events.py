"""Kubernetes Events: what a person who asks "why?" is told first."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from chatoperator.objects import Object
from chatoperator.plan.naming import MANAGER
from chatoperator.plan.observed import ClusterStatus
from chatoperator.spec import GROUP, KIND, VERSION, ChatCluster

_TOLD: Final = (
    "Ready",
    "Available",
    "DatastoresReady",
    "ExposureAccepted",
    "Draining",
    "Paused",
    "ScalingLimited",
    "MetricsFresh",
)
_GOOD: Final = ("Ready", "Available", "DatastoresReady", "ExposureAccepted", "MetricsFresh")


class News(Struct, frozen=True):
    reason: str
    message: str
    warning: bool = False


def news(before: ClusterStatus, after: ClusterStatus) -> Sequence[News]:
    """Decisions that were not there before, and conditions that turned."""
    known = set(before.decisions)
    told = [News("Decided", f"{each.what}: {each.why}") for each in after.decisions if each not in known]
    new = [pod for pod in after.strangers if pod not in before.strangers]
    if new:
        words = (
            f"the deletion cost of {', '.join(new)} was written by somebody else: it could go instead of a drained node"
        )
        told.append(News("ForeignDeletionCost", words, warning=True))
    told += [News("Trouble", words, warning=True) for words in after.troubles if words not in before.troubles]
    for kind in _TOLD:
        was, now = before.condition(kind), after.condition(kind)
        if now is None or now.status == "Unknown" or (was is not None and was.status == now.status):
            continue
        if was is None and now.status == "False":
            continue
        told.append(News(f"{kind}{now.status}", now.message, warning=kind in _GOOD and now.status == "False"))
    return told


def event(cluster: ChatCluster, told: News, now: datetime, name: str, instance: str) -> Object:
    """An Event of events.k8s.io about the ChatCluster."""
    about: Object = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": cluster.metadata.name,
        "namespace": cluster.metadata.namespace,
        "uid": cluster.metadata.uid,
    }
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{cluster.metadata.name}.{name}", "namespace": cluster.metadata.namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": f"{GROUP}/{MANAGER}",
        "reportingInstance": instance,
        "action": "Reconcile",
        "reason": told.reason,
        "note": told.message[:1000],
        "type": "Warning" if told.warning else "Normal",
        "regarding": about,
    }
