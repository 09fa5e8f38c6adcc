"""Traces that reach a real OTLP receiver, and the admin port as Prometheus and kubelets see it."""

import asyncio
import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from chatnode.telemetry.admin import admin_app, serve_admin
from chatnode.telemetry.metrics import NodeMetrics
from chatnode.telemetry.traces import Step, Tracing

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(ThreadingHTTPServer):
    """Speaks OTLP over HTTP; ``stuck`` makes it take requests and answer none."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []
        self.stuck = threading.Event()
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.stuck.is_set():
            self.server.over.wait(20)
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.stuck.clear()
        server.over.set()
        # What is still being exported retries at random times, which other tests in this process would notice.
        for exporting in [thread for thread in threading.enumerate() if thread.name == "traces-shutdown"]:
            exporting.join(30)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
async def test_a_message_is_one_trace_from_the_client_over_the_node(collector: Collector, path: str) -> None:
    tracing = Tracing.from_settings(collector.address + path, "chatnode", "n1", version="0.1")
    publish = tracing.begin(Step.PUBLISH, PARENT, {"chat.partition": 3})
    publish.note("chat.seq", 17)
    deliver = tracing.begin(Step.DELIVER, publish.traceparent)
    deliver.end()
    publish.end()
    assert await tracing.close(5)
    spans = {span.name: span for span in collector.spans}
    first, second = spans["chat.publish"], spans["chat.deliver"]
    assert first.trace_id.hex() == second.trace_id.hex() == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert first.parent_span_id.hex() == "00f067aa0ba902b7"
    assert second.parent_span_id == first.span_id
    assert publish.traceparent == f"00-{first.trace_id.hex()}-{first.span_id.hex()}-01"
    assert (first.kind, second.kind) == (Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER)
    assert {item.key: item.value.int_value for item in first.attributes} == {"chat.partition": 3, "chat.seq": 17}
    resource = collector.requests[0].resource_spans[0].resource
    told = {item.key: item.value.string_value for item in resource.attributes}
    assert (told["service.name"], told["service.instance.id"], told["service.version"]) == ("chatnode", "n1", "0.1")


async def test_a_trace_begins_here_where_the_client_began_none(collector: Collector) -> None:
    tracing = Tracing.from_settings(collector.address, "chatnode", "n1")
    step = tracing.begin(Step.PUBLISH, "nonsense")
    step.end("JetStream did not answer")
    assert await tracing.close(5)
    [span] = collector.spans
    assert span.parent_span_id == b""
    assert span.status.message == "JetStream did not answer"
    assert step.traceparent is not None


async def test_a_bulk_write_is_linked_to_the_traces_of_its_messages(collector: Collector) -> None:
    tracing = Tracing.from_settings(collector.address, "worker", "w1")
    tracing.begin(Step.HISTORY_WRITE, None, links=[PARENT, None, "nonsense", OTHER]).end()
    assert await tracing.close(5)
    [span] = collector.spans
    assert [link.trace_id.hex() for link in span.links] == [PARENT[3:35], OTHER[3:35]]


async def test_what_the_client_decided_not_to_sample_is_not_exported(collector: Collector) -> None:
    tracing = Tracing.from_settings(collector.address, "chatnode", "n1")
    step = tracing.begin(Step.PUBLISH, PARENT[:-2] + "00")
    step.end()
    assert step.traceparent is not None
    assert step.traceparent.startswith(PARENT[:35])
    assert step.traceparent.endswith("-00")
    assert await tracing.close(5)
    assert collector.spans == []


async def test_a_collector_that_hangs_holds_nothing_up(collector: Collector) -> None:
    collector.stuck.set()
    tracing = Tracing.from_settings(collector.address, "chatnode", "n1")
    began = time.monotonic()
    for _ in range(5000):
        tracing.begin(Step.PUBLISH, PARENT).end()
    assert time.monotonic() - began < 3
    began = time.monotonic()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert not await tracing.close(0.5)
    ticking.cancel()
    assert time.monotonic() - began < 1.5
    assert ticks > 20


async def test_nothing_is_recorded_after_the_end(collector: Collector) -> None:
    tracing = Tracing.from_settings(collector.address, "chatnode", "n1")
    step = tracing.begin(Step.PUBLISH)
    assert await tracing.close(5)
    step.end()
    assert tracing.begin(Step.PUBLISH, PARENT).traceparent == PARENT
    assert await tracing.close(5)


async def test_the_admin_port_tells_life_readiness_and_metrics() -> None:
    metrics = NodeMetrics("n1", "0.1")
    metrics.deliveries.inc(7)
    reasons: list[str] = []
    async with (
        serve_admin(admin_app(metrics.registry, lambda: reasons), "127.0.0.1", 0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})
        reasons.append("NATS is away")
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"ready": False, "reasons": ["NATS is away"]})
        assert (await client.get("/healthz")).status_code == 200
        scraped = await client.get("/metrics", headers={"accept": "text/plain"})
        families = {family.name: family for family in text_string_to_metric_families(scraped.text)}
        assert families["chat_deliveries"].samples[0].value == 7
        assert "process_resident_memory_bytes" in families
        modern = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        assert modern.headers["content-type"].startswith("application/openmetrics-text")
        assert modern.text.endswith("# EOF\n")
        assert (await client.get("/")).status_code == 404


async def test_a_taken_admin_port_is_an_error_at_once() -> None:
    app = admin_app(NodeMetrics("n1", "0.1").registry, list)
    async with serve_admin(app, "127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="in use"):
            async with serve_admin(app, "127.0.0.1", port):
                pass
