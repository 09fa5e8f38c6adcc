"""What happens in one history: an explicit list of commands and faults, so that it can be cut."""

from typing import Final

from msgspec import Struct


class Action(Struct, frozen=True, omit_defaults=True):
    """``who`` numbers a client, node, server or worker; ``what`` a room, a target or a count."""

    at: float
    kind: str
    who: int = 0
    what: int = 0
    seconds: float = 0.0


class Plan(Struct, frozen=True, omit_defaults=True):
    """``seed`` decides everything that is not said here: latencies, order of arrivals, jitter."""

    seed: int
    nodes: int = 2
    people: int = 3
    users: int = 3
    rooms: int = 1
    workers: int = 1
    window: float = 8.0
    """Seconds for which a message id is known; events stored later than half of it after they were sent are late."""
    together: bool = False
    """All rooms are in one partition."""
    full: bool = False
    """Nodes run everything that they run: control, presence, receipts."""
    actions: tuple[Action, ...] = ()


COMMANDS: Final = ("send", "send", "send", "send", "burst", "burst", "edit", "delete", "react", "look")
