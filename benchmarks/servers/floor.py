"""The contender ``floor``: the least that a Python server can do, bytes framed once and one write for each receiver.

No token, no JSON, no backpressure, no limits: what cannot be undercut without leaving asyncio.
"""

import asyncio
import base64
import hashlib
import os
from collections import defaultdict
from typing import cast

import uvloop

from chatnode.transports.websocket.frames import FrameParser, Text, frame_text

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
rooms: defaultdict[bytes, set[asyncio.Transport]] = defaultdict(set)


class Bare(asyncio.Protocol):
    __slots__ = ("parser", "room", "transport")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser: FrameParser | None = None
        self.room = b""

    def data_received(self, data: bytes) -> None:
        if self.parser is None:
            key = data.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self.parser = FrameParser(1 << 20)
            return
        for item in self.parser.feed(data):
            if not isinstance(item, Text):
                continue
            if not self.room:
                self.room = item.payload.partition(b'"room":"')[2].partition(b'"')[0]
                rooms[self.room].add(self.transport)
                self.transport.write(frame_text(b"ok"))
                continue
            framed = frame_text(item.payload)
            for transport in rooms[self.room]:
                transport.write(framed)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's contract
        rooms[self.room].discard(self.transport)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(
        Bare, "127.0.0.1", int(os.environ["BENCH_PORT"]), backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
