"""RFC 6455 framing, server side, without I/O: bytes in, typed values out, and the other way round.

Section numbers are those of RFC 6455. Nothing here raises on what a peer sent: a violation is a value that carries the
close code to answer with (7.4.1).
"""

from __future__ import annotations

import codecs
import struct
from typing import Final

from msgspec import Struct

_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
CONTROL_BYTES: Final = 125
"""Largest payload of a control frame (5.5)."""

PROTOCOL_ERROR: Final = 1002
INVALID_UTF8: Final = 1007
TOO_BIG: Final = 1009
NO_CODE: Final = 1005
"""Stands for a close frame without a code; never sent (7.4.1)."""

_ENDED: Final = 0
_REGISTERED_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
_new_decoder: Final = codecs.getincrementaldecoder("utf-8")


class Text(Struct, frozen=True, gc=False):
    payload: bytes
    """Valid UTF-8."""


class Binary(Struct, frozen=True, gc=False):
    payload: bytes


class Ping(Struct, frozen=True, gc=False):
    payload: bytes


class Pong(Struct, frozen=True, gc=False):
    payload: bytes


class Close(Struct, frozen=True, gc=False):
    code: int
    """:data:`NO_CODE` when the frame had none."""
    reason: str


class Violation(Struct, frozen=True, gc=False):
    """The peer broke the protocol: answer with a close frame of this code and fail the connection (7.1.7)."""

    code: int
    reason: str


Incoming = Text | Binary | Ping | Pong | Close | Violation


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((_FIN | opcode, size)) + payload
    if size < 0x10000:
        return struct.pack("!BBH", _FIN | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FIN | opcode, 127, size) + payload


def frame_text(payload: bytes) -> bytes:
    """One unmasked text frame; ``payload`` has to be UTF-8."""
    return _frame(_TEXT, payload)


def payload_of(framed: bytes) -> bytes:
    """What :func:`frame_text` was given, for transports without frames."""
    return framed[{126: 4, 127: 10}.get(framed[1], 2) :]


def frame_binary(payload: bytes) -> bytes:
    return _frame(_BINARY, payload)


def frame_ping(payload: bytes = b"") -> bytes:
    return _control(_PING, payload)


def frame_pong(payload: bytes = b"") -> bytes:
    return _control(_PONG, payload)


def frame_close(code: int = NO_CODE, reason: str = "") -> bytes:
    """A close frame; a reason that is too long for it is cut at a character. Without a code the frame is empty."""
    if code == NO_CODE:
        return _control(_CLOSE, b"")
    words = reason.encode()[: CONTROL_BYTES - 2].decode(errors="ignore").encode()
    return _control(_CLOSE, code.to_bytes(2, "big") + words)


def _control(opcode: int, payload: bytes) -> bytes:
    if len(payload) > CONTROL_BYTES:
        raise ValueError(f"control frame with {len(payload)} bytes; RFC 6455 5.5 allows {CONTROL_BYTES}")
    return _frame(opcode, payload)


def is_close_code(code: int) -> bool:
    """Whether a peer may send it: registered with IANA, or of an application or library (7.4.2)."""
    return code in _REGISTERED_CODES or 3000 <= code <= 4999


def unmask(payload: bytes, key: bytes) -> bytes:
    """XOR with the repeated key (5.3), as one operation on two long integers; masking is the same operation."""
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


class FrameParser:
    """Frames of one client, from any split of its bytes.

    :meth:`feed` returns what is complete, in order. The last value of a connection is a Close or a Violation; what
    comes after it is dropped. Holds at most one message of ``message_bytes`` and one frame of the same size, and close
    to nothing between messages.
    """

    __slots__ = ("_buffer", "_decoder", "_limit", "_message", "_missing", "_opcode", "ended")

    def __init__(self, message_bytes: int) -> None:
        self._limit = message_bytes
        self._buffer: bytearray | None = None
        self._missing = 0
        self._message: bytearray | None = None
        self._opcode = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        self.ended = False

    def feed(self, data: bytes) -> list[Incoming]:
        if self.ended:
            return []
        if self._buffer is not None:
            self._buffer += data
            if len(data) < self._missing:
                self._missing -= len(data)
                return []
            data = bytes(self._buffer)
            self._buffer = None
        incoming: list[Incoming] = []
        start = 0
        size = len(data)
        while start < size:
            after = self._parse(data, start, size, incoming)
            if after == _ENDED:
                break
            if after < 0:
                self._missing = -after
                self._buffer = bytearray(data[start:])
                break
            start = after
        return incoming

    def _parse(self, data: bytes, start: int, size: int, incoming: list[Incoming]) -> int:
        """Take one frame at ``start``; where the next one begins, minus how many bytes are missing, or ``_ENDED``."""
        available = size - start
        if available < 2:
            return -1
        first, second = data[start], data[start + 1]
        length = second & 0x7F
        header = 6 if length < 126 else 8 if length == 126 else 14
        if reason := self._forbidden(first, second):
            return self._fail(incoming, PROTOCOL_ERROR, reason)
        if available < header:
            return available - header
        if length == 126:
            length = int.from_bytes(data[start + 2 : start + 4], "big")
        elif length == 127:
            length = int.from_bytes(data[start + 2 : start + 10], "big")
            if length >> 63:
                return self._fail(incoming, PROTOCOL_ERROR, "length with its highest bit set")
        opcode = first & 0x0F
        if opcode < _CLOSE and length + len(self._message or b"") > self._limit:
            return self._fail(incoming, TOO_BIG, f"message of more than {self._limit} bytes")
        end = start + header + length
        if end > size:
            return size - end
        payload = unmask(data[start + header : end], data[start + header - 4 : start + header]) if length else b""
        if opcode >= _CLOSE:
            self._control(opcode, payload, incoming)
        else:
            self._data(opcode, bool(first & _FIN), payload, incoming)
        return _ENDED if self.ended else end

    def _forbidden(self, first: int, second: int) -> str | None:
        if first & _RESERVED:
            return "reserved bit set without an extension"
        if not second & _MASKED:
            return "frame without mask"
        opcode = first & 0x0F
        if _BINARY < opcode < _CLOSE or opcode > _PONG:
            return f"unknown opcode {opcode}"
        if opcode >= _CLOSE:
            if not first & _FIN:
                return "fragmented control frame"
            return "control frame of more than 125 bytes" if second & 0x7F > CONTROL_BYTES else None
        if opcode == _CONTINUATION:
            return "continuation of nothing" if self._message is None else None
        return "new message within a fragmented one" if self._message is not None else None

    def _fail(self, incoming: list[Incoming], code: int, reason: str) -> int:
        self.ended = True
        self._message = None
        self._decoder = None
        incoming.append(Violation(code, reason))
        return _ENDED

    def _control(self, opcode: int, payload: bytes, incoming: list[Incoming]) -> None:
        if opcode == _PING:
            incoming.append(Ping(payload))
        elif opcode == _PONG:
            incoming.append(Pong(payload))
        else:
            self._close(payload, incoming)

    def _close(self, payload: bytes, incoming: list[Incoming]) -> None:
        if len(payload) == 1:
            self._fail(incoming, PROTOCOL_ERROR, "close frame of one byte")
            return
        code = int.from_bytes(payload[:2], "big") if payload else NO_CODE
        if payload and not is_close_code(code):
            self._fail(incoming, PROTOCOL_ERROR, f"close code {code}")
            return
        try:
            reason = payload[2:].decode()
        except UnicodeDecodeError:
            self._fail(incoming, INVALID_UTF8, "close reason that is not UTF-8")
            return
        self.ended = True
        incoming.append(Close(code, reason))

    def _data(self, opcode: int, fin: bool, payload: bytes, incoming: list[Incoming]) -> None:
        if self._message is None and fin:
            if opcode == _TEXT and not payload.isascii() and not _is_utf8(payload):
                self._fail(incoming, INVALID_UTF8, "text that is not UTF-8")
            else:
                incoming.append(Text(payload) if opcode == _TEXT else Binary(payload))
            return
        if self._message is None:
            self._message = bytearray()
            self._opcode = opcode
            self._decoder = _new_decoder() if opcode == _TEXT else None
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, final=fin)
            except UnicodeDecodeError:
                self._fail(incoming, INVALID_UTF8, "text that is not UTF-8")
                return
        self._message += payload
        if fin:
            whole = bytes(self._message)
            self._message = None
            self._decoder = None
            incoming.append(Text(whole) if self._opcode == _TEXT else Binary(whole))


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
