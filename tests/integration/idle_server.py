"""A process that does nothing but hold sockets, to see what they cost. Prints its port."""

import gc
import resource

import uvloop

from tests.integration.bare_server import Echo, serve


class Idle(Echo):
    """Every message is a request to tidy up before a measurement."""

    __slots__ = ()

    def received(self, payload: bytes) -> None:
        gc.collect()
        super().received(payload)


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    await serve(Idle, no_app)


async def no_app(scope: object, receive: object, send: object) -> None:
    raise RuntimeError("sockets only")


if __name__ == "__main__":
    uvloop.run(main())
