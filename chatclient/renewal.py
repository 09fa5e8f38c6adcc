"""The token of the connection: when a new one is due, who waits for it, and what its end means. Pure.

Belongs to a :class:`chatclient.machine.Machine`, with which it shares outputs and timers.
"""

from collections.abc import Callable

from msgspec import UNSET

from chatclient.errors import Ended, Refused
from chatclient.ladder import End
from chatclient.outputs import FetchToken, Output, Reject, Settle
from chatclient.timers import Timers
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.frames import Ack


class Renewal:
    """``margin_s`` before its end a new token is fetched, if there are any; ``wall`` is the time of day in seconds."""

    def __init__(
        self,
        outputs: list[Output],
        timers: Timers,
        *,
        margin_s: float,
        wall: Callable[[], float],
        renewable: bool,
    ) -> None:
        self._outputs = outputs
        self._timers = timers
        self._margin_s = margin_s
        self._wall = wall
        self._renewable = renewable
        self._calls: set[str] = set()

    def due(self) -> None:
        self._outputs.append(FetchToken())

    def wanted(self, call: str) -> None:
        """The owner wants one presented now; ``call`` is settled or rejected by what the node says to it."""
        self._calls.add(call)
        self.due()

    def abandon(self, call: str) -> None:
        self._calls.discard(call)

    def presented(self, ack: Ack, now: float) -> None:
        """The node has taken a token, at the beginning or since."""
        if self._renewable and ack.expires_at is not UNSET:
            left = ack.expires_at / 1000 - self._wall()
            self._timers.set("refresh", now + max(left - self._margin_s, left * 0.8, 1.0))
        self._outputs.extend(Settle(call, ack) for call in self._calls)
        self._calls.clear()

    def refused(self, error: Refused, again_at: float | None) -> None:
        """The node has not; ``again_at`` is when another one may be."""
        self._outputs.extend(Reject(call, error) for call in self._calls)
        self._calls.clear()
        if again_at is not None:
            self._timers.set("refresh", again_at)

    def final(self, end: End, reason: str, *, ready: bool) -> Ended | None:
        """Why nothing comes after this end of a connection, which was ``ready`` for commands or not; None where one
        comes back. Who can get a new token comes back when the old one has ended."""
        told_to_stay_away = end.code is not None and 4500 <= end.code <= 4999
        if told_to_stay_away and not (self._renewable and end.code == CloseCode.TOKEN_EXPIRED):
            return Ended(reason or "the node closed the connection for good", end.code)
        if end.refuses_token and not (self._renewable and ready):
            return Ended(reason)
        return None

    def clear(self) -> list[str]:
        """The calls that waited."""
        calls = list(self._calls)
        self._calls.clear()
        return calls
