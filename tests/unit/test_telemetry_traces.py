"""Trace context: read from strings of anybody, written as strings, and nearly free when nothing is recorded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chatnode.telemetry.traces import Step, Tracing, format_traceparent, parse_traceparent, trace_id

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
hexadecimal = st.text("0123456789abcdef")


def by_opentelemetry(text: str) -> SpanContext | None:
    context = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": text})).get_span_context()
    return context if context.is_valid else None


@given(
    st.one_of(
        st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
        st.from_regex(r"0[0-2]-[0-9a-fA-F-]{30,34}-[0-9a-f]{15,17}-[0-9a-f]{2}(-x)?", fullmatch=True),
        st.just(GOOD),
    )
)
def test_a_traceparent_is_read_as_opentelemetry_reads_it(text: str) -> None:
    ours, theirs = parse_traceparent(text), by_opentelemetry(text)
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        assert (ours.trace_id, ours.span_id, ours.trace_flags) == (theirs.trace_id, theirs.span_id, theirs.trace_flags)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    context = parse_traceparent(text)
    assert context is None or context.is_valid


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        GOOD.upper(),
        GOOD + "-00",
        "ff" + GOOD[2:],
        GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        GOOD.replace("00f067aa0ba902b7", "0" * 16),
        GOOD.replace("-", "_"),
        GOOD.replace("4bf9", "+bf9"),
        GOOD.replace("4bf9", " bf9"),
    ],
)
def test_what_is_no_traceparent_names_no_trace(text: str | None) -> None:
    assert parse_traceparent(text) is None
    assert trace_id(text) == ""


def test_a_later_version_may_carry_more() -> None:
    assert parse_traceparent("01" + GOOD[2:] + "-more") is not None


def test_writing_is_the_inverse_of_reading() -> None:
    context = parse_traceparent(GOOD)
    assert context is not None
    assert format_traceparent(context) == GOOD
    assert trace_id(GOOD) == "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_without_an_endpoint_a_trace_is_handed_on_and_nothing_is_made() -> None:
    tracing = Tracing.from_settings("", "node", "n1")
    assert not tracing.enabled
    step = tracing.begin(Step.PUBLISH, GOOD)
    step.note("chat.room", "x")
    step.end("failed")
    assert step.traceparent == GOOD
    assert tracing.begin(Step.PUBLISH) is tracing.begin(Step.DELIVER)
    assert tracing.begin(Step.PUBLISH).traceparent is None
    assert await tracing.close(0.1)


def test_nothing_global_is_touched() -> None:
    Tracing.from_settings(None, "node", "n1")
    assert not get_current_span(extract({})).get_span_context().is_valid
