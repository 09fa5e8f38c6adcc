"""The seam between a WebSocket and the application, as small protocols.

An :class:`Acceptor` is asked for each handshake and gives a :class:`Receiver` for each open :class:`Channel`. All calls
are synchronous and happen on the event loop's thread. The receiver is never called from within a call of its channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from chatnode.protocol import limits
from chatnode.protocol.errors import ErrorCode

SUBPROTOCOL: Final = "chat.v1"
PATH: Final = "/v1/ws"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a handshake is answered with an error instead of a socket; the body is the same JSON as REST errors."""

    code: ErrorCode
    message: str
    status: int = 503
    retry_after: int | None = None
    """Seconds, as ``Retry-After``."""
    headers: tuple[tuple[str, str], ...] = ()


class Channel(Protocol):
    """The way to one client. Writing to a channel that is closing or closed does nothing."""

    authorization: str | None
    """Authorization header of the handshake; set it to None once read, it may be kilobytes."""

    @property
    def peer(self) -> str:
        """Address of the TCP peer, ``host:port``; an ingress, where there is one."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent to this client; what replays much watches it and goes on at ``drained``."""
        ...

    def write(self, framed: bytes) -> None:
        """Queue what :func:`chatnode.transports.websocket.frames.frame_text` made.

        The hot path: hand the same object to all subscribers. All that is written within one iteration of the loop goes
        out as one transport write. Never raises and never calls back; a reader that is too slow is closed afterwards.
        """
        ...

    def write_all(self, frames: Sequence[bytes], joined: bytes) -> None:
        """Write frames that follow each other, of which ``joined`` is all.

        As :meth:`write` for each of them; where nothing waits for this client they go out at once, as one write.
        """
        ...

    def send(self, payload: bytes) -> None:
        """Frame one text message and write it."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Send what waits and a close frame; the connection ends with the peer's answer, after 2 s at the latest."""
        ...

    def pause_reading(self) -> None:
        """Deliver nothing more until :meth:`resume_reading`; messages that were read already are held back."""
        ...

    def resume_reading(self) -> None: ...


class Receiver(Protocol):
    def received(self, payload: bytes) -> None:
        """One text message, valid UTF-8, within the size limit."""
        ...

    def closed(self, code: int) -> None:
        """No more messages will come; called once. 1006 when the peer went without a close frame."""
        ...

    def drained(self) -> None:
        """Everything that waited to be sent is sent, after the kernel had refused to take more for a while."""
        ...


class Acceptor(Protocol):
    def admit(self) -> Refusal | None:
        """Asked before a handshake is accepted: draining, suspended or full nodes refuse here."""
        ...

    def accept(self, channel: Channel) -> Receiver:
        """The handshake is over and ``channel`` may be written to."""
        ...


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Sizes in bytes, times in seconds."""

    message_bytes: int = limits.FRAME_BYTES
    send_buffer_bytes: int = 256 * 1024
    """What may wait for one client, beyond its largest frame, before it counts as a slow reader."""
    send_buffer_frames: int = 1024
    node_buffer_bytes: int = 256 * 1024 * 1024
    """What may wait for all clients of the node; beyond it the slowest readers are cut."""
    kernel_buffer_bytes: int = 32 * 1024
    """SO_SNDBUF as asked for; Linux doubles it. Without a limit the kernel takes 3.8 MiB for one stalled reader."""
    heartbeat_s: float = limits.HEARTBEAT_S
    close_timeout_s: float = 2.0
    header_timeout_s: float = 10.0
    """From the TCP accept, or the first byte of a later request, to the end of the request's header."""
    body_timeout_s: float = 60.0
    answer_timeout_s: float = 30.0
    """How long an HTTP peer may leave unread what the kernel did not take any more."""
    header_bytes: int = 32 * 1024
    allowed_origins: frozenset[str] = field(default=frozenset())
    """Origins besides the node's own, as ``scheme://host[:port]``."""
