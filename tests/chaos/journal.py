"""The log of one room in a file: what many clients are given alike is written once.

A file is a row of entries: a byte that says which, the length of what follows, and that. Times are seconds of the
machine's monotonic clock, so that files of several processes can be laid side by side.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec.structs import replace

from chatnode.protocol.events import StoredEvent
from chatnode.protocol.frames import Position
from tests.oracle.log import Acked, Delivered, Record

_RECORD: Final = 0
_EVENT: Final = 1
_CLIENT: Final = 2
_DELIVERED: Final = 3
_HEAD: Final = struct.Struct("<BI")
_DELIVERY: Final = struct.Struct("<dHI")
_FLUSH_BYTES: Final = 256 * 1024

_RECORDS: Final = msgspec.msgpack.Decoder(Record)
_EVENTS: Final = msgspec.msgpack.Decoder(StoredEvent)
_ENCODER: Final = msgspec.msgpack.Encoder()


class Journal:
    """Takes the records of one room, in the order in which they happen; ``close`` it before it is read."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")
        self._waiting = bytearray()
        self._clients: dict[str, int] = {}
        self._events: dict[tuple[int, int], list[tuple[StoredEvent, int]]] = {}
        """By place; one, unless clients are given different things there."""
        self._count = 0
        self.upto = Position(0, 0)
        """The furthest place that was acked."""

    def add(self, record: Record) -> None:
        if isinstance(record, Acked):
            self.upto = max(self.upto, record.position)
        if isinstance(record, Delivered):
            number = self._number(record.event)
            data = _DELIVERY.pack(record.at, self._client(record.client), number)
            self._write(_DELIVERED, data)
        else:
            self._write(_RECORD, _ENCODER.encode(record))

    def close(self) -> None:
        self._flush()
        self._file.close()
        self._events.clear()

    def _number(self, event: StoredEvent) -> int:
        known = self._events.setdefault((event.epoch, event.seq), [])
        for other, number in known:
            if other == event or _alike(other, event):
                return number
        number = self._count
        self._count += 1
        known.append((event, number))
        self._write(_EVENT, _ENCODER.encode(event))
        return number

    def _client(self, name: str) -> int:
        number = self._clients.get(name)
        if number is None:
            number = self._clients[name] = len(self._clients)
            self._write(_CLIENT, name.encode())
        return number

    def _write(self, kind: int, data: bytes) -> None:
        self._waiting += _HEAD.pack(kind, len(data))
        self._waiting += data
        if len(self._waiting) >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._waiting)
        self._waiting.clear()


def _alike(one: StoredEvent, other: StoredEvent) -> bool:
    """The same but for the chain: after a purge, and in a fill, ``prev`` may be another's."""
    return one == replace(other, prev=one.prev, traceparent=one.traceparent)


def read_journal(path: Path) -> Iterator[Record]:
    """All records, in order; deliveries of the same event share it."""
    clients: list[str] = []
    events: list[StoredEvent] = []
    data = memoryview(path.read_bytes())
    at = 0
    while at < len(data):
        kind, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        body = data[at : at + length]
        at += length
        match kind:
            case 0:
                yield _RECORDS.decode(body)
            case 1:
                events.append(_EVENTS.decode(body))
            case 2:
                clients.append(bytes(body).decode())
            case _:
                when, client, event = _DELIVERY.unpack(body)
                yield Delivered(at=when, client=clients[client], event=events[event])
