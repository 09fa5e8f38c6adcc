"""What a storm came to, in a file of its own and among the figures of the fault run beside it."""

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tests.chaos.outcome import Outcome

_MEMORY_LIMIT_MIB: Final = 1024.0
"""What the operator gives a node by default (``docs/operator/fields.md``)."""
_ONE_S: Final = 20.0
_ALL_S: Final = 60.0


class Storm(Struct, frozen=True):
    """Seconds from SIGKILL until every socket was back in its room, and what they missed."""

    sockets: int
    rooms: int
    connect_s: float
    storm_s: float
    """One of two nodes killed."""
    storm_all_s: float
    """Both killed and started again at once; counted from the kill."""
    restarted_s: float
    """Of those, until both nodes were ready again."""
    messages: int
    gaps: int
    copies: int
    reloads: int
    behind: int
    """Sockets that did not have the last message of their room 10 s after everybody was back."""
    attempts: int
    refused: int
    """Attempts that were answered by 503."""
    unreachable: int
    late: int
    """Attempts that were given up after 10 s."""
    node_mib: tuple[float, ...]
    """Highest resident memory of each node process."""
    memory_limit_mib: float = _MEMORY_LIMIT_MIB

    @property
    def ok(self) -> bool:
        kept = not (self.gaps or self.copies or self.behind)
        quick = self.storm_s <= _ONE_S and self.storm_all_s <= _ALL_S
        return kept and quick and max(self.node_mib) <= self.memory_limit_mib


def with_storm(outcome: Outcome, path: Path) -> Outcome:
    """The outcome with the times of the storm whose figures are at ``path``; as it is where there are none."""
    if not path.exists():
        return outcome
    storm = msgspec.json.decode(path.read_bytes(), type=Storm)
    return msgspec.structs.replace(outcome, storm_s=storm.storm_s, storm_all_s=storm.storm_all_s)


def tell_chaos(storm: Storm, path: Path) -> None:
    """Write a storm's times into the figures of the fault run at ``path``, where there are any."""
    if path.exists():
        outcome = msgspec.json.decode(path.read_bytes(), type=Outcome)
        told = msgspec.structs.replace(outcome, storm_s=storm.storm_s, storm_all_s=storm.storm_all_s)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
