"""How fast clients may be sent away, and what of a Deployment follows from it."""

import math
from typing import Final

from chatoperator.spec import ChatClusterSpec

LEAVE_S: Final = 3
"""From a pod's end being known to SIGTERM, so that nobody connects to a port that is closing."""
FINISH_S: Final = 20
"""After the last client: storing what is under way, closing connections."""
GRACE_S: Final = 5
"""What a node waits after its window before it closes who is still there."""
_SAFE_SHARE: Final = 0.5
"""Of the connections that a node accepts; the rest is for those who come by themselves."""


def safe_rate(spec: ChatClusterSpec, survivors: int) -> float:
    """Reconnects per second that ``survivors`` take, within the budget of the cluster."""
    accepted = survivors * spec.limits.connects_per_second * _SAFE_SHARE
    return max(1.0, min(float(spec.drain.reconnects_per_second), accepted))


def window_s(spec: ChatClusterSpec, connections: int, survivors: int) -> int:
    """W: over how many seconds so many clients are told to reconnect."""
    return max(spec.drain.window_seconds, math.ceil(connections / safe_rate(spec, survivors)))


def longest_window_s(spec: ChatClusterSpec) -> int:
    """W of a node that is full."""
    return max(
        spec.drain.window_seconds, math.ceil(spec.limits.connections_per_node / spec.drain.reconnects_per_second)
    )


def grace_s(spec: ChatClusterSpec) -> int:
    """How long a node may take to end by itself: its whole drain."""
    return LEAVE_S + spec.drain.settle_seconds + longest_window_s(spec) + GRACE_S + FINISH_S


def min_ready_s(spec: ChatClusterSpec) -> int:
    """For how long a new node is ready before the next old one goes: the former's drain is over by then."""
    return LEAVE_S + spec.drain.settle_seconds + longest_window_s(spec) + GRACE_S


def surge(spec: ChatClusterSpec) -> int:
    """Nodes that a rollout replaces at a time: as many as the budget lets drain together, full, within the window."""
    return max(1, spec.drain.window_seconds * spec.drain.reconnects_per_second // spec.limits.connections_per_node)
