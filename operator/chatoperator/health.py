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
        """Why not to trust this process; empty when well."""
        age = self.reconciler.oldest_visit_s
        return f"a ChatCluster was last looked at {age:.0f} s ago" if self.acting and age > self.patience_s else ""


def registry(health: Health) -> CollectorRegistry:
    collected = CollectorRegistry()
    ProcessCollector(registry=collected)
    gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
        ("chat_operator_acting", "1 while this process holds the lease.", lambda: float(health.acting)),
        ("chat_operator_clusters", "ChatClusters that are cared for.", lambda: health.reconciler.clusters),
        ("chat_operator_oldest_visit_seconds", "Longest wait since a visit.", lambda: health.reconciler.oldest_visit_s),
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

    async def tell(_: web.Request) -> web.Response:
        unwell = health.unwell()
        return web.json_response({"ok": not unwell, "reason": unwell}, status=503 if unwell else 200)

    async def metrics(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest, collected)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", tell), web.get("/readyz", tell), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, None, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
