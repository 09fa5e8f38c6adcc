"""The cluster's own processes on virtual time: nodes as :class:`chatnode.node.Node` wires them, workers beside."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import chatnode.node
from chatnode.broker.connection import watch_elections
from chatnode.broker.control import ControlStore
from chatnode.broker.direct import DirectReader
from chatnode.broker.elections import follow_elections
from chatnode.broker.event_stream import EnvelopePublisher, View
from chatnode.broker.subjects import CONTROL_STREAM, stream_name
from chatnode.history.leases import Leases
from chatnode.history.progress import Ledger
from chatnode.history.projection import ControlProjection
from chatnode.history.writer import HistoryWriter
from chatnode.identity.claims import Identity
from chatnode.node import Node
from chatnode.rooms.ports import Stored, Unavailable
from chatnode.rooms.tasks import TaskOwner
from chatnode.settings import Settings
from chatnode.telemetry.traces import Tracing
from chatnode.transports.websocket.channel import SocketLimits
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.timers import Timers
from chatnode.worker.control import ControlJob
from chatnode.worker.history import HistoryJob
from chatnode.worker.retention import Retention
from chatnode.worker.stream import StreamWorker
from tests.simulation.broker import Nats
from tests.simulation.connection import Connection
from tests.simulation.database import Database
from tests.simulation.streams import SERVERS, WALL_0, Entry, Stream
from tests.simulation.virtual_time import Clock, Process, wake

_SETTINGS: Final = tuple(
    Settings(node_id=f"node-{number}", jwt_issuer="simulation", room_linger_s=30.0) for number in range(4)
)
_TOKEN_S: Final = 86_400
_LEASE_S: Final = 15.0
_TIMER_TICK_S: Final = 1.0


class Nothing:
    """Metrics that nobody reads; each name is looked up once."""

    def __getattr__(self, name: str) -> "Nothing":
        setattr(self, name, self)
        return self

    def __call__(self, *_args: object, **_named: object) -> "Nothing":
        return self


NOTHING: Final[Any] = Nothing()
_TRACING: Final = Tracing(None)


class Verifier:
    """A token names its user and when it was issued: ``user@milliseconds``."""

    async def verify(self, token: str) -> Identity:
        user, _, issued = token.partition("@")
        return Identity(user, user, frozenset(), int(issued), int(issued) + _TOKEN_S * 1000)


class Mongo:
    """What :class:`chatnode.history.client.Mongo` is to a node."""

    def __init__(self, database: Database) -> None:
        self.database: Any = database


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


class NodeMember(Member):
    """``full``: with everything that a node runs; else without presence, receipts and control, which is then taken to
    be heard always."""

    def __init__(
        self,
        clock: Clock,
        nats: Nats,
        database: Database,
        number: int,
        *,
        partitions: Sequence[int],
        full: bool,
        epochs: bool,
        outages: bool,
        failed: Callable[[str], None],
    ) -> None:
        super().__init__(clock, nats, f"node-{number}", failed)
        self.number = number
        self._database = database
        self._partitions = partitions
        self._full = full
        self._epochs = epochs
        self._outages = outages
        self.node: Node | None = None

    def _begin(self) -> None:
        process, connection = self.process, self.connection
        assert process is not None
        assert connection is not None
        host = SocketHost(process, SocketLimits(), Timers(process, _TIMER_TICK_S))
        node = Node(
            _SETTINGS[self.number],
            client=connection,  # type: ignore[arg-type]
            mongo=Mongo(self._database),  # type: ignore[arg-type]
            verifier=Verifier(),
            host=host,
            metrics=NOTHING,
            tracing=_TRACING,
        )
        self.node = node
        tasks = TaskOwner()

        def returned() -> None:
            tasks.spawn(node.nats_returned(), "returned")

        connection.reconnected = returned
        tasks.spawn(self._start(node), "start")

    async def _start(self, node: Node) -> None:
        while True:
            try:
                await (node.start() if self._full else self._start_lean(node))
            except Unavailable:
                await asyncio.sleep(0.5)
            else:
                self.ready = True
                return

    async def _start_lean(self, node: Node) -> None:
        await node.reader.start()
        for partition in self._partitions:
            state = await node.reader.state(stream_name(partition))
            node.epochs.raise_to(partition, int(state.metadata["chat-epoch"]))
        tail = node.feed._tail
        tail._stale = False
        tail._heard = math.inf
        tail.start(self.nats.stream(CONTROL_STREAM).last_seq)
        for partition in self._partitions:
            node.publisher._tasks.spawn(node.publisher._run(partition), "publish")
        node.hub.start()
        await watch_elections(self.connection, node._elected)  # type: ignore[arg-type]
        if self._epochs:
            node._tasks.spawn(node._watch_epochs(), "epochs")
        if self._outages:
            node._tasks.spawn(self._watch_database(node), "database")

    @staticmethod
    async def _watch_database(node: Node) -> None:
        """What the control feed does each second by the way."""
        while True:
            await asyncio.sleep(1.0)
            if node._outage.away:
                with contextlib.suppress(Unavailable):
                    await node._read_applied()


class Arrived:
    __slots__ = ("pending", "stored")

    def __init__(self, stored: Stored, pending: int) -> None:
        self.stored = stored
        self.pending = pending


def stored(entry: Entry) -> Stored:
    return Stored(entry.subject, entry.seq, round((WALL_0 + entry.at) * 1000), {}, entry.data)


class StreamPort:
    """:class:`chatnode.worker.ports.EventStream` over a simulated stream, for one worker."""

    def __init__(self, member: Member, stream: Stream) -> None:
        self.name = stream.name
        self._member = member
        self._stream = stream

    async def _reach(self) -> None:
        connection = self._member.connection
        assert connection is not None
        await asyncio.sleep(self._member.nats.draw(0.001, 0.005))
        if not connection.is_connected or self._stream.leaderless:
            await asyncio.sleep(0.5)
            raise Unavailable(f"{self.name}: NATS does not answer")

    async def view(self) -> View | None:
        await self._reach()
        stream = self._stream
        if not stream.exists:
            return None
        return View(stream.epoch, stream.first_seq, stream.last_seq, stream.closed, 0, 0)

    async def at(self, seq: int) -> Stored | None:
        await self._reach()
        found = self._stream.at(seq)
        return None if found is None else stored(found)

    async def open(self, *, epoch: int, first_seq: int) -> None:
        await self._reach()
        stream = self._stream
        if not stream.exists:
            stream.exists = True
            stream.first_seq = max(1, first_seq)
            stream.last_seq = stream.first_seq - 1
        stream.metadata = {"chat-epoch": str(epoch)}
        stream.closed = False

    async def close(self) -> None:
        await self._reach()
        self._stream.closed = True

    async def rescued(self, missing: range) -> Sequence[Stored]:
        await self._reach()
        return [stored(entry) for entry in self._stream.entries if entry.seq in missing]

    async def drop_below(self, seq: int, *, subject: str | None = None) -> int:
        await self._reach()
        return 0 if subject is not None else self._stream.purge_below(seq)

    async def first_since(self, ts: int) -> int | None:
        await self._reach()
        return next((entry.seq for entry in self._stream.entries if (WALL_0 + entry.at) * 1000 >= ts), None)

    def feed(self, start: int, repeated: Callable[[int], None]) -> "Feed":
        return Feed(self._member, self, self._stream, start)


class Feed:
    """Whoever begins a feed ends all others of the stream; one that was paused may still hold a batch."""

    def __init__(self, member: Member, port: StreamPort, stream: Stream, start: int) -> None:
        self._member = member
        self._port = port
        self._stream = stream
        self._next = start
        self._waiting: asyncio.Future[None] | None = None
        self._came = False
        self._server: int | None = None
        """Which one feeds it; drawn once that makes a difference."""

    async def __aenter__(self) -> Self:
        await self._port._reach()
        self._stream.watchers[:] = [self._wake]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._wake in self._stream.watchers:
            self._stream.watchers.remove(self._wake)

    def _wake(self) -> None:
        process = self._member.process
        assert process is not None
        process.clock.post(self._member.nats.arrival(), process, self._come)

    def _come(self) -> None:
        self._came = True
        if self._waiting is not None:
            wake(self._waiting)

    async def next(self, wait: float) -> list[Arrived]:
        if self._wake not in self._stream.watchers:
            raise Unavailable(f"{self._stream.name}: another feed has begun")
        found = self._found()
        if not found:
            process = self._member.process
            assert process is not None
            self._came = False
            waiting = self._waiting = process.create_future()
            over = process.call_later(wait, wake, waiting)
            await waiting
            over.cancel()
            self._waiting = None
            if not self._came:
                return []
            found = self._found()
        connection = self._member.connection
        if connection is None or not connection.is_connected:
            raise Unavailable(f"{self._stream.name}: NATS is away")
        if found:
            self._next = found[-1].seq + 1
        last = self._stream.last_seq
        return [Arrived(stored(entry), last - entry.seq) for entry in found]

    def _found(self) -> list[Entry]:
        found = [entry for entry in self._stream.entries if entry.seq >= self._next]
        if not self._stream.holes:
            return found
        if self._server is None:
            self._server = self._member.nats.chance.randrange(SERVERS)
        return self._stream.held_by(self._server, found)

    async def acknowledge(self) -> None:
        return None


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
                tracing=_TRACING,
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
                    tracing=_TRACING,
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
