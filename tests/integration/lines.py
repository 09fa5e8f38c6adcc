"""One bare client over each transport, for tests that hold all of them to the same promises.

A line shows what comes as the frames of a connection, mends nothing, and is lost for good when its transport ends.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Self

import httpx
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

Frame = dict
TRANSPORTS = ("websocket", "sse", "poll")


class Refused(Exception):
    """The node did not let the line begin."""

    def __init__(self, status: int, code: str, *, retryable: bool) -> None:
        super().__init__(f"{status} {code}")
        self.code = code
        self.retryable = retryable


class Line:
    """``rooms`` are followed from the start, each from its cursor where there is one."""

    def __init__(self, url: str, token: str, rooms: Mapping[str, str | None]) -> None:
        self.url = url
        self.token = token
        self.frames: list[Frame] = []
        self.cursors: dict[str, str | None] = dict(rooms)
        self.lost: str | None = None
        """The error code with which it ended, or ``""``."""
        self._changed = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None
        self.http = httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=40.0)

    async def __aenter__(self) -> Self:
        try:
            await self.begin()
        except BaseException:
            await self.http.aclose()
            raise
        self._reading = asyncio.create_task(self._read_on(), name="line")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.http.aclose()

    async def begin(self) -> None:
        """Returns once the node has let it in; :class:`Refused` else."""

    async def read(self) -> None:
        """Take every frame until the transport ends."""

    async def ask_all(self, *commands: Mapping[str, object]) -> list[Frame]:
        """Replies in the order of commands."""
        answer = await self.http.post("/v1/commands", content=msgspec.json.encode(commands))
        if answer.status_code == 200:
            return list(answer.json())
        return [{"type": "error", **answer.json()["error"]} for _ in commands]

    async def ask(self, **command: object) -> Frame:
        return (await self.ask_all({"id": secrets.token_hex(8), **command}))[0]

    async def send(self, room: str, text: str, **more: object) -> Frame:
        return await self.ask(type="send", room=room, text=text, **more)

    async def until(self, wanted: Callable[[Frame], bool], within: float = 15.0) -> Frame:
        """The first frame for which this holds, past or to come."""

        def found() -> Frame | None:
            return next((frame for frame in self.frames if wanted(frame)), None)

        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: found() is not None or self.lost is not None)
        frame = found()
        assert frame is not None, f"lost ({self.lost!r}) with {self.frames}"
        return frame

    async def until_lost(self, within: float) -> str:
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: self.lost is not None)
        assert self.lost is not None
        return self.lost

    async def subscribed(self, room: str) -> Frame:
        return await self.until(lambda frame: frame.get("kind") == "subscribed" and frame["room"] == room)

    async def texts(self, room: str, last: str, within: float = 15.0) -> list[str]:
        """Texts of the live messages up to this one."""
        await self.until(lambda frame: frame.get("kind") == "message" and frame["text"] == last, within)
        return [frame["text"] for frame in self.frames if frame.get("kind") == "message" and frame["room"] == room]

    async def took(self, frame: Frame) -> None:
        if frame["type"] == "event" and "cursor" in frame and frame["room"] in self.cursors:
            self.cursors[frame["room"]] = frame["cursor"]
        async with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()

    async def _read_on(self) -> None:
        lost = ""
        try:
            await self.read()
            if self.frames and self.frames[-1]["type"] == "error":
                lost = self.frames[-1]["code"]
        except (httpx.TransportError, ConnectionClosed):
            lost = "broken"
        except Refused as refused:
            lost = refused.code
        async with self._changed:
            self.lost = lost
            self._changed.notify_all()


class SocketLine(Line):
    async def begin(self) -> None:
        self._opening = connect(f"{self.url.replace('http', 'ws', 1)}/v1/ws", subprotocols=["chat.v1"])
        self._socket = await self._opening
        self._asked: dict[str, asyncio.Future[Frame]] = {}
        cursors = {room: cursor for room, cursor in self.cursors.items() if cursor is not None}
        await self._say({"type": "connect", "id": "c", "token": self.token, "cursors": cursors})
        first = msgspec.json.decode(await self._socket.recv())
        if first["type"] == "error":
            await self._socket.close()
            raise Refused(0, first["code"], retryable=first["retryable"])
        await self.took(first)
        for room in self.cursors.keys() - cursors.keys():
            await self._say({"type": "subscribe", "id": f"join-{room}", "room": room})

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await super().__aexit__()

    async def read(self) -> None:
        try:
            async for data in self._socket:
                frame = msgspec.json.decode(data)
                asked = self._asked.pop(frame.get("id", ""), None) if frame["type"] in {"ack", "error"} else None
                if asked is not None:
                    asked.set_result(frame)
                elif str(frame.get("id", "")).startswith("join-"):
                    kind = "subscribed" if frame["type"] == "ack" else "unsubscribed"
                    room = str(frame["id"]).removeprefix("join-")
                    await self.took({**frame, "type": "event", "kind": kind, "room": room})
                else:
                    await self.took(frame)
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code in {4500, 4501, 4502}:
                raise Refused(0, "unauthenticated", retryable=False) from closed
            raise
        finally:
            for asked in self._asked.values():
                asked.cancel()

    async def ask_all(self, *commands: Mapping[str, object]) -> list[Frame]:
        waiting = []
        for command in commands:
            asked = self._asked[str(command["id"])] = asyncio.get_running_loop().create_future()
            waiting.append(asked)
            await self._say(command)
        return list(await asyncio.gather(*waiting))

    async def _say(self, frame: Mapping[str, object]) -> None:
        await self._socket.send(msgspec.json.encode(frame).decode())


class StreamLine(Line):
    """Server-sent events, and commands by POST. ``last_event_id`` is what a browser would present."""

    def __init__(
        self, url: str, token: str, rooms: Mapping[str, str | None], *, last_event_id: str | None = None
    ) -> None:
        super().__init__(url, token, rooms)
        self.last_event_id = last_event_id
        self.comments = 0

    async def begin(self) -> None:
        rooms = [room if cursor is None else f"{room}:{cursor}" for room, cursor in self.cursors.items()]
        headers = {} if self.last_event_id is None else {"last-event-id": self.last_event_id}
        request = self.http.build_request("GET", "/v1/events", params={"room": rooms}, headers=headers)
        self.answer = await self.http.send(request, stream=True)
        if self.answer.status_code != 200:
            error = msgspec.json.decode(await self.answer.aread())["error"]
            raise Refused(self.answer.status_code, error["code"], retryable=error["retryable"])

    async def read(self) -> None:
        new_id: str | None = None
        async for line in self.answer.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                new_id = value
            elif field == "data":
                self.last_event_id = self.last_event_id if new_id is None else new_id
                new_id = None
                await self.took(msgspec.json.decode(value))
            elif line.startswith(":"):
                self.comments += 1


class PollLine(Line):
    def __init__(self, url: str, token: str, rooms: Mapping[str, str | None], *, wait_s: float = 25.0) -> None:
        super().__init__(url, token, rooms)
        self._wait_s = wait_s

    async def begin(self) -> None:
        await self._poll(welcome=True)

    async def read(self) -> None:
        while True:
            await self._poll()

    async def _poll(self, **more: object) -> None:
        cursors = dict(self.cursors)
        answer = await self.http.post("/v1/poll", json={"cursors": cursors, "wait_s": self._wait_s, **more})
        if answer.status_code != 200:
            error = answer.json()["error"]
            raise Refused(answer.status_code, error["code"], retryable=error["retryable"])
        polled = answer.json()
        for frame in polled["frames"]:
            await self.took(frame)
        self.cursors = polled["cursors"]


def line(transport: str, url: str, token: str, rooms: Mapping[str, str | None]) -> Line:
    kinds = {"websocket": SocketLine, "sse": StreamLine, "poll": PollLine}
    return kinds[transport](url, token, rooms)


@asynccontextmanager
async def lines(*wanted: Line) -> AsyncIterator[None]:
    """All of them, for the time of the block."""
    async with asyncio.TaskGroup() as group:
        for each in wanted:
            group.create_task(each.__aenter__())
    try:
        yield
    finally:
        await asyncio.gather(*(each.__aexit__(None, None, None) for each in wanted))
