"""Sizes and counts that protocol v1 promises; ``welcome`` tells them to clients and ``docs/limits.md`` to people."""

from typing import Final

FRAME_BYTES: Final = 64 * 1024
"""One frame, either way."""
TEXT_BYTES: Final = 16 * 1024
"""Text of a message, as UTF-8."""
ID_LENGTH: Final = 64
"""Ids of users, rooms and commands, in characters."""
TITLE_LENGTH: Final = 200
"""A room's title, in characters."""
NAME_LENGTH: Final = 100
"""A person's name, in characters."""
TOKEN_BYTES: Final = 8 * 1024
"""A token."""
EMOJI_LENGTH: Final = 32
"""A reaction, in characters."""
MENTIONS: Final = 50
"""People that one message may mention."""
CURSORS: Final = 500
"""Rooms that one ``connect`` may resume."""
PAGE: Final = 50
"""Messages of a page, where the client does not say how many."""
PAGE_MAX: Final = 100
"""Messages that a page may have."""
RECOVER_MAX: Final = 500
"""Events that one room's recovery delivers; a cursor that is further behind gets ``recovered: false`` and a page."""
PRESENCE_NAMES_MAX: Final = 200
"""Rooms with more members than this get counts instead of names."""
CONNECT_TIMEOUT_S: Final = 5.0
"""From the handshake to `connect`; then the socket is closed with 4000."""
HEARTBEAT_S: Final = 25.0
"""A client sends something at least this often; after two silent intervals it is closed with 4003."""
POLL_WAIT_S: Final = 25.0
"""Longest that a poll waits for something to come."""
TYPING_TTL_S: Final = 6.0
"""Typing expires after this by itself."""
