"""Many bare clients of one room: they do as they are told, and count what they were asked and refused.

Barer than ``chatclient``, so that a hundred of them cost little, and each planned reconnect is seen as it comes.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from chatnode.protocol.codec import encode_frame
from chatnode.protocol.cursors import parse_cursor
from chatnode.protocol.frames import Connect, Ping, Subscribe

Frame = dict[str, object]
_PING_S: Final = 8.0
_PAUSE_S: Final = 0.5


class Member:
    """One client: keeps its cookie, its cursor, and the chain of what it was given."""

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self.number = number
        self.connected = False
        self.last = 0
        self.breaks: list[str] = []
        self.planned = 0
        self._crowd = crowd
        self._cursor: str | None = None
        self._cookie = ""
        self._again_at: float | None = None

    async def live(self) -> None:
        """Until cancelled."""
        while True:
            try:
                headers = {"Cookie": self._cookie} if self._cookie else {}
                async with connect(
                    self._crowd.url,
                    subprotocols=["chat.v1"],  # type: ignore[list-item]  # a string with a name of its own
                    additional_headers=headers,
                    open_timeout=10,
                    close_timeout=1,
                    ping_interval=None,
                    proxy=None,
                ) as socket:
                    if socket.response is not None and "set-cookie" in socket.response.headers:
                        self._cookie = socket.response.headers["set-cookie"].partition(";")[0]
                    await self._talk(socket)
            except (InvalidHandshake, TimeoutError, OSError):
                self._crowd.refused.append(time.monotonic())
                await asyncio.sleep(_PAUSE_S)
            except ConnectionClosed:
                self._crowd.cut.append(time.monotonic())
            finally:
                self.connected = False

    async def _talk(self, socket: ClientConnection) -> None:
        """Until told to reconnect, or the connection ends."""
        self._again_at = None
        await socket.send(encode_frame(Connect(id="c", token=self._crowd.token())).decode())
        ask = Subscribe(id="s", room=self._crowd.room, cursor=self._cursor or msgspec.UNSET)
        await socket.send(encode_frame(ask).decode())
        while True:
            now = time.monotonic()
            if self._again_at is not None and now >= self._again_at:
                return
            wait = _PING_S if self._again_at is None else self._again_at - now
            try:
                async with asyncio.timeout(wait):
                    self._hear(msgspec.json.decode(await socket.recv()))
            except TimeoutError:
                if self._again_at is None:
                    await socket.send(encode_frame(Ping(id=secrets.token_hex(4))).decode())

    def _hear(self, frame: Frame) -> None:
        if frame["type"] == "reconnect":
            self._again_at = time.monotonic() + int(str(frame["after_ms"])) / 1000
            self.planned += 1
            self._crowd.told.append(time.monotonic())
        elif frame["type"] == "error":
            self.breaks.append(f"refused: {frame}")
        elif frame["type"] == "ack" and frame.get("id") == "s":
            self.connected = True
            if self._cursor is not None and not frame["recovered"]:
                self.breaks.append("could not recover")
            self._cursor = str(frame["cursor"])
            if not frame["recovered"]:
                # What is live follows from the cursor on, which may lie beyond the page's last message.
                self.last = parse_cursor(self._cursor).seq
        elif frame["type"] == "event" and "seq" in frame:
            self._take(int(str(frame["seq"])), int(str(frame["prev"])))
            self._cursor = str(frame["cursor"])

    def _take(self, seq: int, prev: int) -> None:
        """Each event names the one before it in its room."""
        if seq <= self.last:
            self.breaks.append(f"{seq} came after {self.last}")
        elif prev > self.last:
            self.breaks.append(f"between {self.last} and {seq} there was {prev}")
        self.last = max(self.last, seq)


class Crowd:
    """An async context manager; ``be`` sets how many there are."""

    def __init__(self, url: str, room: str, token: Callable[[], str]) -> None:
        self.url = url
        self.room = room
        self.token = token
        self.members: list[Member] = []
        self.told: list[float] = []
        """When anybody was told to reconnect."""
        self.refused: list[float] = []
        self.cut: list[float] = []
        """When a connection ended that nobody was told to end."""
        self._count = 0
        self._tasks: dict[Member, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._dismiss(list(self._tasks))

    async def be(self, count: int, over_s: float = 0.0) -> None:
        """Grow or shrink to ``count``, evenly over ``over_s``."""
        began, first = time.monotonic(), len(self.members)
        while len(self.members) < count:
            self._count += 1
            member = Member(self, self._count)
            self.members.append(member)
            self._tasks[member] = asyncio.create_task(member.live(), name=f"member {member.number}")
            due = began + over_s * (len(self.members) - first) / (count - first)
            await asyncio.sleep(max(0.01, due - time.monotonic()))
        # Those who came last go first, so that the others live through everything.
        going = self.members[count:]
        del self.members[count:]
        await self._dismiss(going)

    async def _dismiss(self, members: list[Member]) -> None:
        tasks = [self._tasks.pop(member) for member in members]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def until_connected(self, within: float = 60.0) -> None:
        async with asyncio.timeout(within):
            while not all(member.connected for member in self.members):
                await asyncio.sleep(0.1)

    async def until_at(self, seq: int, within: float = 60.0) -> None:
        """Everybody has everything up to there."""
        async with asyncio.timeout(within):
            while not all(member.connected and member.last >= seq for member in self.members):
                await asyncio.sleep(0.1)

    @property
    def breaks(self) -> list[str]:
        return [f"{member.number}: {words}" for member in self.members for words in member.breaks]

    def planned(self) -> float:
        """Planned reconnects per member."""
        return sum(member.planned for member in self.members) / len(self.members)

    def forget(self) -> None:
        """Count anew."""
        self.told.clear()
        self.refused.clear()
        self.cut.clear()
        for member in self.members:
            member.planned = 0
            member.breaks.clear()

    def busiest(self, over_s: float = 5.0) -> float:
        """Most that were told within any such time, per second."""
        return max((sum(at <= each < at + over_s for each in self.told) / over_s for at in self.told), default=0.0)
