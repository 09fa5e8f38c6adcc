"""What a node does when it no longer hears what is stored: tell its clients, suspend, and in the end let them go.

Stepped a few times a second. What being heard means is decided elsewhere (:mod:`chatnode.identity.control`).
"""

import enum
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from chatnode.protocol.codec import encode_frame
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.events import DelayedEvent

logger = logging.getLogger(__name__)

DELAY_SHARE: Final = 0.6
"""Clients are told after this share of the time after which the node suspends."""
_CATCH_UP_S: Final = 10.0
"""Longest that the end of a delay waits for every open room: one that cannot be fetched must not hold up the word."""


class Client(Protocol):
    @property
    def following(self) -> bool:
        """Whether it follows any room."""
        ...

    def send(self, payload: bytes) -> None: ...
    def shut(self, code: CloseCode, reason: str) -> None: ...


class Deliverer(Protocol):
    """The hub, as far as it is told to stop, to go on, and to check."""

    @property
    def suspended(self) -> bool: ...
    @property
    def level(self) -> bool:
        """Whether every open room has been checked and delivered up to its end."""
        ...

    def suspend(self) -> None: ...
    def resume(self) -> None: ...
    def verify_all(self) -> None: ...


class _Delay(enum.Enum):
    NONE = "none"
    DEAF = "deaf"
    CATCHING_UP = "catching up"


class Hearing:
    """``silent_for`` tells how long nothing was heard, ``suspended`` whether the node may act on what it knows."""

    def __init__(
        self,
        hub: Deliverer,
        clients: Iterable[Client],
        *,
        silent_for: Callable[[], float],
        suspended: Callable[[], bool],
        suspend_after_s: float,
        keep_s: float,
    ) -> None:
        self._hub = hub
        self._clients = clients
        self._silent_for = silent_for
        self._suspended = suspended
        self._patience_s = suspend_after_s * DELAY_SHARE
        self._keep_s = keep_s
        self._since: float | None = None
        self._delay = _Delay.NONE
        self._heard_at = 0.0

    @property
    def delayed(self) -> bool:
        """Whether clients have been told that messages come later."""
        return self._delay is not _Delay.NONE

    def step(self, now: float) -> None:
        self._suspend(now)
        self._tell(now)

    def _suspend(self, now: float) -> None:
        """ARCHITECTURE §2.5."""
        suspended = self._suspended()
        if suspended and self._since is None:
            self._since = now
            logger.error("suspended: control was not heard for %.1f s", self._silent_for())
            self._hub.suspend()
        elif not suspended and self._hub.suspended:
            logger.warning("resumed after %.1f s", now - (now if self._since is None else self._since))
            self._since = None
            self._hub.resume()
        elif self._since is not None and now - self._since > self._keep_s:
            for client in list(self._clients):
                client.shut(CloseCode.UNAVAILABLE, "this node is cut off; connect again")

    def _tell(self, now: float) -> None:
        deaf = self._silent_for() > self._patience_s or self._hub.suspended
        if deaf:
            if self._delay is _Delay.NONE:
                logger.warning("delayed: nothing was heard for %.1f s", self._silent_for())
                self._announce(on=True)
            self._delay = _Delay.DEAF
        elif self._delay is _Delay.DEAF:
            self._delay = _Delay.CATCHING_UP
            self._heard_at = now
            self._hub.verify_all()
        elif self._delay is _Delay.CATCHING_UP and (self._hub.level or now - self._heard_at > _CATCH_UP_S):
            logger.warning("no longer delayed")
            self._delay = _Delay.NONE
            self._announce(on=False)

    def _announce(self, *, on: bool) -> None:
        frame = encode_frame(DelayedEvent(on=on))
        for client in list(self._clients):
            if client.following:
                client.send(frame)
