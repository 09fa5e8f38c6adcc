"""Sockets between clients and nodes: in order both ways, and either end may be gone before the other learns of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatnode.transports.driver import Driver
from chatnode.transports.websocket.frames import payload_of
from tests.simulation.nodes import NodeMember
from tests.simulation.virtual_time import GRID_S

if TYPE_CHECKING:
    from tests.simulation.people import Person


class Link:
    """One socket between a client and a node, in order both ways; a Channel to the node."""

    def __init__(self, person: "Person", member: NodeMember) -> None:
        self.authorization: str | None = None
        self.peer = person.name
        self.buffered = 0
        self.person = person
        self.member = member
        self.process = member.process
        self.driver: Driver | None = None
        self.open = True
        """As the client sees it."""
        self.shut = False
        """As the node sees it."""
        self._frames: list[bytes] = []
        self._scheduled = False
        self._up_at = 0.0
        self._down_at = 0.0

    # The node's side.

    def write(self, framed: bytes) -> None:
        self.send(payload_of(framed))

    def write_all(self, frames: Sequence[bytes], joined: bytes) -> None:
        for framed in frames:
            self.send(payload_of(framed))

    def send(self, payload: bytes) -> None:
        if self.shut:
            return
        watch = self.person.watch
        if watch is not None:
            watch(self.person, payload)
        self._frames.append(payload)
        if not self._scheduled:
            self._scheduled = True
            self._down_at = max(self._down_at, self._arrival())
            self.person.clock.post(self._down_at, None, self._flush)

    def close(self, code: int, reason: str = "") -> None:
        if self.shut:
            return
        self.shut = True
        self._down_at = max(self._down_at, self._arrival())
        self.person.clock.post(self._down_at, None, self._closed, code, reason)
        if self.driver is not None and self.process is not None:
            self.process.call_soon(self.driver.closed, code)

    def pause_reading(self) -> None:
        """Nothing waits in a simulation."""

    def resume_reading(self) -> None:
        """Nothing waits in a simulation."""

    # The client's side.

    def say(self, data: bytes) -> None:
        if self.driver is None or self.process is None:
            return
        self._up_at = max(self._up_at, self._arrival())
        self.person.clock.post(self._up_at, self.process, self._said, data)

    def hang_up(self, after: float) -> None:
        """The client is gone; the node learns of it later."""
        self.open = False
        if self.process is not None:
            self.person.clock.post(max(self._up_at, self.person.clock.now + after), self.process, self._gone)

    def _said(self, data: bytes) -> None:
        if not self.shut and self.driver is not None:
            self.driver.received(data)

    def _gone(self) -> None:
        if not self.shut:
            self.shut = True
            if self.driver is not None:
                self.driver.closed(1006)

    def _flush(self) -> None:
        self._scheduled = False
        frames, self._frames = self._frames, []
        if self.open:
            self.person.received(frames)

    def _closed(self, code: int, reason: str) -> None:
        if self.open:
            self.open = False
            self.person.closed(code, reason)

    def _arrival(self) -> float:
        at = self.person.clock.now + 0.0002 + 0.004 * self.person.chance.random()
        return (int(at / GRID_S) + 1) * GRID_S
