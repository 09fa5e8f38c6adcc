"""Bytes to typed frames and back, in one pass.

:func:`decode_command` returns a valid command or raises :class:`ProtocolError`, for any input whatever.
"""

import re
from typing import Final

import msgspec

from chatnode.protocol import limits
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.events import Event
from chatnode.protocol.frames import Ack, Command, Edit, Error, History, Reconnect, Send, Welcome
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
_PATH: Final = re.compile(r" - at (?:`\$\.?([^`]*)`|`key` in `\$\.?([^`]*)`)$")
_UNKNOWN: Final = re.compile(r"unknown field `(.*)`$", re.DOTALL)
_MISSING: Final = re.compile(r"missing required field `(.*)`$")
_TOKEN: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"|[{}\[\]:,]', re.DOTALL)
_ID: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_SCAN_BYTES: Final = 4096
"""How far into a frame that is no JSON its id is looked for: a bound on what a broken frame costs."""
_ECHO_LENGTH: Final = 200
"""Characters of a peer's own words that an error repeats to it."""
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
        "whole",
        "delayed",
    }
)


def decode_command(data: bytes | str) -> Command:
    """One command out of one frame, or :class:`ProtocolError` with the id where it could be read."""
    octets = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(octets) > limits.FRAME_BYTES:
        message = f"frame of {len(octets)} bytes; the limit is {limits.FRAME_BYTES}"
        raise ProtocolError(ErrorCode.TOO_LARGE, message, command=_scan_id(octets))
    try:
        command = _COMMANDS.decode(octets)
    except msgspec.ValidationError as error:
        message, field = explain_invalid(error)
        raise ProtocolError(ErrorCode.INVALID, message, command=_read_id(octets), field=field) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.INVALID, f"not a JSON object: {error}", command=_read_id(octets)) from error
    if isinstance(command, Send | Edit):
        _check_text(command)
    if isinstance(command, History):
        _check_anchors(command)
    return command


def _check_text(command: Send | Edit) -> None:
    size = len(command.text.encode())
    if size > limits.TEXT_BYTES:
        message = f"text of {size} bytes of UTF-8; the limit is {limits.TEXT_BYTES}"
        raise ProtocolError(ErrorCode.TOO_LARGE, message, command=command.id, field="text")


def _check_anchors(command: History) -> None:
    anchors = [name for name in ("before", "after", "around") if getattr(command, name) is not msgspec.UNSET]
    if len(anchors) > 1:
        message = f"{' and '.join(anchors)} exclude each other; give at most one"
        raise ProtocolError(ErrorCode.INVALID, message, command=command.id, field=anchors[1])


def explain_invalid(error: msgspec.ValidationError) -> tuple[str, str | None]:
    """What is wrong, in words for the peer, and the field that it is about."""
    text = str(error)
    path = _PATH.search(text)
    words = text[: path.start()] if path else text
    parent = (path[1] or path[2] or "") if path else ""
    inner = _UNKNOWN.search(words) or _MISSING.search(words)
    words = _shorten(words)
    if inner:
        name = _shorten(inner[1])
        return words, f"{parent}.{name}" if parent else name
    return (f"{words}, at `{parent}`" if parent else words), parent or None


def _shorten(words: str) -> str:
    return words if len(words) <= _ECHO_LENGTH else f"{words[:_ECHO_LENGTH]}…"


def _read_id(data: bytes) -> str | None:
    try:
        return _IDS.decode(data).id
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _scan_id(data)


def _scan_id(data: bytes) -> str | None:
    """The value of the outermost object's ``id`` in what is no JSON as a whole: cut off, too deep, not UTF-8."""
    depth, key, last = 0, b"", b""
    for token in _TOKEN.finditer(data, 0, _SCAN_BYTES):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
        elif depth != 1:
            continue
        elif token[0] == b":":
            key = last
        elif token[0] == b",":
            key = b""
        elif key == b"id":
            return token[1].decode() if _ID.fullmatch(token[1]) else None
        else:
            last = token[1]
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
    try:
        outline = _TYPES.decode(data)
        if outline.type == "event":
            return _EVENTS.decode(data) if outline.kind in _EVENT_KINDS else None
        return _REPLIES.decode(data) if outline.type in _REPLY_TYPES else None
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"not a JSON object: {error}") from error
