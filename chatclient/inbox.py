"""The rooms that are followed and the events that wait to be taken. Pure.

At most ``capacity`` events wait. A room whose next event finds no place falls behind: what comes for it is dropped, and
when half of the places are free it is asked for again, from its cursor on. A slow taker loses nothing and holds nothing
up. Passing events (typing, presence, receipts) that find no place are dropped: the next one says what counts.
"""

from collections import deque
from dataclasses import dataclass

from msgspec import UNSET

from chatclient.following import Following, Phase, Verdict
from chatnode.protocol import limits
from chatnode.protocol.events import Event, StoredEvent, SubscribedEvent, UnsubscribedEvent


@dataclass(frozen=True, slots=True)
class Refusal:
    code: str
    message: str


class Inbox:
    def __init__(self, capacity: int) -> None:
        self.events: deque[Event] = deque()
        self.stirred = False
        """A room is due that was behind; whoever asks for it resets this."""
        self._capacity = capacity
        self._rooms: dict[str, Following] = {}
        self._calls: dict[str, list[str]] = {}
        """Room → ids of ``subscribe`` calls that wait for its first result."""
        self._behind = False

    def take(self) -> Event | None:
        """The next event; afterwards rooms may be due again: :attr:`stirred`."""
        if not self.events:
            return None
        event = self.events.popleft()
        if self._behind and len(self.events) <= self._capacity // 2:
            self._behind = False
            self.stirred = True
            for following in self._rooms.values():
                if following.phase is Phase.BEHIND:
                    following.wanted()
        return event

    # What is followed.

    def follow(self, call: str, room: str, cursor: str | None, limit: int | None) -> None:
        self._calls.setdefault(room, []).append(call)
        self._rooms[room] = Following(room, cursor, limit)

    def forget(self, room: str) -> list[str]:
        """Stop following; the calls that waited for it."""
        self._rooms.pop(room, None)
        return self._calls.pop(room, [])

    def abandon(self, call: str) -> None:
        """Nobody waits for the result of this call any more; the room is followed all the same."""
        for calls in self._calls.values():
            if call in calls:
                calls.remove(call)

    def calls(self) -> list[str]:
        return [call for calls in self._calls.values() for call in calls]

    def cursor(self, room: str) -> str | None:
        following = self._rooms.get(room)
        return following.cursor if following else None

    def resume(self, ticket: str) -> dict[str, str]:
        """The cursors to present with ``connect``, under its id; what does not fit becomes due afterwards."""
        presented = [f for f in self._rooms.values() if f.phase is Phase.WANTED and f.cursor][: limits.CURSORS]
        for following in presented:
            following.asked(ticket)
        return {following.room: following.cursor for following in presented if following.cursor}

    def held(self) -> dict[str, Following]:
        """Rooms that a second connection could resume: those that have come somewhere."""
        held = [following for following in self._rooms.values() if following.cursor][: limits.CURSORS]
        return {following.room: following for following in held}

    def resumed(self, ticket: str, presented: dict[str, Following]) -> list[str]:
        """The second connection is the only one now, and these were presented to it; those that nobody follows."""
        self.disconnected()
        for room, following in presented.items():
            if self._rooms.get(room) is following and following.phase is Phase.WANTED:
                following.asked(ticket)
        return [room for room in presented if room not in self._rooms]

    def due(self, now: float) -> list[Following]:
        """Rooms to subscribe to now."""
        wanted = (following for following in self._rooms.values() if following.phase is Phase.WANTED)
        return [following for following in wanted if following.retry_at is None or following.retry_at <= now]

    def wake(self) -> float | None:
        """When a room that was refused for now is due again."""
        times = [f.retry_at for f in self._rooms.values() if f.phase is Phase.WANTED and f.retry_at is not None]
        return min(times, default=None)

    def disconnected(self) -> None:
        for following in self._rooms.values():
            following.disconnected()

    # What the node says.

    def result(self, ticket: str, event: SubscribedEvent) -> list[str]:
        """A subscription begins; the calls that waited for it."""
        following = self._rooms.get(event.room)
        if following is None or (following.ticket != ticket and not following.restarted(event)):
            return []
        if len(self.events) >= self._capacity:
            self._fall_behind(following)
            return []
        page = () if event.messages is UNSET else event.messages
        following.begun(recovered=event.recovered, cursor=event.cursor, page=page)
        self.events.append(event)
        return self._calls.pop(event.room, [])

    def failures(self, room: str) -> int:
        """How often the room was refused for now, since it was last followed."""
        following = self._rooms.get(room)
        return following.failures if following else 0

    def refused_for_now(self, ticket: str | None, room: str, retry_at: float) -> None:
        """``ticket`` is None where no command of ours was refused: the node ended what it had begun."""
        following = self._rooms.get(room)
        if following is not None and ticket in (None, following.ticket):
            following.failures += 1
            following.wanted(retry_at)

    def refused(self, ticket: str | None, room: str, refusal: Refusal) -> list[str]:
        """The room is followed no more, which is an event; the calls that waited for it."""
        following = self._rooms.get(room)
        if following is None or ticket not in (None, following.ticket):
            return []
        self.events.append(UnsubscribedEvent(room=room, code=refusal.code, message=refusal.message, retryable=False))
        return self.forget(room)

    def stored(self, event: StoredEvent) -> bool:
        """False where something is missing before it: the room is due again."""
        following = self._rooms.get(event.room)
        if following is None or following.phase is not Phase.LIVE:
            return True
        verdict = following.judge(event)
        if verdict is Verdict.GAP:
            following.wanted()
            return False
        if verdict is Verdict.DELIVER:
            if len(self.events) >= self._capacity:
                self._fall_behind(following)
                return True
            self.events.append(event)
        following.passed(event)
        return True

    def passing(self, event: Event) -> None:
        if len(self.events) < self._capacity:
            self.events.append(event)

    def clear(self) -> None:
        """Follow nothing; what waits may still be taken."""
        self._rooms.clear()
        self._calls.clear()

    def _fall_behind(self, following: Following) -> None:
        following.phase = Phase.BEHIND
        following.ticket = None
        self._behind = True
