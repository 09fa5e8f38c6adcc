"""A process of the cluster on virtual time: it can be killed, paused and started again. And what nobody reads of it."""

from collections.abc import Callable
from typing import Any, Final

from chatnode.telemetry.traces import Tracing
from tests.simulation.broker import Nats
from tests.simulation.connection import Connection
from tests.simulation.virtual_time import Clock, Process


class Nothing:
    """Metrics that nobody reads; each name is looked up once."""

    def __getattr__(self, name: str) -> "Nothing":
        setattr(self, name, self)
        return self

    def __call__(self, *_args: object, **_named: object) -> "Nothing":
        return self


NOTHING: Final[Any] = Nothing()
TRACING: Final = Tracing(None)


class Member:
    """One process of the cluster, which can be killed, paused and started again."""

    def __init__(self, clock: Clock, nats: Nats, name: str, failed: Callable[[str], None]) -> None:
        self.clock = clock
        self.nats = nats
        self.name = name
        self.failed = failed
        self.process: Process | None = None
        self.connection: Connection | None = None
        self.ready = False
        self.started_at = 0.0

    @property
    def up(self) -> bool:
        return self.process is not None and not self.process.dead

    def start(self) -> None:
        if self.up:
            return
        self.process = self.clock.process(self.name, self.failed)
        self.connection = Connection(self.nats, self.process)
        self.ready = False
        self.started_at = self.clock.now
        self.process.call_soon(self._begin)

    def _begin(self) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL: what it has sent is on its way, what it knows is gone."""
        if self.process is None or self.process.dead:
            return
        self.process.kill()
        if self.connection is not None:
            self.connection.drop()
        self.ready = False

    def pause(self, seconds: float) -> None:
        """SIGSTOP, then SIGCONT."""
        process = self.process
        if process is None or process.dead or process.paused:
            return
        process.pause()
        self.clock.later(seconds, process.resume)
