"""How much waits for one client, in bytes and in frames, while the kernel does not take all that is written."""

from collections import deque

from chatnode.transports.websocket.channel import SocketLimits


class Backlog:
    """What was written to a transport since it began to hold bytes back; forgotten when it holds none."""

    __slots__ = ("_allowance", "_bytes", "_frames", "_writes")

    def __init__(self, allowance: int) -> None:
        """``allowance`` is the size of a large frame in the write that did not go through, else 0."""
        self._writes: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._frames = 0
        self._allowance = allowance

    def add(self, size: int, count: int, allowance: int) -> None:
        """One write of ``count`` frames, the largest of which is ``allowance`` bytes if that is worth mentioning."""
        self._writes.append((size, count))
        self._bytes += size
        self._frames += count
        self._allowance = max(self._allowance, allowance)

    def overflows(self, waiting: int, limits: SocketLimits) -> bool:
        """Whether ``waiting`` bytes are too much; one large frame, a page of history say, does not count."""
        while self._writes and self._bytes - self._writes[0][0] >= waiting:
            size, count = self._writes.popleft()
            self._bytes -= size
            self._frames -= count
        return waiting > limits.send_buffer_bytes + self._allowance or self._frames > limits.send_buffer_frames
