"""One request as a connection: authenticated like a socket, bound to the user's rights, closed with the request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

from starlette.requests import Request

from chatnode.protocol.codec import decode_server_frame
from chatnode.protocol.errors import CloseCode, ErrorCode, ProtocolError
from chatnode.protocol.frames import Error
from chatnode.session.bucket import told
from chatnode.transports.desk import Desk
from chatnode.transports.driver import Driver
from chatnode.transports.fallback.held import Ending, Held, HeldChannel
from chatnode.transports.fallback.places import Places
from chatnode.transports.rates import Rates
from chatnode.transports.websocket.channel import Refusal
from chatnode.transports.websocket.host import SocketCounts, SocketHost
from chatnode.transports.websocket.http import TRANSPORT

_ENDINGS: Final = {
    CloseCode.UNAUTHENTICATED: ErrorCode.UNAUTHENTICATED,
    CloseCode.REVOKED: ErrorCode.UNAUTHENTICATED,
    CloseCode.TOKEN_EXPIRED: ErrorCode.UNAUTHENTICATED,
    CloseCode.FLOOD: ErrorCode.RATE_LIMITED,
}


@dataclass(frozen=True, slots=True)
class FallbackServices:
    desk: Desk
    host: SocketHost
    admit: Callable[[], Refusal | None]
    """Asked before something that lasts begins, as for a handshake."""
    rates: Rates
    """Commands, polls and streams count alike, with the other requests of the user."""


@dataclass(frozen=True, slots=True)
class Visit:
    """``welcome`` is the first frame, taken already."""

    channel: HeldChannel
    driver: Driver
    welcome: Held
    counted: SocketCounts | None

    def leave(self) -> None:
        if self.counted is not None:
            self.counted.open -= 1
        self.driver.closed(CloseCode.GOING_AWAY)
        self.channel.gone()


def check_admitted(services: FallbackServices) -> None:
    refusal = services.admit()
    if refusal is not None:
        raise ProtocolError(refusal.code, refusal.message, retry_after=refusal.retry_after)


async def enter(services: FallbackServices, request: Request, places: Places, *, lasting: bool = True) -> Visit:
    """Authenticate, and begin to follow ``places``. To be left, whatever happens.

    What is ``lasting`` counts as an open connection, and as one request against the user's rate.

    Raises what the node refuses with: ``unauthenticated``, ``rate_limited``, ``unavailable``.
    """
    client = request.client
    extension = request.scope.get("extensions", {}).get(TRANSPORT, {})
    channel = HeldChannel(
        services.host,
        places,
        authorization=request.headers.get("authorization"),
        peer="" if client is None else f"{client.host}:{client.port}",
        transport=cast("asyncio.Transport | None", extension.get("transport")),
    )
    driver = Driver(services.desk, channel)
    driver.watch()
    try:
        driver.begin(places)
        await channel.changed()
        first = next(iter(channel.take(1)), None)
        if first is None or first.outline.type != "welcome":
            raise _refusal(first, channel.ending)
        wait = services.rates.wait(driver.user) if lasting else 0.0
        if wait:
            raise ProtocolError(ErrorCode.RATE_LIMITED, "too many requests; slow down", retry_after=told(wait))
    except BaseException:
        driver.closed(CloseCode.GOING_AWAY)
        channel.gone()
        raise
    if lasting:
        services.host.counts.open += 1
    return Visit(channel, driver, first, services.host.counts if lasting else None)


@asynccontextmanager
async def visiting(
    services: FallbackServices, request: Request, places: Places, *, lasting: bool = True
) -> AsyncIterator[Visit]:
    visit = await enter(services, request, places, lasting=lasting)
    try:
        yield visit
    finally:
        visit.leave()


async def client_gone(request: Request) -> None:
    """Returns when the client has hung up; its body has to be read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def ended(ending: Ending) -> ProtocolError:
    """Why a connection ended, as an error."""
    code = _ENDINGS.get(ending.code, ErrorCode.UNAVAILABLE)
    return ProtocolError(code, ending.reason, retry_after=None if code is ErrorCode.UNAUTHENTICATED else 1.0)


def _refusal(first: Held | None, ending: Ending | None) -> ProtocolError:
    frame = None if first is None else decode_server_frame(first.payload)
    if isinstance(frame, Error):
        retry_after = frame.retry_after if isinstance(frame.retry_after, float) else None
        return ProtocolError(ErrorCode(frame.code), frame.message, retry_after=retry_after)
    return ended(ending or Ending(CloseCode.UNAVAILABLE, "this node did not answer"))
