"""What a worker shows of each stream."""

from chatnode.telemetry.metrics import WorkerMetrics


class StreamGauges:
    """Implements :class:`chatnode.worker.stream.Gauges` for one partition, or for ``control``."""

    def __init__(self, metrics: WorkerMetrics, label: str) -> None:
        self._failures = metrics.failures
        self._held = metrics.lease_held.labels(label)
        self._epoch = metrics.epoch.labels(label)
        self._watermark = metrics.watermark_seq.labels(label)
        self._lag = metrics.lag_events.labels(label)
        self._redelivered = metrics.redelivered.labels(label)
        self._gap = metrics.history_gap.labels(label)
        self._control = metrics.control_applied_seq if label == "control" else None

    def held(self, held: bool) -> None:
        self._held.set(held)

    def applied(self, epoch: int, seq: int, behind: int) -> None:
        self._epoch.set(epoch)
        self._watermark.set(seq)
        self._lag.set(behind)
        if self._control is not None:
            self._control.set(seq)

    def redelivered(self, count: int) -> None:
        self._redelivered.inc(count)

    def missing(self, count: int) -> None:
        """Stays shown until the process ends: what was missed once is missing for good."""
        if count:
            self._gap.set(1)

    def failed(self, operation: str) -> None:
        self._failures.labels(operation).inc()
