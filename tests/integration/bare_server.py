"""The node's socket class in a process of its own, with something other than a session behind it."""

import asyncio
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from chatnode.transports.websocket.channel import Channel, Receiver, Refusal, SocketLimits
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.http import guarded_http
from chatnode.transports.websocket.protocol import ChatSocket, socket_protocol


class Echo:
    """A receiver of the size of a small session: says back what it hears."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def received(self, payload: bytes) -> None:
        self._channel.send(payload)

    def closed(self, code: int) -> None:
        pass

    def drained(self) -> None:
        pass


@dataclass
class _Door:
    accept: Callable[[Channel], Receiver]

    def admit(self) -> Refusal | None:
        return None


async def serve(
    accept: Callable[[Channel], Receiver],
    app: ASGIApp,
    *,
    changed: Callable[[type[ChatSocket]], type[ChatSocket]] = lambda base: base,
) -> None:
    """Until it is told to stop; prints its port first. ``app`` answers what is no socket."""
    host = SocketHost(asyncio.get_running_loop(), SocketLimits())
    config = uvicorn.Config(
        app,
        http=guarded_http(host),
        ws=changed(socket_protocol(host, _Door(accept))),
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await uvicorn.Server(config).serve(sockets=[listener])
