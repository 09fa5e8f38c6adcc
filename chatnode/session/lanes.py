"""Each sender's order in a room: after a failure nothing overtakes the command that failed (ARCHITECTURE §3.2).

A lane is one session's stored commands in one room. While its head is failed, later commands are refused with
``out_of_order`` until the head succeeds, or for :data:`PATIENCE_S`: a client may have given it up.
"""

from typing import Final

PATIENCE_S: Final = 15.0


class Lanes:
    __slots__ = ("_blocked",)

    def __init__(self) -> None:
        self._blocked: dict[str, tuple[str, float]] = {}

    def passes(self, room: str, command: str, now: float) -> bool:
        """Whether this command may be stored now."""
        blocked = self._blocked.get(room)
        if blocked is None or blocked[0] == command:
            return True
        if now < blocked[1]:
            return False
        del self._blocked[room]
        return True

    def failed(self, room: str, command: str, now: float) -> None:
        """A command was refused in a way that may be retried: it is the head now, unless an earlier one is."""
        blocked = self._blocked.get(room)
        if blocked is None or blocked[0] == command or now >= blocked[1]:
            self._blocked[room] = (command, now + PATIENCE_S)

    def settled(self, room: str, command: str) -> None:
        """A command was stored, or refused for good."""
        blocked = self._blocked.get(room)
        if blocked is not None and blocked[0] == command:
            del self._blocked[room]
