"""``POST /v1/commands``: command frames without a connection, each with its reply, in order."""

import asyncio
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from chatnode.protocol.codec import decode_command, encode_frame, error_frame
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.frames import Command, Connect, Refresh, Subscribe, Unsubscribe
from chatnode.transports.fallback.held import HeldChannel
from chatnode.transports.fallback.visit import FallbackServices, Visit, ended, visiting
from chatnode.transports.http import bytes_of, unavailable

COMMANDS_MAX: Final = 32
BODY_BYTES: Final = 512 * 1024
"""All commands of a request; each alone has the limit of a frame."""
_REPLIES_S: Final = 8.0
_TAKE_BYTES: Final = 2**30

_FRAMES: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ELSEWHERE: Final = {
    Connect: "requests carry their token in the Authorization header",
    Refresh: "requests carry their token in the Authorization header",
    Subscribe: "rooms are followed with GET /v1/events or POST /v1/poll",
    Unsubscribe: "rooms are followed with GET /v1/events or POST /v1/poll",
}


class Commands:
    def __init__(self, services: FallbackServices) -> None:
        self._services = services

    async def __call__(self, request: Request) -> Response:
        frames = split_frames(await bytes_of(request, BODY_BYTES))
        if self._services.desk.services.suspended():
            raise unavailable("this node is cut off and may not know your rights; try again")
        async with visiting(self._services, request, {}, lasting=False) as visit:
            visit.driver.share(self._services.rates.bucket(visit.driver.user))
            replies = await _perform(visit, frames)
        body = b"[" + b",".join(replies) + b"]"
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        return Response(body, 200, headers, "application/json")


def split_frames(body: bytes) -> list[bytes]:
    """The frames of a body that is one command or an array of them; :class:`ProtocolError` for anything else."""
    if body.lstrip()[:1] != b"[":
        return [body]
    try:
        frames = [bytes(frame) for frame in _FRAMES.decode(body)]
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.INVALID, f"neither a command nor an array of commands: {error}") from error
    if not 1 <= len(frames) <= COMMANDS_MAX:
        raise ProtocolError(ErrorCode.INVALID, f"{len(frames)} commands; a request has 1 to {COMMANDS_MAX}")
    return frames


async def _perform(visit: Visit, frames: list[bytes]) -> list[bytes]:
    """One reply for each frame; what gets none in time is told to come again."""
    replies: list[bytes | None] = [None] * len(frames)
    waiting: dict[str, int] = {}
    for place, frame in enumerate(frames):
        command = _sort_out(frame, waiting)
        if isinstance(command, ProtocolError):
            replies[place] = encode_frame(error_frame(command))
        else:
            waiting[command.id] = place
            visit.driver.received(frame)
    try:
        async with asyncio.timeout(_REPLIES_S):
            await _gather(visit.channel, waiting, replies)
    except TimeoutError:
        pass
    for command_id, place in waiting.items():
        if replies[place] is None:
            ending = visit.channel.ending
            error = unavailable("no reply in time; send it again with again: true") if ending is None else ended(ending)
            replies[place] = encode_frame(error_frame(error, command_id))
    return [reply for reply in replies if reply is not None]


def _sort_out(frame: bytes, waiting: dict[str, int]) -> Command | ProtocolError:
    try:
        command = decode_command(frame)
    except ProtocolError as error:
        return error
    elsewhere = _ELSEWHERE.get(type(command))
    if elsewhere is not None:
        name = type(command).__name__.lower()
        return ProtocolError(ErrorCode.INVALID, f"{name} is for sockets; {elsewhere}", command=command.id, field="type")
    if command.id in waiting:
        return ProtocolError(
            ErrorCode.ID_REUSED, f"id {command.id} stands twice in this request", command=command.id, field="id"
        )
    return command


async def _gather(channel: HeldChannel, waiting: dict[str, int], replies: list[bytes | None]) -> None:
    missing = set(waiting)
    while missing and channel.ending is None:
        await channel.changed()
        for held in channel.take(_TAKE_BYTES):
            if held.outline.type in {"ack", "error"} and held.outline.id in missing:
                missing.discard(held.outline.id)
                replies[waiting[held.outline.id]] = held.payload
