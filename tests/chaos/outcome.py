"""The figures of a run, out of its log, its faults and its verdict."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf

from msgspec import Struct

from chatnode.broker.subjects import partition_of
from tests.chaos.faults import Done
from tests.oracle import Acked, Invoked, Record, Rule, Verdict


class Outcome(Struct, frozen=True, kw_only=True):
    seed: int
    seconds: float
    faults: int
    faults_by_kind: dict[str, int]
    sent: int
    acked: int
    refused: int
    unknown: int
    delivered: int
    lost: int
    duplicated: int
    phantom: int
    reordered: int
    gaps: int
    problems: dict[str, int]
    """By rule, all of them."""
    resume_s: float | None
    """Longest time from the death of a leader, alone, until somebody's new send was acked in each room of its own."""
    converge_s: float | None
    """From the end of the last fault until every client had everything; None when that did not come about."""
    not_converged: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        kept = not self.problems and not self.not_converged and not self.unknown
        return kept and (self.resume_s or 0.0) <= 10.0 and (self.converge_s or 0.0) <= 30.0


def counts(verdict: Verdict) -> dict[str, int]:
    return dict(Counter(str(problem.rule) for problem in verdict.problems))


def of_kind(problems: dict[str, int], *rules: Rule) -> int:
    return sum(problems.get(str(rule), 0) for rule in rules)


def resume_s(records: Iterable[Record], faults: Sequence[Done]) -> float | None:
    """Of all timed deaths of leaders, the longest wait for an ack of what was sent after it, over the rooms there."""
    asked = {}
    acks: list[tuple[str, float, float]] = []
    for record in records:
        if isinstance(record, Invoked):
            asked[record.user, record.command.id] = record.at
        elif isinstance(record, Acked):
            acks.append((record.room, asked.get((record.user, record.command), record.at), record.at))
    rooms = {room for room, _, _ in acks}
    longest = None
    for done in faults:
        if not done.fault.timed:
            continue
        for room in rooms:
            if partition_of(room) not in done.led:
                continue
            first = min((at for name, asked_at, at in acks if name == room and asked_at >= done.began_at), default=inf)
            longest = max(longest or 0.0, first - done.began_at)
    return None if longest is None else round(longest, 2)
