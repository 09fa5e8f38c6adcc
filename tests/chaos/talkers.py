"""The people of a run: each in one room, sending, amending, reconnecting, going offline, looking back."""

import asyncio
import random
import time
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Self

from chatclient import Ended, Refused, Timing
from chatnode.protocol.frames import Position
from tests.chaos.journal import Journal
from tests.chaos.orders import Seat
from tests.chaos.resumed import Span
from tests.oracle import Witness

TIMING = Timing(reply_s=10.0, ping_s=5.0)
_TIMING_BY_POST = Timing(reply_s=12.0, ping_s=4.0)
"""A node answers a request when all of its commands are answered, or after 8 s: who waits for less never hears of those
that were."""
_ROOM_KNOWN_S = 60.0
_PLACES = 30
_SLOW_S = 1.0
"""Whose commands take longer gives them less often: what is measured is a cluster that works, not one that is full."""
_SLOWER_MAX = 6.0


class Talker:
    """One client in one room, from :meth:`__aenter__` on connected and subscribed, talking until :meth:`hush`."""

    def __init__(self, journal: Journal, room: str, seat: Seat, urls: Sequence[str], seed: str, under_way: int) -> None:
        turn = seat.node % len(urls)
        turned = [*urls[turn:], *urls[:turn]]
        self.room = room
        timing = TIMING if seat.transports == ("websocket",) else _TIMING_BY_POST
        self.client = Witness(
            journal, seat.user, turned, seat.token, timing=timing, timeout=240.0, transports=seat.transports
        )
        self.acked = 0
        self._chance = random.Random(seed)
        self._pace_s = seat.pace_s
        self._burst_max = under_way
        self._slower = 1.0
        self.ended: Ended | None = None
        self.waiting = 0
        """Commands without an outcome."""
        self.offline: list[Span] = []
        """When this one chose to be."""
        self._enough = asyncio.Event()
        self._places: deque[Position] = deque(maxlen=_PLACES)
        self._task: asyncio.Task[None] | None = None
        self._number = 0

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        async with asyncio.timeout(_ROOM_KNOWN_S):
            await self.client.subscribe(self.room)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._enough.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.client.__aexit__(None, None, None)

    def state(self) -> str:
        """For whoever looks for the reason why it does not go on."""
        client = self.client.client
        runner = client._runner
        ended = runner.exception() if runner is not None and runner.done() and not runner.cancelled() else None
        if ended is not None:
            traceback.print_exception(ended)
        return f"{client.transport.value}, {client._machine.state.value}, {self.waiting} wait, ended by {ended!r}"

    def talk(self) -> None:
        self._task = asyncio.create_task(self._talk(), name=f"{self.client.name} talks")

    async def hush(self) -> None:
        """Say nothing more, and wait until the outcome of everything said is known."""
        self._enough.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _talk(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not self._enough.is_set():
                count = self._chance.randint(1, self._burst_max)
                began = time.monotonic()
                under_way = [group.create_task(self._do_something()) for _ in range(count)]
                self.waiting = count
                for task in under_way:
                    task.add_done_callback(self._one_less)
                await asyncio.wait(under_way)
                slow = time.monotonic() - began > _SLOW_S
                self._slower = min(_SLOWER_MAX, self._slower * 1.5) if slow else max(1.0, self._slower * 0.85)
                await self._pause(self._pace_s * count * self._slower * self._chance.uniform(0.5, 1.5))

    def _one_less(self, _task: asyncio.Task[None]) -> None:
        self.waiting -= 1

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._enough.wait()
        except TimeoutError:
            return

    async def _do_something(self) -> None:
        draw = self._chance.random()
        try:
            if draw < 0.002:
                self.client.client.cut()
            elif draw < 0.003:
                await self._be_offline(self._chance.uniform(1.0, 15.0))
            elif draw < 0.007:
                await self.client.history(self.room)
            elif draw < 0.01:
                await self.client.subscribe(self.room, limit=20)
            elif draw < 0.12 and self._places:
                await self._amend(self._chance.choice(self._places))
            else:
                await self._say()
        except Refused:
            """In the log."""
        except Ended as end:
            self.ended = end
            self._enough.set()

    async def _be_offline(self, seconds: float) -> None:
        """What is said meanwhile waits in the outbox."""
        began = time.monotonic()
        self.client.client.network(online=False)
        self.client.client.cut()
        try:
            await self._pause(seconds)
        finally:
            self.client.client.network(online=True)
            self.offline.append((began, time.monotonic()))

    async def _say(self) -> None:
        self._number += 1
        ack = await self.client.send(self.room, f"{self.client.name} {self._number}")
        if ack is not None:
            self.acked += 1
            self._places.append(ack.position)

    async def _amend(self, place: Position) -> None:
        draw = self._chance.random()
        if draw < 0.6:
            ack = await self.client.react(self.room, place, self._chance.choice(("+1", "heart")), on=draw < 0.4)
        elif draw < 0.85:
            ack = await self.client.edit(self.room, place, f"{self.client.name} {self._number} mended")
        else:
            self._places.remove(place)
            ack = await self.client.delete(self.room, place)
        self.acked += ack is not None
