"""``POST /v1/poll``: what was missed at once, else the next thing that comes, else nothing after a while."""

import asyncio
from typing import Final

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from chatnode.protocol.errors import CloseCode
from chatnode.protocol.rest import Poll, Polled
from chatnode.transports.fallback.held import Held, HeldChannel
from chatnode.transports.fallback.places import Places
from chatnode.transports.fallback.visit import FallbackServices, Visit, check_admitted, client_gone, ended, visiting
from chatnode.transports.http import ANSWER_S, answer, body_of

_ANSWER_BYTES: Final = 256 * 1024
_GATHER_S: Final = 0.1
"""What comes within it is answered together: a busy room must not use up the user's rate with polls."""
RESUME_S: Final = ANSWER_S / 2
"""Rooms that were not resumed by then keep their cursors and come first in the next poll."""


class Polls:
    def __init__(self, services: FallbackServices) -> None:
        self._services = services

    async def __call__(self, request: Request) -> Response:
        poll = await body_of(request, Poll)
        check_admitted(self._services)
        async with visiting(self._services, request, dict(poll.cursors)) as visit:
            asking = asyncio.create_task(self._frames(visit, poll), name="poll")
            gone = asyncio.create_task(client_gone(request), name="poll-watch")
            try:
                await asyncio.wait((asking, gone), return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    return Response(status_code=499)
                frames = asking.result()
            finally:
                asking.cancel()
                gone.cancel()
                await asyncio.gather(asking, gone, return_exceptions=True)
            delayed = self._services.desk.services.delayed() or UNSET
            raw = tuple(msgspec.Raw(held.payload) for held in frames)
            return answer(Polled(raw, next_places(visit.channel), delayed))

    async def _frames(self, visit: Visit, poll: Poll) -> list[Held]:
        channel = visit.channel
        frames = await self._missed(visit)
        if poll.welcome:
            frames.insert(0, visit.welcome)
        else:
            frames = only_news(frames)
        if not frames and channel.ending is None:
            try:
                async with asyncio.timeout(poll.wait_s):
                    await channel.changed()
                await asyncio.sleep(_GATHER_S)
            except TimeoutError:
                pass
            frames = channel.take(_ANSWER_BYTES)
        if channel.ending is not None and channel.ending.code not in {CloseCode.SLOW_READER, CloseCode.RECONNECT}:
            raise ended(channel.ending)
        return frames

    @staticmethod
    async def _missed(visit: Visit) -> list[Held]:
        """Everything up to the moment at which every room is followed, or as much as an answer takes."""
        channel = visit.channel
        frames: list[Held] = []
        size = 0
        try:
            async with asyncio.timeout(RESUME_S):
                while channel.untold and size < _ANSWER_BYTES and channel.ending is None:
                    await channel.changed()
                    taken = channel.take(_ANSWER_BYTES)
                    size += sum(len(held.payload) for held in taken)
                    frames += taken
                    visit.driver.drained()
        except TimeoutError:
            pass
        if size < _ANSWER_BYTES:
            frames += channel.take(_ANSWER_BYTES - size)
        return frames


def only_news(frames: list[Held]) -> list[Held]:
    """Without the word that a room goes on from the client's cursor, where nothing stored follows it, and without what
    every answer says anyway: whether messages are delayed."""
    moved = {held.outline.room for held in frames if held.outline.cursor and held.outline.kind != "subscribed"}
    return [
        held
        for held in frames
        if held.outline.kind != "delayed"
        and (held.outline.kind != "subscribed" or not held.outline.recovered or held.outline.room in moved)
    ]


def next_places(channel: HeldChannel) -> Places:
    """The cursors for the next poll; rooms whose turn did not come stand first."""
    return dict(sorted(channel.places.items(), key=lambda place: place[0] not in channel.untold))
