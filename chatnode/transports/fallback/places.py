"""Rooms and cursors as they stand in a URL and in ``Last-Event-ID``: ``<room>`` or ``<room>:<cursor>``. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from chatnode.protocol import limits
from chatnode.protocol.cursors import CursorError, parse_cursor
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.ids import ID_PATTERN

Places = dict[str, str | None]
"""Room → cursor; None where the client has none."""

LAST_EVENT_ID: Final = "Last-Event-ID"
_ROOM: Final = re.compile(ID_PATTERN)


def parse_places(queried: Iterable[str], last_event_id: str | None) -> Places:
    """Rooms of the query and of ``Last-Event-ID``, whose cursors are newer and win.

    Raises :class:`ProtocolError`, ``invalid`` with the field ``room`` or ``Last-Event-ID``.
    """
    places: Places = {}
    for text in queried:
        _put(places, text, "room")
    for text in (last_event_id or "").split(","):
        if text.strip():
            _put(places, text.strip(), LAST_EVENT_ID)
    if len(places) > limits.CURSORS:
        raise ProtocolError(ErrorCode.INVALID, f"{len(places)} rooms; at most {limits.CURSORS}", field="room")
    return places


def write_places(places: Mapping[str, str | None]) -> str:
    """What :func:`parse_places` reads back from ``Last-Event-ID``."""
    return ",".join(room if cursor is None else f"{room}:{cursor}" for room, cursor in places.items())


def _put(places: Places, text: str, field: str) -> None:
    room, colon, cursor = text.partition(":")
    if not _ROOM.match(room):
        raise ProtocolError(ErrorCode.INVALID, f"not <room> or <room>:<cursor>: {text[:100]!r}", field=field)
    if colon:
        try:
            parse_cursor(cursor)
        except CursorError as error:
            raise ProtocolError(ErrorCode.INVALID, str(error), field=field) from error
    places[room] = cursor or None
