"""The node's socket class as an echo server, as the Autobahn suite wants one: text and binary. Prints its port."""

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatnode.transports.websocket.frames import frame_binary
from chatnode.transports.websocket.protocol import ChatSocket
from tests.integration.bare_server import Echo, serve


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
    await serve(Echo, Starlette(routes=[Route("/readyz", ready)]), changed=echoing)


if __name__ == "__main__":
    uvloop.run(main())
