"""The figures of a run, out of its faults and what its crowds judged."""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from tests.chaos.breaker import Done
from tests.chaos.orders import Judged
from tests.chaos.resumed import resume_s
from tests.oracle import Rule

RESUME_S = 10.0
CONVERGE_S = 30.0


class Outcome(Struct, frozen=True, kw_only=True):
    seed: int
    seconds: float
    """How long faults happened."""
    faults: int
    faults_by_kind: dict[str, int]
    planted: int
    """Faults planted in logs before the run, for the checker to find."""
    planted_found: int
    sent: int
    acked: int
    """Commands of all kinds."""
    messages: int
    """Acked sends."""
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
    """Longest from the death of a leader, alone, until a partition of it took writes in again (:mod:`resumed`)."""
    waited_s: float | None = None
    """Longest that people of one room waited then, those counted who had to connect anew or had asked before."""
    converge_s: float | None
    """From the end of the last fault until every client had everything; None when that did not come about."""
    acked_per_s: float
    """Commands, over the time of the faults."""
    not_converged: tuple[str, ...] = ()

    storm_s: float | None = None
    """Of ``make storm``, where that was run: from the death of one of two nodes until everybody was back."""
    storm_all_s: float | None = None
    """The same after the death of both."""

    @property
    def kept(self) -> bool:
        """Whether no promise was broken, and the checker is one that would have seen it."""
        found = self.planted == self.planted_found
        return found and not self.problems and not self.not_converged and not self.unknown

    @property
    def in_time(self) -> bool:
        return (self.resume_s or 0.0) <= RESUME_S and (self.converge_s or 0.0) <= CONVERGE_S

    @property
    def ok(self) -> bool:
        return self.kept and self.in_time


def outcome(
    *,
    seed: int,
    seconds: float,
    took_s: float,
    done: Sequence[Done],
    rooms: Sequence[Judged],
    planted: tuple[int, int],
    converge_s: float,
    missing: Sequence[str],
) -> Outcome:
    problems: Counter[str] = Counter()
    for room in rooms:
        problems.update(room.found)
    lacking = [*missing, *(words for room in rooms for words in room.differences)]
    waits = [room.waited_s for room in rooms if room.waited_s is not None]
    acked = sum(room.acked for room in rooms)
    return Outcome(
        seed=seed,
        seconds=seconds,
        faults=len(done),
        faults_by_kind=by_kind(done),
        planted=planted[0],
        planted_found=planted[1],
        sent=sum(room.sent for room in rooms),
        acked=acked,
        messages=sum(room.messages for room in rooms),
        refused=sum(room.refused for room in rooms),
        unknown=sum(room.unknown for room in rooms),
        delivered=sum(room.delivered for room in rooms),
        lost=_sum(problems, Rule.LOST, Rule.FALSE_ACK),
        duplicated=_sum(problems, Rule.DUPLICATED),
        phantom=_sum(problems, Rule.PHANTOM, Rule.PREMATURE, Rule.ALTERED),
        reordered=_sum(problems, Rule.REORDERED, Rule.SENDER_ORDER, Rule.DISAGREEMENT),
        gaps=_sum(problems, Rule.GAP),
        problems=dict(problems),
        resume_s=resume_s({room.room: room.resumed for room in rooms}),
        waited_s=max(waits, default=None),
        converge_s=None if missing else round(converge_s, 2),
        acked_per_s=round(acked / took_s, 1),
        not_converged=tuple(lacking),
    )


def by_kind(done: Iterable[Done]) -> dict[str, int]:
    counts = Counter(f"{each.fault.kind} {each.fault.target}" for each in done)
    return dict(sorted(counts.items()))


def _sum(problems: Counter[str], *rules: Rule) -> int:
    return sum(problems[str(rule)] for rule in rules)
