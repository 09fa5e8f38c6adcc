"""How many nodes run. This version keeps what is asked for; scaling on connections has its place here."""

from msgspec import Struct

from chatoperator.plan.naming import PAUSED
from chatoperator.spec import ChatCluster


class Scale(Struct, frozen=True):
    replicas: int
    mode: str
    why: str
    limited: bool
    bounds: str


def decide(cluster: ChatCluster, running: int | None) -> Scale:
    """``nodes.replicas`` brought within its bounds, unless a pause holds it; ``running`` is what runs now."""
    nodes = cluster.spec.nodes
    wanted = min(max(nodes.replicas, nodes.min), nodes.max)
    limited = wanted != nodes.replicas
    bounds = f"{nodes.replicas} asked for, between {nodes.min} and {nodes.max}"
    mode = cluster.spec.autoscaling.mode
    why = {
        "Operator": "nodes.replicas as it stands: scaling on connections is not built in yet",
        "HPA": "nodes.replicas, which an autoscaler writes through the scale subresource",
        "Off": "nodes.replicas as it stands",
    }[mode]
    paused = cluster.metadata.annotations.get(PAUSED, "")
    held = running is not None and (
        (paused == "scale-in" and wanted < running) or (paused == "scale-out" and wanted > running)
    )
    if held and running is not None:
        return Scale(running, mode, f"held at {running} by {PAUSED}={paused}", limited, bounds)
    return Scale(wanted, mode, why, limited, bounds)
