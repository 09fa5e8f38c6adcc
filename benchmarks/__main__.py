"""``python -m benchmarks``: everything once, side by side; figures to ``build/bench.json``."""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import contenders, machine, measures, programs, report
from benchmarks.crowd import Crowd, CrowdError
from benchmarks.measures import Sizes

Measure = Callable[[contenders.Running, Crowd, Sizes], Awaitable[measures.Figures]]

COMMON: Final[dict[str, Measure]] = {
    "fanout": measures.fanout,
    "saturation": measures.saturation,
    "connects": measures.connects,
    "idle": measures.idle,
}
OWN: Final = ("acked", "cross_node")
HISTORY: Final = ("worker", "mongod")
"""What has machines of its own in production, and may lag in a burst of sends."""
OTHERS: Final = ("socketio", "starlette", "floor")


class Run:
    """One run of the benchmark."""

    def __init__(self, sizes: Sizes, only: frozenset[str], names: frozenset[str], profiles: Path | None) -> None:
        self.results: report.Results = {}
        self.failures: list[str] = []
        self._sizes = sizes
        self._only = only
        self._names = names
        self._profiles = profiles
        self._load = programs.load_program()

    async def all(self) -> None:
        for name, measure in COMMON.items():
            if name in self._only:
                await self._common(name, measure)
        if "project" not in self._names:
            return
        if "acked" in self._only:
            for sync in ("default", "always"):
                await self._acked(sync)
        if "cross_node" in self._only:
            await self._cross_node()

    async def _common(self, what: str, measure: Measure) -> None:
        for name in ("project", *OTHERS):
            if name not in self._names:
                continue
            async with contenders.project() if name == "project" else contenders.other(name) as running:
                running.profiles = self._profiles if name == "project" else None
                await self._take(
                    f"{what} of {name}", name, lambda crowd, running=running: measure(running, crowd, self._sizes)
                )

    async def _acked(self, sync: str) -> None:
        async with contenders.project(sync_always=sync == "always", giving_way=HISTORY) as running:
            running.profiles = self._profiles
            await self._take(
                f"acked sends of project, sync {sync}",
                "project",
                lambda crowd: measures.acked(running, crowd, self._sizes, sync),
            )
            if "nats_bench" in self._names:
                program = programs.nats_program()
                await asyncio.sleep(self._sizes.warm_s)
                await self._take(
                    f"nats bench, sync {sync}",
                    "nats_bench",
                    lambda _crowd: measures.nats_bench(running, program, self._sizes, sync),
                )

    async def _cross_node(self) -> None:
        for sync, suffix in (("default", ""), ("always", "_always")):
            async with contenders.project(nodes=2, sync_always=sync == "always") as running:
                await self._take(
                    f"from node to node, sync {sync}",
                    "project",
                    lambda crowd, running=running, suffix=suffix: measures.cross_node(
                        running, crowd, self._sizes, suffix
                    ),
                )

    async def _take(self, what: str, contender: str, measure: Callable[[Crowd], Awaitable[measures.Figures]]) -> None:
        began = time.monotonic()
        try:
            async with Crowd(self._load) as crowd:
                figures = await measure(crowd)
        except (CrowdError, TimeoutError) as error:
            self.failures.append(f"{what}: {error!r}")
            print(f"bench: {what} FAILED: {error!r}", file=sys.stderr, flush=True)
            return
        report.add(self.results, contender, figures)
        shown = ", ".join(f"{name} {value:,.2f}" for name, value in figures.items())
        print(f"bench: {what} ({time.monotonic() - began:.0f} s): {shown}", file=sys.stderr, flush=True)


def resized(sizes: Sizes, changes: list[str]) -> Sizes:
    """The sizes with ``name=number`` for some of them."""
    given = dict(change.split("=", 1) for change in changes)
    return replace(sizes, **{name: type(getattr(sizes, name))(number) for name, number in given.items()})


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure this project beside others, on loopback.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run, not how fast")
    parser.add_argument("--only", default=",".join((*COMMON, *OWN)), help="measures, separated by commas")
    parser.add_argument("--contenders", default=",".join(report.CONTENDERS), help="separated by commas")
    parser.add_argument(
        "--size", action="append", default=[], metavar="NAME=NUMBER", help="another size, as fanout_sockets=500"
    )
    parser.add_argument(
        "--profiles", type=Path, help="a folder for py-spy's samples of the first node; costs some speed"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    sizes = resized(Sizes.quick() if options.quick else Sizes(), options.size)
    about = machine.describe() | {"command": " ".join(["make bench", *sys.argv[1:]])}
    run = Run(sizes, frozenset(options.only.split(",")), frozenset(options.contenders.split(",")), options.profiles)
    asyncio.run(run.all())
    about["load_after"] = f"{machine.load():.2f}"
    report.write(run.results, about, options.out)
    print(report.table(run.results))
    for failure in run.failures:
        print(f"bench: failed: {failure}", file=sys.stderr)
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
