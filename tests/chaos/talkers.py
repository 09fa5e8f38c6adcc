"""The people of a run: each in one room, sending, amending, reconnecting, looking back."""

import asyncio
import random
from collections import deque
from typing import Self

from chatclient import Refused, Timing
from chatnode.protocol.frames import Position
from tests.chaos.cluster import Cluster
from tests.oracle import Log, Watched

TIMING = Timing(reply_s=4.0, ping_s=4.0)
_UNDER_WAY = 20
_ROOM_KNOWN_S = 10.0


class Talker:
    """One client in one room, from :meth:`__aenter__` on connected and subscribed, talking until :meth:`hush`."""

    def __init__(
        self, cluster: Cluster, log: Log, room: str, user: str, *, node: int, seed: str, pace_s: float
    ) -> None:
        urls = cluster.socket_urls
        turn = node % len(urls)
        self.room = room
        self.watched = Watched(log, user, urls[turn:] + urls[:turn], cluster.token(user), timing=TIMING, timeout=180.0)
        self.refused: list[Refused] = []
        self._chance = random.Random(seed)
        self._pace_s = pace_s
        self._enough = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._places: deque[Position] = deque(maxlen=30)
        self._task: asyncio.Task[None] | None = None
        self._number = 0

    async def __aenter__(self) -> Self:
        await self.watched.__aenter__()
        async with asyncio.timeout(_ROOM_KNOWN_S):
            while not await self._joined():
                await asyncio.sleep(0.1)
        return self

    async def _joined(self) -> bool:
        """A node other than the one that made the room may hear of it a moment later."""
        try:
            await self.watched.subscribe(self.room)
        except Refused as refused:
            if refused.code != "not_found":
                raise
            return False
        return True

    async def __aexit__(self, *_: object) -> None:
        self._enough.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.watched.__aexit__(None, None, None)

    def talk(self) -> None:
        self._task = asyncio.create_task(self._talk(), name=f"{self.watched.name} talks")

    async def hush(self) -> None:
        """Say nothing more, and wait until the outcome of everything said is known."""
        self._enough.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _talk(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not self._enough.is_set():
                task = group.create_task(self._do_something())
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
                if len(self._under_way) >= _UNDER_WAY:
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(self._pace_s * self._chance.uniform(0.5, 1.5))

    async def _do_something(self) -> None:
        draw = self._chance.random()
        try:
            if draw < 0.01:
                self._cut()
            elif draw < 0.015:
                await self.watched.history(self.room)
            elif draw < 0.02:
                await self.watched.subscribe(self.room, limit=20)
            elif draw < 0.25 and self._places:
                await self._amend(self._chance.choice(self._places))
            else:
                await self._say()
        except Refused as refused:
            self.refused.append(refused)

    async def _say(self) -> None:
        self._number += 1
        ack = await self.watched.send(self.room, f"{self.watched.name} {self._number}")
        if ack is not None:
            self._places.append(ack.position)

    async def _amend(self, place: Position) -> None:
        draw = self._chance.random()
        if draw < 0.6:
            await self.watched.react(self.room, place, self._chance.choice(("+1", "heart")), on=draw < 0.4)
        elif draw < 0.85:
            await self.watched.edit(self.room, place, f"{self.watched.name} {self._number} mended")
        else:
            self._places.remove(place)
            await self.watched.delete(self.room, place)

    def _cut(self) -> None:
        self.watched.client.cut()
