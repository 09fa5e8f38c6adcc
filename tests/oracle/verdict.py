"""The verdict over a log and the history that is left: which promises of the protocol were broken, and by what."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chatnode.protocol.frames import Message
from tests.oracle.case import Problem, sort_out
from tests.oracle.log import Acked, Record, Refused, Unknown
from tests.oracle.room import RoomTrial
from tests.oracle.rules import Rule


@dataclass(frozen=True)
class Verdict:
    problems: tuple[Problem, ...]
    sent: int
    acked: int
    refused: int
    unknown: int
    delivered: int

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def rules(self) -> frozenset[Rule]:
        return frozenset(problem.rule for problem in self.problems)

    def __str__(self) -> str:
        counts = (
            f"{self.sent} sent, {self.acked} acked, {self.refused} refused, {self.unknown} unknown, "
            f"{self.delivered} delivered"
        )
        if self.ok:
            return f"all promises kept: {counts}"
        shown = [f"  {problem}" for problem in self.problems[:40]]
        return "\n".join([f"{len(self.problems)} broken promises: {counts}", *shown])


def judge(records: Iterable[Record], history: Mapping[str, Sequence[Message]]) -> Verdict:
    """``history`` is each room's whole history, read after the run, in the room's order."""
    case, problems = sort_out(records)
    for room in sorted(case.rooms() | set(history)):
        problems.extend(RoomTrial(case, room, history.get(room, ())).problems())
    return Verdict(
        problems=tuple(problems),
        sent=len(case.invoked),
        acked=len({(acked.user, acked.command) for acked in case.all(Acked)}),
        refused=len(case.all(Refused)),
        unknown=len(case.all(Unknown)),
        delivered=len(case.delivered),
    )
