"""One history: a plan is carried out in a world, and what came of it is judged."""

import asyncio
import contextlib
import functools
import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pymongo

import chatnode.broker.epochs
import chatnode.broker.publish
import chatnode.broker.room_log
import chatnode.node
import chatnode.protocol.ids
import chatnode.rooms.copies
import chatnode.rooms.posting
import chatnode.session.stillness
import chatnode.worker.stream
from chatnode.broker.subjects import stream_name
from chatnode.rooms.tasks import TaskOwner
from tests.oracle.log import Log
from tests.simulation.plan import Plan
from tests.simulation.trial import Trial
from tests.simulation.virtual_time import Stuck, sleep
from tests.simulation.world import World

_PARTITIONED: Final = (chatnode.node, chatnode.broker.epochs, chatnode.broker.publish, chatnode.broker.room_log)
"""What does something for every partition, and here for those that hold rooms alone."""
_NO_DEADLINE: Final = contextlib.nullcontext()


@dataclass
class Outcome:
    """What a history came to. ``problems`` are the oracle's and the simulation's own, in words."""

    plan: Plan
    problems: list[str] = field(default_factory=list)
    rules: set[str] = field(default_factory=set)
    acked: int = 0
    delivered: int = 0
    stored: int = 0
    seconds: float = 0.0
    steps: int = 0
    log: Log | None = None

    @property
    def ok(self) -> bool:
        return not self.problems


class Digest:
    """Of little that is hashed over and over: users and command ids are the same in every history."""

    def __init__(self, data: bytes) -> None:
        self._hex = hashlib.sha256(data).hexdigest()

    def hexdigest(self) -> str:
        return self._hex


class Hashes:
    """What :mod:`chatnode.protocol.ids` and its callers use of hashlib."""

    sha256 = staticmethod(functools.lru_cache(10_000)(Digest))


class Secrets:
    """Unique within a history, and the same in its repetition."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def token_hex(self, size: int) -> str:
        return f"{next(self._numbers):0{2 * size}x}"

    token_urlsafe = token_hex

    def randbits(self, _bits: int) -> int:
        return next(self._numbers)


@contextlib.contextmanager
def _in_virtual_time(world: World) -> Iterator[None]:
    """The names that the code reads from its modules: the time of day, the duplicate window, randomness, failed tasks,
    how many partitions there are; and what costs much and changes nothing: hashes, deadlines of MongoDB's driver,
    asyncio's sleep."""

    def done(owner: TaskOwner, task: Any) -> None:
        owner._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            world.failures.append(f"task {task.get_name()} failed: {error!r}")

    partitions = world.partitions[-1] + 1
    names: tuple[tuple[Any, str, object], ...] = (
        *((module, "PARTITIONS", partitions) for module in _PARTITIONED),
        (chatnode.node, "wall_ms", world.wall_ms),
        (chatnode.node, "secrets", Secrets()),
        (chatnode.worker.stream, "random", random.Random(world.plan.seed)),
        (chatnode.rooms.copies, "LATE_MS", round(world.plan.window * 500)),
        (chatnode.rooms.posting, "FIRST_S", 0.9 * world.plan.window),
        (chatnode.session.stillness, "STOOD_S", world.plan.window / 12),
        (chatnode.protocol.ids, "hashlib", Hashes),
        (TaskOwner, "_done", done),
        (pymongo, "timeout", lambda _seconds: _NO_DEADLINE),
        (asyncio, "sleep", sleep),
    )
    before = [getattr(owner, name) for owner, name, _ in names]
    for owner, name, value in names:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(names, before, strict=True):
            setattr(owner, name, value)


def run_plan(plan: Plan) -> Outcome:
    world = World(plan)
    outcome = Outcome(plan, log=world.log)
    with _in_virtual_time(world):
        try:
            world.run()
            trial = Trial(world)
            verdict = trial.verdict()
        except AssertionError as error:
            outcome.problems.append(f"assertion: {error}")
            outcome.rules.add("crash")
        except Stuck as error:
            world.failures.append(f"stuck: {error}")
        else:
            astray = trial.astray()
            problems = [problem for problem in verdict.problems if trial.counts(problem, astray)]
            outcome.problems.extend(map(str, problems))
            outcome.rules.update(problem.rule.value for problem in problems)
            for rule, found in (("late", list(trial.late())), ("confused", list(trial.confused()))):
                outcome.problems.extend(found)
                outcome.rules.update([rule] if found else [])
            outcome.acked = verdict.acked
            outcome.delivered = verdict.delivered
        finally:
            world.clock.end()
    outcome.problems.extend(world.failures)
    if world.failures:
        outcome.rules.add("stuck" if world.failures[-1].startswith("stuck") else "crash")
    outcome.stored = sum(len(world.nats.stream(stream_name(partition)).ever) for partition in world.partitions)
    outcome.seconds = world.clock.now
    outcome.steps = world.clock.steps
    return outcome
