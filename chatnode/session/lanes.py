"""Each sender's order in a room: after a failure nothing overtakes the command that failed (ARCHITECTURE §3.2).

A lane is one session's stored commands in one room. While its head is failed, commands that came after it are refused
with ``out_of_order`` until the head succeeds, or for :data:`PATIENCE_S`: a client may have given it up. Those that came
before the head and are still under way go on: to refuse them would let the head overtake them.
"""

from dataclasses import dataclass
from typing import Final

PATIENCE_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class _Head:
    command: str
    turn: int
    until: float


class Lanes:
    __slots__ = ("_blocked", "_turns", "_under_way")

    def __init__(self) -> None:
        self._blocked: dict[str, _Head] = {}
        self._under_way: dict[str, dict[str, int]] = {}
        self._turns = 0

    def admit(self, room: str, command: str, now: float) -> bool:
        """Whether a command that came just now may be worked on; it is under way until it failed or is settled."""
        if not self.passes(room, command, now):
            return False
        head = self._blocked.get(room)
        self._under_way.setdefault(room, {}).setdefault(command, self._turn() if head is None else head.turn)
        return True

    def passes(self, room: str, command: str, now: float) -> bool:
        """Whether this command may be stored now."""
        head = self._blocked.get(room)
        if head is None or head.command == command:
            return True
        if now >= head.until:
            del self._blocked[room]
            return True
        turn = self._under_way.get(room, {}).get(command)
        return turn is not None and turn < head.turn

    def failed(self, room: str, command: str, now: float) -> None:
        """A command was refused in a way that may be retried: it is the head now, unless an earlier one is."""
        turn = self._over(room, command)
        head = self._blocked.get(room)
        if head is None or now >= head.until or head.command == command or turn < head.turn:
            self._blocked[room] = _Head(command, turn, now + PATIENCE_S)

    def settled(self, room: str, command: str) -> None:
        """A command was stored, or refused for good."""
        self._over(room, command)
        head = self._blocked.get(room)
        if head is not None and head.command == command:
            del self._blocked[room]

    def _turn(self) -> int:
        self._turns += 1
        return self._turns

    def _over(self, room: str, command: str) -> int:
        """Its place among those that came; a new one, behind all, for one that was never under way."""
        lane = self._under_way.get(room, {})
        turn = lane.pop(command, None)
        if not lane:
            self._under_way.pop(room, None)
        head = self._blocked.get(room)
        if turn is None and head is not None and head.command == command:
            return head.turn
        return self._turn() if turn is None else turn
