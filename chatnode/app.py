"""A node as a process: ports, connections to what it needs, signals, and the order in which it comes and goes."""

import asyncio
import logging
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import uvicorn
from starlette.applications import Starlette

from chatnode import __version__
from chatnode.broker.connection import connect
from chatnode.history.client import Mongo
from chatnode.history.schema import SchemaBehind, check_schema
from chatnode.identity.tokens import verifier_for
from chatnode.node import Node, wall_ms
from chatnode.rooms.ports import Unavailable
from chatnode.settings import Settings
from chatnode.telemetry.admin import QuietServer, admin_app, serve_admin
from chatnode.telemetry.metrics import NodeMetrics
from chatnode.telemetry.traces import Tracing
from chatnode.transports import demo, pages, rest, steering
from chatnode.transports.fallback import routes as fallback
from chatnode.transports.fallback.visit import FallbackServices
from chatnode.transports.http import EXCEPTION_HANDLERS
from chatnode.transports.rates import Rates
from chatnode.transports.steered import SteeredNode
from chatnode.transports.websocket.channel import SocketLimits
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.http import guarded_http
from chatnode.transports.websocket.protocol import socket_protocol

logger = logging.getLogger(__name__)

_RETRY_S: Final = 0.5
_HEADER_S: Final = 9.5
"""A peer that has not sent a whole request header is gone within 10 s."""


class Signals:
    """SIGTERM and SIGINT as events: the first asks to stop, the second to hurry."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.received)

    def received(self) -> None:
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()


async def run_node(settings: Settings, signals: Signals | None = None) -> None:
    """Serve until told to stop. Waits for NATS, streams and MongoDB as long as it takes, unready meanwhile.

    Raises :class:`OSError` when a port cannot be bound.
    """
    if signals is None:
        signals = Signals()
        signals.install()
    loop = asyncio.get_running_loop()
    metrics = NodeMetrics(settings.node_id, __version__)
    host = SocketHost(loop, _limits(settings))
    metrics.watch_sockets(host.counts, lambda: host.waiting)
    metrics.tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
    nodes: list[Node] = []
    steered: list[SteeredNode] = []
    listener = socket.create_server((settings.host, settings.port), backlog=2048)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        tracing = Tracing.from_settings(settings.otlp_endpoint, "chatnode", settings.node_id, version=__version__)
        stack.push_async_callback(tracing.close)
        unready: Callable[[], Sequence[str]] = lambda: nodes[0].unready() if nodes else ["starting"]  # noqa: E731
        away = steering.Sample(node=settings.node_id, state="starting", time_ms=0, capacity=settings.max_connections)
        orders = steering.routes(steered, settings.control_token, away)
        await stack.enter_async_context(
            serve_admin(admin_app(metrics.registry, unready, orders), settings.admin_host, settings.admin_port)
        )
        starting = asyncio.create_task(_start(settings, host, metrics, tracing, stack), name="start")
        node = await _unless(signals.stop, starting)
        if node is None:
            return
        nodes.append(node)
        steered.append(node.steered)
        async with _serve(node, host, listener):
            logger.info("serving on %s:%d", *listener.getsockname()[:2])
            await signals.stop.wait()
            await node.steered.drain(settings.drain_settle_s, settings.drain_window_s, signals.hurry)


async def _unless(stop: asyncio.Event, starting: asyncio.Task[Node]) -> Node | None:
    """The node, or None when it was told to stop before it was up."""
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        return starting.result() if starting.done() else None
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)


async def _start(
    settings: Settings, host: SocketHost, metrics: NodeMetrics, tracing: Tracing, stack: AsyncExitStack
) -> Node:
    """Tries again until everything that a node needs is there."""
    while True:
        attempt = AsyncExitStack()
        try:
            node = await _build(settings, host, metrics, tracing, attempt)
            attempt.push_async_callback(node.stop)
            await node.start()
        except Unavailable as error:
            logger.warning("not ready yet: %s", error)
            await attempt.aclose()
            await asyncio.sleep(_RETRY_S)
        except BaseException:
            await attempt.aclose()
            raise
        else:
            stack.push_async_callback(attempt.aclose)
            return node


async def _build(
    settings: Settings, host: SocketHost, metrics: NodeMetrics, tracing: Tracing, stack: AsyncExitStack
) -> Node:
    nodes: list[Node] = []

    async def returned() -> None:
        for node in nodes:
            await node.nats_returned()

    async def failed(error: Exception) -> None:
        for node in nodes:
            await node.nats_error(error)

    client = await connect(
        settings.nats_url,
        name=settings.node_id,
        ca_file=settings.nats_ca_file,
        on_reconnect=returned,
        on_error=failed,
    )
    stack.push_async_callback(client.close)
    mongo = Mongo(settings.mongodb_uri, settings.mongodb_database, name=settings.node_id)
    stack.push_async_callback(mongo.close)
    try:
        await check_schema(mongo.database)
    except SchemaBehind as error:
        raise Unavailable(str(error)) from error
    verifier = await stack.enter_async_context(verifier_for(settings, wall_ms))
    node = Node(settings, client=client, mongo=mongo, verifier=verifier, host=host, metrics=metrics, tracing=tracing)
    nodes.append(node)
    return node


@asynccontextmanager
async def _serve(node: Node, host: SocketHost, listener: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(
        http_app(node, host),
        http=guarded_http(host),
        ws=socket_protocol(host, node),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="serve")
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def http_app(node: Node, host: SocketHost) -> Starlette:
    rates = Rates(node.settings.command_rate_per_s, node.settings.command_burst, clock=time.monotonic)
    services = rest.RestServices(
        verifier=node.verifier,
        rights=node.rights,
        control=node.control,
        reach=node.feed.reach,
        hear=node.hear_control,
        page=node.catch_up.page,
        suspended=node.feed.suspended,
        wait=rates.wait,
        now_ms=wall_ms,
        draw_id=lambda: secrets.token_urlsafe(12),
    )
    fallbacks = FallbackServices(desk=node.desk, host=host, admit=node.admit, rates=rates)
    routes = [
        *rest.routes(services),
        *fallback.routes(fallbacks),
        *demo.routes(node.settings, wall_ms),
        *pages.routes(),
    ]
    return Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)


def _limits(settings: Settings) -> SocketLimits:
    return SocketLimits(
        send_buffer_bytes=settings.send_buffer_bytes,
        send_buffer_frames=settings.send_buffer_frames,
        node_buffer_bytes=settings.node_buffer_bytes,
        allowed_origins=frozenset(settings.allowed_origins),
        header_timeout_s=_HEADER_S,
    )
