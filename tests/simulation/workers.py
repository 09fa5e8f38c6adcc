"""Workers on virtual time: their jobs as :mod:`chatnode.worker.main` wires them, over simulated streams."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import chatnode.node
from chatnode.broker.control import ControlStore
from chatnode.broker.direct import DirectReader
from chatnode.broker.elections import follow_elections
from chatnode.broker.event_stream import EnvelopePublisher
from chatnode.broker.subjects import CONTROL_STREAM, stream_name
from chatnode.history.leases import Leases
from chatnode.history.progress import Ledger
from chatnode.history.projection import ControlProjection
from chatnode.history.writer import HistoryWriter
from chatnode.rooms.tasks import TaskOwner
from chatnode.worker.control import ControlJob
from chatnode.worker.history import HistoryJob
from chatnode.worker.retention import Retention
from chatnode.worker.stream import StreamWorker
from tests.simulation.broker import Nats
from tests.simulation.database import Database
from tests.simulation.feeds import StreamPort
from tests.simulation.members import NOTHING, TRACING, Member
from tests.simulation.virtual_time import Clock

_LEASE_S: Final = 15.0


class WorkerMember(Member):
    def __init__(
        self,
        clock: Clock,
        nats: Nats,
        database: Database,
        number: int,
        *,
        partitions: Sequence[int],
        control: bool,
        keep_s: float | None,
        failed: Callable[[str], None],
    ) -> None:
        super().__init__(clock, nats, f"worker-{number}", failed)
        self._database = database
        self._partitions = partitions
        self._control = control
        self._keep_s = keep_s
        self._lives = 0

    def _begin(self) -> None:
        TaskOwner().spawn(self._run(), self.name)

    async def _run(self) -> None:
        client: Any = self.connection
        database: Any = self._database
        self._lives += 1
        ledger = Ledger(database)
        leases = Leases(database, holder=f"{self.name}-{self._lives}", ttl=_LEASE_S)
        clock = asyncio.get_running_loop().time
        workers: dict[str, StreamWorker] = {}
        ports: list[StreamPort] = []

        def worker(port: StreamPort, job: HistoryJob | ControlJob) -> None:
            workers[port.name] = StreamWorker(port, job, ledger=ledger, leases=leases, gauges=NOTHING, clock=clock)

        for partition in self._partitions:
            port = StreamPort(self, self.nats.stream(stream_name(partition)))
            ports.append(port)
            job = HistoryJob(
                port.name,
                partition,
                history=HistoryWriter(database),
                ledger=ledger,
                control=ControlStore(client, DirectReader(client), clock=clock),
                metrics=NOTHING,
                tracing=TRACING,
                clock=clock,
                wall=chatnode.node.wall_ms,
            )
            worker(port, job)
        control_port = StreamPort(self, self.nats.stream(CONTROL_STREAM))
        if self._control:
            worker(
                control_port,
                ControlJob(
                    CONTROL_STREAM,
                    projection=ControlProjection(database),
                    rooms=EnvelopePublisher(client),
                    ledger=ledger,
                    metrics=NOTHING,
                    tracing=TRACING,
                ),
            )

        def elected(stream: str) -> None:
            if stream in workers:
                workers[stream].verify()

        def returned() -> None:
            for each in workers.values():
                each.verify()

        await follow_elections(client, elected)
        assert self.connection is not None
        self.connection.reconnected = returned
        self.ready = True
        stop = asyncio.Event()
        running = [each.run(stop) for each in workers.values()]
        if self._keep_s is not None:
            retention = Retention(
                ports,
                control_port,
                ledger=ledger,
                mine=lambda name: name in workers and workers[name].holding,
                wall=chatnode.node.wall_ms,
                keep=self._keep_s,
                every=2.0,
            )
            running.append(retention.run(stop))
        if len(running) == 1:
            await running[0]
        else:
            await asyncio.gather(*running)
