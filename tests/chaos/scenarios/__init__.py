"""What is too rare or too slow for a random plan, once each: ``python -m tests.chaos --scenario NAME``.

Belongs here: the steps of each scenario, on a cluster with people who talk; they are judged as in any run. Each one
fails when what it is about did not happen.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.breaker import Breaker
from tests.chaos.scenarios import full_streams, restored_database, restored_streams, stuck_publish

Play = Callable[[Breaker], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    play: Play
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of nodes and workers."""


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "stuck-publish": Scenario(stuck_publish.play),
    "full-streams": Scenario(full_streams.play, {"CHAT_STREAM_MAX_BYTES": "2MiB"}),
    "restored-streams": Scenario(restored_streams.play),
    "restored-database": Scenario(restored_database.play),
}
