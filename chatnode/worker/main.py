"""One worker: every stream's history, the projections, retention, and the admin port."""

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, TypeVar

from chatnode import __version__
from chatnode.broker.connection import Client, connect
from chatnode.broker.control import ControlStore
from chatnode.broker.direct import DirectReader
from chatnode.broker.elections import follow_elections
from chatnode.broker.event_stream import EnvelopePublisher, NatsEventStream
from chatnode.broker.streams import StreamConfig, chat_stream, control_stream
from chatnode.broker.subjects import CONTROL_STREAM, HISTORY_CONSUMER, PARTITIONS, PROJECTION_CONSUMER, stream_name
from chatnode.history.client import Mongo
from chatnode.history.leases import Leases
from chatnode.history.progress import Ledger
from chatnode.history.projection import ControlProjection
from chatnode.history.schema import migrate
from chatnode.history.writer import HistoryWriter
from chatnode.rooms.ports import Unavailable
from chatnode.settings import Settings
from chatnode.telemetry.admin import admin_app, serve_admin
from chatnode.telemetry.metrics import WorkerMetrics
from chatnode.telemetry.traces import Tracing
from chatnode.worker.control import ControlJob
from chatnode.worker.gauges import StreamGauges
from chatnode.worker.history import HistoryJob
from chatnode.worker.retention import Retention
from chatnode.worker.share import Share
from chatnode.worker.stream import Rhythm, StreamWorker

log = logging.getLogger(__name__)

HISTORY_APART_S: Final = 0.5
"""Each batch costs MongoDB several majority writes, however small it is. Who reads history reads the tail of the stream
with it, and does not see the wait; of what control changes, people are told at once."""

LEASE_S: Final = 8.0
_RETRY_S: Final = 0.5

T = TypeVar("T")


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def run_worker(
    settings: Settings, stop: asyncio.Event | None = None, *, lease: float = LEASE_S, rhythm: Rhythm | None = None
) -> None:
    """Work until ``stop`` is set, or (without one) until SIGTERM or SIGINT; then finish what is in hand.

    Waits for NATS and MongoDB as long as it takes, unready meanwhile. ``lease``: seconds after which another worker
    takes over from one that is gone. Raises :class:`OSError` when the admin port cannot be bound, and
    :class:`chatnode.rooms.ports.StreamConflict` for a stream that somebody has to look at.
    """
    stop = _on_signals() if stop is None else stop
    rhythm = Rhythm(settle=settings.suspend_after_s + 1.0) if rhythm is None else rhythm
    metrics = WorkerMetrics(settings.node_id, __version__)
    reasons = {"starting"}
    async with AsyncExitStack() as stack:
        tracing = Tracing.from_settings(settings.otlp_endpoint, "chatworker", settings.node_id, version=__version__)
        stack.push_async_callback(tracing.close)
        await stack.enter_async_context(
            serve_admin(admin_app(metrics.registry, lambda: sorted(reasons)), settings.admin_host, settings.admin_port)
        )
        mongo = Mongo(settings.mongodb_uri, settings.mongodb_database, name=f"chatworker {settings.node_id}")
        stack.push_async_callback(mongo.close)
        worker = Worker(settings, mongo, metrics, tracing, reasons, lease=lease, rhythm=rhythm)
        if await _persist(stop, "MongoDB", lambda: migrate(mongo.database)) is None:
            return
        if await _persist(stop, "NATS", worker.connect) is None:
            return
        stack.push_async_callback(worker.disconnect)
        reasons.discard("starting")
        await worker.run(stop)


class Worker:
    """Wires streams, history and projections together."""

    def __init__(
        self,
        settings: Settings,
        mongo: Mongo,
        metrics: WorkerMetrics,
        tracing: Tracing,
        reasons: set[str],
        *,
        lease: float,
        rhythm: Rhythm,
    ) -> None:
        self._settings = settings
        self._mongo = mongo
        self._metrics = metrics
        self._tracing = tracing
        self._reasons = reasons
        self._rhythm = rhythm
        self._ledger = Ledger(mongo.database)
        holder = f"{settings.node_id}-{secrets.token_hex(4)}"
        self._leases = Leases(mongo.database, holder=holder, ttl=lease)
        self._share = Share(PARTITIONS + 1)
        self._workers: dict[str, StreamWorker] = {}

    @property
    def client(self) -> Client:
        """After :meth:`connect`."""
        return self._client

    async def connect(self) -> bool:
        name = f"chatworker {self._settings.node_id}"
        self._client = await connect(
            self._settings.nats_url,
            name=name,
            ca_file=self._settings.nats_ca_file,
            on_disconnect=self._on_disconnect,
            on_reconnect=self._on_reconnect,
        )
        self._metrics.nats_connected.set(1)
        await follow_elections(self._client, self._on_elected)
        return True

    async def disconnect(self) -> None:
        await self._client.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Returns when everything has stopped; what one part raises ends them all."""
        chats = [self.chat(partition) for partition in range(PARTITIONS)]
        control = self._control()
        retention = Retention(
            [stream for stream, _ in chats],
            control[0],
            ledger=self._ledger,
            mine=lambda name: self._workers[name].holding,
            wall=wall_ms,
            keep=self._settings.retention_hours * 3600,
        )
        self._workers = {worker.name: worker for _, worker in [*chats, control]}
        try:
            async with asyncio.TaskGroup() as tasks:
                for worker in self._workers.values():
                    tasks.create_task(worker.run(stop), name=worker.name)
                tasks.create_task(retention.run(stop), name="retention")
                tasks.create_task(self._share.keep(self._leases, stop, self._rhythm.renew), name="share")
        except ExceptionGroup as errors:
            raise _first(errors) from errors
        await self._leave()

    async def _leave(self) -> None:
        try:
            await self._leases.leave()
        except Unavailable as error:
            log.info("the others find out by themselves that this worker has gone: %s", error)

    def chat(self, partition: int) -> tuple[NatsEventStream, StreamWorker]:
        """The stream of a partition, and what carries it into history."""
        settings = self._settings

        def configure(epoch: int, first_seq: int) -> StreamConfig:
            return chat_stream(
                partition,
                epoch=epoch,
                first_seq=first_seq,
                replicas=settings.stream_replicas,
                max_bytes=settings.stream_max_bytes,
            )

        name = stream_name(partition)
        stream = NatsEventStream(self._client, name, HISTORY_CONSUMER, configure, apart=HISTORY_APART_S)
        job = HistoryJob(
            stream.name,
            partition,
            history=HistoryWriter(self._mongo.database),
            ledger=self._ledger,
            control=ControlStore(self._client, DirectReader(self._client), clock=time.monotonic),
            metrics=self._metrics,
            tracing=self._tracing,
            clock=time.monotonic,
            wall=wall_ms,
        )
        return stream, self._worker(stream, job, str(partition))

    def _control(self) -> tuple[NatsEventStream, StreamWorker]:
        settings = self._settings

        def configure(epoch: int, first_seq: int) -> StreamConfig:
            return control_stream(
                epoch=epoch,
                first_seq=first_seq,
                replicas=settings.stream_replicas,
                max_bytes=settings.stream_max_bytes,
            )

        stream = NatsEventStream(self._client, CONTROL_STREAM, PROJECTION_CONSUMER, configure)
        job = ControlJob(
            stream.name,
            projection=ControlProjection(self._mongo.database),
            rooms=EnvelopePublisher(self._client),
            ledger=self._ledger,
            metrics=self._metrics,
            tracing=self._tracing,
        )
        return stream, self._worker(stream, job, "control")

    def _worker(self, stream: NatsEventStream, job: HistoryJob | ControlJob, label: str) -> StreamWorker:
        return StreamWorker(
            stream,
            job,
            ledger=self._ledger,
            leases=self._leases,
            gauges=StreamGauges(self._metrics, label),
            clock=time.monotonic,
            rhythm=self._rhythm,
            share=self._share,
        )

    async def _on_disconnect(self) -> None:
        self._metrics.nats_connected.set(0)
        self._reasons.add("NATS is away")

    async def _on_reconnect(self) -> None:
        self._metrics.nats_connected.set(1)
        self._metrics.nats_reconnects.inc()
        self._reasons.discard("NATS is away")
        for worker in self._workers.values():
            worker.verify()

    def _on_elected(self, stream: str) -> None:
        worker = self._workers.get(stream)
        if worker is not None:
            worker.verify()


async def _persist(stop: asyncio.Event, source: str, attempt: Callable[[], Awaitable[T]]) -> T | None:
    """What ``attempt`` gives once the source is there; None when the stop comes first."""
    while not stop.is_set():
        try:
            return await attempt()
        except Unavailable as error:
            log.warning("waiting for %s: %s", source, error)
        try:
            async with asyncio.timeout(_RETRY_S):
                await stop.wait()
        except TimeoutError:
            continue
    return None


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    found: Sequence[BaseException] = errors.exceptions
    while isinstance(found[0], BaseExceptionGroup):
        found = found[0].exceptions
    return found[0] if isinstance(found[0], Exception) else RuntimeError(str(found[0]))
