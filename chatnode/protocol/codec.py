"""Bytes to typed frames and back, in one pass.

:func:`decode_command` returns a valid command or raises :class:`ProtocolError`, for any input whatever.
"""

import re
from typing import Final

import msgspec

from chatnode.protocol import limits
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.events import (
    Event,
)
from chatnode.protocol.frames import Ack, Command, Edit, Error, Reconnect, Send, Welcome
from chatnode.protocol.ids import Id

Reply = Welcome | Ack | Error | Reconnect
ServerFrame = Reply | Event

_COMMANDS: Final[msgspec.json.Decoder[Command]] = msgspec.json.Decoder(Command)
_ENCODER: Final = msgspec.json.Encoder()


class _IdOnly(msgspec.Struct):
    id: Id


class _TypeOnly(msgspec.Struct):
    type: str
    kind: str = ""


_IDS: Final = msgspec.json.Decoder(_IdOnly)
_TYPES: Final = msgspec.json.Decoder(_TypeOnly)
_REPLIES: Final[msgspec.json.Decoder[Reply]] = msgspec.json.Decoder(Reply)
_EVENTS: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_PATH: Final = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")
_MISSING: Final = re.compile(r"missing required field `([^`]*)`")
_REPLY_TYPES: Final = frozenset({"welcome", "ack", "error", "reconnect"})
_EVENT_KINDS: Final = frozenset(
    {
        "message",
        "edit",
        "delete",
        "reaction",
        "member",
        "typing",
        "read",
        "presence",
        "subscribed",
        "unsubscribed",
        "membership",
    }
)


def decode_command(data: bytes | str) -> Command:
    """One command out of one frame, or :class:`ProtocolError` with the id where it could be read."""
    size = len(data)
    if size > limits.FRAME_BYTES:
        raise ProtocolError(ErrorCode.TOO_LARGE, f"frame of {size} bytes; the limit is {limits.FRAME_BYTES}")
    try:
        command = _COMMANDS.decode(data)
    except msgspec.ValidationError as error:
        message, field = _explain(str(error))
        raise ProtocolError(ErrorCode.INVALID, message, command=_read_id(data), field=field) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.INVALID, f"not a JSON object: {error}") from error
    if isinstance(command, Send | Edit) and len(command.text.encode()) > limits.TEXT_BYTES:
        raise ProtocolError(
            ErrorCode.TOO_LARGE,
            f"text of {len(command.text.encode())} bytes of UTF-8; the limit is {limits.TEXT_BYTES}",
            command=command.id,
            field="text",
        )
    return command


def _explain(text: str) -> tuple[str, str | None]:
    path = _PATH.search(text)
    words = _PATH.sub("", text)
    parent = path[1] if path else ""
    inner = _UNKNOWN.search(words) or _MISSING.search(words)
    if inner:
        return words, f"{parent}.{inner[1]}" if parent else inner[1]
    return (f"{words}, at `{parent}`" if parent else words), parent or None


def _read_id(data: bytes | str) -> str | None:
    try:
        return _IDS.decode(data).id
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def encode_frame(frame: ServerFrame | Command) -> bytes:
    return _ENCODER.encode(frame)


def error_frame(error: ProtocolError, command: str | None = None) -> Error:
    return Error(
        id=error.command or command or msgspec.UNSET,
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        field=error.field or msgspec.UNSET,
        retry_after=msgspec.UNSET if error.retry_after is None else error.retry_after,
    )


def decode_server_frame(data: bytes | str) -> ServerFrame | None:
    """What a node sent, for clients; None for a type or kind that this version does not know, to be passed over.

    Raises :class:`msgspec.DecodeError` (or its ValidationError) when a known frame is malformed.
    """
    outline = _TYPES.decode(data)
    if outline.type == "event":
        return _EVENTS.decode(data) if outline.kind in _EVENT_KINDS else None
    return _REPLIES.decode(data) if outline.type in _REPLY_TYPES else None
