"""What a client's events and answers are in the log."""

from chatnode.protocol.cursors import parse_cursor
from chatnode.protocol.events import Event, StoredEvent, SubscribedEvent
from chatnode.protocol.frames import Position
from tests.oracle.log import Delivered, Record, Subscribed


class EventRecorder:
    """Turns what one client is given into records; explicit subscriptions are announced to it by :meth:`asked`."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._asked: dict[str, tuple[float, str | None]] = {}

    def asked(self, room: str, at: float, cursor: str | None) -> None:
        self._asked[room] = (at, cursor)

    def record(self, event: Event, at: float) -> Record | None:
        if isinstance(event, SubscribedEvent):
            asked_at, cursor = self._asked.pop(event.room, (None, None))
            since = parse_cursor(cursor if event.recovered and cursor else event.cursor)
            return Subscribed(
                at=at,
                client=self._client,
                room=event.room,
                recovered=event.recovered,
                since=Position(since.epoch, since.seq),
                messages=event.messages if isinstance(event.messages, tuple) else (),
                asked_at=asked_at,
            )
        if isinstance(event, StoredEvent):
            return Delivered(at=at, client=self._client, event=event)
        return None
