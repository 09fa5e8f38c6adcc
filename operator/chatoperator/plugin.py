"""``kubectl chat``: how a ChatCluster is, why it has so many nodes, and a hand on its scaling."""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml
from kubernetes.aio.config import ConfigException

from chatoperator.autoscale.window import highest
from chatoperator.kube import ApiError, Kube
from chatoperator.objects import Object, Ref, at, items, mapping, number, text
from chatoperator.observe import last_status
from chatoperator.plan.naming import PAUSED
from chatoperator.plan.observed import ClusterStatus
from chatoperator.spec import GROUP, KIND, VERSION

_GOOD: Final = {"Progressing": "False", "Draining": "False", "ScalingLimited": "False", "Paused": "False"}
"""What a condition should be where that is not ``True``."""


def status_lines(resource: Object) -> Iterator[str]:
    """The cluster in a few lines; conditions that are not as they should be come with their words."""
    status = last_status(at(resource, "status"))
    nodes = status.nodes
    yield f"{text(resource, 'metadata', 'namespace')}/{text(resource, 'metadata', 'name')}"
    yield f"  nodes        {nodes.ready} ready of {nodes.desired}, {nodes.updated} up to date"
    yield f"  workers      {status.workers.ready} ready of {status.workers.desired}"
    yield f"  connections  {status.connections}"
    yield f"  reached at   {status.endpoints.url or status.endpoints.service}"
    yield f"  runs         {status.versions.image}"
    for condition in status.conditions:
        good = condition.status == _GOOD.get(condition.type, "True")
        quiet = good or (condition.type == "ScalingActive" and condition.reason in {"Off", "HPA"})
        mark = " " if quiet else "!"
        words = "" if quiet else f"  {condition.reason}: {_once(condition.message, status.troubles)}"
        yield f"{mark} {condition.type:<16} {condition.status}{words}"
    if status.troubles:
        yield "because"
    for words in status.troubles:
        yield f"  {words}"


def _once(message: str, troubles: Sequence[str]) -> str:
    """Without the causes, which follow by themselves."""
    for words in troubles:
        message = message.replace(f"; {words}", "").replace(words, "see below")
    return message


def scaling_lines(resource: Object) -> Iterator[str]:
    """Why so many nodes run, what is waited for, and what was decided lately."""
    status = last_status(at(resource, "status"))
    nodes = mapping(resource, "spec", "nodes")
    yield f"{status.nodes.desired} nodes, between {number(nodes, 'min')} and {number(nodes, 'max')}"
    yield f"because      {status.nodes.reason}"
    peak = highest(status.scaling.window)
    if status.scaling.window:
        yield f"window       up to {peak.connections} connections, last at {_clock(peak.at)}"
    for kind in ("ScalingActive", "ScalingLimited", "MetricsFresh", "Draining", "Paused"):
        condition = status.condition(kind)
        if condition is not None and (condition.status != _GOOD.get(kind, "True") or kind == "ScalingActive"):
            yield f"{kind:<12} {condition.status}, {condition.reason}: {condition.message}"
    yield from _decisions(status)


def _decisions(status: ClusterStatus) -> Iterator[str]:
    if status.decisions:
        yield "decided"
    for decision in status.decisions:
        yield f"  {decision.time}  {decision.what}: {decision.why}"


def _clock(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S UTC")


def default_namespace(kubeconfig: Path) -> str:
    """Of the current context; ``default`` where it names none. Raises :class:`OSError`, :class:`yaml.YAMLError`."""
    loaded = yaml.safe_load(kubeconfig.read_text("utf-8"))
    wanted = text(loaded, "current-context")
    contexts = [each for each in items(loaded, "contexts") if text(each, "name") == wanted]
    return text(contexts[0], "context", "namespace") or "default" if contexts else "default"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl chat", description="Looks after ChatClusters.")
    parser.add_argument("-n", "--namespace", default="", help="else the current context's")
    parser.add_argument("--kubeconfig", default="", help="else $KUBECONFIG or ~/.kube/config")
    commands = parser.add_subparsers(dest="command", required=True)
    status = commands.add_parser("status", help="how it is")
    status.add_argument("name", nargs="?", default="", help="else all of the namespace")
    commands.add_parser("explain-scaling", help="why so many nodes run").add_argument("name")
    drain = commands.add_parser("drain", help="let a node send its clients away and end; another takes its place")
    drain.add_argument("pod", help="the node's pod")
    pause = commands.add_parser("pause", help="leave something alone until resumed")
    pause.add_argument("name")
    pause.add_argument("what", nargs="?", default="all", choices=("all", "scale-in", "scale-out"))
    commands.add_parser("resume", help="end a pause").add_argument("name")
    return parser


async def _run(options: argparse.Namespace, kubeconfig: Path) -> Sequence[str]:
    namespace = options.namespace or default_namespace(kubeconfig)
    api = f"{GROUP}/{VERSION}"
    async with await Kube.connect(str(kubeconfig)) as kube:
        if options.command == "drain":
            await kube.evict(options.pod, namespace)
            return [f"{options.pod} sends its clients away and ends"]
        if options.command == "status" and not options.name:
            found = await kube.list(api, KIND, namespace)
            return [line for each in found for line in status_lines(each)] or [f"no ChatCluster in {namespace}"]
        where = Ref(api, KIND, options.name)
        resource = await kube.get(where, namespace)
        if resource is None:
            raise ApiError(f"ChatCluster {namespace}/{options.name}", 404, "there is none of this name")
        if options.command == "status":
            return list(status_lines(resource))
        if options.command == "explain-scaling":
            return list(scaling_lines(resource))
        paused = options.what if options.command == "pause" else None
        await kube.annotate(where, namespace, {PAUSED: paused})
        return [f"{options.name}: {f'paused: {paused}' if paused else 'resumed'}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 refused or not reached."""
    options = _parser().parse_args(arguments)
    named = options.kubeconfig or os.environ.get("KUBECONFIG", "").partition(os.pathsep)[0]
    kubeconfig = Path(named) if named else Path.home() / ".kube" / "config"
    try:
        print("\n".join(asyncio.run(_run(options, kubeconfig))))
    except (ApiError, ConfigException, yaml.YAMLError, OSError) as error:
        print(f"kubectl chat: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
