"""What long runs found adds up by data path, and the page says what the ledger holds."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tests.chaos import ledger, long
from tests.chaos.outcome import Outcome
from tests.unit.chaos_cases import OUTCOME


def _row(outcome: Outcome, of: str = "one") -> ledger.Row:
    return ledger.row(outcome, date="2026-11-24 10:00", commit="0123456789", of=of)


def test_the_page_tells_what_the_ledger_holds() -> None:
    text = (ledger.ROOT / ledger.PAGE).read_text("utf-8")
    assert ledger.page(text, ledger.read(ledger.ROOT / ledger.LEDGER)) == text, "run `make docs`"


def test_rows_are_kept_in_order(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    rows = [_row(OUTCOME), _row(replace(OUTCOME, seed=8)), _row(replace(OUTCOME, seed=9), "two")]
    for row in rows:
        ledger.append(path, row)
    assert ledger.read(path) == rows


def test_runs_add_up_and_the_worst_times_count() -> None:
    broken = replace(OUTCOME, lost=2, problems={"lost": 2}, resume_s=None, converge_s=29.0, not_converged=("ana",))
    total = ledger.total([_row(OUTCOME), _row(broken)])
    assert (total.runs, total.faults, total.acked, total.messages, total.delivered) == (2, 6, 200, 180, 1800)
    assert (total.broken, total.red, total.resume_s, total.converge_s) == (3, 1, 4.5, 29.0)


def test_each_run_goes_into_the_ledger_and_one_without_figures_is_red(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def once(arguments: Sequence[str]) -> int:
        asked.append(arguments)
        out = Path(arguments[arguments.index("--out") + 1])
        out.parent.mkdir(exist_ok=True)
        if len(asked) > 1:
            return 1
        out.write_bytes(msgspec.json.encode(OUTCOME))
        time.sleep(0.01)
        return 0

    path = tmp_path / "ledger.json"
    words = ["--minutes", "0.0001", "--ledger", str(path), "--out", str(tmp_path / "runs"), "--rooms", "3"]
    assert long.main(words, once) == 0
    assert long.main(words, once) == 1
    assert [row.seed for row in ledger.read(path)] == [7]
    assert asked[0][-2:] == ("--rooms", "3")


def test_another_data_path_begins_anew() -> None:
    first, second = ledger.tables([_row(OUTCOME), _row(OUTCOME, "two")]).splitlines()[2:4]
    assert first.startswith("| `two` | 1 | 3 | 100 |")
    assert second.startswith("| `one` | 1 | 3 | 100 |")


def test_a_change_of_the_data_path_alone_changes_its_fingerprint(tmp_path: Path) -> None:
    for name in (*ledger.DATA_PATH, "docs"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("first")
    for command in (
        ["init", "-q"],
        ["add", "."],
        [*("-c", "user.name=ana", "-c", "user.email=ana@example.org"), *("commit", "-qm", "first")],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    first = ledger.fingerprint(tmp_path)
    (tmp_path / "docs" / "file").write_text("second")
    assert ledger.fingerprint(tmp_path) == first
    (tmp_path / "chatclient" / "file").write_text("second")
    assert ledger.fingerprint(tmp_path) != first
