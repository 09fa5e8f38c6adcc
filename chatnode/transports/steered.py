"""A node as it is steered: what it says of itself, and what it does about orders and about being stopped."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from chatnode.protocol.errors import CloseCode
from chatnode.settings import Settings
from chatnode.transports.departure import GRACE_S, Departure
from chatnode.transports.desk import Desk
from chatnode.transports.steering import Sample, Shed, State, TakeStance
from chatnode.transports.websocket.host import SocketCounts

logger = logging.getLogger(__name__)

TURN_S: Final = 0.25
"""How often a node looks after itself; lag is counted, and departing clients are told, once a turn."""
_LAGS: Final = 40
"""Turns over which lag is told: ten seconds."""


class SteeredNode:
    """:class:`chatnode.transports.steering.Steered`, over the one departure of the desk's connections."""

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        departure: Departure,
        counts: SocketCounts,
        *,
        suspended: Callable[[], bool],
        peers: Callable[[], Mapping[str, int]],
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._departure = departure
        self._counts = counts
        self._clocks = desk.services.clocks
        self._suspended = suspended
        self._peers = peers
        self._stopping = False
        self._lags: deque[float] = deque(maxlen=_LAGS)

    def ran_late(self, seconds: float) -> None:
        """How late the event loop ran in this turn."""
        self._lags.append(seconds)

    def sample(self) -> Sample:
        """What this node says of itself to whoever steers it."""
        state: State = self._departure.stance
        if state == "serving" and self._suspended():
            state = "suspended"
        lags = sorted(self._lags)
        return Sample(
            node=self._settings.node_id,
            state=state,
            time_ms=self._clocks.wall_ms(),
            connections=self._counts.open,
            capacity=self._settings.max_connections,
            lag_ms=round(lags[len(lags) * 9 // 10] * 1000, 1) if lags else 0.0,
            users=self._desk.users,
            refused=self._counts.refused,
            shedding=self._departure.shedding,
            peers=self._peers(),
        )

    def take_stance(self, order: TakeStance) -> None:
        """As ordered from outside, unless a signal has decided already; the same stance again changes nothing."""
        if self._stopping or order.stance == self._departure.stance:
            return
        logger.info("ordered: %s, over %.0f s", order.stance, order.window_s)
        if order.stance == "serving":
            self._departure.stay()
        elif order.stance == "cordoned":
            self._departure.cordon()
        else:
            self._departure.leave(self._clocks.monotonic(), order.window_s, "drain")

    def shed(self, order: Shed) -> None:
        """Send some clients to others, and stay."""
        if not self._stopping:
            self._departure.shed(self._clocks.monotonic(), order.clients, order.window_s)

    async def drain(self, settle_s: float, window_s: float, hurry: asyncio.Event) -> None:
        """Unready first, then tell everybody to reconnect, spread over the window; done when all have gone.

        ``hurry`` cuts it short. Nothing acked is lost: what is under way is stored and answered before the node's
        ``stop`` ends.
        """
        self._stopping = True
        if self._departure.stance != "draining":
            self._departure.cordon()
            if self._desk.count:
                await _wait(hurry, settle_s)
        if self._settings.drain_rate_per_s:
            window_s = max(window_s, self._desk.count / self._settings.drain_rate_per_s)
        if self._desk.count:
            logger.info("draining: %d connections over %.0f s", self._desk.count, window_s)
        self._departure.leave(self._clocks.monotonic(), window_s, "shutdown")
        deadline = self._clocks.monotonic() + window_s + GRACE_S
        while self._desk.count and not hurry.is_set() and self._clocks.monotonic() < deadline:
            self._departure.step(self._clocks.monotonic())
            await _wait(hurry, TURN_S)
        for connection in list(self._desk):
            connection.shut(CloseCode.RECONNECT, "this node has gone; connect again")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
