"""The chain of a room: which event may follow which. Pure (ARCHITECTURE §2.4)."""

import enum


class Verdict(enum.Enum):
    NEXT = "next"
    STALE = "stale"
    GAP = "gap"


def judge(last: int, prev: int, seq: int) -> Verdict:
    """What an event ``seq`` with predecessor ``prev`` is to somebody who has everything up to ``last``.

    Only ``prev`` above ``last`` is a gap: a lower one means that the predecessor was deleted, 0 that all of them were.
    """
    if seq <= last:
        return Verdict.STALE
    if prev > last:
        return Verdict.GAP
    return Verdict.NEXT
