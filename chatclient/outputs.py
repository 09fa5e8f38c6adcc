"""What the machine tells its driver to do, as values."""

from dataclasses import dataclass

from chatclient.errors import ClientError, Ended
from chatclient.ladder import Transport
from chatnode.protocol.events import SubscribedEvent
from chatnode.protocol.frames import Ack, Welcome


@dataclass(frozen=True, slots=True)
class Dial:
    """Get a token, open a connection, then call ``opened`` or ``ended``."""

    transport: Transport = Transport.WEBSOCKET


@dataclass(frozen=True, slots=True)
class Write:
    data: bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """Give up the connection, open or not; ``ended`` must not be called for it."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Open a connection beside the one that there is, with a token of its own; ``probe_opened``, ``probe_ended``."""

    transport: Transport


@dataclass(frozen=True, slots=True)
class ProbeWrite:
    data: bytes


@dataclass(frozen=True, slots=True)
class DropProbe:
    """Give it up; ``probe_ended`` must not be called for it."""


@dataclass(frozen=True, slots=True)
class Switch:
    """The probe is the connection from now on; give up the one before."""


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


Output = (
    Dial | Write | HangUp | Probe | ProbeWrite | DropProbe | Switch | FetchToken | Settle | Reject | Greeted | Finish
)
