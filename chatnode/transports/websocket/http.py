"""uvicorn's HTTP protocol with deadlines: what a peer has to send, it sends in time or the connection is cut.

uvicorn times nothing before a request is complete: a TCP peer that says nothing, or one header byte a minute, stays for
minutes, and each holds memory. Here the clock runs from the TCP accept on, by the host's timers, without a task or a
timer object per connection. Nor does it time a peer that does not read its answer: closed by uvicorn after a pause,
such a connection lingers with all that was not sent. Here it is cut when what waits was not taken for a while.

``limit_concurrency`` of uvicorn is never to be set: it answers probes and REST with 503 because of sockets that are
merely open, while it goes on accepting sockets. Admission is :meth:`Acceptor.admit`; probes have a port of their own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import ClassVar, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.wheel import Slot

TRANSPORT: Final = "chat.transport"
"""Key of the ASGI extension ``{"transport": asyncio.Transport}`` of each request."""


class _Unread:
    """A peer that does not take what was written to it."""

    __slots__ = ("_cut", "_host", "_slot")

    def __init__(self, host: SocketHost, cut: Callable[[], None]) -> None:
        self._host = host
        self._cut = cut
        self._slot: Slot | None = host.timers.schedule(self, host.timers.time() + host.limits.answer_timeout_s)

    def due(self, now: float) -> None:  # noqa: ARG002  the wheel's contract
        self._slot = None
        self._host.counts.slow_readers += 1
        self._cut()

    def cancel(self) -> None:
        if self._slot is not None:
            self._host.timers.cancel(self, self._slot)
            self._slot = None


class GuardedHttp(HttpToolsProtocol):
    """:func:`guarded_http` makes the class for a node, to be given to ``uvicorn.Config(http=…)``."""

    host: ClassVar[SocketHost]

    _slot: Slot | None = None
    _unread: _Unread | None = None
    _header_bytes = 0
    _in_header = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        bound_kernel_buffer(transport, self.host.limits.kernel_buffer_bytes)
        transport.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        self._deadline(self.host.limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline(None)
        self._read_on()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = _Unread(self.host, self._cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_on()

    def _read_on(self) -> None:
        unread, self._unread = self._unread, None
        if unread is not None:
            unread.cancel()

    def data_received(self, data: bytes) -> None:
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
            self._begin_header()
        in_header = self._in_header
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if in_header and self._in_header:
            self._header_bytes += len(data)
            if self._header_bytes > self.host.limits.header_bytes:
                self._cut()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_header:
            self._begin_header()

    def _begin_header(self) -> None:
        self._in_header = True
        self._header_bytes = 0
        self._deadline(self.host.limits.header_timeout_s)

    def on_headers_complete(self) -> None:
        self._in_header = False
        self._deadline(self.host.limits.body_timeout_s)
        super().on_headers_complete()
        # The application's task has not run yet. ASGI has no way to end a connection whose peer reads nothing.
        self.scope["extensions"] = {TRANSPORT: {"transport": self.transport}}

    def on_message_complete(self) -> None:
        self._deadline(None)
        super().on_message_complete()

    def due(self, now: float) -> None:  # noqa: ARG002  the wheel's contract
        self._slot = None
        self._cut()

    def _cut(self) -> None:
        self.host.counts.cut_requests += 1
        self.transport.abort()

    def _deadline(self, seconds: float | None) -> None:
        timers = self.host.timers
        if self._slot is not None:
            timers.cancel(self, self._slot)
        self._slot = None if seconds is None else timers.schedule(self, timers.time() + seconds)

    def _upgrade(self, rest: bytes) -> None:
        """Hand the transport over, with what the client sent behind its request, and let go of it."""
        if not self._should_upgrade():
            self._unsupported_upgrade_warning()
            return
        self._deadline(None)
        self._read_on()
        self.handle_websocket_upgrade()
        if rest:
            cast("asyncio.Protocol", self.transport.get_protocol()).data_received(rest)
        # Without the parser's reference back to it this object is freed at once, not by the collector.
        self.parser = None  # type: ignore[assignment]  # as uvicorn does when the connection is lost


def bound_kernel_buffer(transport: asyncio.BaseTransport, size: int) -> None:
    """Ask for a send buffer of ``size`` bytes and for no delay, where the transport has a TCP socket.

    asyncio turns Nagle's algorithm off only for sockets that were made with ``IPPROTO_TCP``; with it, the second of two
    small frames waits 40 ms for the peer's delayed acknowledgement.
    """
    underlying = transport.get_extra_info("socket")
    if underlying is not None and underlying.family in (socket.AF_INET, socket.AF_INET6):
        underlying.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        underlying.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def guarded_http(host: SocketHost) -> type[GuardedHttp]:
    return type("NodeHttp", (GuardedHttp,), {"host": host})
