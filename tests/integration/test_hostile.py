"""Silent peers and dripped headers are cut in time, and the others hardly notice."""

from pathlib import Path

from chatnode.local.cluster import LocalCluster
from tests.integration.hostile import measure

GRACE_S = 1.5
"""What a busy machine may add to the node's 10 s."""
NOISE_MS = 50.0
"""Other tests on the same cores make single deliveries take this long by themselves."""


async def test_peers_that_say_nothing_are_cut_within_ten_seconds_and_hold_nobody_up(tmp_path: Path) -> None:
    settings = {"CHAT_COMMAND_RATE_PER_S": "2000", "CHAT_COMMAND_BURST": "2000"}
    async with LocalCluster(tmp_path / "data", nodes=2, settings=settings, sync_always=False) as cluster:
        figures = await measure(cluster, peers=200, seconds=4.0)
    assert figures.cut_first_s > 5.0
    assert figures.cut_last_s < 10.0 + GRACE_S
    assert figures.slowdown < 2.0 or figures.during_p99_ms < NOISE_MS, figures
