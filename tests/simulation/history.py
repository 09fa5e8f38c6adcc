"""One history: a plan is carried out in a world, and what came of it is judged."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import chatnode.node
import chatnode.rooms.copies
from chatnode.broker.subjects import stream_name
from chatnode.rooms.tasks import TaskOwner
from tests.oracle.log import Log
from tests.simulation.plan import Plan
from tests.simulation.trial import Trial
from tests.simulation.virtual_time import Stuck
from tests.simulation.world import World


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


@contextlib.contextmanager
def _in_virtual_time(world: World) -> Iterator[None]:
    """The few names that the code reads from its modules: the time of day, the duplicate window, failed tasks."""
    node, copies = chatnode.node, chatnode.rooms.copies
    before = (node.wall_ms, copies.LATE_MS, TaskOwner._done)

    def done(owner: TaskOwner, task: Any) -> None:
        owner._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            world.failures.append(f"task {task.get_name()} failed: {error!r}")

    node.wall_ms = world.wall_ms
    copies.LATE_MS = round(world.plan.window * 500)  # type: ignore[misc]
    TaskOwner._done = done  # type: ignore[method-assign]
    try:
        yield
    finally:
        node.wall_ms, copies.LATE_MS, TaskOwner._done = before  # type: ignore[misc, method-assign]


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
            late = list(trial.late())
            outcome.problems.extend(late)
            outcome.rules.update(["late"] if late else [])
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
