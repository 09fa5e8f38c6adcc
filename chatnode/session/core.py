"""The session of one connection: ``connect`` first, then commands within their limits, until it is closed.

States: NEW → (connect) → PROVING → (authenticated) → READY → CLOSED; from everywhere → CLOSED. What is not allowed in a
state is answered with a typed error and changes nothing.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import UNSET

from chatnode.protocol import limits
from chatnode.protocol.codec import Reply, decode_command, error_frame
from chatnode.protocol.errors import CloseCode, ErrorCode, ProtocolError
from chatnode.protocol.frames import Command, Connect, Delete, Edit, Ping, React, Send
from chatnode.session.bucket import TokenBucket, told
from chatnode.session.lanes import Lanes


@dataclass(frozen=True)
class SessionLimits:
    rate_per_s: float = 20.0
    burst: int = 40
    in_flight: int = 128
    """Commands of one connection that are being worked on."""
    waiting: int = 32
    """Commands that may arrive before ``welcome``."""
    rooms: int = 500
    connect_s: float = limits.CONNECT_TIMEOUT_S
    errors_in_a_row: int = 100
    floods_in_a_row: int = 200


@dataclass(frozen=True, slots=True)
class Say:
    frame: Reply


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Verify the token and answer with ``authenticated`` or ``refused``; None: it came with the handshake."""

    token: str | None


@dataclass(frozen=True, slots=True)
class Perform:
    """Do what the command asks and reply to it exactly once; then call ``finished``."""

    command: Command


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a ping: the driver knows the time of day."""

    command: str


@dataclass(frozen=True, slots=True)
class Shut:
    code: CloseCode
    reason: str


Output = Say | Authenticate | Perform | Answer | Shut


class State(enum.Enum):
    NEW = "new"
    PROVING = "proving"
    READY = "ready"
    CLOSED = "closed"


class Session:
    __slots__ = (
        "_bucket",
        "_deadline",
        "_errors",
        "_floods",
        "_in_flight",
        "_limits",
        "_waiting",
        "connect_id",
        "cursors",
        "lanes",
        "rooms",
        "state",
        "user",
    )

    def __init__(self, session_limits: SessionLimits, now: float) -> None:
        self._limits = session_limits
        self._bucket = TokenBucket(session_limits.rate_per_s, session_limits.burst, now)
        self._deadline = now + session_limits.connect_s
        self._errors = 0
        self._floods = 0
        self._in_flight = 0
        self._waiting: list[Command] | None = None
        self.connect_id = ""
        self.cursors: Mapping[str, str | None] | None = None
        """Rooms to follow once the token is proven, each with the client's cursor where it has one."""
        self.lanes: Lanes | None = None
        self.rooms: set[str] = set()
        """Rooms that are followed, or about to be."""
        self.state = State.NEW
        self.user = ""

    @property
    def deadline(self) -> float:
        """When ``expired`` has to be called: no ``connect`` by then, or the token has ended."""
        return self._deadline

    def is_proving(self) -> bool:
        """Whether a token is being verified."""
        return self.state is State.PROVING

    def receive(self, payload: bytes, now: float) -> list[Output]:
        """One frame from the client."""
        if self.state is State.CLOSED:
            return []
        try:
            command = decode_command(payload)
        except ProtocolError as error:
            return self._mistake(error)
        self._errors = 0
        if self.state is State.READY:
            return self._command(command, now)
        if self.state is State.NEW:
            return self._connect(command)
        return self._early(command)

    def begin(self, cursors: Mapping[str, str | None]) -> list[Output]:
        """What ``connect`` does, for a client whose token and cursors came with its request."""
        if self.state is not State.NEW:
            return []
        self.state = State.PROVING
        self.connect_id = "connect"
        self.cursors = cursors or None
        return [Authenticate(None)]

    def share(self, bucket: TokenBucket) -> None:
        """Count commands against a rate that outlives this session."""
        self._bucket = bucket

    def authenticated(self, user: str, *, deadline: float, now: float) -> list[Output]:
        """The token is good until ``deadline``. The driver says welcome, then handles what is returned."""
        if self.state is not State.PROVING:
            return []
        self.state = State.READY
        self.user = user
        self._deadline = deadline
        waiting, self._waiting = self._waiting or [], None
        return [output for command in waiting for output in self._command(command, now)]

    def refused(self, error: ProtocolError) -> list[Output]:
        """The token is not good, or could not be checked now."""
        if self.state is not State.PROVING:
            return []
        self.state = State.CLOSED
        code = CloseCode.UNAVAILABLE if error.retryable else CloseCode.UNAUTHENTICATED
        return [Say(error_frame(error, self.connect_id)), Shut(code, error.message)]

    def refreshed(self, deadline: float) -> None:
        self._deadline = deadline

    def expired(self, now: float) -> list[Output]:
        """The deadline has come."""
        if self.state is State.CLOSED or now < self._deadline:
            return []
        waiting = self.state in (State.NEW, State.PROVING)
        self.state = State.CLOSED
        if waiting:
            return [Shut(CloseCode.CONNECT_TIMEOUT, f"no connect within {self._limits.connect_s:g} s")]
        return [Shut(CloseCode.TOKEN_EXPIRED, "the token has ended; connect with a new one")]

    def finished(self) -> None:
        """A performed command was replied to."""
        self._in_flight -= 1

    def close(self) -> None:
        self.state = State.CLOSED

    def claim(self, room: str) -> ProtocolError | None:
        """Count a room as followed; the refusal where there are too many."""
        if room in self.rooms:
            return None
        if len(self.rooms) >= self._limits.rooms:
            return ProtocolError(
                ErrorCode.RATE_LIMITED, f"a connection follows at most {self._limits.rooms} rooms; unsubscribe from one"
            )
        self.rooms.add(room)
        return None

    def lanes_made(self) -> Lanes:
        if self.lanes is None:
            self.lanes = Lanes()
        return self.lanes

    def _connect(self, command: Command) -> list[Output]:
        if not isinstance(command, Connect):
            return [Say(error_frame(ProtocolError(ErrorCode.UNAUTHENTICATED, "send connect first"), command.id))]
        self.state = State.PROVING
        self.connect_id = command.id
        self.cursors = command.cursors or None
        return [Authenticate(None if command.token is UNSET else command.token)]

    def _early(self, command: Command) -> list[Output]:
        if isinstance(command, Connect):
            return [Say(error_frame(ProtocolError(ErrorCode.CONFLICT, "connect was sent already"), command.id))]
        if self._waiting is None:
            self._waiting = []
        if len(self._waiting) >= self._limits.waiting:
            error = ProtocolError(ErrorCode.RATE_LIMITED, "too many commands before welcome", retry_after=1.0)
            return [Say(error_frame(error, command.id))]
        self._waiting.append(command)
        return []

    def _command(self, command: Command, now: float) -> list[Output]:
        if isinstance(command, Connect):
            return [Say(error_frame(ProtocolError(ErrorCode.CONFLICT, "this connection is connected"), command.id))]
        wait = self._bucket.take(now)
        if wait:
            return self._flood(command, wait, now)
        self._floods = 0
        if isinstance(command, Ping):
            return [Answer(command.id)]
        if self._in_flight >= self._limits.in_flight:
            return self._flood(command, 1.0, now)
        self._in_flight += 1
        return [Perform(command)]

    def _flood(self, command: Command, wait: float, now: float) -> list[Output]:
        """Refused for now. A refused send blocks its lane, or the next one would overtake it."""
        self._floods += 1
        if self._floods >= self._limits.floods_in_a_row:
            self.state = State.CLOSED
            return [Shut(CloseCode.FLOOD, "rate_limited was ignored; come back more slowly")]
        if isinstance(command, Send | Edit | Delete | React):
            self.lanes_made().refused(command.room, command.id, now)
        error = ProtocolError(ErrorCode.RATE_LIMITED, "too many commands; slow down", retry_after=told(wait))
        return [Say(error_frame(error, command.id))]

    def _mistake(self, error: ProtocolError) -> list[Output]:
        self._errors += 1
        if self._errors >= self._limits.errors_in_a_row:
            self.state = State.CLOSED
            return [
                Say(error_frame(error)),
                Shut(CloseCode.TOO_MANY_ERRORS, f"{self._errors} invalid frames in a row; mend the client"),
            ]
        return [Say(error_frame(error))]
