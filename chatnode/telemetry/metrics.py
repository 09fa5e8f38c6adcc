"""All metrics of nodes and workers, named once. Each process object has a registry of its own.

Labels take values from small fixed sets (error codes, event kinds, partitions), never ids of users, rooms or
connections. Units are in the names. What exists as a number somewhere is read when scraped, not copied on each change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, Info, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

_PUBLISH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_LAG_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class SocketNumbers(Protocol):
    """What a transport counts by itself; see :class:`chatnode.transports.websocket.host.SocketCounts`."""

    @property
    def open(self) -> int: ...
    @property
    def opened(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def writes(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def slow_readers(self) -> int: ...
    @property
    def silent(self) -> int: ...
    @property
    def violations(self) -> int: ...
    @property
    def cut_requests(self) -> int: ...


def by_label(counter: Counter) -> Callable[[str], None]:
    """Counts one more of a kind, for a counter with one label that is counted on the hot path.

    ``labels`` builds a key and takes a lock each time; here the child of each value is looked up once.
    """
    children: dict[str, Callable[[], None]] = {}

    def count(value: str) -> None:
        child = children.get(value)
        if child is None:
            child = children[value] = counter.labels(value).inc
        child()

    return count


class ScrapedCounters(Collector):
    """Counters whose values live elsewhere and are read when scraped."""

    def __init__(self) -> None:
        self._counters: list[tuple[str, str, Callable[[], float]]] = []

    def add(self, name: str, about: str, read: Callable[[], float]) -> None:
        self._counters.append((name, about, read))

    def collect(self) -> Iterable[Metric]:
        return [CounterMetricFamily(name, about, value=read()) for name, about, read in self._counters]


class ProcessMetrics:
    """What nodes and workers have in common."""

    def __init__(self, role: str, node: str, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self.scraped = ScrapedCounters()
        registry.register(self.scraped)
        Info("chat_build", "What runs here.", registry=registry).info({"role": role, "node": node, "version": version})
        self.nats_connected = Gauge("chat_nats_connected", "1 while connected to NATS.", registry=registry)
        self.nats_reconnects = Counter("chat_nats_reconnects", "Reconnects to NATS.", registry=registry)
        self.nats_slow_consumer = Counter(
            "chat_nats_slow_consumer", "Times that NATS messages were dropped because they waited.", registry=registry
        )
        self.loop_lag_seconds = Histogram(
            "chat_loop_lag_seconds", "How late the event loop runs.", buckets=_LAG_SECONDS, registry=registry
        )


class NodeMetrics(ProcessMetrics):
    def __init__(self, node: str, version: str) -> None:
        super().__init__("node", node, version)
        registry = self.registry
        self.commands = Counter("chat_commands", "Commands that clients sent, by type.", ["type"], registry=registry)
        self.refused = Counter("chat_commands_refused", "Commands refused, by error code.", ["code"], registry=registry)
        self.published = Counter(
            "chat_messages_published", "Events given to JetStream, by kind.", ["kind"], registry=registry
        )
        self.acked = Counter("chat_messages_acked", "Events that JetStream has stored.", registry=registry)
        self.unconfirmed = Counter(
            "chat_messages_unconfirmed", "Publishes without an answer in time; retryable.", registry=registry
        )
        self.duplicates = Counter(
            "chat_messages_duplicate",
            "Commands that came again and were answered from what is stored.",
            registry=registry,
        )
        self.publish_seconds = Histogram(
            "chat_publish_seconds", "From a send's arrival to its ack.", buckets=_PUBLISH_SECONDS, registry=registry
        )
        self.batch_messages = Histogram(
            "chat_publish_batch_messages", "Messages stored with one sync.", buckets=_BATCH_EVENTS, registry=registry
        )
        self.batch_fallbacks = Counter(
            "chat_publish_batch_fallbacks", "Batches that were published one by one after all.", registry=registry
        )
        self.deliveries = Counter("chat_deliveries", "Events written to clients.", registry=registry)
        self.rooms_open = Gauge("chat_rooms_open", "Rooms that somebody on this node follows.", registry=registry)
        self.subscriptions = Gauge("chat_subscriptions", "Rooms times local followers.", registry=registry)
        self.users_online = Gauge("chat_users_online", "Users connected to this node.", registry=registry)
        self.tasks = Gauge("chat_tasks", "Tasks of the event loop that have not ended.", registry=registry)
        self.gaps_found = Counter(
            "chat_gaps_found", "Gaps found in live rooms, by how: live, check or join.", ["how"], registry=registry
        )
        self.recoveries = Counter(
            "chat_recoveries",
            "Subscriptions with a cursor, by whether nothing was lost.",
            ["recovered"],
            registry=registry,
        )
        self.control_heard_age_seconds = Gauge(
            "chat_control_heard_age_seconds", "Since control was last heard.", registry=registry
        )
        self.suspended = Gauge("chat_suspended", "1 while the node delivers nothing.", registry=registry)
        self.draining = Gauge("chat_draining", "1 while the node sends its clients away.", registry=registry)

    def watch_sockets(self, numbers: SocketNumbers, waiting: Callable[[], int]) -> None:
        """Show what a transport counts, and how many bytes wait to be sent; call once."""
        Gauge("chat_connections", "Open sockets.", registry=self.registry).set_function(lambda: numbers.open)
        Gauge("chat_send_buffer_bytes", "What clients have not taken yet.", registry=self.registry).set_function(
            waiting
        )
        for name, about, read in (
            ("chat_connections_opened", "Sockets opened.", lambda: numbers.opened),
            ("chat_handshakes_refused", "Handshakes refused.", lambda: numbers.refused),
            ("chat_socket_writes", "Writes to sockets, each of one or more frames.", lambda: numbers.writes),
            ("chat_socket_frames", "Frames written.", lambda: numbers.frames),
            ("chat_socket_bytes", "Bytes written.", lambda: numbers.bytes),
            ("chat_slow_readers", "Clients closed because too much waited for them.", lambda: numbers.slow_readers),
            ("chat_heartbeat_timeouts", "Clients closed because they were silent.", lambda: numbers.silent),
            ("chat_protocol_violations", "Clients closed because they broke RFC 6455.", lambda: numbers.violations),
            ("chat_requests_cut", "HTTP peers cut because they took too long.", lambda: numbers.cut_requests),
        ):
            self.scraped.add(name, about, read)


class WorkerMetrics(ProcessMetrics):
    def __init__(self, node: str, version: str) -> None:
        super().__init__("worker", node, version)
        registry = self.registry
        by_partition = ["partition"]
        self.events_written = Counter(
            "chat_history_events_written", "Events written to MongoDB.", by_partition, registry=registry
        )
        self.events_void = Counter(
            "chat_history_events_void", "Second copies of commands, marked void.", by_partition, registry=registry
        )
        self.bulk_seconds = Histogram(
            "chat_history_bulk_seconds", "One bulk write.", buckets=_PUBLISH_SECONDS, registry=registry
        )
        self.bulk_events = Histogram(
            "chat_history_bulk_events", "Events of one bulk write.", buckets=_BATCH_EVENTS, registry=registry
        )
        self.lag_events = Gauge(
            "chat_history_lag_events", "Stored events that are not in MongoDB yet.", by_partition, registry=registry
        )
        self.watermark_seq = Gauge(
            "chat_history_watermark_seq", "All up to this sequence is in MongoDB.", by_partition, registry=registry
        )
        self.history_gap = Gauge(
            "chat_history_gap", "1 when a stream begins above the watermark: history is missing.", by_partition,
            registry=registry,
        )  # fmt: skip
        self.lease_held = Gauge(
            "chat_history_lease_held", "1 while this worker writes the partition.", by_partition, registry=registry
        )
        self.epoch = Gauge("chat_history_epoch", "Epoch of the partition.", by_partition, registry=registry)
        self.redelivered = Counter(
            "chat_history_redelivered", "Events that were delivered again.", by_partition, registry=registry
        )
        self.failures = Counter(
            "chat_history_failures", "Failed rounds, by operation.", ["operation"], registry=registry
        )
        self.control_applied_seq = Gauge(
            "chat_control_applied_seq", "All control events up to here are projected.", registry=registry
        )
