"""The asyncio protocol that uvicorn upgrades a connection to: one object per client, no task, no queue of its own.

uvicorn's contract for a WebSocket class: built with (config, server_state, app_state), then ``connection_made``, then
``data_received`` with the bytes of the handshake request, then it is the transport's protocol; while it lives it is in
``server_state.connections``, and ``shutdown`` is called when the server stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import ClassVar, Final, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from chatnode.protocol.errors import CloseCode
from chatnode.transports.websocket import frames
from chatnode.transports.websocket.backlog import Backlog
from chatnode.transports.websocket.channel import Acceptor, Receiver, Refusal
from chatnode.transports.websocket.handshake import answer, refusal_response
from chatnode.transports.websocket.host import SocketHost
from chatnode.transports.websocket.wheel import Slot

_log: Final = logging.getLogger(__name__)

_HANDSHAKE: Final = 0
_OPEN: Final = 1
_CLOSING: Final = 2
"""A close frame was sent; the peer's is awaited and everything else of it dropped."""
_ENDING: Final = 3
"""Both sides are done, or the peer broke the protocol: what waits is sent, nothing is read."""
_LOST: Final = 4
_REFUSED: Final = 5

_GONE: Final = 1006
"""Stands for a connection that ended without a close frame (RFC 6455 §7.1.5)."""
_INTERNAL_ERROR: Final = 1011
_ITERATION_FACTOR: Final = 4
"""How many times ``send_buffer_bytes`` one loop iteration may queue: the reader had no chance to read in between."""
_PING: Final = frames.frame_ping()


class ChatSocket(asyncio.Protocol):
    """A :class:`~chatnode.transports.websocket.channel.Channel`; :func:`socket_protocol` makes the class for a node."""

    __slots__ = (
        "_allowance",
        "_backlog",
        "_code",
        "_connections",
        "_heard",
        "_held",
        "_parser",
        "_paused",
        "_pending",
        "_pending_bytes",
        "_receiver",
        "_slot",
        "_state",
        "_transport",
        "authorization",
    )

    host: ClassVar[SocketHost]
    acceptor: ClassVar[Acceptor]

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, object]) -> None:  # noqa: ARG002  uvicorn's contract
        self._connections = cast("set[object]", server_state.connections)
        self._transport: asyncio.Transport
        self._receiver: Receiver | None = None
        self._parser: frames.FrameParser
        self._pending: list[bytes] | None = None
        self._pending_bytes = 0
        self._allowance = 0
        self._backlog: Backlog | None = None
        self._held: list[frames.Incoming] | None = None
        self._paused = False
        self._slot: Slot | None = None
        self._heard = 0.0
        self._state = _HANDSHAKE
        self._code = _GONE
        self.authorization: str | None = None

    # asyncio.Protocol and uvicorn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._state == _HANDSHAKE:
            self._open(data)
            return
        if self._state == _REFUSED:
            return
        self._heard = self.host.timers.time()
        incoming = self._parser.feed(data)
        if self._held is None:
            self._deliver(incoming)
        else:
            self._held += incoming

    def eof_received(self) -> None:
        """The peer sends nothing more: without a close frame before, it is gone. The transport closes itself."""
        self._end()
        self._notify(self._code)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why it was lost changes nothing
        if self._state not in {_HANDSHAKE, _REFUSED}:
            self.host.counts.open -= 1
        if self._backlog is not None:
            self.host.unclog(self)
        self._state = _LOST
        self._connections.discard(self)
        self._drop_pending()
        self._rearm(None)
        self._held = None
        self._notify(self._code)

    def pause_writing(self) -> None:
        """The kernel took less than was written: from now on, what waits is watched."""
        if self._backlog is None:
            self._backlog = Backlog(self._allowance)
            self.host.clog(self)

    def resume_writing(self) -> None:
        self._backlog = None
        self.host.unclog(self)
        if self._receiver is not None and self._state == _OPEN:
            self._receiver.drained()

    def shutdown(self) -> None:
        if self._state == _OPEN:
            self.close(CloseCode.RECONNECT, "the node is going away")
        elif self._state == _HANDSHAKE:
            self._transport.close()

    # Channel

    @property
    def peer(self) -> str:
        address = self._transport.get_extra_info("peername")
        return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""

    @property
    def buffered(self) -> int:
        waiting = 0 if self._state == _LOST else self._transport.get_write_buffer_size()
        return waiting + self._pending_bytes

    def write(self, framed: bytes) -> None:
        if self._state != _OPEN:
            return
        if self._pending is None:
            self._pending = [framed]
            self._pending_bytes = len(framed)
            self.host.mark(self)
        else:
            self._pending.append(framed)
            self._pending_bytes += len(framed)

    def write_all(self, frames: Sequence[bytes], joined: bytes) -> None:
        size = len(joined)
        if self._pending is not None or self._backlog is not None or size > self.host.limits.send_buffer_bytes:
            for framed in frames:
                self.write(framed)
        elif self._state == _OPEN:
            self._allowance = 0
            try:
                self._transport.write(joined)
            except RuntimeError:
                # Closed, and connection_lost is still to come. Whoever writes to many must not stop at this one.
                self.write(joined)
            else:
                self.host.counts.wrote(len(frames), size)

    def send(self, payload: bytes) -> None:
        self.write(frames.frame_text(payload))

    def close(self, code: int, reason: str = "") -> None:
        if self._state != _OPEN:
            return
        self._write_pending()
        self._begin_close(code, reason)

    def pause_reading(self) -> None:
        if self._state == _OPEN and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self.host.loop.call_soon(self._resume)

    # SocketHost and TimerWheel

    def flush(self) -> None:
        """Write what was queued, or close the reader that is too slow for it."""
        if self._state != _OPEN or self._pending is None:
            return
        if self._overflows(self._pending):
            self._drop_pending()
            self.host.counts.slow_readers += 1
            self._begin_close(CloseCode.SLOW_READER, "too much waits to be sent to you; reconnect with your cursors")
            self._notify(CloseCode.SLOW_READER)
            return
        self._write_pending()

    def cut(self) -> None:
        """End at once and without a close frame, which would have to wait behind everything else."""
        if self._state == _OPEN:
            self.host.counts.slow_readers += 1
            self._code = CloseCode.SLOW_READER
        self._drop_pending()
        self.host.unclog(self)
        self._end()
        self._transport.abort()
        self._notify(self._code)

    def due(self, now: float) -> float | None:
        self._slot = None
        if self._state == _OPEN:
            self._heartbeat(now)
        elif self._state != _LOST:
            self._transport.abort()
        return None

    # What happens inside

    def _open(self, request: bytes) -> None:
        opening = answer(request, self.host.limits.allowed_origins)
        if not isinstance(opening, Refusal):
            opening = self.acceptor.admit() or opening
        if isinstance(opening, Refusal):
            self._refuse(opening)
            return
        self.authorization = opening.authorization
        self._parser = frames.FrameParser(self.host.limits.message_bytes)
        self._transport.write(opening.response)
        self._state = _OPEN
        self.host.counts.open += 1
        self.host.counts.opened += 1
        self._heard = self.host.timers.time()
        self._rearm(self._heard + self.host.limits.heartbeat_s)
        try:
            self._receiver = self.acceptor.accept(self)
        except Exception:  # noqa: BLE001  uvicorn would never hand the transport over, and we would leak in its list
            self._fault("acceptor failed")

    def _refuse(self, refusal: Refusal) -> None:
        self.host.counts.refused += 1
        self._state = _REFUSED
        self._transport.write(refusal_response(refusal))
        self._transport.close()
        self._rearm(self.host.timers.time() + self.host.limits.close_timeout_s)

    def _fault(self, what: str) -> None:
        """The application raised: its fault ends the connection on which it happened, and no other."""
        _log.exception("%s", what, extra={"peer": self.peer})
        self.close(_INTERNAL_ERROR, "internal error; reconnect")

    def _deliver(self, incoming: list[frames.Incoming]) -> None:
        for position, item in enumerate(incoming):
            if self._paused and self._state == _OPEN:
                self._held = incoming[position:]
                return
            if isinstance(item, frames.Text):
                self._text(item.payload)
            else:
                self._other(item)

    def _text(self, payload: bytes) -> None:
        if self._state != _OPEN or self._receiver is None:
            return
        try:
            self._receiver.received(payload)
        except Exception:  # noqa: BLE001  the boundary between one client and all others
            self._fault("receiver failed")

    def _other(self, item: frames.Incoming) -> None:
        match item:
            case frames.Ping(payload):
                self.write(frames.frame_pong(payload))
            case frames.Close(code):
                self._peer_closes(code)
            case frames.Violation(code, reason):
                self._fail(code, reason)
            case frames.Binary(payload):
                self._binary(payload)
            case _:
                pass

    def _binary(self, payload: bytes) -> None:  # noqa: ARG002  what echo servers of conformance tests answer with
        self.close(CloseCode.UNSUPPORTED_DATA, "text messages only")

    def _peer_closes(self, code: int) -> None:
        if self._state == _OPEN:
            self._write_pending()
            self._transport.write(frames.frame_close(code))
            self._code = code
        self._end()
        self._transport.close()
        self._notify(self._code)

    def _fail(self, code: int, reason: str) -> None:
        """RFC 6455 §7.1.7. Half closed, because closing with unread input would reset what was just sent."""
        if self._state == _OPEN:
            self.host.counts.violations += 1
            self._write_pending()
            self._transport.write(frames.frame_close(code, reason))
            self._code = code
        if self._state == _OPEN and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
        self._end()
        self._notify(self._code)

    def _begin_close(self, code: int, reason: str) -> None:
        self._transport.write(frames.frame_close(code, reason))
        self._code = code
        self._state = _CLOSING
        self._rearm(self.host.timers.time() + self.host.limits.close_timeout_s)
        if self._paused:
            self.resume_reading()

    def _end(self) -> None:
        if self._state in {_OPEN, _CLOSING}:
            if self._state == _OPEN:
                self._rearm(self.host.timers.time() + self.host.limits.close_timeout_s)
            self._state = _ENDING
            self._drop_pending()

    def _notify(self, code: int) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.closed(code)

    def _heartbeat(self, now: float) -> None:
        """A peer that was silent for one interval is asked, after two it is closed; one that we do not read is not."""
        interval = self.host.limits.heartbeat_s
        silent = 0.0 if self._paused else now - self._heard
        if silent >= 2 * interval:
            self.host.counts.silent += 1
            self.close(CloseCode.HEARTBEAT_TIMEOUT, "no sign of life for two heartbeats")
            self._notify(CloseCode.HEARTBEAT_TIMEOUT)
        elif silent >= interval:
            self.write(_PING)
            self._rearm(now - silent + 2 * interval)
        else:
            self._rearm(now - silent + interval)

    def _overflows(self, pending: list[bytes]) -> bool:
        limits = self.host.limits
        within = _ITERATION_FACTOR * limits.send_buffer_bytes
        if self._pending_bytes > within and self._pending_bytes - max(map(len, pending)) > within:
            return True
        return self._backlog is not None and self._backlog.overflows(self._transport.get_write_buffer_size(), limits)

    def _write_pending(self) -> None:
        pending = self._pending
        if pending is None:
            return
        count = len(pending)
        size = self._pending_bytes
        self.host.counts.wrote(count, size)
        self._allowance = max(map(len, pending)) if size > self.host.limits.send_buffer_bytes else 0
        if self._backlog is not None:
            self._backlog.add(size, count, self._allowance)
        self._drop_pending()
        self._transport.write(pending[0] if count == 1 else b"".join(pending))

    def _drop_pending(self) -> None:
        self._pending = None
        self._pending_bytes = 0

    def _resume(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._deliver(held)
        if not self._paused and self._state in {_OPEN, _CLOSING}:
            self._transport.resume_reading()

    def _rearm(self, at: float | None) -> None:
        timers = self.host.timers
        if self._slot is not None:
            timers.cancel(self, self._slot)
        self._slot = None if at is None else timers.schedule(self, at)


def socket_protocol(host: SocketHost, acceptor: Acceptor) -> type[ChatSocket]:
    """The class to give to ``uvicorn.Config(ws=…)``: its sockets belong to ``host`` and speak to ``acceptor``."""
    return type("NodeSocket", (ChatSocket,), {"__slots__": (), "host": host, "acceptor": acceptor})
