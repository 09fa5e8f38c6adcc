"""A process that does nothing but hold sockets, to see what they cost. Prints its port."""

import asyncio
import gc
import resource
import socket
import sys

import uvicorn
import uvloop

from chatnode.transports.websocket.channel import Channel, Receiver, Refusal, SocketLimits
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.http import guarded_http
from chatnode.transports.websocket.protocol import socket_protocol


class Idle:
    """A receiver of the size of a small session."""

    __slots__ = ("channel",)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def received(self, payload: bytes) -> None:
        """Every message is a request to tidy up before a measurement."""
        gc.collect()
        self.channel.send(payload)

    def closed(self, code: int) -> None:
        pass

    def drained(self) -> None:
        pass


class Door:
    def admit(self) -> Refusal | None:
        return None

    def accept(self, channel: Channel) -> Receiver:
        return Idle(channel)


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host = SocketHost(asyncio.get_running_loop(), SocketLimits())
    config = uvicorn.Config(
        no_app,
        http=guarded_http(host),
        ws=socket_protocol(host, Door()),
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await uvicorn.Server(config).serve(sockets=[listener])


async def no_app(scope: object, receive: object, send: object) -> None:
    raise RuntimeError("sockets only")


if __name__ == "__main__":
    uvloop.run(main())
