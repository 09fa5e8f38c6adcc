"""One room's stored commands on their way: written in order, resent from the head, in order. Pure.

The rules (``docs/protocol.md``, Commands): a command without an answer, or with a retryable one, comes again with the
same id and ``again: true``. After a failure a node refuses what comes behind the failed command, so nothing is written
until all that was written is answered, then the head goes alone, and the rest when it is acknowledged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from msgspec.structs import replace

from chatclient.backoff import delay
from chatnode.protocol.frames import StoredCommand

WINDOW: Final = 16
"""Commands of one room that may be under way at once."""
RETRY_BASE_S: Final = 0.25
RETRY_CAP_S: Final = 10.0


@dataclass
class _Entry:
    command: StoredCommand
    attempted: bool
    under_way: bool = False


class Outbox:
    """Calls come from one machine; times are its clock's seconds."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._failures = 0
        self._not_before: float | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, command: str) -> bool:
        return command in self._entries

    def __iter__(self) -> Iterator[StoredCommand]:
        return (entry.command for entry in self._entries.values())

    @property
    def wake(self) -> float | None:
        """When :meth:`take` has to be called again though nothing else happens."""
        return self._not_before

    def add(self, command: StoredCommand) -> None:
        self._entries[command.id] = _Entry(command, attempted=command.again)

    def take(self, now: float) -> list[StoredCommand]:
        """What is to be written now, in order; from then on it is under way."""
        if self._failures:
            if self._not_before is None or now < self._not_before or self._under_way():
                return []
            self._not_before = None
        window = 1 if self._failures else WINDOW
        return [self._attempt(entry) for entry in islice(self._entries.values(), window) if not entry.under_way]

    def settled(self, command: str) -> None:
        """Acknowledged, or refused for good."""
        entry = self._entries.pop(command)
        if entry.under_way and not self._under_way() and self._not_before is None:
            self._failures = 0

    def failed(self, command: str, now: float, *, draw: float, retry_after: float | None) -> None:
        """Refused, but it may come again: after ``retry_after`` seconds, else after a backoff that ``draw`` jitters."""
        self._entries[command].under_way = False
        wait = delay(self._failures, draw, base=RETRY_BASE_S, cap=RETRY_CAP_S) if retry_after is None else retry_after
        if self._not_before is None:
            self._failures += 1
        self._not_before = max(self._not_before or now, now + wait)

    def disconnected(self) -> None:
        """Nothing is under way any more; a new connection begins from the head, with all of it."""
        for entry in self._entries.values():
            entry.under_way = False
        self._failures = 0
        self._not_before = None

    def discard(self, command: str) -> bool:
        """Take back a command that was never written; False when it was: then it has to be seen through."""
        entry = self._entries.get(command)
        if entry is None or entry.attempted:
            return False
        del self._entries[command]
        return True

    def remove(self, command: str) -> None:
        """Never send it again, written or not."""
        self._entries.pop(command, None)

    def _under_way(self) -> bool:
        return any(entry.under_way for entry in self._entries.values())

    @staticmethod
    def _attempt(entry: _Entry) -> StoredCommand:
        command = replace(entry.command, again=entry.attempted)
        entry.attempted = True
        entry.under_way = True
        return command
