"""After nodes were added: those that hold too many clients send some to those that hold few."""

import math
from collections.abc import Mapping

from msgspec import Struct

from chatoperator.spec import ChatClusterSpec


class Shed(Struct, frozen=True):
    """``clients`` of this pod are to go within the next interval."""

    pod: str
    clients: int


def rebalance(spec: ChatClusterSpec, connections: Mapping[str, int]) -> tuple[Shed, ...]:
    """What each node with too many sends away in one interval, ``connections`` being those of the pods that serve.

    All together stay within ``drain.reconnectsPerSecond``, and no node goes below the mean.
    """
    rules, interval = spec.autoscaling.rebalance, spec.autoscaling.interval_seconds
    if not rules.percent_per_second or len(connections) < 2:
        return ()
    mean = sum(connections.values()) / len(connections)
    if mean < rules.from_connections or min(connections.values()) >= mean * rules.below_percent / 100:
        return ()
    budget = spec.drain.reconnects_per_second * interval
    sheds: list[Shed] = []
    for pod, held in sorted(connections.items(), key=lambda item: (-item[1], item[0])):
        if held <= mean * rules.above_percent / 100:
            break
        paced = math.floor(held * rules.percent_per_second / 100 * interval)
        clients = min(paced, math.floor(held - mean), budget)
        if clients > 0:
            sheds.append(Shed(pod, clients))
            budget -= clients
    return tuple(sheds)
