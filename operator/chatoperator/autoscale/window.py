"""The highest need of the last minutes, in few numbers, so that it can be kept in the status."""

from typing import Final

from msgspec import Struct

_PARTS: Final = 10
"""An entry is good to a tenth of the window; a peak is remembered too long rather than too short."""


class Peak(Struct, frozen=True):
    """The need was last so high at about this time (whole seconds since 1970)."""

    at: int
    connections: int
    nodes: int = 0
    """Needed for other reasons than connections."""


Window = tuple[Peak, ...]


def note(window: Window, need: Peak, span_s: int) -> Window:
    """``need`` is remembered; what is older than ``span_s``, and what was lower than something later, is forgotten.

    While the need stays as it is, the window changes once in a tenth of its span.
    """
    step = max(1, span_s // _PARTS)
    at = -(-need.at // step) * step
    kept = [Peak(min(peak.at, at), peak.connections, peak.nodes) for peak in window if peak.at >= need.at - span_s]
    if not need.connections and not need.nodes:
        return tuple(kept)
    new = Peak(at, need.connections, need.nodes)
    while kept and (kept[-1].at == at or (kept[-1].connections <= new.connections and kept[-1].nodes <= new.nodes)):
        last = kept.pop()
        if last.at == at:
            new = Peak(at, max(new.connections, last.connections), max(new.nodes, last.nodes))
    return (*kept, new)


def highest(window: Window) -> Peak:
    """The most of each, whenever it was; zero for an empty window."""
    return Peak(
        max((peak.at for peak in window), default=0),
        max((peak.connections for peak in window), default=0),
        max((peak.nodes for peak in window), default=0),
    )
