"""What is done with a batch of stored messages before and after they are written."""

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chatnode.protocol.control import ControlEvent, EpochRaised
from chatnode.protocol.envelope import Envelope, encode_envelope
from chatnode.protocol.frames import Position
from chatnode.protocol.ids import event_hash
from chatnode.rooms.ports import Stored, Unavailable, Watermark
from chatnode.telemetry.metrics import WorkerMetrics
from chatnode.telemetry.traces import Tracing
from chatnode.worker.history import HistoryJob, Rejected, read_event
from chatnode.worker.ports import Progress

TRACES = ["00-" + digit * 32 + "-" + digit * 16 + "-01" for digit in "123"]


def stored(seq: int, room: str = "r", *, data: bytes | None = None, traceparent: str | None = None) -> Stored:
    envelope = Envelope(kind="message", room="r", user="ann", id=f"m{seq}", ts=1, digest="d", traceparent=traceparent)
    return Stored(f"chat.0.room.{room}", seq, 1, {}, encode_envelope(envelope) if data is None else data)


class Outcome:
    def __init__(self, void: int = 0, refused: Sequence[tuple[int, str]] = ()) -> None:
        self.void = void
        self.refused = refused


class Notebook:
    """Keeps in memory what a job would keep in MongoDB and NATS."""

    def __init__(self, outcome: Outcome | Unavailable | None = None) -> None:
        self.outcome = outcome or Outcome()
        self.written: list[tuple[int, int]] = []
        self.rejected: list[tuple[Position, str]] = []
        self.control: list[ControlEvent] = []

    async def write(self, epoch: int, events: Sequence[tuple[int, Envelope]]) -> Outcome:
        if isinstance(self.outcome, Unavailable):
            raise self.outcome
        self.written += [(epoch, seq) for seq, _ in events]
        return self.outcome

    async def reject(self, stream: str, at: Position, reason: str, data: bytes) -> None:
        self.rejected.append((at, reason))

    async def publish_control(self, event: ControlEvent) -> int:
        self.control.append(event)
        return len(self.control)

    async def progress(self, stream: str) -> Progress | None:
        raise NotImplementedError

    async def advance(self, stream: str, watermark: Watermark, ts: int) -> None:
        raise NotImplementedError

    async def epoch(self, stream: str) -> int:
        raise NotImplementedError

    async def raise_epoch(self, stream: str, epoch: int) -> None:
        raise NotImplementedError


def job(notebook: Notebook, tracing: Tracing | None = None) -> HistoryJob:
    return HistoryJob(
        "CHAT_0",
        0,
        history=notebook,
        ledger=notebook,
        control=notebook,
        metrics=WorkerMetrics("w", "1"),
        tracing=tracing or Tracing(None),
        clock=lambda: 0.0,
        wall=lambda: 77,
    )


async def test_what_is_readable_is_written_and_the_rest_rejected() -> None:
    notebook = Notebook()
    await job(notebook).apply(4, [stored(1), stored(2, data=b"["), stored(3, "other"), stored(4)])
    assert notebook.written == [(4, 1), (4, 4)]
    assert [at for at, _ in notebook.rejected] == [Position(4, 2), Position(4, 3)]


async def test_what_was_refused_is_rejected_too() -> None:
    notebook = Notebook(Outcome(refused=[(2, "too large")]))
    await job(notebook).apply(1, [stored(1), stored(2)])
    assert notebook.rejected == [(Position(1, 2), "too large")]


async def test_where_nothing_is_readable_nothing_is_written() -> None:
    notebook = Notebook()
    await job(notebook).apply(1, [stored(1, data=b"[")])
    assert notebook.written == []


async def test_a_new_epoch_is_published_under_an_id_of_its_own() -> None:
    notebook = Notebook()
    await job(notebook).raised(3)
    assert notebook.control == [EpochRaised(id="epoch-0-3", actor="-", ts=77, partition=0, epoch=3)]


def test_events_are_told_apart_by_their_command() -> None:
    assert job(Notebook()).hash_of(stored(5)) == event_hash("ann", "m5")
    assert job(Notebook()).hash_of(stored(5, data=b"?")) == "0"


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"kind":"message"}', b"[" * 100_000])
def test_what_is_no_event_is_told(data: bytes) -> None:
    with pytest.raises(Rejected, match="no envelope"):
        read_event(stored(1, data=data))


async def test_a_bulk_write_is_one_span_in_the_first_trace_linked_to_the_others() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    batch = [stored(1), *(stored(seq, traceparent=trace) for seq, trace in enumerate(TRACES, start=2))]
    await job(Notebook(), Tracing(provider)).apply(1, batch)
    (span,) = exporter.get_finished_spans()
    assert span.name == "chat.history.write"
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == "1" * 32
    assert [f"{link.context.trace_id:032x}" for link in span.links] == ["2" * 32, "3" * 32]
    assert span.attributes == {"partition": 0, "count": 4, "seq": 1}


async def test_a_failed_write_ends_its_span_as_an_error() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.raises(Unavailable):
        await job(Notebook(Unavailable("away")), Tracing(provider)).apply(1, [stored(1)])
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
