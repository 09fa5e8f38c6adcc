"""Who goes: fewest connections first, zones kept even, and only if those who stay can bear it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from chatoperator.autoscale.samples import Pod, Stock
from chatoperator.spec import ChatClusterSpec


def choose(pods: Sequence[Pod], connections: Mapping[str, int], count: int) -> tuple[Pod, ...]:
    """``count`` of ``pods``: each time from the zones that have most left, the one with the fewest connections."""
    left = list(pods)
    chosen: list[Pod] = []
    while left and len(chosen) < count:
        sizes = Counter(pod.zone for pod in left)
        most = max(sizes.values())
        pod = min(
            (pod for pod in left if sizes[pod.zone] == most),
            key=lambda pod: (connections.get(pod.uid, 0), -pod.created, pod.uid),
        )
        left.remove(pod)
        chosen.append(pod)
    return tuple(chosen)


def bearable(spec: ChatClusterSpec, stock: Stock, pods: Sequence[Pod], count: int) -> tuple[tuple[Pod, ...], str]:
    """The largest batch of up to ``count`` whose survivors stay within their share of the target on average, and each
    of them within its target.

    Simulated with the very victims: their clients spread evenly over the others. With an empty batch, why.
    """
    share = stock.target * spec.autoscaling.scale_in.survivor_percent / 100
    told = ""
    for size in range(min(count, len(pods) - 1), 0, -1):
        victims = choose(pods, stock.by_pod, size)
        gone = {pod.uid for pod in victims}
        moving = sum(stock.by_pod.get(uid, 0) for uid in gone)
        staying = [stock.by_pod.get(pod.uid, 0) for pod in pods if pod.uid not in gone]
        mean = math.ceil((sum(staying) + moving) / len(staying))
        fullest = max(staying) + math.ceil(moving / len(staying))
        if mean <= share and fullest <= stock.target:
            return victims, ""
        names = ", ".join(pod.name for pod in victims)
        told = f"without {names} nodes would hold {mean} connections (at most {share:.0f}) and the fullest {fullest}"
    return (), told or "no node would be left"
