"""Figures of the cluster tests, of several sessions."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tests.cluster.harness.figures import Figures

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def session(path: Path) -> Figures:
    return Figures(path, lambda: NOON)


def test_what_another_session_found_stays(tmp_path: Path) -> None:
    path = tmp_path / "build" / "cluster.json"
    session(path).set("ready_s", 31.5)
    session(path).recovered("node", 1.234)
    session(path).recovered("worker", 2.0)
    found = session(path).values()
    assert found["ready_s"] == 31.5
    assert found["recovery_s"] == {"node": 1.23, "worker": 2.0}
    assert found["measured"] == {"ready_s": "2026-11-24T12:00:00Z", "recovery_s": "2026-11-24T12:00:00Z"}


def test_a_test_that_runs_again_takes_the_place_of_what_it_found_before(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    for what, lost in (("node", 3), ("worker", 1), ("node", 0)):
        session(path).total("lost_messages", what, lost)
    assert session(path).values()["lost_messages"] == 1
    for what, reconnects in (("rollout", 1.4), ("growth", 0.4), ("rollout", 1.0)):
        session(path).worst("planned_reconnects_per_client", what, reconnects)
    assert session(path).values()["planned_reconnects_per_client"] == 1.0


def test_figures_that_had_no_parts_before_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    path.write_text('{"lost_messages": 7, "recovery_s": {}}')
    session(path).total("lost_messages", "node", 0)
    assert session(path).values()["lost_messages"] == 0


def test_what_several_processes_found_at_once_is_all_there(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: session(path).part("recovery_s", str(number), number), range(64)))
    assert session(path).values()["recovery_s"] == {str(number): number for number in range(64)}
