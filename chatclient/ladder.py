"""Which transport is tried next, and when: the ladder of transports. Pure.

Inputs are methods that take the time (a monotonic clock's seconds) and return a :class:`Decision`, which the driver
carries out. The rules are in ``docs/client.md``; ``tests/vectors/transports.json`` shows each, for every client.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from chatclient.backoff import delay
from chatnode.protocol.errors import ErrorCode

WELCOME_S: Final = 10.0
"""An attempt that has no welcome by then has failed."""
SHORT_S: Final = 10.0
"""A connection that is cut within so long after its welcome was short."""
FAILURES_MAX: Final = 2
"""Attempts of one transport that fail one after the other until the next transport is tried."""
SHORTS_MAX: Final = 3
"""Short connections one after the other until the next transport is tried."""
PROBE_S: Final = 60.0
PROBE_CAP_S: Final = 600.0
REMEMBERED_S: Final = 600.0
"""For how long the transport that worked last is the first one to try."""


class Transport(enum.Enum):
    WEBSOCKET = "websocket"
    SSE = "sse"
    POLL = "poll"


LADDER: Final = (Transport.WEBSOCKET, Transport.SSE, Transport.POLL)


class Do(enum.Enum):
    CONNECT = "connect"
    """Give up whatever is open or under way, and begin an attempt of ``transport``."""
    WAIT = "wait"
    """Give up whatever is open or under way; nothing until ``until``."""
    STAY = "stay"
    """Go on as it is."""
    PROBE = "probe"
    """Begin a connection of the first transport beside the one that is open."""
    DROP_PROBE = "drop_probe"
    """Give up the probe and go on as it is."""
    SWITCH = "switch"
    """The probe is the connection now; close the other one."""


@dataclass(frozen=True, slots=True)
class Decision:
    do: Do
    transport: Transport
    """The one that is open, tried, or to be tried next; of a probe, the one beside which it runs."""
    until: float | None
    """When :meth:`Ladder.tick` is due, unless something comes before."""


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt or a connection ended, as far as the client was told."""

    status: int | None = None
    """Of an HTTP answer that is no success."""
    code: int | None = None
    """Of a close frame that came from the other side."""
    error: str | None = None
    """Code of an ``error`` frame that ended it."""
    retry_after: float | None = None
    """Seconds, where the server named a time: ``Retry-After``, ``retry_after`` of an error."""

    @property
    def of_server(self) -> bool:
        """A living server said so. Else the reason is the transport's, and counts against it."""
        if self.error is not None:
            return True
        if self.code is not None:
            return self.code in _CODES_OF_SERVERS or 4000 <= self.code <= 4999
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return self.retry_after is not None
        return self.status in _ANSWERS_OF_SERVERS

    @property
    def refuses_token(self) -> bool:
        return self.error == ErrorCode.UNAUTHENTICATED or self.status in _REFUSALS


_CODES_OF_SERVERS: Final = {1001, 1012, 1013}
"""RFC 6455, 7.4.1, and its registry: going away, service restart, try again later."""
_REFUSALS: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_ANSWERS_OF_SERVERS: Final = {*_REFUSALS, HTTPStatus.TOO_MANY_REQUESTS}


class _State(enum.Enum):
    TRYING = "trying"
    WAITING = "waiting"
    WELL = "well"


class Ladder:
    """``transports`` in the order of preference; a single one is never left. ``draw`` is uniform in [0, 1)."""

    def __init__(self, transports: Sequence[Transport] = LADDER, *, probe_s: float = PROBE_S) -> None:
        if not transports or len(set(transports)) < len(transports):
            raise ValueError("transports are one or several, each once")
        self._transports = tuple(transports)
        self._rung = 0
        self._state = _State.WAITING
        self._since = 0.0
        """When the state began."""
        self._until: float | None = None
        """TRYING: no welcome is waited for any longer. WAITING: the next attempt."""
        self._told_until: float | None = None
        """When the server wants to see this client again; nothing but that time ends a wait for it."""
        self._failures = 0
        self._shorts = 0
        self._waits = 0
        self._offline = False
        self._probe_first_s = self._probe_s = probe_s
        self._probe_at: float | None = None
        self._probe_until: float | None = None
        """A probe runs, and is given up then."""

    @property
    def transport(self) -> Transport:
        return self._transports[self._rung]

    @property
    def first(self) -> Transport:
        """The one that is probed from below."""
        return self._transports[0]

    def start(self, now: float, *, remembered: Transport | None = None, age_s: float = 0.0) -> Decision:
        """``remembered`` is the transport that was open last, ``age_s`` seconds ago, where the client knows it."""
        if remembered in self._transports and age_s < REMEMBERED_S:
            self._rung = self._transports.index(remembered)
        return self._try(now)

    def welcome(self, now: float) -> Decision:
        """The attempt has its welcome, or its first good answer."""
        if self._state is not _State.TRYING:
            return self._stay()
        self._state, self._since, self._until = _State.WELL, now, None
        self._failures = 0
        self._plan_probe(now)
        return self._stay()

    def ended(self, now: float, end: End, *, draw: float) -> Decision:
        """The attempt, or the connection, is over."""
        if self._state is _State.WAITING:
            return self._stay()
        well = self._state is _State.WELL
        lasted = now - self._since
        told = self._told_until is not None
        if end.retry_after is not None:
            self._told_until = max(self._told_until or now, now + end.retry_after)
        if well and lasted >= SHORT_S:
            self._shorts = self._waits = 0
            if self._rung == 0:
                self._probe_s = self._probe_first_s
        elif not (end.of_server or told or self._offline):
            return self._failed(now, draw, short=well)
        return self._wait(now, draw)

    def reconnect(self, now: float, after_s: float) -> Decision:
        """The server wants this client to connect again after so long; until then everything works."""
        self._told_until = now + after_s
        return self._stay()

    def tick(self, now: float, *, draw: float) -> Decision:
        """``until`` has come."""
        if self._state is _State.TRYING and _due(self._until, now):
            return self._wait(now, draw) if self._offline else self._failed(now, draw, short=False)
        if self._state is _State.WAITING and _due(self._until, now):
            return self._try(now)
        if self._state is _State.WELL:
            if _due(self._told_until, now):
                return self._try(now)
            if _due(self._probe_until, now):
                return self._probe_failed(now, Do.DROP_PROBE)
            if _due(self._probe_at, now):
                return self._probe(now)
        return self._stay()

    def offline(self) -> Decision:
        """The device says that it has no network: until ``online`` nothing counts against a transport."""
        self._offline = True
        return self._stay()

    def online(self, now: float) -> Decision:
        """The network is there, and may be another one: try at once, once."""
        self._offline = False
        self._failures = self._shorts = 0
        self._probe_s = self._probe_first_s
        if self._state is _State.WELL and self._probe_at is not None:
            return self._probe(now)
        return self.visible(now)

    def visible(self, now: float) -> Decision:
        """Somebody looks: try at once, once, unless the server named the time."""
        if self._state is _State.WAITING and self._told_until is None:
            return self._try(now)
        return self._stay()

    def probe_welcome(self, now: float) -> Decision:
        if self._probe_until is None:
            return self._stay()
        self._rung, self._since = 0, now
        self._failures = self._shorts = 0
        self._probe_until = self._told_until = None
        # Should it be cut soon, the next probe is to come later than this one did.
        self._probe_s = min(PROBE_CAP_S, 2 * self._probe_s)
        return Decision(Do.SWITCH, self.transport, None)

    def probe_ended(self, now: float, end: End) -> Decision:
        if self._probe_until is None:
            return self._stay()
        if end.of_server or self._offline:
            self._probe_until = None
            self._probe_at = now + max(self._probe_s, end.retry_after or 0.0)
            return self._stay()
        return self._probe_failed(now, Do.STAY)

    def _failed(self, now: float, draw: float, *, short: bool) -> Decision:
        if short:
            self._shorts += 1
        else:
            self._failures += 1
        if self._failures < FAILURES_MAX and self._shorts < SHORTS_MAX:
            return self._wait(now, draw)
        self._failures = self._shorts = 0
        self._rung = (self._rung + 1) % len(self._transports)
        if self._rung == 0 or self._told_until is not None:
            return self._wait(now, draw)
        return self._try(now)

    def _try(self, now: float) -> Decision:
        self._drop()
        self._told_until = None
        self._state, self._since, self._until = _State.TRYING, now, now + WELCOME_S
        return Decision(Do.CONNECT, self.transport, self._until)

    def _wait(self, now: float, draw: float) -> Decision:
        self._drop()
        until = now + delay(self._waits, draw) if self._told_until is None else max(now, self._told_until)
        self._waits += 1
        self._state, self._since, self._until = _State.WAITING, now, until
        return Decision(Do.WAIT, self.transport, until)

    def _stay(self) -> Decision:
        times = [self._until]
        if self._state is _State.WELL:
            times = [self._told_until, self._probe_at, self._probe_until]
        return Decision(Do.STAY, self.transport, min((time for time in times if time is not None), default=None))

    # Upwards.

    def _plan_probe(self, now: float) -> None:
        self._probe_at = now + self._probe_s if self._rung > 0 else None

    def _probe(self, now: float) -> Decision:
        self._probe_at, self._probe_until = None, now + WELCOME_S
        return Decision(Do.PROBE, self.transport, self._stay().until)

    def _probe_failed(self, now: float, do: Do) -> Decision:
        self._probe_until = None
        self._probe_s = min(PROBE_CAP_S, 2 * self._probe_s)
        self._plan_probe(now)
        return Decision(do, self.transport, self._stay().until)

    def _drop(self) -> None:
        self._probe_at = self._probe_until = None


def _due(at: float | None, now: float) -> bool:
    return at is not None and at <= now
