"""Commands by ``POST /v1/commands``: per room one request at a time, in order; questions at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from http import HTTPStatus
from typing import Final

import httpx
import msgspec
from msgspec.structs import replace

from chatclient.ladder import End
from chatclient.lines.line import Ending
from chatclient.lines.retrying import refusal_of
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.errors import ErrorCode
from chatnode.protocol.frames import Command, Error, StoredCommand

COMMANDS_MAX: Final = 32
"""Of one request; the machine has fewer of a room under way."""
POST_S: Final = 12.0
"""A node answers, or says that it cannot, within 10 s."""
REQUESTS_MAX: Final = 8
LOST_MAX: Final = 3
"""Requests without an answer, one after the other, until the whole line is given up."""


class _Outline(msgspec.Struct):
    retryable: bool = False


_OUTLINES: Final = msgspec.json.Decoder(_Outline)
_BEHIND: Final = Error(
    code=ErrorCode.OUT_OF_ORDER, message="a command before this one has to come again", retryable=True
)
_REPLIES: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Posting:
    """``hear`` gets a reply for each command. What has no answer in time is told to come again."""

    def __init__(self, http: httpx.AsyncClient, hear: Callable[[bytes], None]) -> None:
        self.token = ""
        self._http = http
        self._hear = hear
        self._rooms: dict[str, deque[Command]] = {}
        """Stored commands that wait for the room's request to be over."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(REQUESTS_MAX)
        self._lost = 0
        self._over: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def put(self, command: Command) -> None:
        if not isinstance(command, StoredCommand):
            self._begin(self._ask(command))
        elif command.room in self._rooms:
            self._rooms[command.room].append(command)
        else:
            self._rooms[command.room] = deque([command])
            self._begin(self._drain(command.room))

    async def run(self) -> Ending:
        """Until commands cannot be posted any more."""
        return await self._over

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="chatclient-post")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._over.done():
            self._over.set_exception(error)

    async def _drain(self, room: str) -> None:
        waiting = self._rooms[room]
        # What the client says in the same turn goes in the same request.
        await asyncio.sleep(0)
        while waiting:
            commands = [waiting.popleft() for _ in range(min(COMMANDS_MAX, len(waiting)))]
            async with self._slots:
                replies = await self._replies(commands)
            if len(replies) < len(commands):
                return  # the line is over
            failed = [reply for reply in replies if _comes_again(reply)]
            if failed:
                # Nodes keep the order within a request; across requests it is kept here: what waits has to wait for
                # the failed command, and no ack may bring more before the client knows of the failure.
                failed += _refused(waiting, _BEHIND)
                waiting.clear()
            for reply in failed + [reply for reply in replies if reply not in failed]:
                self._hear(reply)
        del self._rooms[room]

    async def _ask(self, command: Command) -> None:
        async with self._slots:
            replies = await self._replies([command])
        for reply in replies:
            self._hear(reply)

    async def _replies(self, commands: Sequence[Command]) -> list[bytes]:
        body = b"[" + b",".join(encode_frame(command) for command in commands) + b"]"
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        try:
            async with asyncio.timeout(POST_S):
                answer = await self._http.post("commands", content=body, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            self._lost += 1
            if self._lost >= LOST_MAX:
                self._end(End(), f"{self._lost} requests without an answer, the last: {error!r}")
            return _refused(
                commands, Error(code=ErrorCode.UNAVAILABLE, message=f"no answer: {error!r}", retryable=True)
            )
        self._lost = 0
        if answer.status_code != HTTPStatus.OK:
            end, error_frame = refusal_of(answer.status_code, answer.headers.get("retry-after"), answer.content)
            if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                self._end(end, error_frame.message)
                return []
            return _refused(commands, error_frame)
        try:
            replies = [bytes(reply) for reply in _REPLIES.decode(answer.content)]
        except (msgspec.DecodeError, UnicodeError):
            replies = []
        if len(replies) != len(commands):
            message = f"{len(replies)} replies to {len(commands)} commands, not from a node"
            return _refused(commands, Error(code=ErrorCode.UNAVAILABLE, message=message, retryable=True))
        return replies

    def _end(self, end: End, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(Ending(end, reason))


def _comes_again(reply: bytes) -> bool:
    return _OUTLINES.decode(reply).retryable


def _refused(commands: Iterable[Command], error: Error) -> list[bytes]:
    return [encode_frame(replace(error, id=command.id)) for command in commands]
