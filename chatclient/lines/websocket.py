"""The protocol over a WebSocket."""

import asyncio
from collections import deque
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from chatclient.ladder import End
from chatclient.lines.line import CLOSE_S, OPEN_S, Ending, Links
from chatclient.lines.retrying import retry_after_of

SUBPROTOCOL: Final = Subprotocol("chat.v1")
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one frame from a node: a page of 100 messages of 16 KiB, escaped."""
WRITE_S: Final = 10.0


class WebSocketLine:
    def __init__(self, url: str) -> None:
        self._url = url
        self._outgoing: deque[bytes] = deque()
        self._write = asyncio.Event()
        self._hung_up: tuple[int, str] | None = None
        self.socket: ClientConnection | None = None

    def write(self, data: bytes) -> None:
        self._outgoing.append(data)
        self._write.set()

    def cut(self) -> None:
        if self.socket is not None:
            self.socket.transport.abort()

    def hang_up(self, code: int, reason: str) -> None:
        self._hung_up = (code, reason)
        self._write.set()

    async def run(self, token: str, links: Links) -> Ending:  # noqa: ARG002  the machine says it in its first frame
        try:
            socket = await connect(
                self._url,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                ping_interval=None,
                max_size=FRAME_BYTES_MAX,
                proxy=None,
            )
        except InvalidURI as error:
            return Ending(End(), str(error), wrong_address=True)
        except InvalidStatus as refusal:
            status, headers = refusal.response.status_code, refusal.response.headers
            end = End(status=status, retry_after=retry_after_of(headers.get("Retry-After")))
            return Ending(end, f"the handshake was refused: HTTP status {status}")
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
            # Closed: the connection broke between its beginning and the first byte of the handshake.
            return Ending(End(), str(error) or type(error).__name__)
        return await self._converse(socket, links)

    async def _converse(self, socket: ClientConnection, links: Links) -> Ending:
        self.socket = socket
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._keep_writing(socket))
            links.opened()
            try:
                async for data in socket:
                    links.hear(data.encode() if isinstance(data, str) else data)
            except ConnectionClosed:
                pass
            finally:
                writer.cancel()
        close = socket.protocol.close_rcvd
        return Ending(End(), "connection lost") if close is None else Ending(End(code=close.code), close.reason)

    async def _keep_writing(self, socket: ClientConnection) -> None:
        """In order, until the client hangs up; what cannot be written in time is a dead connection."""
        while self._hung_up is None:
            self._write.clear()
            while self._outgoing and self._hung_up is None:
                try:
                    async with asyncio.timeout(WRITE_S):
                        await socket.send(self._outgoing.popleft(), text=True)
                except ConnectionClosed:
                    return
                except TimeoutError:
                    socket.transport.abort()
                    return
            if self._hung_up is None:
                await self._write.wait()
        await socket.close(*self._hung_up)
