"""Which pod a ReplicaSet deletes next when its replicas are lowered (kubernetes, controller_utils.go,
``ActivePodsWithRanks.Less``), as far as it can be relied upon.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from chatoperator.autoscale.samples import Pod

COST: Final = -1_000_000
"""``controller.kubernetes.io/pod-deletion-cost`` of who has been drained; without one it is 0."""


def rank(pod: Pod) -> tuple[bool, bool, bool, int]:
    """The least goes first: unbound, pending, unready, cheap. What follows (age, machine) is not relied upon."""
    return (bool(pod.machine), pod.running, pod.ready, pod.deletion_cost or 0)


def goes_instead(pods: Iterable[Pod], victims: frozenset[str]) -> Sequence[Pod]:
    """Pods that a ReplicaSet could delete although they are none of ``victims``; empty: exactly those would go."""
    active = [pod for pod in pods if not pod.terminating]
    doomed = [rank(pod) for pod in active if pod.uid in victims]
    if not doomed:
        return [pod for pod in active if pod.uid not in victims]
    last = max(doomed)
    return [pod for pod in active if pod.uid not in victims and rank(pod) <= last]
