"""The client as a sans-I/O object: inputs in, outputs out; :mod:`chatclient.client` drives it.

Inputs are methods that take the time (a monotonic clock's seconds). After each, the driver does what :meth:`outputs`
returns, in order, and sees to it that :meth:`tick` is called at :attr:`deadline`.

States: IDLE → (start) → DIALLING → (opened) → GREETING → (welcome) → READY; a lost connection → PAUSED or
DIALLING; from everywhere → ENDED. Which transport is dialled, and when, the :class:`chatclient.ladder.Ladder` says.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET

from chatclient.conversation import Conversation, Nonsense, Query
from chatclient.errors import Ended, Refused
from chatclient.inbox import Inbox
from chatclient.ladder import PROBE_S, Decision, Do, End, Ladder, Transport
from chatclient.outputs import (
    Dial,
    DropProbe,
    Finish,
    Greeted,
    HangUp,
    Output,
    Probe,
    ProbeWrite,
    Switch,
)
from chatclient.probing import Probing
from chatclient.renewal import Renewal
from chatclient.timers import Timers
from chatnode.protocol.codec import decode_server_frame, encode_frame
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.events import Event
from chatnode.protocol.frames import (
    Ack,
    Connect,
    Error,
    Ping,
    Reconnect,
    Refresh,
    StoredCommand,
    Unsubscribe,
    Welcome,
)


@dataclass(frozen=True)
class Timing:
    """Deadlines in seconds, and how many events may wait."""

    reply_s: float = 15.0
    """A connection on which a command has no reply for so long is given up."""
    ping_s: float = 10.0
    refresh_margin_s: float = 60.0
    """A new token is fetched this long before the old one ends, or when four fifths of its life are over."""
    probe_s: float = PROBE_S
    """How long a lower transport is well until WebSocket is tried beside it."""
    events: int = 1_024


class State(enum.Enum):
    IDLE = "idle"
    DIALLING = "dialling"
    GREETING = "greeting"
    READY = "ready"
    PAUSED = "paused"
    ENDED = "ended"


class Machine:
    """``ids`` draws a new command id, ``draw`` a uniform number in [0, 1), ``wall`` the time of day in seconds;
    ``renewable`` says that a new token can be got when one ends. Without a ladder there is WebSocket alone.
    """

    def __init__(
        self,
        timing: Timing,
        *,
        ids: Callable[[], str],
        draw: Callable[[], float],
        wall: Callable[[], float],
        renewable: bool,
        ladder: Ladder | None = None,
    ) -> None:
        self.state = State.IDLE
        self.inbox = Inbox(timing.events)
        """For reading; events are taken with :meth:`take`."""
        self._timing = timing
        self._ids = ids
        self._draw = draw
        self._outputs: list[Output] = []
        self._timers = Timers()
        self._ladder = ladder or Ladder((Transport.WEBSOCKET,))
        self._probing: Probing | None = None
        self._conversation = Conversation(
            self.inbox,
            self._outputs,
            self._timers,
            reply_s=timing.reply_s,
            ping_s=timing.ping_s,
            ids=ids,
            draw=draw,
        )
        self._renewal = Renewal(
            self._outputs, self._timers, margin_s=timing.refresh_margin_s, wall=wall, renewable=renewable
        )

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        return self._timers.deadline

    @property
    def transport(self) -> Transport:
        """The one that is open, tried, or to be tried next."""
        return self._ladder.transport

    def outputs(self) -> list[Output]:
        """What is to be done now, in this order."""
        outputs = self._outputs.copy()
        self._outputs.clear()
        return outputs

    def take(self, now: float) -> Event | None:
        """The next event, for whoever iterates over them."""
        event = self.inbox.take()
        if self.inbox.stirred:
            self.inbox.stirred = False
            self._conversation.follow(now)
        return event

    # The connection.

    def start(self, now: float) -> None:
        if self.state is not State.IDLE:
            return
        self._follow_ladder(self._ladder.start(now), now)

    def opened(self, now: float, token: str) -> None:
        """The socket is open; ``token`` is the one that was got for it."""
        if self.state is not State.DIALLING:
            return
        self.state = State.GREETING
        connect = self._conversation.connect = self._ids()
        self._conversation.ask(Connect(id=connect, token=token, cursors=self.inbox.resume(connect)), now)

    def closed(self, now: float, code: int | None, reason: str) -> None:
        """The socket is closed or could not be opened; ``code`` is None where no close frame came."""
        self.ended(now, End(code=code), reason)

    def ended(self, now: float, end: End, reason: str) -> None:
        """The connection is over, or could not be opened."""
        if self.state not in (State.DIALLING, State.GREETING, State.READY):
            return
        final = self._renewal.final(end, reason, ready=self.state is State.READY)
        if final is not None:
            self._finish(final)
        else:
            self._disconnect()
            self._follow_ladder(self._ladder.ended(now, end, draw=self._draw()), now)

    def network(self, now: float, *, online: bool) -> None:
        """What the device says about its network."""
        if self.state not in (State.IDLE, State.ENDED):
            self._follow_ladder(self._ladder.online(now) if online else self._ladder.offline(), now)

    # A second connection, of a better transport.

    def probe_opened(self, token: str) -> None:
        if self._probing is not None:
            connect = self._probing.opened(self._ids(), token, self.inbox.held())
            self._outputs.append(ProbeWrite(encode_frame(connect)))

    def probe_received(self, now: float, data: bytes | str) -> None:
        """Its first message; after the welcome it is the connection."""
        if self._probing is None:
            return
        answer = self._probing.received(data)
        if isinstance(answer, Welcome):
            self._follow_ladder(self._ladder.probe_welcome(now), now)
            self._begun(answer, now)
        else:
            self._outputs.append(DropProbe())
            self.probe_ended(now, answer)

    def probe_ended(self, now: float, end: End) -> None:
        self._probing = None
        self._follow_ladder(self._ladder.probe_ended(now, end), now)

    def received(self, now: float, data: bytes | str) -> None:
        """One message from the node."""
        if self.state not in (State.GREETING, State.READY):
            return
        try:
            frame = decode_server_frame(data)
        except msgspec.DecodeError as error:
            self._hang_up(now, CloseCode.PROTOCOL_ERROR, f"malformed frame: {error}"[:100])
            return
        match frame:
            case None:
                pass
            case Welcome():
                self._welcome(frame, now)
            case Ack():
                self._ack(frame, now)
            case Error():
                self._error(frame, now)
            case Reconnect():
                self._follow_ladder(self._ladder.reconnect(now, frame.after_ms / 1000), now)
            case _:
                self._conversation.event(frame, now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        for name in self._timers.due(now):
            if not self._timers.take(name):
                continue
            match name:
                case "ladder":
                    self._follow_ladder(self._ladder.tick(now, draw=self._draw()), now)
                case "reply":
                    late = self._conversation.late(now)
                    if late is not None:
                        about = type(late).__name__.lower()
                        self._hang_up(now, CloseCode.GOING_AWAY, f"no answer to {about} in time")
                case "heartbeat":
                    self._conversation.ask(Ping(id=self._ids()), now)
                case "refresh":
                    self._renewal.due()
                case _:
                    self._conversation.flush(now)

    def close(self) -> None:
        """The owner wants no more."""
        if self.state is not State.ENDED:
            self._finish(None)

    def fail(self, error: Ended) -> None:
        """What the client depends on, the source of tokens say, failed for good."""
        if self.state is not State.ENDED:
            self._finish(error)

    # What the owner asks for. Each call's id is settled or rejected exactly once, unless it is abandoned.

    def store(self, now: float, command: StoredCommand) -> None:
        """Send, edit, delete or react: seen through until it is acknowledged or refused for good."""
        if not self._over(command.id):
            self._conversation.store(now, command)

    def query(self, now: float, command: Query | Unsubscribe) -> None:
        """What only a connection can hear, typing and unsubscribe, is done when there is none."""
        if not self._over(command.id):
            self._conversation.query(now, command)

    def subscribe(self, now: float, call: str, room: str, cursor: str | None, limit: int | None) -> None:
        """Follow a room from ``cursor`` on; the first result settles ``call``. Asked for again, it begins anew."""
        if self._over(call):
            return
        self.inbox.follow(call, room, cursor, limit)
        self._conversation.follow(now)

    def renew(self, call: str) -> None:
        """Get a new token and present it."""
        if not self._over(call):
            self._renewal.wanted(call)

    def token(self, now: float, token: str) -> None:
        """The token that ``FetchToken`` asked for; without a connection the next one brings its own."""
        if self.state is State.READY:
            self._conversation.ask(Refresh(id=self._ids(), token=token), now)

    def abandon(self, call: str) -> None:
        """Nobody waits for this answer any more; what was never written is taken back."""
        self._renewal.abandon(call)
        self._conversation.abandon(call)

    def withdraw(self, now: float, command: str) -> None:
        """Never send it again, whether it was written or not."""
        self._conversation.withdraw(now, command)

    # Replies.

    def _welcome(self, welcome: Welcome, now: float) -> None:
        if self.state is not State.GREETING or self._conversation.asked(welcome.id) is None:
            self._hang_up(now, CloseCode.PROTOCOL_ERROR, "a welcome that nobody asked for")
            return
        self._follow_ladder(self._ladder.welcome(now), now)
        self._begun(welcome, now)

    def _begun(self, welcome: Welcome, now: float) -> None:
        self.state = State.READY
        self._outputs.append(Greeted(welcome))
        self._renewal.presented(Ack(id=welcome.id, expires_at=welcome.expires_at), now)
        self._conversation.begun(now, welcome.heartbeat_ms / 1000)

    def _ack(self, ack: Ack, now: float) -> None:
        match self._conversation.asked(ack.id):
            case None | Ping() | Connect():
                pass
            case Refresh():
                self._renewal.presented(ack, now)
            case command:
                try:
                    self._conversation.acked(command, ack, now)
                except Nonsense as nonsense:
                    self._hang_up(now, CloseCode.PROTOCOL_ERROR, str(nonsense))

    def _error(self, error: Error, now: float) -> None:
        match None if error.id is UNSET else self._conversation.asked(error.id):
            case None | Ping():
                pass
            case Connect():
                self._connect_refused(error, now)
            case Refresh() as refresh:
                again_at = now + self._conversation.retry_delay(error, 0) if error.retryable else None
                self._renewal.refused(Refused.by(error, refresh.id), again_at)
            case command:
                self._conversation.refused(command, error, now)

    def _connect_refused(self, error: Error, now: float) -> None:
        if error.retryable:
            retry_after = None if error.retry_after is UNSET else error.retry_after
            end = End(error=error.code, retry_after=retry_after)
            self._hang_up(now, CloseCode.NORMAL, "refused for now", end)
        else:
            self._finish(Ended(f"the node refused the connection: {error.code}: {error.message}"))

    # Ends.

    def _hang_up(self, now: float, code: int, reason: str, end: End | None = None) -> None:
        self._outputs.append(HangUp(code, reason))
        self._disconnect()
        self._follow_ladder(self._ladder.ended(now, end or End(), draw=self._draw()), now)

    def _follow_ladder(self, decision: Decision, now: float) -> None:
        match decision.do:
            case Do.CONNECT | Do.WAIT:
                self._give_up()
                self.state = State.DIALLING if decision.do is Do.CONNECT else State.PAUSED
                if decision.do is Do.CONNECT:
                    self._outputs.append(Dial(decision.transport))
            case Do.PROBE:
                self._probing = Probing()
                self._outputs.append(Probe(self._ladder.first))
            case Do.DROP_PROBE:
                self._probing = None
                self._outputs.append(DropProbe())
            case Do.SWITCH:
                self._switch(now)
            case Do.STAY:
                pass
        self._timers.set("ladder", decision.until)

    def _give_up(self) -> None:
        """Whatever is open or under way."""
        if self._probing is not None:
            self._probing = None
            self._outputs.append(DropProbe())
        if self.state in (State.DIALLING, State.GREETING, State.READY):
            self._outputs.append(HangUp(CloseCode.NORMAL, "connecting anew"))
            self._disconnect()

    def _disconnect(self) -> None:
        """Without a connection: what is under way on it comes again on the next one."""
        self.state = State.PAUSED
        self._timers.clear()
        self._conversation.disconnected()

    def _switch(self, now: float) -> None:
        """The probe brings what follows the cursors that it presented; what has no answer yet comes again on it."""
        probing, self._probing = self._probing, None
        self._disconnect()
        self._outputs.append(Switch())
        if probing is None:
            return
        self._conversation.connect = probing.connect
        self.state = State.READY
        for room in self.inbox.resumed(probing.connect, probing.presented):
            self._conversation.ask(Unsubscribe(id=self._ids(), room=room), now)

    def _over(self, call: str) -> bool:
        if self.state is State.ENDED:
            self._conversation.reject([call], Ended("the client is closed"))
        return self.state is State.ENDED

    def _finish(self, error: Ended | None) -> None:
        """Whoever waits is told; the outcome of stored commands that were on their way is unknown."""
        self.state = State.ENDED
        calls = [*self._conversation.clear(), *self._renewal.clear()]
        self._conversation.reject(calls, error or Ended("the client was closed"))
        self._probing = None
        self._timers.clear()
        self._outputs.extend([DropProbe(), HangUp(CloseCode.NORMAL, ""), Finish(error)])
