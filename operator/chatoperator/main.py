"""The operator as a process: ``chat-operator run``."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Final

import kopf
from yaml import YAMLError

from chatoperator import __version__
from chatoperator.apply import Applier
from chatoperator.handlers import configure, register, register_login
from chatoperator.health import Health, serve_health
from chatoperator.kube import Kube
from chatoperator.lease import Lease, LeaseLost
from chatoperator.nodes import Nodes
from chatoperator.observe import Observer
from chatoperator.reconcile import Reconciler, Rhythm
from chatoperator.settings import OperatorSettings, OperatorSettingsError
from chatoperator.simulate import command
from chatoperator.simulate.trace import TraceError
from chatoperator.spec import InvalidSpec

logger = logging.getLogger(__name__)

LEASE: Final = "chat-operator"
_PATIENCE: Final = 5
"""How many resyncs may pass without a successful visit."""


async def run(settings: OperatorSettings, stop: asyncio.Event) -> None:
    """Care for all ChatClusters until ``stop``. Raises :class:`LeaseLost`."""
    async with await Kube.connect(settings.kubeconfig) as kube, Nodes() as nodes:
        observer = Observer(kube, nodes, image=settings.image, version=__version__, clock=time.monotonic)
        reconciler = Reconciler(
            kube,
            observer,
            Applier(kube, nodes),
            clock=time.monotonic,
            instance=settings.instance,
            rhythm=Rhythm(resync_s=settings.resync_s),
        )
        health = Health(reconciler, patience_s=settings.resync_s * _PATIENCE + 60)
        lease = Lease(kube, namespace=settings.namespace, name=LEASE, holder=settings.instance, clock=time.monotonic)
        async with serve_health(health, settings.health_port):
            if not await _unless(stop, lease.acquire()):
                return
            health.acting = True
            try:
                await _act(settings, kube, reconciler, lease, stop)
            finally:
                await reconciler.stop()
                await lease.release()


async def _act(
    settings: OperatorSettings, kube: Kube, reconciler: Reconciler, lease: Lease, stop: asyncio.Event
) -> None:
    registry = kopf.OperatorRegistry()
    register(registry, reconciler)
    register_login(registry, kube)
    options = kopf.OperatorSettings()
    configure(options)
    flag = asyncio.Event()
    watching = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=options,
            # Its own way asks the system for a user's name, which a container need not have.
            identity=settings.instance,  # type: ignore[arg-type]  # a string with a private name
            standalone=True,
            clusterwide=not settings.watch,
            namespaces=settings.watch,
            stop_flag=flag,
        ),
        name="kopf",
    )
    keeping = asyncio.create_task(lease.keep(), name="lease")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    tasks = {watching, keeping, stopping}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        flag.set()
        keeping.cancel()
        stopping.cancel()
        _, late = await asyncio.wait({watching}, timeout=10)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _unless(stop: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    """Whether ``work`` was done before the stop came."""
    doing = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finished = doing.done()
    for task in (doing, stopping):
        task.cancel()
    await asyncio.gather(doing, stopping, return_exceptions=True)
    return finished and not stop.is_set()


async def _main(settings: OperatorSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 told to stop, 1 lost the lease or could not run, 2 wrong settings or files."""
    parser = argparse.ArgumentParser(prog="chat-operator", description="Cares for ChatClusters.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="care for ChatClusters until told to stop")
    commands.add_parser("version", help="say which version this is")
    command.arguments(commands.add_parser("simulate", help="what scaling would do over a recorded load"))
    options = parser.parse_args(arguments)
    if options.command == "version":
        print(f"chat-operator {__version__}")
        return 0
    if options.command == "simulate":
        return _simulate(options)
    return _care()


def _simulate(options: argparse.Namespace) -> int:
    try:
        for line in command.simulate(options):
            print(line)
    except (TraceError, InvalidSpec, YAMLError, OSError) as error:
        print(f"chat-operator: {error}", file=sys.stderr)
        return 2
    return 0


def _care() -> int:
    try:
        settings = OperatorSettings.from_env(os.environ)
    except OperatorSettingsError as error:
        print(f"chat-operator: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        asyncio.run(_main(settings))
    except (LeaseLost, OSError) as error:
        print(f"chat-operator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
