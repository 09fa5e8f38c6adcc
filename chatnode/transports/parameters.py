"""The parts of a request's address, and what is wrong with them. Pure."""

import re
from collections.abc import Sequence
from typing import Final, cast

from starlette.requests import Request

from chatnode.protocol import limits
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.frames import Position

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_POSITION: Final = re.compile(r"([0-9]{1,10})-([0-9]{1,16})")


def path_id(request: Request, name: str) -> str:
    value = cast(str, request.path_params[name])
    if not _ID.fullmatch(value):
        raise ProtocolError(ErrorCode.INVALID, "1 to 64 of A-Z a-z 0-9 _ -", field=name)
    return value


def only(request: Request, known: Sequence[str]) -> None:
    for name, _ in request.query_params.multi_items():
        if name not in known:
            raise ProtocolError(ErrorCode.INVALID, f"unknown parameter `{name:.60}`", field=name[:60])


def position(text: str, field: str) -> Position:
    match = _POSITION.fullmatch(text)
    if match is None or int(match[1]) >= 2**31 or int(match[2]) >= 2**53:
        raise ProtocolError(ErrorCode.INVALID, "a position is <epoch>-<seq>", field=field)
    return Position(int(match[1]), int(match[2]))


def limit(text: str | None) -> int:
    if text is None:
        return limits.PAGE
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= limits.PAGE_MAX:
        raise ProtocolError(ErrorCode.INVALID, f"1 to {limits.PAGE_MAX}", field="limit")
    return int(text)
