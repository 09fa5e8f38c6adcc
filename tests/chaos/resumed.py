"""When writes went on after a leader's death, and how long people waited for theirs: pure, from logs of rooms."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from chatnode.broker.subjects import partition_of
from tests.oracle import Acked, Invoked, Record, Refused, Unknown

Span = tuple[float, float]
"""From when to when; monotonic seconds."""
Deaths = Sequence[tuple[float, tuple[int, ...]]]
"""When leaders died alone, and of which partitions."""

_NEVER_S: Final = 9999.0


def first_acks_s(records: Sequence[Record], room: str, deaths: Deaths) -> dict[int, float]:
    """Seconds from each death of the room's leader, by its index, until a command is acked that was asked in the room
    afterwards; no entry where none was asked."""
    ended = {(each.user, each.command): each.at for each in reversed(records) if isinstance(each, Acked)}
    asked = [(each.at, (each.user, each.command.id)) for each in records if isinstance(each, Invoked)]
    first: dict[int, float] = {}
    for index, (died_at, partitions) in enumerate(deaths):
        fresh = [author for at, author in asked if at >= died_at] if partition_of(room) in partitions else []
        if fresh:
            first[index] = min(ended.get(author, died_at + _NEVER_S) for author in fresh) - died_at
    return first


def resume_s(rooms: Mapping[str, Mapping[int, float]]) -> float | None:
    """The longest time, over all deaths and all partitions that had their leader there, until the partition took writes
    in again: what :func:`first_acks_s` tells of its rooms, of which the first counts. None where nobody asked."""
    first: dict[tuple[int, int], float] = {}
    for room, acks in rooms.items():
        for death, seconds in acks.items():
            key = (death, partition_of(room))
            first[key] = min(first.get(key, _NEVER_S), seconds)
    return round(max(first.values()), 2) if first else None


def waited_s(
    records: Sequence[Record], room: str, deaths: Deaths, offline: Mapping[str, Sequence[Span]] | None = None
) -> float | None:
    """Of all deaths of the room's leader, the longest time in which somebody waited before writes had resumed.

    They have when the first command is acked that was asked after the death. Until then, somebody waits while a command
    has no outcome, also one that was asked before. While nobody asks anything nobody waits, nor does who is ``offline``
    (by user), as people choose to be. None where nobody waited at all.
    """
    away = offline or {}
    ended = {
        (each.user, each.command): each.at for each in reversed(records) if isinstance(each, Acked | Refused | Unknown)
    }
    acked = {(each.user, each.command) for each in records if isinstance(each, Acked)}
    asked = [(each.at, (each.user, each.command.id)) for each in records if isinstance(each, Invoked)]
    waits: list[float] = []
    for died_at in (at for at, partitions in deaths if partition_of(room) in partitions):
        fresh = [author for at, author in asked if at >= died_at]
        resumed_at = min((ended[author] for author in fresh if author in acked), default=died_at + _NEVER_S)
        spans = [
            part
            for at, author in asked
            for part in _without(
                (max(at, died_at), min(ended.get(author, math.inf), resumed_at)), away.get(author[0], ())
            )
        ]
        if spans:
            waits.append(_covered(spans))
    return round(max(waits), 2) if waits else None


def _without(span: Span, gaps: Iterable[Span]) -> list[Span]:
    parts = [span] if span[0] < span[1] else []
    for begin, end in gaps:
        parts = [
            each
            for low, high in parts
            for each in ((low, min(high, begin)), (max(low, end), high))
            if each[0] < each[1]
        ]
    return parts


def _covered(spans: Iterable[Span]) -> float:
    total = 0.0
    upto = -math.inf
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, upto))
        upto = max(upto, end)
    return total
