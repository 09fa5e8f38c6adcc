"""Liveness, readiness and metrics of the operator, on a port of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.exposition import generate_latest

from chatoperator.reconcile import Reconciler


class Health(Struct):
    """What the process knows of itself. ``acting``: it holds the lease."""

    reconciler: Reconciler
    patience_s: float
    """A cluster that was not visited with success for so long means that something hangs."""
    acting: bool = False

    def unwell(self) -> str:
        """Why to start this process anew; empty when well."""
        age = self.reconciler.oldest_visit_s
        return f"a ChatCluster was last looked at {age:.0f} s ago" if self.acting and age > self.patience_s else ""

    def unready(self) -> str:
        """Why not to trust what it does. Silent nodes are a reason not to, but not to start anew: that makes nobody
        speak, and what is remembered of the load would be lost.
        """
        age = self.reconciler.oldest_sample_s
        silent = f"the nodes of a ChatCluster were last heard {age:.0f} s ago"
        return self.unwell() or (silent if self.acting and age > self.patience_s else "")


def registry(health: Health) -> CollectorRegistry:
    collected = CollectorRegistry()
    ProcessCollector(registry=collected)
    gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
        ("chat_operator_acting", "1 while this process holds the lease.", lambda: float(health.acting)),
        ("chat_operator_clusters", "ChatClusters that are cared for.", lambda: health.reconciler.clusters),
        ("chat_operator_oldest_visit_seconds", "Longest wait since a visit.", lambda: health.reconciler.oldest_visit_s),
        ("chat_operator_oldest_sample_seconds", "Longest silence of nodes.", lambda: health.reconciler.oldest_sample_s),
        ("chat_operator_visits", "Visits to ChatClusters.", lambda: health.reconciler.visits),
        ("chat_operator_writes", "Writes to the API server and to MongoDB.", lambda: health.reconciler.writes),
    )
    for name, about, read in gauges:
        Gauge(name, about, registry=collected).set_function(read)
    return collected


@asynccontextmanager
async def serve_health(health: Health, port: int) -> AsyncIterator[int]:
    """Raises :class:`OSError` when the port is taken. Gives the port, a free one for 0."""
    collected = registry(health)

    async def live(_: web.Request) -> web.Response:
        return _told(health.unwell())

    async def ready(_: web.Request) -> web.Response:
        return _told(health.unready())

    async def metrics(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest, collected)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", live), web.get("/readyz", ready), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, None, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _told(reason: str) -> web.Response:
    return web.json_response({"ok": not reason, "reason": reason}, status=503 if reason else 200)
