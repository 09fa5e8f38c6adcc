"""The admin port: liveness, readiness and metrics, apart from the port that clients use."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def admin_app(
    registry: CollectorRegistry, unready: Callable[[], Sequence[str]], more: Sequence[Route] = ()
) -> Starlette:
    """``unready`` tells why no traffic should come here, in words; nothing: ready. ``more``: other routes beside.

    Liveness says only that the event loop turns: a node that lost NATS is to be left alone, not to be restarted.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        reasons = list(unready())
        return JSONResponse({"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    own = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=[*own, *more])


class QuietServer(uvicorn.Server):
    """A uvicorn server within a loop that has others: signals are the application's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve_admin(app: Starlette, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port, which is a free one when ``port`` is 0.

    Raises :class:`OSError` when the address cannot be bound.
    """
    config = uvicorn.Config(app, host=host, port=port, lifespan="off", log_config=None, access_log=False, ws="none")
    config.timeout_graceful_shutdown = 1
    listener = await _listen(host, port)
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="admin")
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def _listen(host: str, port: int) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return socket.create_server(address, family=family)
