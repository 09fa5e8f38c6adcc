"""What the load asks for: nodes, as a number with a fraction, and the sentence that explains it."""

import math

from msgspec import Struct

from chatoperator.autoscale.samples import Stock
from chatoperator.spec import ChatClusterSpec

_AFTER_LOSS = 0.9
"""How full the nodes of the zones that are left may be."""


class Need(Struct, frozen=True):
    """``nodes`` is exact; so many whole nodes are needed as its ceiling."""

    nodes: float
    why: str


def connections_wanted(spec: ChatClusterSpec, connections: int, rate: float) -> int:
    """U, with the buffer or the growth of the lead time, whichever is more."""
    scaling = spec.autoscaling
    return connections + max(scaling.buffer_connections, math.ceil(rate * scaling.lead_seconds))


def need_now(spec: ChatClusterSpec, stock: Stock, running: int) -> Need:
    """N = max(U/T, (U+buffer)/T, (U+rate·lead)/T, zone loss, lag)."""
    scaling, used, target = spec.autoscaling, stock.connections, stock.target
    base = f"{used} connections at {target} per node"
    needs = [Need(used / target, base)]
    if scaling.buffer_connections:
        needs.append(Need((used + scaling.buffer_connections) / target, f"{base}, {scaling.buffer_connections} more"))
    if stock.rate > 0:
        ahead = used + stock.rate * scaling.lead_seconds
        needs.append(
            Need(ahead / target, f"{base}, growing by {stock.rate:.0f}/s: {ahead:.0f} in {scaling.lead_seconds} s")
        )
    needs.append(need_for_zones(spec, stock, used))
    needs.append(Need(float(lag_nodes(spec, stock, running)), f"event loops run {stock.lag_ms:.0f} ms late"))
    return max(needs, key=lambda need: need.nodes)


def need_for(spec: ChatClusterSpec, stock: Stock, connections: int, other: int) -> Need:
    """The same for what a window remembers: connections with their buffer or growth, and nodes for other reasons."""
    needs = [
        Need(connections / stock.target, f"up to {connections} connections at {stock.target} per node"),
        need_for_zones(spec, stock, connections),
        Need(float(other), "event loops ran late"),
    ]
    return max(needs, key=lambda need: need.nodes)


def need_for_zones(spec: ChatClusterSpec, stock: Stock, connections: int) -> Need:
    """So many nodes, spread evenly, that the other zones hold everybody when one is lost."""
    zones = stock.zones
    if not spec.autoscaling.zone_loss or zones < 2 or spec.nodes.topology_spread != "Zone":
        return Need(0.0, "")
    # The loss of one zone takes at most ceil(n / zones) of n nodes.
    left = max(1, math.ceil(connections / (stock.capacity * _AFTER_LOSS))) if connections else 0
    nodes = left
    while nodes - math.ceil(nodes / zones) < left:
        nodes += 1
    return Need(float(nodes), f"{connections} connections must fit into {zones - 1} of {zones} zones")


def lag_nodes(spec: ChatClusterSpec, stock: Stock, running: int) -> int:
    """Nodes in proportion to how late the loops run; 0 while that is within bounds or does not count."""
    allowed = spec.autoscaling.lag_milliseconds
    if not allowed or stock.lag_ms <= allowed:
        return 0
    return math.ceil(running * min(2.0, stock.lag_ms / allowed))
