"""A model node behind a real WebSocket server, which does as it is told."""

import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from chatnode.protocol.frames import Send
from tests.unit.model_node import ModelNode


class Site:
    """A model node behind a real WebSocket server."""

    def __init__(self) -> None:
        self.node = ModelNode()
        self.sockets: list[ServerConnection] = []
        self.tokens: list[str] = []
        self.deaf = False
        """Reads and says nothing."""
        self.answer: Callable[[dict[str, object]], dict[str, object] | None] = lambda frame: None
        """What to say instead of what the node would."""
        self.refuse: HTTPStatus | None = None
        self.url = ""
        self._pushes = itertools.count()

    async def serve(self, socket: ServerConnection) -> None:
        session = self.node.connected("ana")
        self.sockets.append(socket)
        try:
            async for data in socket:
                frame = json.loads(data)
                if frame["type"] == "connect":
                    self.tokens.append(frame["token"])
                instead = self.answer(frame)
                if instead is not None:
                    await socket.send(json.dumps(instead))
                elif not self.deaf:
                    session.incoming.append(str(data).encode())
                    self.node.step(session)
                    await self.flush()
        except ConnectionClosed:
            pass
        finally:
            self.node.cut(session)
            self.sockets.remove(socket)

    async def flush(self) -> None:
        """Deliver what the node has said to anybody."""
        for socket, session in zip(self.sockets, self.node.sessions, strict=True):
            while session.out:
                await socket.send(session.out.popleft(), text=True)

    async def bob_says(self, text: str) -> None:
        self.node.append("bob", Send(id=f"b{next(self._pushes)}", room="r", text=text))
        await self.flush()

    def check(self, _socket: ServerConnection, _request: Request) -> Response | None:
        return _socket.respond(self.refuse, "no\n") if self.refuse else None


@asynccontextmanager
async def serving(made: Site, port: int = 0) -> AsyncIterator[None]:
    server = await serve(made.serve, "127.0.0.1", port, subprotocols=["chat.v1"], process_request=made.check)
    made.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/v1/ws"
    try:
        yield
    finally:
        server.close(close_connections=True)
        await server.wait_closed()
