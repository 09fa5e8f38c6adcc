"""What repair says of a partition, and how it names sequences."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from chatnode.rooms.ports import Watermark
from chatnode.worker.epochs import NOTHING_RECORDED, Observed, Recorded, decide
from chatnode.worker.repair import Finding, describe, ranges, spell

RECORDED = Recorded(Watermark(1, 40, "aaaaaaaa"), 40, 1, ts=1_700_000_000_000)


def finding(recorded: Recorded, observed: Observed | None, **more: object) -> Finding:
    return Finding("CHAT_3", recorded, observed, decide(recorded, observed), **more)  # type: ignore[arg-type]


@given(st.sets(st.integers(1, 60)))
def test_ranges_name_every_number_once_and_touch_no_other(seqs: set[int]) -> None:
    runs = ranges(seqs)
    assert {seq for first, last in runs for seq in range(first, last + 1)} == seqs
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(runs))


def test_many_ranges_are_counted() -> None:
    assert spell([1, 2, 3, 7]) == "1 to 3, 7"
    assert spell(range(0, 40, 2)).endswith("14 and 12 more ranges")


def test_what_is_level_is_healthy() -> None:
    found = finding(RECORDED, Observed(1, 11, 40, "aaaaaaaa"), compared=30)
    assert found.healthy
    assert describe(found) == [
        "CHAT_3: the stream holds 11 to 40, epoch 1; history everything up to 40 of epoch 1",
        "  30 events of the stream were compared with history",
    ]


def test_what_a_worker_has_still_to_write_is_no_fault() -> None:
    found = finding(RECORDED, Observed(1, 11, 50, "aaaaaaaa"))
    assert found.healthy
    assert "up to 10 events are not written yet" in describe(found)[1]


def test_what_was_purged_before_it_was_written_is_said_plainly() -> None:
    found = finding(RECORDED, Observed(1, 51, 60, None))
    assert not found.healthy
    assert describe(found)[-2:] == [
        "  10 events were purged before they were written: 41 to 50",
        "  they are nowhere any more",
    ]


def test_a_lost_stream_begins_above_history_and_what_is_lost_is_said_plainly() -> None:
    found = finding(RECORDED, None)
    assert not found.healthy
    assert describe(found) == [
        "CHAT_3: there is no stream; history holds everything up to 40 of epoch 1",
        "  the stream was lost; it has to begin at 41, epoch 2",
        (
            "  what was acknowledged after 40 (2023-11-14 22:13:20 UTC) and is not in the stream now is nowhere "
            "any more; how much that is nobody can tell"
        ),
    ]


def test_a_stream_that_went_back_goes_on_above_history() -> None:
    found = finding(RECORDED, Observed(1, 1, 30, None))
    assert not found.healthy
    assert "the stream ends at 30, 40 was applied" in describe(found)[1]
    assert "go on from 41" in describe(found)[1]


def test_a_stream_that_was_never_made_is_not_called_lost() -> None:
    assert "never made" in describe(finding(NOTHING_RECORDED, None))[1]
