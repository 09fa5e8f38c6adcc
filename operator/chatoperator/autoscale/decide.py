"""The decision: up at once and bounded, down late, slowly, and only on words that are fresh and fit together."""

import math
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from chatoperator.autoscale.demand import Need, connections_wanted, lag_nodes, need_for, need_now
from chatoperator.autoscale.samples import Stock
from chatoperator.autoscale.window import Peak, Window, highest, note
from chatoperator.spec import ChatClusterSpec

Held = Literal["", "scale-in", "scale-out", "all"]


class Scaling(Struct, frozen=True, kw_only=True, rename="camel"):
    """What has to survive a restart; part of the status."""

    window: Window = ()
    zones: int = 0
    """Over which nodes are spread, also while fewer nodes run than there are zones."""
    out_at: int = 0
    """When the period of the last scale-out began (seconds since 1970)."""
    out_from: int = 0
    """Nodes that ran then."""
    in_at: int = 0
    """When the last batch was begun to be drained."""


class Circumstances(Struct, frozen=True, kw_only=True):
    """What is to be known beside the load."""

    now: float
    """Wall clock, seconds since 1970."""
    running: int
    """Replicas asked for now, those that are being drained included."""
    leaving: int = 0
    """How many of them are being drained."""
    rollout: bool = False
    datastores: str = ""
    """Why they are not whole; empty: they are."""
    held: Held = ""
    """A person's pause."""


class Verdict(Struct, frozen=True, kw_only=True):
    replicas: int
    """As many as should run now; never fewer than run: that is for draining."""
    remove: int = 0
    """So many more may be drained."""
    keep: int = 0
    """So many of those that are being drained are needed after all."""
    wanted: int
    """What the load alone asks for, within min and max."""
    why: str
    limited: str = ""
    """What kept the number from what the load asks for."""
    waits: tuple[str, ...] = ()
    """Why no node is taken away although fewer would do."""
    state: Scaling = Scaling()


def decide(spec: ChatClusterSpec, stock: Stock, before: Scaling, seen: Circumstances) -> Verdict:
    """Deterministic; ``state`` of the verdict is ``before`` of the next one."""
    zones = stock.zones if seen.running >= before.zones else max(before.zones, stock.zones)
    # Those who leave a node are counted twice for a moment, while they are already at another: that is no growth.
    stock = replace(stock, zones=zones, rate=0.0 if seen.leaving else stock.rate)
    need = need_now(spec, stock, seen.running)
    peak = Peak(
        math.floor(seen.now),
        max(connections_wanted(spec, stock.connections, stock.rate), stock.assumed),
        lag_nodes(spec, stock, seen.running),
    )
    state = replace(before, zones=zones, window=note(before.window, peak, spec.autoscaling.scale_in.window_seconds))
    low, high = spec.nodes.min, spec.nodes.max
    if seen.running < low or seen.running > high:
        return _into_bounds(spec, stock, state, seen)
    staying = seen.running - seen.leaving
    up = 1 + spec.autoscaling.scale_out.tolerance_percent / 100
    if stock.heard and need.nodes > staying * up:
        return _more(spec, need, state, seen)
    return _fewer(spec, stock, need, state, seen)


def _into_bounds(spec: ChatClusterSpec, stock: Stock, state: Scaling, seen: Circumstances) -> Verdict:
    low, high, running = spec.nodes.min, spec.nodes.max, seen.running
    if running < low:
        held = seen.held in {"scale-out", "all"}
        return Verdict(replicas=running if held else low, wanted=low, why=f"nodes.min is {low}", state=state)
    why = f"nodes.max is {high}"
    waits = _waits(spec, stock, state, seen)
    remove = 0 if waits else min(batch_size(spec, running), running - high)
    return Verdict(replicas=running, remove=remove, wanted=high, why=why, limited=why, waits=waits, state=state)


def batch_size(spec: ChatClusterSpec, running: int) -> int:
    """Nodes that may be taken away within one period."""
    scale_in = spec.autoscaling.scale_in
    return max(scale_in.max_nodes, running * scale_in.max_percent // 100)


def _more(spec: ChatClusterSpec, need: Need, state: Scaling, seen: Circumstances) -> Verdict:
    scale_out = spec.autoscaling.scale_out
    asked = math.ceil(need.nodes - 1e-9)
    wanted = min(max(asked, spec.nodes.min), spec.nodes.max)
    limited = f"nodes.max is {spec.nodes.max}, the load asks for {asked}" if asked > wanted else ""
    keep = min(seen.leaving, max(0, wanted - (seen.running - seen.leaving)))
    if wanted <= seen.running:
        return Verdict(replicas=seen.running, keep=keep, wanted=wanted, why=need.why, limited=limited, state=state)
    if seen.held in {"scale-out", "all"}:
        limited = "scale-out is paused"
        return Verdict(replicas=seen.running, keep=keep, wanted=wanted, why=need.why, limited=limited, state=state)
    if not 0 <= seen.now - state.out_at < scale_out.period_seconds:
        state = replace(state, out_at=math.floor(seen.now), out_from=seen.running)
    ceiling = state.out_from + max(scale_out.max_nodes, state.out_from * scale_out.max_percent // 100)
    replicas = max(seen.running, min(wanted, ceiling))
    if replicas < wanted:
        limited = f"at most {ceiling - state.out_from} more within {scale_out.period_seconds} s"
    return Verdict(replicas=replicas, keep=keep, wanted=wanted, why=need.why, limited=limited, state=state)


def _fewer(spec: ChatClusterSpec, stock: Stock, need: Need, state: Scaling, seen: Circumstances) -> Verdict:
    scale_in = spec.autoscaling.scale_in
    most = highest(state.window)
    past = need_for(spec, stock, most.connections, most.nodes)
    asked = max(1, math.ceil(past.nodes - 1e-9))
    wanted = min(max(asked, spec.nodes.min), spec.nodes.max)
    why = past.why if past.nodes > need.nodes else need.why
    enough = past.nodes < seen.running * (1 - scale_in.tolerance_percent / 100)
    if not enough or wanted >= seen.running - seen.leaving:
        stays = max(wanted, seen.running - seen.leaving)
        limited = f"nodes.min is {spec.nodes.min}" if asked < spec.nodes.min and stays == spec.nodes.min else ""
        return Verdict(replicas=seen.running, wanted=stays, why=why, limited=limited, state=state)
    waits = _waits(spec, stock, state, seen)
    remove = 0 if waits else min(batch_size(spec, seen.running), seen.running - wanted)
    return Verdict(replicas=seen.running, wanted=wanted, remove=remove, why=why, waits=waits, state=state)


def _waits(spec: ChatClusterSpec, stock: Stock, state: Scaling, seen: Circumstances) -> tuple[str, ...]:
    """Everything that keeps nodes from being taken away now."""
    scale_in = spec.autoscaling.scale_in
    waits: list[str] = []
    if seen.held in {"scale-in", "all"}:
        waits.append("scale-in is paused")
    if seen.leaving:
        waits.append(f"{seen.leaving} nodes are being drained")
    if seen.rollout:
        waits.append("a rollout is under way")
    if stock.pending:
        waits.append(f"{stock.pending} nodes are not ready")
    if seen.datastores:
        waits.append(seen.datastores)
    waits += stock.doubts
    if stock.watched_s < scale_in.window_seconds:
        waits.append(f"the load is known for {stock.watched_s:.0f} of {scale_in.window_seconds} s")
    since = seen.now - state.in_at
    if 0 <= since < scale_in.period_seconds:
        waits.append(f"the last node began to go {since:.0f} s ago")
    return tuple(waits)
