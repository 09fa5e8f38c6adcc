"""What is done about a stream, as a table and as properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.rooms.ports import Watermark
from chatnode.worker.epochs import NOTHING_RECORDED, Create, Decision, Keep, Observed, Raise, Recorded, decide

AT_100 = Recorded(Watermark(3, 100, "aaaa"), 100, 3)
SAME = "aaaa"
OTHER = "bbbb"

TABLE: list[tuple[str, Recorded, Observed | None, Decision]] = [
    ("nothing anywhere: the first epoch", NOTHING_RECORDED, None, Create(1, 1)),
    ("the stream is gone: a new one above the history", AT_100, None, Create(4, 101)),
    ("gone before its first event was applied: a new epoch all the same", Recorded(None, 0, 2), None, Create(3, 1)),
    ("gone while it was applied again: above everything that ever was", Recorded(Watermark(4, 20), 100, 4), None,
     Create(5, 101)),
    ("nothing new", AT_100, Observed(3, 1, 100, SAME), Keep(3)),
    ("some new events", AT_100, Observed(3, 1, 120, SAME), Keep(3)),
    ("old events were purged", AT_100, Observed(3, 100, 120, SAME), Keep(3)),
    ("the watermark's event was erased", AT_100, Observed(3, 1, 120, None), Keep(3)),
    ("everything was purged, watermark included", AT_100, Observed(3, 101, 100, None), Keep(3)),
    ("purged beyond the watermark: a gap", AT_100, Observed(3, 110, 120, None), Keep(3, range(101, 110))),
    ("empty MongoDB: the stream's epoch stays", NOTHING_RECORDED, Observed(7, 1, 50, None), Keep(7)),
    ("empty MongoDB, and the stream has lost its beginning", NOTHING_RECORDED, Observed(7, 11, 50, None),
     Keep(7, range(1, 11))),
    ("a stream without epoch", NOTHING_RECORDED, Observed(0, 1, 0, None), Keep(1)),
    ("a raise that had not reached the stream", Recorded(Watermark(3, 100, "aaaa"), 100, 4),
     Observed(3, 1, 120, SAME), Keep(4)),
    ("a stream that knows of a raise that MongoDB lost", AT_100, Observed(5, 1, 120, SAME), Keep(5)),
    ("back in time", AT_100, Observed(3, 1, 80, None),
     Raise(4, 1, 101, "the stream ends at 80, 100 was applied")),
    ("back in time to nothing", AT_100, Observed(3, 1, 0, None),
     Raise(4, 1, 101, "the stream ends at 0, 100 was applied")),
    ("back in time and grown beyond the watermark", AT_100, Observed(3, 1, 120, OTHER),
     Raise(4, 1, None, "event 100 is bbbb, aaaa was applied")),
    ("back in time, and its epoch with it", Recorded(Watermark(3, 100, "aaaa"), 100, 6), Observed(2, 5, 80, None),
     Raise(7, 5, 101, "the stream ends at 80, 100 was applied")),
    ("stopped while a closed stream was applied again", Recorded(Watermark(4, 60, "cccc"), 100, 4),
     Observed(3, 1, 80, "cccc"), Raise(5, 1, 101, "the stream ends at 80, 100 was applied")),
    ("stopped after all of it was applied, before it was emptied", Recorded(Watermark(4, 100), 100, 4),
     Observed(3, 1, 80, None), Raise(5, 1, 101, "the stream ends at 80, 100 was applied")),
    ("stopped after it was emptied, before it was opened", Recorded(Watermark(4, 100), 100, 4),
     Observed(3, 101, 100, None), Keep(4)),
    ("a watermark before any event cannot differ", Recorded(Watermark(4, 100), 100, 4),
     Observed(4, 1, 120, OTHER), Keep(4)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("recorded", "observed", "decision"), [row[1:] for row in TABLE], ids=[row[0].replace(" ", "_") for row in TABLE]
)
def test_decision(recorded: Recorded, observed: Observed | None, decision: Decision) -> None:
    assert decide(recorded, observed) == decision


HASHES = st.sampled_from(("0", "aaaa", "bbbb"))


@st.composite
def recorded(draw: st.DrawFn) -> Recorded:
    mark = draw(st.none() | st.builds(Watermark, st.integers(1, 5), st.integers(0, 30), HASHES))
    return Recorded(mark, (mark.seq if mark else 0) + draw(st.integers(0, 10)), draw(st.integers(0, 6)))


@st.composite
def observed(draw: st.DrawFn) -> Observed:
    last = draw(st.integers(0, 40))
    return Observed(draw(st.integers(0, 6)), draw(st.integers(1, last + 1)), last, draw(st.none() | HASHES))


@given(recorded(), st.none() | observed())
def test_an_epoch_never_falls_and_new_events_lie_above_all_that_were(was: Recorded, found: Observed | None) -> None:
    decision = decide(was, found)
    assert decision.epoch >= max(1, was.epoch, was.watermark.epoch if was.watermark else 0)
    match decision:
        case Create(_, first_seq):
            assert first_seq > was.highest
        case Keep(epoch):
            assert found is not None
            assert epoch >= found.epoch
            assert found.last_seq >= was.highest
        case Raise(epoch, _, continue_from):
            assert found is not None
            assert epoch > max(was.epoch, found.epoch)
            assert found.last_seq >= was.highest if continue_from is None else continue_from > was.highest


@given(recorded(), st.none() | observed())
def test_once_carried_out_there_is_nothing_more_to_do(was: Recorded, found: Observed | None) -> None:
    decision = decide(was, found)
    match decision:
        case Create(epoch, first_seq):
            now, stream = Watermark(epoch, first_seq - 1), Observed(epoch, first_seq, first_seq - 1, None)
        case Keep(epoch):
            assert found is not None
            last = max(found.last_seq, found.first_seq - 1)
            now, stream = Watermark(epoch, last, "dddd"), Observed(epoch, found.first_seq, last, "dddd")
        case Raise(epoch, _, continue_from):
            assert found is not None
            last = found.last_seq if continue_from is None else continue_from - 1
            now, stream = Watermark(epoch, last), Observed(epoch, last + 1, last, None)
    after = decide(Recorded(now, max(was.highest, now.seq), decision.epoch), stream)
    assert after == Keep(decision.epoch)
