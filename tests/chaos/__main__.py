"""``python -m tests.chaos``: one run; its figures go into ``build/chaos.json``, its processes' logs beside."""

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from tests.chaos.clock import can_jump
from tests.chaos.cluster import Cluster, member_names
from tests.chaos.network import Network
from tests.chaos.outcome import CONVERGE_S, RESUME_S
from tests.chaos.plan import Means
from tests.chaos.run import Plan, Run, run
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.servers import Site
from tests.storm.figures import with_storm

_WORKERS: Final = 2


def main() -> int:
    _clean_up_when_told_to_end()
    arguments = _arguments()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    means = _means(loopback=arguments.loopback)
    if arguments.all_faults and not means.all:
        print("chaos: --all-faults asks for more than this machine lets happen, see above", file=sys.stderr)
        return 2
    given = Plan(
        seed,
        arguments.seconds,
        means,
        rooms=arguments.rooms,
        people=arguments.people,
        pace_s=arguments.pace,
        pairs=arguments.pairs,
        pair_pace_s=arguments.pair_pace,
    )
    scenario = SCENARIOS[arguments.scenario] if arguments.scenario else None
    what = f"--scenario {arguments.scenario}" if scenario else f"--seconds {given.seconds:g}"
    print(f"chaos: repeat with --seed {seed} {what}", flush=True)
    directory = arguments.out.with_suffix("").absolute()
    if not means.networked:
        done = asyncio.run(_run(given, directory, arguments.nodes, None, scenario))
    else:
        with Network(member_names(arguments.nodes, _WORKERS), f"chaos{os.getpid()}") as network:
            done = asyncio.run(_run(given, directory, arguments.nodes, network, scenario))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    found = with_storm(done.outcome, arguments.out.with_name("storm.json"))
    arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    _keep(done, directory)
    print(arguments.out.read_text("utf-8"))
    print("chaos: all promises kept" if found.kept else "chaos: broken promises, see above", flush=True)
    if not found.in_time:
        print(f"chaos: SLOW: at most {RESUME_S:g} s to resume and {CONVERGE_S:g} s to converge are asked", flush=True)
    return 0 if found.ok or (found.kept and arguments.tell_times) else 1


def _clean_up_when_told_to_end() -> None:
    """Whichever signal it is, and also in the background, where shells have SIGINT ignored: namespaces and disks go."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def _means(*, loopback: bool) -> Means:
    root = os.geteuid() == 0
    tools = all(shutil.which(tool) for tool in ("ip", "iptables", "ss"))
    networked = root and tools and not loopback
    clocks = can_jump()
    if not networked and not loopback:
        print("chaos: NO LINKS ARE CUT AND NO DISK IS FILLED: that needs root, iproute2 and iptables", flush=True)
    if not clocks:
        print("chaos: NO CLOCK JUMPS: that needs a C compiler (cc)", flush=True)
    return Means(networked=networked, shaped=networked, disks=root and not loopback, clocks=clocks)


def _keep(done: Run, directory: Path) -> None:
    """What somebody needs who looks for a cause: all problems, all faults with their victims."""
    problems = [f"{each.rule} in {each.room}: {each.what}" for room in done.rooms for each in room.findings]
    (directory / "problems.txt").write_text("\n".join(problems), "utf-8")
    for line in problems[:20]:
        print(f"  {line}")
    lines = [
        f"{each.began_at:.3f} to {each.healed_at:.3f}  {each.fault}: {each.victims} {each.led} {each.note}"
        for each in done.faults
    ]
    (directory / "faults.txt").write_text("\n".join(lines), "utf-8")


async def _run(given: Plan, directory: Path, nodes: int, network: Network | None, scenario: Scenario | None) -> Run:
    shutil.rmtree(directory, ignore_errors=True)
    began = time.monotonic()

    def say(words: str) -> None:
        print(f"[{time.monotonic() - began:6.1f}] {words}", flush=True)

    site = network.site if network is not None else lambda _: Site()
    async with Cluster(
        directory,
        nodes=nodes,
        workers=_WORKERS,
        site=site,
        disks=given.means.disks,
        clocks=given.means.clocks,
        settings=scenario.settings if scenario else None,
    ) as cluster:
        say("the cluster is up")
        return await run(given, cluster, network, say, scenario.play if scenario else None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats a run's faults; random by default")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long faults happen")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="instead of random faults")
    parser.add_argument("--rooms", type=int, default=20)
    parser.add_argument("--people", type=int, default=10, help="in each room")
    parser.add_argument("--pace", type=float, default=0.4, help="seconds between two commands of one person")
    parser.add_argument("--pairs", type=int, default=20, help="more rooms, of two people who talk fast")
    parser.add_argument("--pair-pace", type=float, default=0.025, help="seconds between two commands of one of them")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--loopback", action="store_true", help="without links that can be cut; needs no root")
    parser.add_argument("--tell-times", action="store_true", help="do not fail for them: the machine may be busy")
    parser.add_argument("--all-faults", action="store_true", help="fail where some kind of fault cannot happen")
    parser.add_argument("--out", type=Path, default=Path("build/chaos.json"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
