"""``chat-operator simulate TRACE``: what the operator would do over a load, as lines and as a picture."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from chatoperator.simulate.plot import plot
from chatoperator.simulate.trace import read_trace
from chatoperator.simulate.world import World
from chatoperator.spec import ChatCluster, parse

_AUTH: Mapping[str, str] = {"issuer": "https://login.example.org", "jwksUrl": "https://login.example.org/jwks.json"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", type=Path, help="CSV lines of seconds,connections, or JSON")
    parser.add_argument("--cluster", type=Path, help="a ChatCluster as YAML, whose settings count; else the defaults")
    parser.add_argument("--svg", type=Path, help="where to write the picture")
    parser.add_argument("--start", type=int, default=20, metavar="S", help="seconds until a new node is ready (20)")
    parser.add_argument("--zones", type=int, default=3, metavar="N", help="zones that nodes are spread over (3)")


def cluster_of(path: Path | None) -> ChatCluster:
    """Raises :class:`chatoperator.spec.InvalidSpec`, :class:`yaml.YAMLError` and :class:`OSError`."""
    loaded = yaml.safe_load(path.read_text("utf-8")) if path is not None else {}
    spec = loaded.get("spec", {}) if isinstance(loaded, dict) else {}
    metadata = {"name": "chat", "namespace": "simulated", "uid": "simulated"}
    return parse({"metadata": metadata, "spec": {"auth": _AUTH, **spec}})


def simulate(options: argparse.Namespace) -> Iterator[str]:
    """Lines for people. Raises :class:`chatoperator.simulate.trace.TraceError` and what :func:`cluster_of` does."""
    load = read_trace(options.trace)
    zones = tuple(f"zone-{number}" for number in range(1, options.zones + 1))
    world = World(cluster_of(options.cluster), load, start_s=options.start, zones=zones)
    world.run(max(1, int(load.duration)))
    for told in world.told:
        yield f"{told.at // 3600:3d}:{told.at // 60 % 60:02d}:{told.at % 60:02d}  {told.what}: {told.why}"
    yield from summary(world)
    if options.svg is not None:
        options.svg.write_text(plot(options.trace.stem, world.seconds, world.told), "utf-8")
        yield f"{options.svg} written"


def summary(world: World) -> Sequence[str]:
    seconds = world.seconds
    nodes = sum(second.replicas for second in seconds) / len(seconds)
    return [
        f"nodes: {min(s.replicas for s in seconds)} to {max(s.replicas for s in seconds)}, {nodes:.1f} on average",
        f"fullest node: {max(s.fullest for s in seconds):,} of {world.cluster.spec.limits.connections_per_node:,}",
        f"told to reconnect: {sum(s.reconnects for s in seconds):,}",
        f"most in a second: {max(s.reconnects for s in seconds):,}",
        f"refused: {sum(s.refused for s in seconds):,}",
    ]
