"""The node's socket class as an echo server, as the Autobahn suite wants one: text and binary. Prints its port."""

import asyncio
import socket
import sys

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatnode.transports.websocket.channel import Channel, Receiver, Refusal, SocketLimits
from chatnode.transports.websocket.frames import frame_binary
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.http import guarded_http
from chatnode.transports.websocket.protocol import ChatSocket, socket_protocol


class Echo:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def received(self, payload: bytes) -> None:
        self._channel.send(payload)

    def closed(self, code: int) -> None:
        pass

    def drained(self) -> None:
        pass


class Door:
    def admit(self) -> Refusal | None:
        return None

    def accept(self, channel: Channel) -> Receiver:
        return Echo(channel)


def echoing(base: type[ChatSocket]) -> type[ChatSocket]:
    """Binary messages too, which chat has no use for."""

    class EchoSocket(base):  # type: ignore[misc, valid-type]
        __slots__ = ()

        def _binary(self, payload: bytes) -> None:
            self.write(frame_binary(payload))

    return EchoSocket


async def ready(_request: Request) -> Response:
    return Response("ready")


async def main() -> None:
    host = SocketHost(asyncio.get_running_loop(), SocketLimits())
    config = uvicorn.Config(
        Starlette(routes=[Route("/readyz", ready)]),
        http=guarded_http(host),
        ws=echoing(socket_protocol(host, Door())),
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(main())
