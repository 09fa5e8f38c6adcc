"""What to do when, as pure decisions: in which order the cluster starts and stops, and what follows a death."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["nats", "mongod", "worker", "node", "front door"]

_START: Final[tuple[tuple[Role, ...], ...]] = (("nats", "mongod"), ("worker",), ("node",), ("front door",))
_STOP: Final[tuple[tuple[Role, ...], ...]] = (("node",), ("worker",), ("front door",), ("nats",), ("mongod",))

STEADY_S: Final = 30.0
"""A child that ran for so long died of something new, not of what killed it before."""
DEATHS_MAX: Final = 5
_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 8.0


def start_stages(roles: Mapping[str, Role]) -> list[list[str]]:
    """Names that start together, stage after stage: servers first, then who creates streams and schema, then nodes."""
    return _stages(_START, roles)


def stop_stages(roles: Mapping[str, Role]) -> list[list[str]]:
    """Names that stop together, stage after stage.

    Nodes first: they send their clients away while all that they need still answers. The front door follows, so that
    requests under way can end, and the servers last, NATS before MongoDB: nothing is stored that history cannot take.
    """
    return _stages(_STOP, roles)


def _stages(order: tuple[tuple[Role, ...], ...], roles: Mapping[str, Role]) -> list[list[str]]:
    stages = ([name for name, role in roles.items() if role in together] for together in order)
    return [stage for stage in stages if stage]


@dataclass(frozen=True, slots=True)
class StartAgain:
    """Start it again after so long."""

    after_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It died too often in a row: the cluster stops."""

    deaths: int


@dataclass(frozen=True, slots=True)
class Deaths:
    """Deaths in a row of one child."""

    in_a_row: int = 0

    def another(self, uptime_s: float) -> "tuple[Deaths, StartAgain | GiveUp]":
        """It died after ``uptime_s`` of being ready (0 when it never was): the new count, and what to do."""
        deaths = 1 if uptime_s >= STEADY_S else self.in_a_row + 1
        if deaths > DEATHS_MAX:
            return Deaths(deaths), GiveUp(deaths)
        return Deaths(deaths), StartAgain(min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** (deaths - 1)))
