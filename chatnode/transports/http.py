"""What every HTTP route shares: bodies in, JSON and typed errors out. No traceback, no wait without an end."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Struct
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from chatnode.protocol.codec import explain_invalid
from chatnode.protocol.errors import ERRORS, ErrorCode, ProtocolError
from chatnode.protocol.rest import ErrorAnswer, Refused
from chatnode.rooms.ports import Unavailable

log = logging.getLogger(__name__)

BODY_BYTES: Final = 64 * 1024
BODY_S: Final = 5.0
ANSWER_S: Final = 10.0
"""Longest that a request may take, the arrival of its body included."""
RETRY_AFTER_S: Final = 1.0

_CLIENT_GONE: Final = 499
_Body = TypeVar("_Body", bound=Struct)
Handler = Callable[[Request], Awaitable[Response]]


def answer(value: Struct, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``value`` as JSON, never cached."""
    common = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(msgspec.json.encode(value), status, {**common, **(headers or {})}, "application/json")


def refuse(error: ProtocolError, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """The error as ``docs/protocol.md`` describes it, with the status of the table."""
    extra = dict(headers or {})
    if error.retry_after is not None:
        extra["retry-after"] = str(math.ceil(error.retry_after))
    if error.code is ErrorCode.UNAUTHENTICATED:
        extra["www-authenticate"] = "Bearer"
    body = Refused(
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        field=error.field or UNSET,
        retry_after=UNSET if error.retry_after is None else error.retry_after,
    )
    return answer(ErrorAnswer(body), status or ERRORS[error.code].status, extra)


def unavailable(why: str) -> ProtocolError:
    return ProtocolError(ErrorCode.UNAVAILABLE, why, retry_after=RETRY_AFTER_S)


def answering(handler: Handler, within_s: float = ANSWER_S) -> Handler:
    """``handler`` with a deadline, and with what it may raise turned into answers."""

    async def answered(request: Request) -> Response:
        try:
            async with asyncio.timeout(within_s):
                return await handler(request)
        except ProtocolError as error:
            return refuse(error)
        except Unavailable as error:
            log.warning("%s %s: %s", request.method, request.url.path, error)
            return refuse(unavailable("a source that this needs is away; try again"))
        except TimeoutError:
            log.warning("%s %s: no answer within %.0f s", request.method, request.url.path, within_s)
            return refuse(unavailable("this took too long; try again"))
        except ClientDisconnect:
            return Response(status_code=_CLIENT_GONE)

    return answered


async def bytes_of(request: Request, most: int = BODY_BYTES) -> bytes:
    """The request's body; ``too_large`` beyond ``most`` bytes."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > most:
                    raise ProtocolError(ErrorCode.TOO_LARGE, f"the body has more than {most} bytes")
    except TimeoutError as error:
        raise ProtocolError(ErrorCode.INVALID, f"the body did not arrive within {BODY_S:g} s") from error
    return bytes(data)


async def body_of(request: Request, kind: type[_Body]) -> _Body:
    """The request's JSON body; ``invalid`` names the field. An empty body is an empty object."""
    data = await bytes_of(request)
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        message, field = explain_invalid(error)
        raise ProtocolError(ErrorCode.INVALID, message, field=field) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.INVALID, f"the body is not a JSON object: {error}") from error


async def _no_such_route(request: Request, error: Exception) -> Response:
    """404 and 405 of the router."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == 405:
        message = f"{request.method} is not possible here; {headers.get('Allow', 'other methods')} is"
        return refuse(ProtocolError(ErrorCode.INVALID, message), 405, headers)
    return refuse(ProtocolError(ErrorCode.NOT_FOUND, "there is nothing at this address"), status, headers)


async def _failed(request: Request, error: Exception) -> Response:
    """A defect of ours; the server's log has the traceback."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return refuse(ProtocolError(ErrorCode.INTERNAL, "something went wrong here; try again", retry_after=RETRY_AFTER_S))


EXCEPTION_HANDLERS: Final[Mapping[int | type[Exception], ExceptionHandler]] = {
    HTTPException: _no_such_route,
    Exception: _failed,
}
"""For ``Starlette(exception_handlers=…)``: whatever happens is answered in the one form of errors."""
