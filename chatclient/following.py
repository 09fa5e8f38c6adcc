"""One room that the client follows: what comes next, what is missing, what was seen already. Pure.

The rules (``docs/protocol.md``, Subscribing and Events): ``prev`` above the last ``seq`` is a gap, a ``seq`` that was
had is dropped, and of two events with the same sender and id the first counts.
"""

import enum
from collections.abc import Iterable
from typing import Final

from chatnode.protocol.cursors import CursorError, parse_cursor
from chatnode.protocol.events import StoredEvent, SubscribedEvent
from chatnode.protocol.frames import Message

SEEN_MAX: Final = 2_048
"""Commands per room that a second copy is compared with."""


class Phase(enum.Enum):
    WANTED = "wanted"
    """To be asked for, at once or at ``retry_at``."""
    ASKED = "asked"
    """Its result is awaited; events that come before it are of the subscription before, and dropped."""
    LIVE = "live"
    BEHIND = "behind"
    """Whoever takes the events is too slow; asked for again, from the cursor on, when there is room."""


class Verdict(enum.Enum):
    DELIVER = "deliver"
    DROP = "drop"
    GAP = "gap"


class Following:
    def __init__(self, room: str, cursor: str | None, limit: int | None) -> None:
        self.room = room
        self.cursor = cursor
        """Of the last event that was delivered, or of the page that was."""
        self.limit = limit
        self.phase = Phase.WANTED
        self.ticket: str | None = None
        """The command that asked, while its result is awaited; an earlier one's result means nothing any more."""
        self.retry_at: float | None = None
        self.failures = 0
        self._last = None if cursor is None else _place(cursor)
        self._seen: dict[tuple[str, str], None] = {}

    def asked(self, ticket: str) -> None:
        self.phase = Phase.ASKED
        self.ticket = ticket

    def wanted(self, retry_at: float | None = None) -> None:
        self.phase = Phase.WANTED
        self.ticket = None
        self.retry_at = retry_at

    def begun(self, *, recovered: bool, cursor: str, page: Iterable[Message]) -> None:
        """The node follows the room for us. Recovered: what was missed comes now, from our own cursor on."""
        self.phase = Phase.LIVE
        self.ticket = None
        self.retry_at = None
        self.failures = 0
        if recovered:
            return
        self.cursor = cursor
        self._last = _place(cursor)
        self._seen.clear()
        for message in page:
            self._remember(message.sender, message.id)

    def restarted(self, event: SubscribedEvent) -> bool:
        """The node could not go on from our cursor, and begins anew by itself; never from before what we have."""
        place = _place(event.cursor)
        later = self._last is None or place is None or place > self._last
        return self.phase is Phase.LIVE and not event.recovered and later

    def judge(self, event: StoredEvent) -> Verdict:
        """What to do with an event while live; changes nothing."""
        if self._last is not None:
            epoch, seq = self._last
            if (event.epoch, event.seq) <= (epoch, seq):
                return Verdict.DROP
            if event.epoch > epoch or event.prev > seq:
                return Verdict.GAP
        return Verdict.DROP if (event.sender, event.id) in self._seen else Verdict.DELIVER

    def passed(self, event: StoredEvent) -> None:
        """An event was delivered, or is void: the room has come this far."""
        if self._last is None or (event.epoch, event.seq) > self._last:
            self._last = (event.epoch, event.seq)
            self.cursor = event.cursor
            self._remember(event.sender, event.id)

    def disconnected(self) -> None:
        self.ticket = None
        if self.phase is not Phase.BEHIND:
            self.wanted()

    def _remember(self, sender: str, command: str) -> None:
        self._seen[sender, command] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]


def _place(cursor: str) -> tuple[int, int] | None:
    """Where a cursor stands, to check the first event behind it too; None, should a later node write others."""
    try:
        parsed = parse_cursor(cursor)
    except CursorError:
        return None
    return parsed.epoch, parsed.seq
