"""What all tests share: Hypothesis profiles, and the rule that nothing is skipped silently in CI."""

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, database=None, print_blob=True)
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True)
settings.register_profile(
    "thorough",
    parent=settings.get_profile("default"),
    max_examples=5_000,
    suppress_health_check=[HealthCheck.too_slow],
)
_IN_CI = os.environ.get("CI", "").lower() == "true"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if _IN_CI else "default"))


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For the servers of a module's tests; deleted after the last of them, since a mongod takes 300 MiB."""
    folder = tmp_path_factory.mktemp("module")
    yield folder
    shutil.rmtree(folder)


def _allowed_skips() -> dict[str, str]:
    """Node id to reason, from ``allowed_skips.txt``: ``<node id> # <reason>``, one a line."""
    lines = Path(__file__).with_name("allowed_skips.txt").read_text("utf-8").splitlines()
    entries = (line.partition(" # ") for line in lines if line.strip() and not line.startswith("#"))
    return {node.strip(): reason.strip() for node, _, reason in entries if reason.strip()}


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if _IN_CI and report.skipped and not hasattr(report, "wasxfail") and report.nodeid not in _allowed_skips():
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped in CI ({why}); only what tests/allowed_skips.txt names may be"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report
