"""``build/chaos.json`` has the storm's times, whichever of the two was run first; and what makes a run red."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.chaos.outcome import Outcome
from tests.storm.figures import Storm, tell_chaos, with_storm
from tests.unit.chaos_cases import OUTCOME

STORM = Storm(
    sockets=8000,
    rooms=80,
    connect_s=13.2,
    storm_s=16.7,
    storm_all_s=31.3,
    restarted_s=1.2,
    messages=478,
    gaps=0,
    copies=0,
    reloads=0,
    behind=0,
    attempts=15300,
    refused=557,
    unreachable=4743,
    late=300,
    node_mib=(91.2, 93.3),
)


def test_a_fault_run_after_the_storm_has_its_times(tmp_path: Path) -> None:
    path = tmp_path / "storm.json"
    assert with_storm(OUTCOME, path) == OUTCOME
    path.write_bytes(msgspec.json.encode(STORM))
    assert with_storm(OUTCOME, path) == replace(OUTCOME, storm_s=16.7, storm_all_s=31.3)


def test_a_storm_after_the_fault_run_adds_its_times(tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"
    tell_chaos(STORM, path)
    assert not path.exists()
    path.write_bytes(msgspec.json.encode(OUTCOME))
    tell_chaos(STORM, path)
    assert msgspec.json.decode(path.read_bytes(), type=Outcome) == replace(OUTCOME, storm_s=16.7, storm_all_s=31.3)


@pytest.mark.parametrize(
    ("changed", "kept", "in_time"),
    [
        (OUTCOME, True, True),
        (replace(OUTCOME, resume_s=None), True, True),
        (replace(OUTCOME, resume_s=10.1), True, False),
        (replace(OUTCOME, converge_s=30.1), True, False),
        (replace(OUTCOME, problems={"lost": 1}), False, True),
        (replace(OUTCOME, planted_found=7), False, True),
        (replace(OUTCOME, unknown=1), False, True),
        (replace(OUTCOME, converge_s=None, not_converged=("ana",)), False, True),
    ],
)
def test_a_run_is_green_when_promises_are_kept_in_time(changed: Outcome, kept: bool, in_time: bool) -> None:
    assert (changed.kept, changed.in_time, changed.ok) == (kept, in_time, kept and in_time)


@pytest.mark.parametrize(
    ("changed", "ok"),
    [
        (STORM, True),
        (replace(STORM, storm_s=20.1), False),
        (replace(STORM, storm_all_s=60.1), False),
        (replace(STORM, gaps=1), False),
        (replace(STORM, node_mib=(91.0, 1025.0)), False),
    ],
)
def test_a_storm_is_green_when_everybody_is_back_in_time_with_everything(changed: Storm, ok: bool) -> None:
    assert changed.ok is ok
