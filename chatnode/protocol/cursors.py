"""Cursors: where in a room's order a client stands, as an opaque string ``<epoch>-<seq>-<hash>``.

``hash`` is :func:`chatnode.protocol.ids.event_hash` of the event at ``seq``; it is ``0`` for the start of a room,
where there is no event yet. Clients keep the string and give it back; they never look inside.
"""

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

CURSOR_PATTERN: Final = r"^(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,15})-(0|[0-9a-f]{8})$(?!\n)"
_CURSOR: Final = re.compile(CURSOR_PATTERN)
_EPOCH_MAX: Final = 2**31 - 1
_SEQ_MAX: Final = 2**53 - 1

CursorText = Annotated[str, Meta(pattern=CURSOR_PATTERN, max_length=40)]

NO_EVENT: Final = "0"


class Cursor(msgspec.Struct, frozen=True, order=True):
    epoch: int
    seq: int
    hash: str = NO_EVENT

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}-{self.hash}"


class CursorError(ValueError):
    """The text is not a cursor; the client has to subscribe without one."""


def parse_cursor(text: str) -> Cursor:
    """The cursor that ``str(cursor)`` wrote; :class:`CursorError` for anything else."""
    match = _CURSOR.match(text)
    if match is None or int(match[1]) > _EPOCH_MAX or int(match[2]) > _SEQ_MAX:
        raise CursorError(f"not a cursor: {text[:60]!r}; subscribe without one")
    return Cursor(int(match[1]), int(match[2]), match[3])
