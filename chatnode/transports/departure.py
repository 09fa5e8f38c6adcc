"""Sending a node's clients to other nodes: whom, when and why. Sans I/O: ``step`` is called a few times a second.

What belongs here: the pace. What never does: why a node goes (signals, orders) and what becomes of it afterwards.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from chatnode.protocol.codec import encode_frame
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.frames import Reconnect

Stance = Literal["serving", "cordoned", "draining"]
"""``cordoned``: unready, but whoever still comes is served. ``draining``: everybody is sent away, nobody is let in."""
Reason = Literal["drain", "rebalance", "shutdown"]

AHEAD_S: Final = 1.0
"""A client that is told to go may take up to so long, so that those told together do not arrive together."""
GRACE_S: Final = 5.0
"""After the window, for those who were told last; who is still there then is closed."""


class Client(Protocol):
    def send(self, payload: bytes) -> None: ...
    def shut(self, code: CloseCode, reason: str) -> None: ...


@dataclass(slots=True)
class _Pace:
    waiting: list[Client]
    total: int
    began: float
    window_s: float
    reason: Reason

    @property
    def end(self) -> float:
        return self.began + self.window_s

    def due(self, now: float) -> list[Client]:
        """Those whose turn has come, in equal numbers over the window."""
        passed = 1.0 if self.window_s <= 0 else min(1.0, (now - self.began) / self.window_s)
        count = math.floor(self.total * passed) - (self.total - len(self.waiting))
        taken, self.waiting = self.waiting[: max(0, count)], self.waiting[max(0, count) :]
        return taken


class Departure:
    """``clients`` are all who are connected now; ``step`` tells those whose turn has come."""

    def __init__(self, clients: Iterable[Client], rng: random.Random) -> None:
        self._clients = clients
        self._random = rng
        self._stance: Stance = "serving"
        self._leaving: _Pace | None = None
        self._shedding: _Pace | None = None
        self._told: set[Client] = set()

    @property
    def stance(self) -> Stance:
        return self._stance

    @property
    def shedding(self) -> int:
        """Clients that are still to be told to go although the node stays."""
        return len(self._shedding.waiting) if self._shedding else 0

    def stay(self) -> None:
        """Serve again. Who was told to go before goes all the same."""
        self._stance, self._leaving, self._shedding = "serving", None, None
        self._told.clear()

    def cordon(self) -> None:
        """Be unready; ends a drain that has begun."""
        self.stay()
        self._stance = "cordoned"

    def leave(self, now: float, window_s: float, reason: Reason) -> None:
        """Tell everybody who has not been told yet, spread over the window; a window that ends sooner stays."""
        before = self._leaving
        if before is not None:
            window_s = max(0.0, min(window_s, before.end - now))
        waiting = [client for client in self._clients if client not in self._told]
        self._random.shuffle(waiting)
        self._stance, self._shedding = "draining", None
        self._leaving = _Pace(waiting, len(waiting), now, window_s, reason)

    def shed(self, now: float, count: int, window_s: float) -> None:
        """Tell ``count`` clients, chosen by lot, to go; the node stays. Replaces what was still to be shed."""
        present = [client for client in self._clients if client not in self._told]
        chosen = self._random.sample(present, min(max(0, count), len(present)))
        self._shedding = _Pace(chosen, len(chosen), now, window_s, "rebalance") if self._stance != "draining" else None

    def step(self, now: float) -> None:
        for pace in (self._leaving, self._shedding):
            if pace is not None:
                self._tell(pace, now)
        if self._shedding is not None and not self._shedding.waiting:
            self._shedding = None
        if self._leaving is None:
            return
        if now >= self._leaving.end:
            self._tell_late(self._leaving.reason)
        if now >= self._leaving.end + GRACE_S:
            for client in list(self._clients):
                client.shut(CloseCode.RECONNECT, "this node has gone; connect again")

    def _tell(self, pace: _Pace, now: float) -> None:
        due = pace.due(now)
        if not due:
            return
        present = set(self._clients)
        self._told &= present
        for client in due:
            if client in present:
                self._say(client, pace.reason, AHEAD_S if pace.window_s > 0 else 0.0)

    def _tell_late(self, reason: Reason) -> None:
        """Who came while everybody was told."""
        for client in [client for client in self._clients if client not in self._told]:
            self._say(client, reason, AHEAD_S)

    def _say(self, client: Client, reason: Reason, ahead_s: float) -> None:
        self._told.add(client)
        after_ms = round(self._random.uniform(0, ahead_s) * 1000)
        client.send(encode_frame(Reconnect(after_ms=after_ms, reason=reason)))
