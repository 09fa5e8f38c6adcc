"""Traces by OpenTelemetry: exported by OTLP over HTTP when an endpoint is configured, next to nothing when not.

A trace travels with a message as a W3C ``traceparent`` string: ``step = tracing.begin(Step.PUBLISH, traceparent)``,
then ``step.traceparent`` goes on with the message, then ``step.end()``. Spans are per message and per node, never per
recipient. Nothing here raises for what a peer sent, and nothing waits for the network but :meth:`Tracing.close`.
"""

from __future__ import annotations

import asyncio
import enum
import threading
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from opentelemetry import context as contexts
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

_EXPORT_TIMEOUT_S: Final = 5.0
_TRACES_PATH: Final = "/v1/traces"
_NOWHERE: Final = contexts.Context()

Attribute = str | int | float | bool


class Step(enum.StrEnum):
    """Every span, named once."""

    COMMAND = "chat.command"
    PUBLISH = "chat.publish"
    DELIVER = "chat.deliver"
    CATCH_UP = "chat.catch_up"
    JOIN = "chat.join"
    HISTORY_READ = "chat.history.read"
    HISTORY_WRITE = "chat.history.write"
    CONTROL_APPLY = "chat.control.apply"
    WEBHOOK = "chat.webhook"


_KINDS: Final = {
    Step.COMMAND: SpanKind.SERVER,
    Step.PUBLISH: SpanKind.PRODUCER,
    Step.DELIVER: SpanKind.CONSUMER,
    Step.HISTORY_WRITE: SpanKind.CONSUMER,
    Step.CONTROL_APPLY: SpanKind.CONSUMER,
    Step.WEBHOOK: SpanKind.CLIENT,
}


class Trace(Protocol):
    """One step of a trace, under way."""

    @property
    def traceparent(self) -> str | None:
        """What to hand on; None when there is no trace."""
        ...

    def note(self, name: str, value: Attribute) -> None: ...

    def end(self, error: str | None = None) -> None:
        """The step is over; ``error`` says why it failed. Call once."""
        ...


class Untraced:
    """Hands on what came in and records nothing."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def note(self, name: str, value: Attribute) -> None:
        pass

    def end(self, error: str | None = None) -> None:
        pass


_UNTRACED: Final = Untraced(None)


class Traced:
    """A span."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        return format_traceparent(self._span.get_span_context())

    def note(self, name: str, value: Attribute) -> None:
        self._span.set_attribute(name, value)

    def end(self, error: str | None = None) -> None:
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class Tracing:
    """One per process object; :meth:`from_settings` makes it."""

    def __init__(self, provider: TracerProvider | None) -> None:
        self._provider = provider
        self._tracer: Tracer | None = None if provider is None else provider.get_tracer("chatcluster")

    @classmethod
    def from_settings(
        cls, otlp_endpoint: str | None, service: str, node: str, *, version: str = "", ratio: float = 1.0
    ) -> Tracing:
        """Without an endpoint nothing is recorded.

        ``otlp_endpoint`` is a collector's address, with or without ``/v1/traces``. ``ratio`` is the share of traces
        that are recorded where whoever began the trace has not decided.
        """
        if not otlp_endpoint:
            return cls(None)
        url = otlp_endpoint.rstrip("/")
        exporter = OTLPSpanExporter(
            endpoint=url if url.endswith(_TRACES_PATH) else url + _TRACES_PATH, timeout=_EXPORT_TIMEOUT_S
        )
        resource = Resource.create(
            {"service.name": service, "service.instance.id": node, "service.version": version or "unknown"}
        )
        provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource, shutdown_on_exit=False
        )
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        return cls(provider)

    @property
    def enabled(self) -> bool:
        return self._tracer is not None

    def begin(
        self,
        step: Step,
        traceparent: str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        *,
        links: Iterable[str | None] = (),
    ) -> Trace:
        """Begin a step of the trace that ``traceparent`` names, a new trace where it names none.

        ``links`` are other traces that the step serves too: those of the messages of a bulk write.
        """
        if self._tracer is None:
            return _UNTRACED if traceparent is None else Untraced(traceparent)
        parent = parse_traceparent(traceparent)
        others = [Link(other) for other in map(parse_traceparent, links) if other is not None]
        span = self._tracer.start_span(
            step.value,
            context=_NOWHERE if parent is None else set_span_in_context(NonRecordingSpan(parent), _NOWHERE),
            kind=_KINDS.get(step, SpanKind.INTERNAL),
            attributes=attributes,
            links=others or None,
        )
        return Traced(span)

    async def close(self, deadline_s: float = 5.0) -> bool:
        """Export what is recorded, for at most ``deadline_s``; whether that was enough."""
        provider = self._provider
        self._provider = self._tracer = None
        if provider is None:
            return True
        # A thread of our own, because the SDK's shutdown takes no deadline and one of the loop's pool would hold up
        # the interpreter's end until it returns.
        thread = threading.Thread(target=provider.shutdown, name="traces-shutdown", daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, deadline_s)
        return not thread.is_alive()


def parse_traceparent(text: str | None) -> SpanContext | None:
    """W3C Trace Context level 1, §3.2; None for what is not a valid one."""
    if text is None or len(text) < 55 or not text.isascii():
        return None
    version, trace, span, flags = text[:2], text[3:35], text[36:52], text[53:55]
    if (text[2], text[35], text[52]) != ("-", "-", "-") or version == "ff" or (version == "00" and len(text) != 55):
        return None
    if not _is_hex(version + trace + span + flags) or (len(text) > 55 and text[55] != "-"):
        return None
    context = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return context if context.is_valid else None


def _is_hex(text: str) -> bool:
    return not text.strip("0123456789abcdef")


def format_traceparent(context: SpanContext) -> str | None:
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def trace_id(traceparent: str | None) -> str:
    """For log records: the trace's id, empty where there is none."""
    return "" if parse_traceparent(traceparent) is None else (traceparent or "")[3:35]
