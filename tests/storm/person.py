"""One client of the storm: a socket, cursors and what was heard, small enough that one process holds thousands.

It keeps the rules of ``docs/client.md`` for a WebSocket: full jitter, ``Retry-After`` and ``reconnect`` win, another
address after each failure, cursors on return. Messages say their own number, so that a gap or a copy is seen at once.
"""

import asyncio
import base64
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from chatclient.backoff import delay

_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})[^\r]*\r\n")
_RETRY: Final = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
ATTEMPT_S: Final = 10.0


class _Said(Struct):
    text: str = ""
    """Empty for what nobody said: somebody joined."""


class _Heard(Struct):
    """Of any frame, what matters here."""

    type: str
    kind: str = ""
    cursor: str = ""
    text: str = ""
    recovered: bool = True
    messages: tuple[_Said, ...] = ()
    retryable: bool = False
    after_ms: int = 0
    retry_after: float | None = None


_decoder: Final = msgspec.json.Decoder(_Heard)


@dataclass(frozen=True, slots=True)
class Place:
    host: str
    port: int


@dataclass(slots=True)
class Tally:
    """What all of them together saw."""

    gaps: int = 0
    copies: int = 0
    reloads: int = 0
    refused: int = 0
    attempts: int = 0
    welcomes: int = 0
    unreachable: int = 0
    late: int = 0
    """Attempts that were not in their room after :data:`ATTEMPT_S`."""


class Person(asyncio.Protocol):
    """``joined``: connected and in its room; ``last``: the number of the last message that it has."""

    __slots__ = (
        "_attempt",
        "_buffer",
        "_cursor",
        "_dialling",
        "_draw",
        "_greeted",
        "_loop",
        "_places",
        "_room",
        "_source",
        "_stopped",
        "_tally",
        "_timer",
        "_token",
        "_transport",
        "_turn",
        "joined",
        "last",
    )

    def __init__(
        self,
        room: str,
        token: str,
        places: Sequence[Place],
        turn: int,
        source: str,
        tally: Tally,
        draw: Callable[[], float],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = room
        self._token = token
        self._places = places
        self._turn = turn
        self._source = source
        self._tally = tally
        self._draw = draw
        self._attempt = 0
        self._buffer = bytearray()
        self._cursor = ""
        self._greeted = False
        self._stopped = False
        self._dialling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.joined = False
        self.last = 0

    @property
    def place(self) -> Place:
        return self._places[self._turn % len(self._places)]

    @property
    def wakes_at(self) -> float | None:
        """Time of the loop at which it tries again; None while it waits for nothing."""
        return None if self._timer is None else self._timer.when()

    async def dial(self) -> None:
        """One attempt; what comes of it is told by ``joined``, or by another attempt later."""
        self._tally.attempts += 1
        self._timer = None
        try:
            async with asyncio.timeout(ATTEMPT_S):
                place = self.place
                await self._loop.create_connection(lambda: self, place.host, place.port, local_addr=(self._source, 0))
        except (OSError, TimeoutError):
            self._tally.unreachable += 1
            self._again()

    async def stop(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait([self._dialling])

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is no subclass
        self._transport = transport
        self._buffer.clear()
        self._greeted = False
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /v1/ws HTTP/1.1\r\nHost: {self.place.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n".encode()
        )
        self._timer = self._loop.call_later(ATTEMPT_S, self._give_up, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._transport is None:
            return
        self.joined = False
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._again()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._greeted and not self._upgraded():
            return
        self._read()

    def _again(self, told: float | None = None, *, elsewhere: bool = True) -> None:
        if self._stopped or self._timer is not None:
            return
        if elsewhere:
            self._turn += 1
        wait = delay(self._attempt, self._draw()) if told is None else told
        self._attempt += 1
        self._timer = self._loop.call_later(wait, self._dial_again)

    def _give_up(self, transport: asyncio.Transport) -> None:
        self._tally.late += 1
        transport.abort()

    def _dial_again(self) -> None:
        self._dialling = self._loop.create_task(self.dial())

    def _leave(self, told: float | None, *, elsewhere: bool) -> None:
        """Come again as the server says, rather than by the end of the connection."""
        assert self._transport is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._again(told, elsewhere=elsewhere)
        self.joined = False
        transport, self._transport = self._transport, None
        transport.abort()

    def _upgraded(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[: end + 2])
        status = _STATUS.match(head)
        if status is None or status[1] != b"101":
            self._tally.refused += 1
            told = _RETRY.search(head)
            self._leave(float(told[1]) if told else None, elsewhere=told is None)
            return False
        del self._buffer[: end + 4]
        self._greeted = True
        frame: dict[str, object] = {"type": "connect", "id": "c", "token": self._token}
        if self._cursor:
            self._write({**frame, "cursors": {self._room: self._cursor}})
        else:
            self._write(frame)
            self._write({"type": "subscribe", "id": "s", "room": self._room})
        return True

    def _write(self, frame: dict[str, object], opcode: int = _TEXT) -> None:
        self._send(msgspec.json.encode(frame), opcode)

    def _send(self, payload: bytes, opcode: int) -> None:
        # A mask of zeros is a mask (RFC 6455 §5.3), and leaves the payload as it is.
        length = len(payload)
        head = (
            bytes((0x80 | opcode, 0x80 | length))
            if length < 126
            else bytes((0x80 | opcode, 0xFE)) + length.to_bytes(2, "big")
        )
        if self._transport is not None:
            self._transport.write(head + b"\0\0\0\0" + payload)

    def _read(self) -> None:
        buffer = self._buffer
        while len(buffer) >= 2:
            length, start = buffer[1] & 0x7F, 2
            if length >= 126:
                start = 4 if length == 126 else 10
                if len(buffer) < start:
                    return
                length = int.from_bytes(buffer[2:start], "big")
            if len(buffer) < start + length:
                return
            opcode = buffer[0] & 0x0F
            payload = bytes(buffer[start : start + length])
            del buffer[: start + length]
            if opcode == _PING:
                self._send(payload, _PONG)
            elif opcode == _TEXT:
                self._hear(_decoder.decode(payload))
                if self._transport is None or self._transport.is_closing():
                    return

    def _hear(self, heard: _Heard) -> None:
        if heard.type == "event":
            self._event(heard)
        elif heard.type == "welcome":
            self._tally.welcomes += 1
        elif heard.type == "ack" and heard.cursor:
            self._join(heard)
        elif heard.type == "reconnect":
            self._leave(heard.after_ms / 1000, elsewhere=True)
        elif heard.type == "error":
            self._leave(heard.retry_after, elsewhere=True)

    def _event(self, heard: _Heard) -> None:
        if heard.kind == "message":
            self._number(int(heard.text))
            self._cursor = heard.cursor
        elif heard.kind == "subscribed":
            self._join(heard)
        elif heard.kind == "unsubscribed":
            self._leave(heard.retry_after, elsewhere=False)
        elif heard.cursor:
            self._cursor = heard.cursor

    def _number(self, number: int) -> None:
        if number <= self.last:
            self._tally.copies += 1
        elif number > self.last + 1:
            self._tally.gaps += 1
        self.last = max(self.last, number)

    def _join(self, heard: _Heard) -> None:
        if heard.messages:
            numbers = [int(message.text) for message in heard.messages if message.text] or [0]
            if self.last and not heard.recovered:
                self._tally.reloads += 1
                self._tally.gaps += min(numbers) > self.last + 1
            self._tally.gaps += numbers != list(range(numbers[0], numbers[-1] + 1))
            self.last = max(self.last, numbers[-1])
        self._cursor = heard.cursor
        self._attempt = 0
        self.joined = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
