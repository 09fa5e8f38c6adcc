"""The one way to connect to NATS: nothing is buffered while disconnected, reconnecting never ends."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import (
    ConnectionClosedError,
    ConnectionDrainingError,
    ConnectionReconnectingError,
    NoRespondersError,
    OutboundBufferLimitError,
    SlowConsumerError,
    StaleConnectionError,
)
from nats.errors import TimeoutError as NatsTimeout

from chatnode.rooms.ports import Unavailable

__all__ = ["AWAY", "Client", "connect", "lost_messages", "watch_elections"]

logger = logging.getLogger(__name__)

Callback = Callable[[], Awaitable[None]]

_PING_S: Final = 2
"""A server that answers none of two pings is left for another one, within 6 s."""

AWAY = (
    NatsTimeout,
    NoRespondersError,
    ConnectionClosedError,
    ConnectionDrainingError,
    ConnectionReconnectingError,
    OutboundBufferLimitError,
    StaleConnectionError,
    ConnectionError,
)
"""What nats-py raises when the server is away or too slow; all of it becomes :class:`Unavailable`."""


class LeanClient(Client):
    """nats-py's client, which reads the headers of well-formed messages in one go.

    Its own way, byte by byte and line by line, is a sixth of what a node spends on a message that it stores. Where a
    block is not what nats-server writes (``Name: value``, UTF-8), nats-py's way is taken, so that the result is its.

    A link that takes nothing in is left at once.

    With ``ca_file``, or at a ``tls://`` address, a server that offers no TLS is refused before it is told a password,
    which nats-py does not do.
    """

    def __init__(self, ca_file: str = "") -> None:
        super().__init__()
        self._ca_file = ca_file

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Made anew for each connection, so that authorities that were renewed count from the next one on."""
        return ssl.create_default_context(cafile=self._ca_file or None)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        tls = bool(self._ca_file) or (self._current_server is not None and self._current_server.uri.scheme == "tls")
        if initial_connection and tls and not info.get("tls_required"):
            raise nats.errors.Error("this server offers no TLS, which the settings ask for")
        await super()._process_info(info, initial_connection)

    async def _attempt_reconnect(self) -> None:
        """Without what the old server has not taken in: nats-py waits until that is sent, which on a link that takes
        nothing is a quarter of an hour, TCP's own patience."""
        writer = getattr(self._transport, "_io_writer", None)
        if isinstance(writer, asyncio.StreamWriter):
            writer.transport.abort()
        await super()._attempt_reconnect()

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        try:
            return dict([line.split(": ", 1) for line in raw.decode().split("\r\n") if line])
        except ValueError:
            return Client._parse_header_lines(raw)  # noqa: SLF001  what is overridden


async def _nothing() -> None:
    return None


async def connect(
    url: str,
    *,
    name: str,
    ca_file: str = "",
    on_disconnect: Callback = _nothing,
    on_reconnect: Callback = _nothing,
    on_error: Callable[[Exception], Awaitable[None]] | None = None,
    wait_s: float = 5.0,
) -> Client:
    """A connection to one of the servers in ``url`` (comma-separated), tried until one lets us in.

    ``ca_file``: the authorities (PEM) that servers are checked against; empty: the system's, where a server asks for
    TLS.

    ``pending_size=0``: a publish while disconnected fails at once instead of coming out later, out of order, behind
    the client's own resend (ARCHITECTURE: "nodes do not publish while disconnected").
    """

    client = LeanClient(ca_file)
    outside, told = True, ""

    async def failed(error: Exception) -> None:
        nonlocal told
        if outside and told != repr(error):
            told = repr(error)
            logger.warning("not let into NATS: %s", told)
        if on_error is not None:
            await on_error(error)

    try:
        await client.connect(
            [server.strip() for server in url.split(",")],
            name=name,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnect,
            error_cb=failed,
            connect_timeout=max(1, round(wait_s)),
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # any number of seconds: it is slept
            max_reconnect_attempts=-1,
            ping_interval=_PING_S,
            max_outstanding_pings=2,
            pending_size=0,
            allow_reconnect=True,
        )
    except (*AWAY, nats.errors.NoServersError, OSError) as error:
        raise Unavailable(f"NATS does not answer: {error!r}") from error
    outside = False
    return client


def lost_messages(error: Exception) -> bool:
    """Whether an error that the client reports means that messages for a subscription were dropped."""
    return isinstance(error, SlowConsumerError)


async def watch_elections(client: Client, elected: Callable[[], None]) -> None:
    """Calls ``elected`` when a stream gets a new leader: what was applied in between may not have been republished.
    :class:`Unavailable` where NATS is away."""

    async def on_advisory(_message: Msg) -> None:
        elected()

    try:
        await client.subscribe("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*", cb=on_advisory)
    except AWAY as error:
        raise Unavailable(f"following elections: NATS is away ({type(error).__name__})") from error
