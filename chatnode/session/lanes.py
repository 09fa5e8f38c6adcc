"""Each sender's order in a room: nothing overtakes a command that was refused and may come again (ARCHITECTURE §3.2).

A lane is one session's stored commands in one room. What is refused for now, and what is refused with ``out_of_order``
because it came behind that, is awaited in the order in which it came first; whatever else comes is refused, and awaited
behind it. For :data:`PATIENCE_S` each: a client may have given a command up.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

PATIENCE_S: Final = 15.0
AWAITED_MAX: Final = 1024
"""Of a lane; what is refused beyond is not awaited."""


@dataclass(slots=True)
class _UnderWay:
    turn: int
    arrivals: deque[int] = field(default_factory=deque)
    """Of its copies: a client that hears of a refusal late sends a command again that it has sent again already."""
    settled: bool = False
    """Another copy of it was; what comes of this one is of no interest to the lane."""


@dataclass(slots=True)
class _Lane:
    under_way: dict[str, _UnderWay] = field(default_factory=dict)
    awaited: dict[str, int] = field(default_factory=dict)
    """Turns of commands that were refused, by command."""
    returned: set[str] = field(default_factory=set)
    """Those under way that came again: what came after them at first may wait before them now."""
    settled: set[str] = field(default_factory=set)
    """While anything is awaited: a late copy of these is not."""
    until: float = 0.0
    """How long the first of them is awaited."""

    def first(self) -> int:
        return min(self.awaited.values(), default=0)

    def overtakes(self, one: _UnderWay) -> bool:
        """Whether it came before something that is to come before it."""
        others = (self.under_way[command] for command in self.returned)
        return any(other.turn < one.turn and other.arrivals[-1] > one.arrivals[0] for other in others)


class Lanes:
    __slots__ = ("_arrivals", "_lanes", "_turns")

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._turns = self._arrivals = 0

    def admit(self, room: str, command: str, now: float) -> bool:
        """Whether a command that came just now may be worked on; it is under way then until it failed or is settled.

        What comes next may follow at once: should this one fail, what follows fails at its own last check.
        """
        if not self.passes(room, command, now):
            return False
        lane = self._lanes.setdefault(room, _Lane())
        turn = lane.awaited.pop(command, None)
        if turn is not None:
            lane.until = now + PATIENCE_S
            lane.returned.add(command)
        self._arrivals += 1
        under_way = lane.under_way.setdefault(command, _UnderWay(self._turn() if turn is None else turn))
        under_way.arrivals.append(self._arrivals)
        return True

    def passes(self, room: str, command: str, now: float) -> bool:
        """Whether this command may be stored now: nothing that came before it is awaited."""
        lane = self._lanes.get(room)
        if lane is None:
            return True
        if now >= lane.until:
            lane.awaited.clear()
        under_way = lane.under_way.get(command)
        if under_way is not None and lane.overtakes(under_way):
            return False
        if not lane.awaited:
            return True
        turn = lane.awaited.get(command, math.inf) if under_way is None else under_way.turn
        return turn <= lane.first()

    def failed(self, room: str, command: str, now: float) -> None:
        """A command that was under way may be retried: it is awaited, before all that came after it."""
        lane = self._lanes.get(room)
        under_way = None if lane is None else self._over(lane, command)
        if lane is not None and under_way is not None and not under_way.settled:
            self._await(lane, command, under_way.turn, now)

    def refused(self, room: str, command: str, now: float) -> None:
        """A command was not let in, in a way that may be retried: it is awaited, where it came first."""
        lane = self._lanes.setdefault(room, _Lane())
        under_way = lane.under_way.get(command)
        if command in lane.settled:
            return
        if under_way is None:
            self._await(lane, command, lane.awaited.get(command) or self._turn(), now)
        elif not under_way.settled:
            self._await(lane, command, under_way.turn, now)

    def _await(self, lane: _Lane, command: str, turn: int, now: float) -> None:
        if now >= lane.until:
            lane.awaited.clear()
        if not lane.awaited or turn <= lane.first():
            lane.until = now + PATIENCE_S
        if len(lane.awaited) < AWAITED_MAX:
            lane.awaited[command] = turn

    def settled(self, room: str, command: str, now: float) -> None:
        """A command was stored, or refused for good."""
        lane = self._lanes.get(room)
        if lane is None:
            return
        under_way = self._over(lane, command)
        if under_way is not None:
            under_way.settled = True
        if lane.awaited.pop(command, None) is not None:
            lane.until = now + PATIENCE_S
        if lane.awaited and len(lane.settled) < AWAITED_MAX:
            lane.settled.add(command)
        if not lane.awaited and not lane.under_way:
            del self._lanes[room]

    def _turn(self) -> int:
        self._turns += 1
        return self._turns

    def _over(self, lane: _Lane, command: str) -> _UnderWay | None:
        under_way = lane.under_way.get(command)
        if under_way is not None:
            under_way.arrivals.popleft()
            if not under_way.arrivals:
                del lane.under_way[command]
                lane.returned.discard(command)
        return under_way
