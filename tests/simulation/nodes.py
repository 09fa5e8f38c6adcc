"""Nodes on virtual time, as :class:`chatnode.node.Node` wires them."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from chatnode.broker.connection import watch_elections
from chatnode.broker.subjects import CONTROL_STREAM, stream_name
from chatnode.identity.claims import Identity
from chatnode.node import Node
from chatnode.rooms.ports import Unavailable
from chatnode.rooms.tasks import TaskOwner
from chatnode.settings import Settings
from chatnode.transports.websocket.channel import SocketLimits
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.timers import Timers
from tests.simulation.broker import Nats
from tests.simulation.database import Database
from tests.simulation.members import NOTHING, TRACING, Member
from tests.simulation.virtual_time import Clock

_SETTINGS: Final = tuple(
    Settings(node_id=f"node-{number}", jwt_issuer="simulation", room_linger_s=30.0) for number in range(4)
)
_TOKEN_S: Final = 86_400
_TIMER_TICK_S: Final = 1.0


class Verifier:
    """A token names its user and when it was issued: ``user@milliseconds``."""

    async def verify(self, token: str) -> Identity:
        user, _, issued = token.partition("@")
        return Identity(user, user, frozenset(), int(issued), int(issued) + _TOKEN_S * 1000)


class Mongo:
    """What :class:`chatnode.history.client.Mongo` is to a node."""

    def __init__(self, database: Database) -> None:
        self.database: Any = database


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
            tracing=TRACING,
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
