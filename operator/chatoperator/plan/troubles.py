"""Why something that is asked for does not come about: causes that Kubernetes knows, in words, with what to do.

All words are the same for as long as the cause is: a container that is tried again and again is one trouble, so that
neither the status nor the Events follow each attempt.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from chatoperator.objects import Json, Object, at, items, number, text
from chatoperator.plan.naming import COMPONENTS

_GRACE_S: Final = 30.0
"""What passes by itself is not told: every pod is pulled, placed and started once."""
_KEPT: Final = 3
"""Of each component."""
_LONGEST: Final = 300
_RESTARTED_S: Final = 60.0
_IMAGE: Final = frozenset(
    {"ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "InvalidImageName"}
)
_UNUSABLE: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_PARTS: Final[Mapping[str, str]] = {
    "node": "nodes",
    "worker": "workers",
    "nats": "nats.managed",
    "mongodb": "mongodb.managed",
}
"""What of the spec is about a component."""
_UNREADY: Final[Mapping[str, str]] = {
    "NATS is away": "does DatastoresReady name it, or a NetworkPolicy keep this pod from its port?",
    "starting": "it waits for NATS or MongoDB, or for the identity provider; its log says for which",
    "control was not heard": "NATS answers, but no worker writes to it, or the stream CTRL has no leader",
}
"""What nodes and workers say of themselves → what to look at."""

Asked = Literal["", "events", "itself"]


class Trouble(Struct, frozen=True):
    """One cause."""

    component: str
    """Empty: of the whole cluster."""
    about: str
    """A pod, a workload, or a write."""
    words: str
    since: float = 0.0
    """Seconds since 1970."""
    ask: Asked = ""
    """Who knows the words, where they are not in the object."""
    follows: bool = False
    """Whether it comes of itself while datastores are not whole."""

    def __str__(self) -> str:
        return f"{self.about}: {self.words}" if self.about else self.words


def told(troubles: Sequence[Trouble], now: datetime, *, whole: bool = True) -> tuple[Trouble, ...]:
    """Those that last, datastores first, because others wait for them; of each component a few.

    ``whole``: whether datastores are; what only follows from it is not told while they are not.
    """
    kept: list[Trouble] = []
    troubles = [each for each in troubles if whole or not each.follows]
    for component in ("", *reversed(COMPONENTS)):
        lasting = sorted(
            (each for each in troubles if each.component == component and now.timestamp() - each.since >= _GRACE_S),
            key=lambda each: each.about,
        )
        kept += lasting[:_KEPT]
        if len(lasting) > _KEPT:
            kept.append(
                Trouble(component, "", f"{len(lasting) - _KEPT} more {component} pods are not as they should be")
            )
    return tuple(kept)


def of_pod(pod: Object, now: float) -> Trouble | None:
    """What is wrong with a pod; None: nothing, or it is about to end."""
    if at(pod, "metadata", "deletionTimestamp") is not None or text(pod, "status", "phase") in {"Succeeded", "Failed"}:
        return None
    component = text(pod, "metadata", "labels", "app.kubernetes.io/component")
    name = text(pod, "metadata", "name")
    conditions = {text(each, "type"): each for each in items(pod, "status", "conditions")}
    placed, ready = conditions.get("PodScheduled"), conditions.get("Ready")
    if text(placed, "status") == "False":
        words = _short(text(placed, "message"))
        since = moment(text(placed, "lastTransitionTime"))
        return Trouble(component, name, f"no machine takes it: {words}; {_placing(component, words)}", since)
    if text(ready, "status") == "True":
        return None
    created = moment(text(pod, "metadata", "creationTimestamp"))
    for container in (*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")):
        found = _of_container(pod, component, container, now)
        if found:
            return Trouble(component, name, found, created)
    if any(text(each, "state", "waiting", "reason") in _STARTING for each in items(pod, "status", "containerStatuses")):
        return Trouble(component, name, "", created, "events")
    since = moment(text(ready, "lastTransitionTime")) or created
    speaks = component in {"node", "worker"} and text(pod, "status", "phase") == "Running"
    return Trouble(component, name, "", since, "itself" if speaks and text(pod, "status", "podIP") else "events")


def _of_container(pod: Object, component: str, container: Json, now: float) -> str:
    waiting = text(container, "state", "waiting", "reason")
    message = _short(text(container, "state", "waiting", "message"))
    if waiting in _IMAGE:
        image = _image(pod, text(container, "name"))
        # Back-off and attempt take turns; the cause follows in both.
        cause = message.rpartition("ErrImagePull: ")[2]
        because = f": {cause}" if cause and not cause.startswith("Back-off") else ""
        return f"image {image} cannot be pulled{because}; is its name right, and do image.pullSecrets let it in?"
    if waiting in _UNUSABLE:
        return f"its container cannot be made: {message}; does the Secret or ConfigMap exist, with that key?"
    ended = at(container, "state", "terminated")
    last = at(container, "lastState", "terminated")
    restarted = (
        waiting == "CrashLoopBackOff" or now - moment(text(container, "state", "running", "startedAt")) < _RESTARTED_S
    )
    if last is not None and restarted and ended is None:
        ended = last
    if ended is None or (number(ended, "exitCode") == 0 and text(ended, "reason") != "OOMKilled"):
        return ""
    if text(ended, "reason") == "OOMKilled":
        return f"it took more memory than it may and was ended: raise {_PARTS[component]}.resources.limits.memory"
    code = number(ended, "exitCode")
    return f"it ends with exit code {code} and is started again: kubectl logs --previous tells why"


def _image(pod: Object, container: str) -> str:
    everybody = (*items(pod, "spec", "initContainers"), *items(pod, "spec", "containers"))
    return next((text(each, "image") for each in everybody if text(each, "name") == container), "")


def _placing(component: str, words: str) -> str:
    part = _PARTS.get(component, "")
    if "persistentvolumeclaim" in words.lower():
        return f"does a StorageClass provide volumes as {part}.storage asks for? kubectl get pvc"
    return f"lower {part}.resources.requests, or add machines"


def by_event(trouble: Trouble, warnings: Sequence[Object]) -> Trouble | None:
    """With what the newest warning about the pod says; None while there is none."""
    about = [each for each in warnings if text(each, "involvedObject", "name") == trouble.about]
    if not about:
        return None
    newest = max(about, key=_when)
    # The name of the pod and attempts differ from one to the next.
    return _with(trouble, f"it does not get ready: {_short(text(newest, 'message'))}")


def by_itself(trouble: Trouble, reasons: Sequence[str] | None) -> Trouble | None:
    """With what the pod says of its readiness; None: it is being drained. ``reasons`` None: it does not answer."""
    if reasons is None:
        return _with(trouble, "it is not ready and does not answer on port 9100: kubectl logs and describe tell more")
    plain = [re.sub(r" for \d+ s$", "", reason) for reason in reasons]
    if "draining" in plain or not plain:
        return None
    hint = next((_UNREADY[reason] for reason in plain if reason in _UNREADY), "")
    words = f"it is not ready: {', '.join(plain)}" + (f"; {hint}" if hint else "")
    return Trouble(trouble.component, trouble.about, words, trouble.since, follows=True)


def of_workload(thing: Object, component: str, warnings: Sequence[Object]) -> Trouble | None:
    """Pods that cannot even be made. A Deployment says so itself, of a StatefulSet only Events do."""
    name = text(thing, "metadata", "name")
    for each in items(thing, "status", "conditions"):
        if text(each, "type") == "ReplicaFailure" and text(each, "status") == "True":
            return Trouble(component, name, _making(_short(text(each, "message"))))
    if not short(thing):
        return None
    failed = [
        each
        for each in warnings
        if text(each, "involvedObject", "name") == name and text(each, "reason") == "FailedCreate"
    ]
    return Trouble(component, name, _making(_short(text(max(failed, key=_when), "message")))) if failed else None


def short(thing: Object) -> bool:
    """Whether a StatefulSet has fewer pods than it should."""
    return text(thing, "kind") == "StatefulSet" and number(thing, "status", "replicas") < number(
        thing, "spec", "replicas"
    )


def _making(words: str) -> str:
    if "exceeded quota" in words:
        return f"its pods are refused: {words}; raise the ResourceQuota, or lower the requests"
    return f"its pods are refused: {words}"


def hindered(what: str, status: int) -> str:
    """A write that was refused, in words; ``status``: HTTP's."""
    if "exceeded quota" in what:
        return f"not written: {what}; raise the ResourceQuota"
    if status == 403:
        return (
            f"not written: {what}; an admission policy refuses it, or the operator lacks the right that its chart gives"
        )
    return f"not written: {what}"


def _with(trouble: Trouble, words: str) -> Trouble:
    return Trouble(trouble.component, trouble.about, words, trouble.since)


def _short(words: str) -> str:
    plain = " ".join(words.split())
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"


def _when(event: Object) -> str:
    """RFC 3339 in UTC, so that text is in the order of time."""
    return (
        text(event, "series", "lastObservedTime")
        or text(event, "lastTimestamp")
        or text(event, "eventTime")
        or text(event, "metadata", "creationTimestamp")
    )


def moment(words: str) -> float:
    """Seconds since 1970 of an RFC 3339 time; 0 for none."""
    return datetime.fromisoformat(words).timestamp() if words else 0.0
