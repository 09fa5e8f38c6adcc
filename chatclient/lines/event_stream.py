"""Server-sent events out of bytes (WHATWG HTML, "Server-sent events"), as much as a client of frames needs. Pure."""

from chatnode.protocol import limits

EVENT_BYTES_MAX = 256 * limits.FRAME_BYTES
"""Of one event: as much as a frame may have on a socket."""


class Oversized(Exception):
    """An event that does not end."""


class EventStream:
    """Bytes in as they come, the data of each whole event out. Names, ids, comments and ``retry`` are passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, received: bytes) -> list[bytes]:
        """:class:`Oversized` where the other side sends an event without an end."""
        lines = (self._rest + received).split(b"\n")
        self._rest = lines.pop()
        events: list[bytes] = []
        for line in lines:
            self._take(line.removesuffix(b"\r"), events)
        if self._size + len(self._rest) > EVENT_BYTES_MAX:
            raise Oversized(f"an event of more than {EVENT_BYTES_MAX} bytes")
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
            self._data.clear()
            self._size = 0
        elif line.startswith(b"data:"):
            data = line[5:].removeprefix(b" ")
            self._data.append(data)
            self._size += len(data)
