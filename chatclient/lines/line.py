"""What the driver needs of a connection, whatever its transport."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from chatclient.ladder import End

OPEN_S: Final = 10.0
"""For a socket to open, for an answer to begin."""
CLOSE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Ending:
    """``wrong_address`` says that the client cannot ever connect as it was told to."""

    end: End
    reason: str
    wrong_address: bool = False


@dataclass(frozen=True, slots=True)
class Links:
    """What a line calls: ``opened`` once, before it reads or writes; ``hear`` with each frame of the node."""

    opened: Callable[[], None]
    hear: Callable[[bytes], None]


class Line(Protocol):
    async def run(self, token: str, links: Links) -> Ending:
        """The whole connection, to its end. To be cancelled at any time; nothing is left running."""

    def write(self, data: bytes) -> None:
        """One frame of the client, after ``opened``; what cannot be sent ends the line, or is answered for the node
        with a retryable error.
        """

    def cut(self) -> None:
        """Break it off, as a network does: :meth:`run` returns, nothing is said to the other side."""

    def hang_up(self, code: int, reason: str) -> None:
        """Close it; :meth:`run` returns within ``CLOSE_S``, and nothing is heard any more."""
