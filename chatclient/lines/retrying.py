"""What an HTTP answer says about coming again. Pure."""

import math
from http import HTTPStatus

import msgspec
from msgspec import UNSET

from chatclient.ladder import End
from chatnode.protocol.errors import ErrorCode
from chatnode.protocol.frames import Error
from chatnode.protocol.rest import ErrorAnswer


def retry_after_of(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header (RFC 9110, 10.2.3); None for none, for a date, and for nonsense."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def refusal_of(status: int, retry_after: str | None, body: bytes) -> tuple[End, Error]:
    """An answer that is no success: as the end of a connection, and as the error of a command that it answers.

    A node says itself whether a command may come again; whoever stands between does not refuse one for good.
    """
    told = retry_after_of(retry_after)
    try:
        refused = msgspec.json.decode(body, type=ErrorAnswer).error
    except (msgspec.DecodeError, UnicodeError):
        code = ErrorCode.RATE_LIMITED if status == HTTPStatus.TOO_MANY_REQUESTS else ErrorCode.UNAVAILABLE
        message = f"HTTP status {status}, not from a node"
        error = Error(code=code, message=message, retryable=True, retry_after=_or_unset(told))
        return End(status=status, retry_after=told), error
    if isinstance(refused.retry_after, float):
        told = refused.retry_after
    error = Error(
        code=refused.code,
        message=refused.message,
        retryable=refused.retryable,
        field=refused.field,
        retry_after=_or_unset(told),
    )
    return End(status=status, retry_after=told), error


def _or_unset(seconds: float | None) -> float | msgspec.UnsetType:
    return UNSET if seconds is None else seconds
