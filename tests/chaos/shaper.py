"""Holds packets back, as a long or thin line does: run inside a network namespace whose rules queue packets here.

Reads packets from the kernel (``nfnetlink_queue``, linux/netfilter/nfnetlink_queue.h), and lets each go, in order, when
its time has come. What would wait longer than a router's buffer holds is dropped. Needs nothing but the standard
library; prints ``ready`` once it listens.
"""

import errno
import random
import select
import socket
import struct
import sys
import time
from collections import deque
from typing import Final

_NETLINK_NETFILTER: Final = 12
_QUEUE: Final = 3
_PACKET, _VERDICT, _CONFIG = 0, 1, 2
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_PACKET_HDR, _VERDICT_HDR, _PAYLOAD, _CAP_LEN = 1, 2, 10, 13
_DROP, _ACCEPT = 0, 1
_FAIL_OPEN_AND_GSO: Final = 1 | 4
_HEADER: Final = struct.Struct("=IHHII")
_GENERIC: Final = struct.Struct("!BBH")
_HELD_S: Final = 1.0
"""As much as may wait for a thin line."""
_RECEIVE_BYTES: Final = 1 << 22


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, body: bytes, *, acknowledged: bool = False) -> bytes:
    payload = _GENERIC.pack(0, 0, 0) + body
    flags = 1 | (4 if acknowledged else 0)
    return _HEADER.pack(_HEADER.size + len(payload), (_QUEUE << 8) | kind, flags, 0, 0) + payload


def verdict(packet: int, decision: int) -> bytes:
    return message(_VERDICT, attribute(_VERDICT_HDR, struct.pack("!II", decision, packet)))


def packets(data: bytes) -> list[tuple[int, int]]:
    """Of each packet in what the kernel sent: its id and its length in bytes."""
    found = []
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            break
        if kind == (_QUEUE << 8) | _PACKET:
            found.append(_packet(data[at + _HEADER.size + _GENERIC.size : at + length]))
        at += (length + 3) & ~3
    return found


def _packet(body: bytes) -> tuple[int, int]:
    packet = size = 0
    at = 0
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if length < 4:
            break
        kind &= 0x3FFF
        if kind == _PACKET_HDR:
            (packet,) = struct.unpack_from("!I", body, at + 4)
        elif kind == _CAP_LEN:
            (size,) = struct.unpack_from("!I", body, at + 4)
        elif kind == _PAYLOAD:
            size = max(size, length - 4)
        at += (length + 3) & ~3
    return packet, size


class Line:
    """When a packet that comes now may go. Seconds, bytes."""

    def __init__(self, delay_s: float, jitter_s: float, bytes_per_s: float, draw: random.Random) -> None:
        self._delay_s = delay_s
        self._jitter_s = jitter_s
        self._rate = bytes_per_s
        self._draw = draw
        self._free_at = 0.0
        self._last = 0.0

    def due(self, now: float, size: int) -> float | None:
        """None: there is no place for it."""
        start = now
        if self._rate:
            start = max(now, self._free_at)
            if start - now > _HELD_S:
                return None
            self._free_at = start + size / self._rate
            start = self._free_at
        self._last = max(self._last, start + self._delay_s + self._draw.uniform(0.0, self._jitter_s))
        return self._last


def main() -> None:
    delay_ms, jitter_ms, rate_kbit = (float(word) for word in sys.argv[1:4])
    line = Line(delay_ms / 1000, jitter_ms / 1000, rate_kbit * 125, random.Random())
    queue = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    queue.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    queue.bind((0, 0))
    flags = struct.pack("!I", _FAIL_OPEN_AND_GSO)
    for body in (
        attribute(_CFG_CMD, struct.pack("!BBH", 1, 0, socket.AF_INET)),
        attribute(_CFG_PARAMS, struct.pack("!IB", 40, 2)),
        attribute(_CFG_QUEUE_MAXLEN, struct.pack("!I", 65_536)),
        attribute(_CFG_FLAGS, flags) + attribute(_CFG_MASK, flags),
    ):
        queue.send(message(_CONFIG, body, acknowledged=True))
        (refused,) = struct.unpack_from("=i", queue.recv(65_536), _HEADER.size)
        if refused:
            raise OSError(-refused, "nfnetlink_queue")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    _hold(queue, line)


def _hold(queue: socket.socket, line: Line) -> None:
    waiting: deque[tuple[float, int]] = deque()
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            queue.send(verdict(waiting.popleft()[1], _ACCEPT))
        readable, _, _ = select.select([queue], [], [], max(0.0, waiting[0][0] - now) if waiting else None)
        if not readable:
            continue
        now = time.monotonic()
        for packet, size in packets(_received(queue)):
            due = line.due(now, size)
            if due is None:
                queue.send(verdict(packet, _DROP))
            else:
                waiting.append((due, packet))


def _received(queue: socket.socket) -> bytes:
    try:
        return queue.recv(1 << 17)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        # What found no place in the socket is let through by the kernel.
        return b""


if __name__ == "__main__":
    main()
