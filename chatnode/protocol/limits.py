"""Sizes and counts that protocol v1 promises; ``welcome`` tells them to clients and ``docs/limits.md`` to people."""

from typing import Final

FRAME_BYTES: Final = 64 * 1024
TEXT_BYTES: Final = 16 * 1024
ID_LENGTH: Final = 64
TITLE_LENGTH: Final = 200
NAME_LENGTH: Final = 100
TOKEN_BYTES: Final = 8 * 1024
EMOJI_LENGTH: Final = 32
MENTIONS: Final = 50
CURSORS: Final = 500
"""Rooms that one ``connect`` may resume."""
PAGE: Final = 50
PAGE_MAX: Final = 100
RECOVER_MAX: Final = 500
"""Events that one room's recovery delivers; a cursor that is further behind gets ``recovered: false`` and a page."""
PRESENCE_NAMES_MAX: Final = 200
"""Rooms with more members than this get counts instead of names."""
CONNECT_TIMEOUT_S: Final = 5.0
HEARTBEAT_S: Final = 25.0
TYPING_TTL_S: Final = 6.0
