"""What the machine tells its driver to do, as values."""

from dataclasses import dataclass

from chatclient.errors import ClientError, Ended
from chatnode.protocol.events import SubscribedEvent
from chatnode.protocol.frames import Ack, Welcome


@dataclass(frozen=True, slots=True)
class Dial:
    """Get a token, open a socket, then call ``opened`` or ``closed``."""


@dataclass(frozen=True, slots=True)
class Write:
    data: bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the socket, if there is one; ``closed`` must not be called for it."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class FetchToken:
    """Get a new token, then call ``token``."""


@dataclass(frozen=True, slots=True)
class Settle:
    """The command, or call of ``subscribe``, that was given this id has its answer."""

    call: str
    answer: Ack | SubscribedEvent


@dataclass(frozen=True, slots=True)
class Reject:
    call: str
    error: ClientError


@dataclass(frozen=True, slots=True)
class Greeted:
    """Connected; said for every connection anew."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing comes after this. None: the owner closed the client."""

    error: Ended | None


Output = Dial | Write | HangUp | FetchToken | Settle | Reject | Greeted | Finish
