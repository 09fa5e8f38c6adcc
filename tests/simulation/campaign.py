"""Many histories on all cores, and the ledger in which long runs add up."""

import functools
import gc
import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tests.chaos.ledger import fingerprint
from tests.simulation.drawing import draw_plan
from tests.simulation.history import run_plan
from tests.simulation.mutations import Mutation, applied
from tests.simulation.plan import Plan

REPOSITORY: Final = Path(__file__).resolve().parents[2]
LEDGER: Final = REPOSITORY / "docs" / "simulation-ledger.json"
_CHUNK: Final = 400
"""Histories of one process. It collects no garbage: what it leaves, a quarter of a MB each, goes with it."""


class Failure(Struct, frozen=True):
    seed: int
    problems: tuple[str, ...]


class Chunk(Struct, frozen=True):
    """What one stretch of seeds came to."""

    histories: int
    acked: int
    delivered: int
    stored: int
    virtual_s: float
    cpu_s: float
    failures: tuple[Failure, ...]


@dataclass
class Total:
    histories: int = 0
    acked: int = 0
    delivered: int = 0
    stored: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def add(self, chunk: Chunk) -> None:
        self.histories += chunk.histories
        self.acked += chunk.acked
        self.delivered += chunk.delivered
        self.stored += chunk.stored
        self.virtual_s += chunk.virtual_s
        self.cpu_s += chunk.cpu_s
        self.failures.extend(chunk.failures)


class Entry(Struct):
    """One run in the ledger."""

    fingerprint: str
    first_seed: int
    histories: int
    acked: int
    delivered: int
    virtual_hours: float
    cpu_s: int
    failed: int


def quiet() -> None:
    """Logs cost more than what they tell here; whoever runs many histories collects garbage between them."""
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    gc.disable()


def collect() -> None:
    gc.collect()


def run_seeds(seeds: Sequence[int]) -> Chunk:
    began = time.process_time()
    acked = delivered = stored = 0
    virtual = 0.0
    failures: list[Failure] = []
    for seed in seeds:
        outcome = run_plan(draw_plan(seed))
        acked += outcome.acked
        delivered += outcome.delivered
        stored += outcome.stored
        virtual += outcome.seconds
        if not outcome.ok:
            failures.append(Failure(seed, tuple(outcome.problems[:5])))
    return Chunk(len(seeds), acked, delivered, stored, virtual, time.process_time() - began, tuple(failures))


def _chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, _CHUNK):
        yield range(start, min(start + _CHUNK, first + count))


def run_many(first: int, count: int, processes: int, deadline_s: float | None = None) -> Total:
    """``count`` histories from seed ``first`` on, or as many as fit before the deadline; stops at twenty failures."""
    total = Total()
    began = time.monotonic()
    quiet()
    with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        for chunk in pool.imap(run_seeds, _chunks(first, count)):
            total.add(chunk)
            if sys.stderr.isatty():
                rate = total.histories / (time.monotonic() - began)
                print(
                    f"\r{total.histories} histories, {rate:.0f}/s, {len(total.failures)} failed ",
                    end="",
                    file=sys.stderr,
                )
            if len(total.failures) >= 20 or (deadline_s is not None and time.monotonic() - began > deadline_s):
                pool.terminate()
                break
    return total


def until_seen(mutations: Sequence[Mutation], limit: int, processes: int) -> Iterator[tuple[int | None, str]]:
    """Of each mutation the first of ``limit`` seeds whose history fails with it, and which rules are broken there."""
    quiet()
    with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap(functools.partial(_first_seen, limit), mutations, chunksize=1)


def _first_seen(limit: int, mutation: Mutation) -> tuple[int | None, str]:
    with applied(mutation):
        for seed in range(limit):
            outcome = run_plan(draw_plan(seed))
            if not outcome.ok:
                return seed, ", ".join(sorted(outcome.rules))
            if seed % 40 == 39:
                collect()
    return None, ""


def write_down(first: int, total: Total, path: Path = LEDGER) -> list[Entry]:
    """Add a run to the ledger; all that is in it, newest last."""
    entries = msgspec.json.decode(path.read_bytes(), type=list[Entry]) if path.exists() else []
    entries.append(
        Entry(
            fingerprint(),
            first,
            total.histories,
            total.acked,
            total.delivered,
            round(total.virtual_s / 3600, 1),
            round(total.cpu_s),
            len(total.failures),
        )
    )
    path.write_bytes(msgspec.json.format(msgspec.json.encode(entries)) + b"\n")
    return entries


def next_seed(path: Path = LEDGER) -> int:
    """Above every seed that the ledger has for this data path."""
    if not path.exists():
        return 0
    own = fingerprint()
    entries = msgspec.json.decode(path.read_bytes(), type=list[Entry])
    return max((entry.first_seed + entry.histories for entry in entries if entry.fingerprint == own), default=0)


class Regression(Struct, frozen=True, omit_defaults=True):
    """A plan that failed once, why, and what was done about it."""

    name: str
    found: str
    plan: Plan
    mutation: str | None = None
    """The rule whose absence it shows: with that mutation it has to fail still."""


REGRESSIONS: Final = Path(__file__).parent / "regressions"


def regressions() -> list[Regression]:
    return [msgspec.json.decode(file.read_bytes(), type=Regression) for file in sorted(REGRESSIONS.glob("*.json"))]


def keep(regression: Regression) -> Path:
    path = REGRESSIONS / f"{regression.name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(regression)) + b"\n")
    return path
