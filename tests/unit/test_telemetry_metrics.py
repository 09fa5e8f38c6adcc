"""Metrics: what is shown, under which names, and that objects do not share them."""

import re
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from chatnode.telemetry.metrics import NodeMetrics, ProcessMetrics, WorkerMetrics
from chatnode.transports.websocket.host import SocketCounts

LABELS = {"type", "code", "kind", "how", "recovered", "operation", "partition"}
OWN = {"chat_build": {"role", "node", "version"}, "python_gc": {"generation"}}


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_two_nodes_of_one_process_do_not_share_numbers() -> None:
    one, other = NodeMetrics("one", "1"), NodeMetrics("other", "1")
    one.refused.labels("forbidden").inc()
    assert value(one.registry, "chat_commands_refused_total", code="forbidden") == 1
    assert value(other.registry, "chat_commands_refused_total", code="forbidden") is None


def test_the_build_is_told() -> None:
    assert value(NodeMetrics("n1", "0.1").registry, "chat_build_info", role="node", node="n1", version="0.1") == 1


def test_what_sockets_count_is_read_when_scraped() -> None:
    metrics = NodeMetrics("n1", "0.1")
    counts = SocketCounts()
    waiting = 0
    metrics.watch_sockets(counts, lambda: waiting)
    counts.open, counts.opened, counts.slow_readers, waiting = 3, 5, 2, 4096
    assert value(metrics.registry, "chat_connections") == 3
    assert value(metrics.registry, "chat_connections_opened_total") == 5
    assert value(metrics.registry, "chat_slow_readers_total") == 2
    assert value(metrics.registry, "chat_send_buffer_bytes") == 4096


@dataclass
class Shown:
    name: str
    kind: str
    labels: set[str]


def shown(metrics: ProcessMetrics) -> list[Shown]:
    """All metrics, with a value for each label."""
    for metric in vars(metrics).values():
        if names := getattr(metric, "_labelnames", ()):
            metric.labels(*("x" for _ in names))
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return [
        Shown(family.name, family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
        for family in families
    ]


@pytest.mark.parametrize("metrics", [NodeMetrics("n1", "0.1"), WorkerMetrics("w1", "0.1")], ids=["node", "worker"])
def test_names_begin_with_chat_and_labels_are_few(metrics: ProcessMetrics) -> None:
    if isinstance(metrics, NodeMetrics):
        metrics.watch_sockets(SocketCounts(), lambda: 0)
    for family in shown(metrics):
        if not re.match(r"process_|python_", family.name):
            assert re.fullmatch(r"chat_[a-z0-9_]+", family.name)
            assert family.labels <= OWN.get(family.name.removesuffix("_info"), LABELS)
        if family.kind == "histogram":
            assert family.name.endswith(("_seconds", "_messages", "_events"))
