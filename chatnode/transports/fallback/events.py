"""``GET /v1/events``: the frames of a connection as server-sent events (WHATWG HTML, "Server-sent events")."""

import asyncio
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from chatnode.protocol.codec import encode_frame, error_frame
from chatnode.protocol.errors import CloseCode
from chatnode.transports.fallback.held import Held
from chatnode.transports.fallback.places import LAST_EVENT_ID, Places, parse_places, write_places
from chatnode.transports.fallback.visit import FallbackServices, Visit, check_admitted, client_gone, ended, enter

HEARTBEAT_S: Final = 20.0
"""A comment after so long without an event."""
_BATCH_BYTES: Final = 64 * 1024
_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}


class Events:
    def __init__(self, services: FallbackServices) -> None:
        self._services = services

    async def __call__(self, request: Request) -> Response:
        check_admitted(self._services)
        places = parse_places(request.query_params.getlist("room"), request.headers.get(LAST_EVENT_ID))
        return _Stream(self._services, await enter(self._services, request, places), request)


class _Stream(Response):
    def __init__(self, services: FallbackServices, visit: Visit, request: Request) -> None:
        super().__init__(status_code=200, headers=_HEADERS)
        del self.headers["content-length"]
        self._services = services
        self._visit = visit
        self._request = request
        self._told: Places = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  the request has them
        tasks = (
            asyncio.create_task(client_gone(self._request), name="event-stream-watch"),
            asyncio.create_task(self._send_all(send), name="event-stream-send"),
            asyncio.create_task(self._cut_late(), name="event-stream-cut"),
        )
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._visit.leave()
        for task in done:
            task.result()

    async def _send_all(self, send: Send) -> None:
        channel, driver = self._visit.channel, self._visit.driver
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        frames = [self._visit.welcome]
        while True:
            frames += channel.take(_BATCH_BYTES)
            if frames:
                await _write(send, self._batch(frames))
                frames = []
                driver.drained()
            elif channel.ending is not None:
                break
            else:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await channel.changed()
                except TimeoutError:
                    await _write(send, b":\n\n")
        if channel.ending.code is not CloseCode.RECONNECT:
            await _write(send, encode_events([encode_frame(error_frame(ended(channel.ending)))], None))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _cut_late(self) -> None:
        """A reader that is too slow is cut at once, one that does not take the end of the stream a little later."""
        channel = self._visit.channel
        await channel.ends()
        if channel.ending is None or channel.ending.code is not CloseCode.SLOW_READER:
            await asyncio.sleep(self._services.host.limits.close_timeout_s)
        channel.abort()

    def _batch(self, frames: list[Held]) -> bytes:
        """Events of all these frames, with the cursors where they have moved."""
        places = self._visit.channel.places
        moved = places != self._told
        self._told = dict(places)
        return encode_events([held.payload for held in frames], write_places(places) if moved else None)


def encode_events(payloads: Sequence[bytes], last_id: str | None) -> bytes:
    """Events with these data; the last one has the id, because it says that all before it have come as well."""
    parts = [b"data: %b\n\n" % payload for payload in payloads]
    if last_id is not None:
        parts.insert(-1, b"id: %b\n" % last_id.encode())
    return b"".join(parts)


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
