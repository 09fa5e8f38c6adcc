"""The one table of error codes and close codes, with what a client does about each.

Server, Python client and web client are tested against it (``tests/vectors/errors.json``, ``docs/protocol.md``).
"""

import enum
from dataclasses import dataclass
from typing import Final


class ErrorCode(enum.StrEnum):
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    ROOM_CLOSED = "room_closed"
    CONFLICT = "conflict"
    ID_REUSED = "id_reused"
    OUT_OF_ORDER = "out_of_order"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True)
class ErrorRule:
    retryable: bool
    status: int
    """HTTP status of the same refusal in REST."""
    action: str
    """What the client does."""


ERRORS: Final[dict[ErrorCode, ErrorRule]] = {
    ErrorCode.INVALID: ErrorRule(
        False, 400, "correct the field that is named; sending it again as it is will fail again"
    ),
    ErrorCode.TOO_LARGE: ErrorRule(False, 413, "shorten it to the limit that `welcome` told"),
    ErrorCode.UNAUTHENTICATED: ErrorRule(False, 401, "get a new token, then connect or refresh with it"),
    ErrorCode.FORBIDDEN: ErrorRule(False, 403, "tell the person that they may not do this here"),
    ErrorCode.NOT_FOUND: ErrorRule(False, 404, "drop it from view; it does not exist or is not visible to this user"),
    ErrorCode.ROOM_CLOSED: ErrorRule(False, 409, "show the room as read-only"),
    ErrorCode.CONFLICT: ErrorRule(False, 409, "read the current state and decide again"),
    ErrorCode.ID_REUSED: ErrorRule(False, 409, "give the command a new id; this one already names something else"),
    ErrorCode.OUT_OF_ORDER: ErrorRule(True, 409, "send again from the first command of this room that has no ack"),
    ErrorCode.RATE_LIMITED: ErrorRule(True, 429, "wait for retry_after, then send again with the same id"),
    ErrorCode.UNAVAILABLE: ErrorRule(
        True, 503, "wait for retry_after or back off, then send again with the same id and again: true"
    ),
    ErrorCode.INTERNAL: ErrorRule(True, 500, "back off, then send again with the same id and again: true"),
}


class CloseCode(enum.IntEnum):
    """WebSocket close codes. 4000-4499: reconnect, cursors cost nothing. 4500-4999: do not, until something changed."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_UTF8 = 1007
    TOO_BIG = 1009
    CONNECT_TIMEOUT = 4000
    SLOW_READER = 4001
    FLOOD = 4002
    HEARTBEAT_TIMEOUT = 4003
    RECONNECT = 4004
    UNAVAILABLE = 4005
    UNAUTHENTICATED = 4500
    REVOKED = 4501
    TOKEN_EXPIRED = 4502
    TOO_MANY_ERRORS = 4503

    @property
    def reconnect(self) -> bool:
        """Whether the client tries again by itself."""
        return self < 4500 and self not in (CloseCode.NORMAL, CloseCode.UNSUPPORTED_DATA, CloseCode.TOO_BIG)


class ProtocolError(Exception):
    """A refusal that a peer is told in one reply: what happened, to what, and what to do.

    ``field`` names the offending field; ``retry_after`` is in seconds.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        command: str | None = None,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.command = command
        self.field = field
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        return ERRORS[self.code].retryable
