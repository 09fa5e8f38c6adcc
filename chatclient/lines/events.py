"""The protocol over ``GET /v1/events`` and POST."""

import asyncio
from typing import Final

import httpx

from chatclient.ladder import End
from chatclient.lines.event_stream import EventStream, Oversized
from chatclient.lines.fallback import FallbackLine
from chatclient.lines.followed import Request
from chatclient.lines.line import OPEN_S, Ending

SILENCE_S: Final = 50.0
"""A stream that brings nothing for so long, no comment either, is dead."""


class EventsLine(FallbackLine):
    async def _follow(self) -> Ending:
        """One stream at a time; where rooms or the token change, the next one begins before the last one ends."""
        older: asyncio.Task[Ending] | None = None
        newest: asyncio.Task[Ending] | None = None
        try:
            while True:
                await self._changed.wait()
                # What the client says in the same turn goes into the same request.
                await asyncio.sleep(0)
                self._changed.clear()
                older, newest = newest, None
                begun = asyncio.Event()
                newest = asyncio.create_task(self._stream(self._followed.begin(), begun), name="chatclient-stream")
                await _first(newest, begun)
                if older is not None:
                    older.cancel()
                    await asyncio.wait([older])
                await _first(newest, self._changed)
                if newest.done():
                    return newest.result()
        finally:
            for task in (older, newest):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(task for task in (older, newest) if task is not None), return_exceptions=True)

    async def _stream(self, request: Request, begun: asyncio.Event) -> Ending:
        """One stream to its end; ``begun`` with its first frame."""
        headers = {
            "authorization": f"Bearer {request.token}",
            "accept": "text/event-stream",
            "accept-encoding": "identity",
        }
        if request.places:
            headers["last-event-id"] = ",".join(
                room if cursor is None else f"{room}:{cursor}" for room, cursor in request.places.items()
            )
        timeout = httpx.Timeout(OPEN_S, read=SILENCE_S)
        asked = self._http.build_request("GET", "events", headers=headers, timeout=timeout)
        try:
            async with asyncio.timeout(OPEN_S):
                answer = await self._http.send(asked, stream=True)
                refused = answer.status_code != httpx.codes.OK
                if refused:
                    await answer.aread()
            try:
                return self._refused(answer) if refused else await self._read(request, answer, begun)
            finally:
                await answer.aclose()
        except (httpx.HTTPError, TimeoutError, Oversized) as error:
            return Ending(End(), f"the stream broke: {error!r}")

    async def _read(self, request: Request, answer: httpx.Response, begun: asyncio.Event) -> Ending:
        stream = EventStream()
        async for received in answer.aiter_raw():
            for data in stream.feed(received):
                ending = self._take(request, data)
                begun.set()
                if ending is not None:
                    return ending
        return Ending(End(), "the stream ended")


async def _first(task: "asyncio.Task[Ending]", event: asyncio.Event) -> None:
    """Returns when the task is done or the event is set."""
    waiting = asyncio.create_task(event.wait(), name="chatclient-event")
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
