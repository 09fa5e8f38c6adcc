"""A process that does nothing but hold sockets, to see what they cost. Prints its port."""

import gc
import resource

import uvloop

from chatnode.transports.websocket.channel import Channel
from tests.integration.bare_server import serve


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


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    await serve(Idle, no_app)


async def no_app(scope: object, receive: object, send: object) -> None:
    raise RuntimeError("sockets only")


if __name__ == "__main__":
    uvloop.run(main())
